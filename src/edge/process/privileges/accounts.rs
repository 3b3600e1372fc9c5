//! Users and groups from passwd(5) and group(5).

use rustix::process::{Gid, Uid};

use super::Identity;

/// The contents of `/etc/passwd` and `/etc/group`.
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
    /// Reads the files; a missing one, as in an empty container, counts as empty.
    pub fn read() -> Accounts {
        let read_file = |path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Accounts { passwd: read_file("/etc/passwd"), group: read_file("/etc/group") }
    }

    /// Resolves `name`, `name:group`, `uid` or `uid:gid`. An error is a message.
    pub fn identity(&self, spec: &str) -> Result<Identity, String> {
        let (user, group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (spec, None),
        };
        let has_explicit_group = group.is_some();
        let group = group.map(|group| self.gid(group)).transpose()?;
        let (uid, primary_group, supplementary_groups) = match parse_id(user) {
            Some(uid) => (
                uid,
                self.users().find(|known| known.uid == uid).map(|known| known.gid),
                Vec::new(),
            ),
            None => {
                let known = self.users().find(|known| known.name == user).ok_or_else(|| {
                    format!(
                        "no user {user:?} in /etc/passwd; give a user from elsewhere as numbers, uid:gid"
                    )
                })?;
                (known.uid, Some(known.gid), self.groups_of(user))
            }
        };
        let gid = group.or(primary_group).ok_or_else(|| {
            format!("no primary group of {uid} in /etc/passwd; give one, such as {uid}:{uid}")
        })?;
        Ok(Identity {
            spec: spec.to_owned(),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            has_explicit_group,
            supplementary_groups,
        })
    }

    fn gid(&self, spec: &str) -> Result<u32, String> {
        let by_name = || self.groups().find(|known| known.name == spec).map(|known| known.gid);
        parse_id(spec).or_else(by_name).ok_or_else(|| {
            format!("no group {spec:?} in /etc/group; give a group from elsewhere as a number")
        })
    }

    fn groups_of(&self, user: &str) -> Vec<Gid> {
        let has_user = |group: &Group| group.members.split(',').any(|member| member == user);
        self.groups().filter(has_user).map(|group| Gid::from_raw(group.gid)).collect()
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            fields.next()?;
            Some(User { name, uid: parse_id(fields.next()?)?, gid: parse_id(fields.next()?)? })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            fields.next()?;
            Some(Group {
                name,
                gid: parse_id(fields.next()?)?,
                members: fields.next().unwrap_or_default(),
            })
        })
    }
}

/// Parses an id. The largest one means "no id" (setresuid(2)).
fn parse_id(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(spec: &str) -> Result<(u32, u32, Vec<u32>), String> {
        let accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n# no user\nbroken:x:1\n\nimg:x:200:201::/:/bin/false\n\
                     odd:x:4294967295:0::/:\n"
                .into(),
            group: "root:x:0:\nimg:x:201:\nimages:x:300:other,img\ntls:x:301:img\nimgs:x:302:imgs\nshort:x:303\n"
                .into(),
        };
        let found = accounts.identity(spec)?;
        assert_eq!(found.spec, spec);
        Ok((
            found.uid.as_raw(),
            found.gid.as_raw(),
            found.supplementary_groups.iter().map(|gid| gid.as_raw()).collect(),
        ))
    }

    #[test]
    fn users_are_resolved_by_name_and_by_number() {
        assert_eq!(identity("img"), Ok((200, 201, vec![300, 301])));
        assert_eq!(identity("img:images"), Ok((200, 300, vec![300, 301])));
        assert_eq!(identity("img:7"), Ok((200, 7, vec![300, 301])));
        assert_eq!(identity("root"), Ok((0, 0, vec![])));
        assert_eq!(identity("200"), Ok((200, 201, vec![])), "a number has the primary group only");
        assert_eq!(identity("1000:1001"), Ok((1000, 1001, vec![])));
        assert_eq!(identity("1000:short"), Ok((1000, 303, vec![])));
    }

    #[test]
    fn unknown_users_and_groups_are_errors_with_a_hint() {
        for (spec, hint) in [
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
            let error = identity(spec).unwrap_err();
            assert!(error.contains(hint), "{spec:?}: {error}");
        }
    }
}
