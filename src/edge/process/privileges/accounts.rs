//! Users and groups, as passwd(5) and group(5) list them.

use rustix::process::{Gid, Uid};

use super::Identity;

/// The two files.
#[derive(Debug)]
pub struct Accounts {
    passwd: String,
    group: String,
}

/// A line of passwd(5): `name:password:uid:gid:…`
#[derive(Debug)]
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

/// A line of group(5): `name:password:gid:member,member`
#[derive(Debug)]
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Accounts {
    /// Those of this system; where a file is missing, as in an empty container, there are none.
    pub fn of_system() -> Accounts {
        let read = |path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Accounts { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// Who `name`, `name:group`, `uid` or `uid:gid` is. An error is a sentence.
    pub fn identity(&self, written: &str) -> Result<Identity, String> {
        let (user, group) = match written.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (written, None),
        };
        let group_is_asked_for = group.is_some();
        let group = group.map(|group| self.gid(group)).transpose()?;
        let (uid, own_group, groups) = match number(user) {
            Some(uid) => (
                uid,
                self.users().find(|known| known.uid == uid).map(|known| known.gid),
                Vec::new(),
            ),
            None => {
                let known = self.users().find(|known| known.name == user).ok_or_else(|| {
                    format!(
                        "no user {user:?} in /etc/passwd; one from elsewhere is given as numbers, uid:gid"
                    )
                })?;
                (known.uid, Some(known.gid), self.groups_of(user))
            }
        };
        let gid = group.or(own_group).ok_or_else(|| {
            format!("/etc/passwd does not say which group {uid} has; give one, as {uid}:{uid}")
        })?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(Identity { written: written.to_owned(), uid, gid, group_is_asked_for, groups })
    }

    fn gid(&self, written: &str) -> Result<u32, String> {
        let named = || self.groups().find(|known| known.name == written).map(|known| known.gid);
        number(written).or_else(named).ok_or_else(|| {
            format!("no group {written:?} in /etc/group; one from elsewhere is given as a number")
        })
    }

    fn groups_of(&self, user: &str) -> Vec<Gid> {
        let has_user = |group: &Group| group.members.split(',').any(|member| member == user);
        self.groups().filter(has_user).map(|group| Gid::from_raw(group.gid)).collect()
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _) = (fields.next()?, fields.next()?);
            Some(User { name, uid: number(fields.next()?)?, gid: number(fields.next()?)? })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _) = (fields.next()?, fields.next()?);
            Some(Group {
                name,
                gid: number(fields.next()?)?,
                members: fields.next().unwrap_or_default(),
            })
        })
    }
}

/// An id. The largest one means "no id" to the kernel (setresuid(2)).
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(written: &str) -> Result<(u32, u32, Vec<u32>), String> {
        let accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n# no user\nbroken:x:1\n\nimg:x:200:201::/:/bin/false\n\
                     odd:x:4294967295:0::/:\n"
                .into(),
            group: "root:x:0:\nimg:x:201:\nimages:x:300:other,img\ntls:x:301:img\nimgs:x:302:imgs\nshort:x:303\n"
                .into(),
        };
        let found = accounts.identity(written)?;
        assert_eq!(found.written, written);
        Ok((
            found.uid.as_raw(),
            found.gid.as_raw(),
            found.groups.iter().map(|gid| gid.as_raw()).collect(),
        ))
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(identity("img"), Ok((200, 201, vec![300, 301])));
        assert_eq!(identity("img:images"), Ok((200, 300, vec![300, 301])));
        assert_eq!(identity("img:7"), Ok((200, 7, vec![300, 301])));
        assert_eq!(identity("root"), Ok((0, 0, vec![])));
        assert_eq!(
            identity("200"),
            Ok((200, 201, vec![])),
            "a number has the group of its name and no other"
        );
        assert_eq!(identity("1000:1001"), Ok((1000, 1001, vec![])));
        assert_eq!(identity("1000:short"), Ok((1000, 303, vec![])));
    }

    #[test]
    fn who_does_not_exist_is_an_error_that_tells_what_to_do() {
        for (written, hint) in [
            ("nobody-here", "uid:gid"),
            ("broken", "uid:gid"),
            ("odd", "uid:gid"),
            ("", "uid:gid"),
            (":300", "uid:gid"),
            ("-1", "uid:gid"),
            ("4294967295:1", "uid:gid"),
            ("99999999999:1", "uid:gid"),
            ("img:", "a number"),
            ("img:none", "a number"),
            ("img:images:more", "a number"),
            ("1000:4294967295", "a number"),
            ("1000", "1000:1000"),
        ] {
            let error = identity(written).unwrap_err();
            assert!(error.contains(hint), "{written:?}: {error}");
        }
    }
}
