//! `"user"`: who the server is once its ports are open.
//!
//! The identity changes before the first thread and the first renderer exist: Linux changes it a thread at a time,
//! and both inherit it. Names are looked up in `/etc/passwd` and `/etc/group` alone, because the name service of a
//! static binary can load no module (LDAP, systemd's dynamic users): for others there are numbers.

mod accounts;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Dir, Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid, set_thread_uid};

use crate::config::{self, Config, ConfigError, Handler};
use accounts::Accounts;

const FIELD: &str = "user";
const PROGRAM: &str = "/proc/self/exe";

/// A user and groups of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As it is written in the configuration.
    written: String,
    uid: Uid,
    gid: Gid,
    /// Whether the configuration names the group; otherwise it is the user's own.
    group_is_asked_for: bool,
    /// The supplementary groups.
    groups: Vec<Gid>,
}

impl Identity {
    /// Reads `name`, `name:group`, `uid` or `uid:gid`.
    ///
    /// # Errors
    ///
    /// When the system knows no such user or group.
    pub fn resolve(written: &str) -> Result<Identity, ConfigError> {
        Accounts::of_system().identity(written).map_err(|message| refusal(FIELD, message))
    }

    /// Becomes this user for good. Nothing happens when the process is this user already.
    ///
    /// # Errors
    ///
    /// When the process is neither this user nor root, when it has a second thread, or when there is a way back.
    pub fn assume(&self) -> io::Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        let threads = fs::read_dir("/proc/self/task")
            .map_err(|error| io::Error::new(error.kind(), format!("/proc/self/task: {error}")))?
            .count();
        if threads != 1 {
            return Err(io::Error::other(format!(
                "{threads} threads run already, which would keep their rights"
            )));
        }
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        set_thread_res_uid(self.uid, self.uid, self.uid)?;
        let is_done = self.is_ours() && (getgid(), getegid()) == (self.gid, self.gid);
        // A process that was told to keep its capabilities (PR_SET_SECUREBITS) is still as good as root.
        if !is_done || (!self.uid.is_root() && set_thread_uid(Uid::ROOT).is_ok()) {
            return Err(io::Error::other("the rights of root can't be given up"));
        }
        Ok(())
    }

    fn is_ours(&self) -> bool {
        let group_is_right =
            !self.group_is_asked_for || (getgid(), getegid()) == (self.gid, self.gid);
        (getuid(), geteuid()) == (self.uid, self.uid) && group_is_right
    }
}

/// Checks `user` without becoming anyone.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    config.user.as_deref().map_or(Ok(()), |written| Identity::resolve(written).map(drop))
}

/// Becomes the configuration's `user`, if it names one. It is called once the ports are open, before any thread is
/// started.
///
/// # Errors
///
/// When that is impossible, or when that user can't use what the configuration names.
pub fn give_up(config: &Config) -> Result<(), ConfigError> {
    let Some(written) = &config.user else { return Ok(()) };
    let identity = Identity::resolve(written)?;
    if geteuid().is_root() {
        config.handlers.iter().flat_map(Handler::stores).for_each(|(_, directory)| {
            // Where it is not ours to give, what follows tells whether that matters.
            let _ = hand_over(directory, &identity);
        });
    }
    let program = fs::read_link(PROGRAM).unwrap_or_else(|_| PROGRAM.into());
    identity.assume().map_err(|error| {
        let hint = if geteuid().is_root() { "" } else { "; only root can become another user" };
        refusal(FIELD, format!("can't become {written}: {error}{hint}"))
    })?;
    if let Err(error) = rustix::fs::access(PROGRAM, Access::EXEC_OK) {
        let program = program.display();
        return Err(refusal(
            FIELD,
            format!(
                "{written} can't execute {program}, as which the renderer runs ({error}): chmod a+rx {program}"
            ),
        ));
    }
    check_places(config, written)
}

/// Gives a directory that the configuration check has just made as root to its user: one that belongs to root, that
/// is empty, and that no symbolic link has led to.
fn hand_over(directory: &Path, identity: &Identity) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Without a slash at its end, which would follow a link all the same.
    let directory: PathBuf = directory.components().collect();
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&directory)?;
    if Uid::from_raw(found.st_uid).is_root() && is_empty(&directory)? {
        rustix::fs::fchown(&directory, Some(identity.uid), Some(identity.gid))?;
    }
    Ok(())
}

fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was checked for root has to hold for the user as well.
fn check_places(config: &Config, user: &str) -> Result<(), ConfigError> {
    for (index, handler) in config.handlers.iter().enumerate() {
        for (field, directory) in handler.stores() {
            prove_writable(directory).map_err(|error| {
                let path = directory.display();
                let message =
                    format!("{path}: {user} can't write it ({error}): chown -R {user} {path}");
                refusal(&format!("handlers[{index}].{field}"), message)
            })?;
        }
        handler.origin.check_access(user)?;
    }
    Ok(())
}

/// The directory, and those in it, which may be left from a time when the server was root.
fn prove_writable(directory: &Path) -> io::Result<()> {
    config::prove_writable(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            rustix::fs::access(entry.path(), Access::WRITE_OK | Access::EXEC_OK)?;
        }
    }
    Ok(())
}

fn refusal(path: &str, message: String) -> ConfigError {
    ConfigError::new(path, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn nobody() -> Identity {
        Identity::resolve("65534:65534").unwrap()
    }

    #[test]
    fn who_we_are_already_is_nothing_to_become() {
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        Identity::resolve(&format!("{uid}:{gid}")).unwrap().assume().unwrap();
    }

    #[test]
    fn nobody_is_become_while_another_thread_runs() {
        let before = geteuid();
        let other = format!("{0}:{0}", before.as_raw() + 1);
        let thread = std::thread::spawn(move || Identity::resolve(&other).unwrap().assume());
        let error = thread.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("threads run already"), "{error}");
        assert_eq!(geteuid(), before);
    }

    #[test]
    fn only_an_empty_directory_of_root_is_handed_over() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let directory = |name: &str| {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (empty, full, target, theirs) =
            (directory("empty"), directory("full"), directory("target"), directory("theirs"));
        fs::write(full.join("file"), b"").unwrap();
        let link = temp.path().join("link");
        symlink(&target, &link).unwrap();
        std::os::unix::fs::chown(&theirs, Some(1), None).unwrap();
        for path in [&empty, &full, &link, &link.join(""), &theirs] {
            let _ = hand_over(path, &nobody());
        }
        let owners =
            [&empty, &full, &target, &theirs].map(|path| fs::metadata(path).unwrap().uid());
        assert_eq!(owners, [65534, 0, 0, 1]);
    }
}
