//! `"user"`: the user and groups of the server once its ports are open.
//!
//! The switch precedes the first thread and the first renderer: on Linux each thread has its own credentials, and both
//! inherit them. Names are looked up in `/etc/passwd` and `/etc/group` only, because a static binary can't load name
//! service modules (LDAP, systemd's dynamic users); such users are given as numbers.

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
/// The file that the renderer is started from.
const PROGRAM: &str = "/proc/self/exe";

/// The user and groups to switch to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As in the configuration.
    spec: String,
    uid: Uid,
    gid: Gid,
    /// Whether the configuration names the group; otherwise it is the user's primary group.
    has_explicit_group: bool,
    supplementary_groups: Vec<Gid>,
}

impl Identity {
    /// Resolves `name`, `name:group`, `uid` or `uid:gid`.
    pub fn resolve(spec: &str) -> Result<Identity, ConfigError> {
        Accounts::read().identity(spec).map_err(|message| config_error(FIELD, message))
    }

    /// Switches to this user for good, or does nothing if the process runs as it already.
    ///
    /// # Errors
    ///
    /// If the process is neither this user nor root, has a second thread, or could become root again.
    pub fn assume(&self) -> io::Result<()> {
        if self.is_current() {
            return Ok(());
        }
        let threads = fs::read_dir("/proc/self/task")
            .map_err(|error| io::Error::new(error.kind(), format!("/proc/self/task: {error}")))?
            .count();
        if threads != 1 {
            return Err(io::Error::other(format!(
                "{threads} threads are running, and each would keep its privileges"
            )));
        }
        set_thread_groups(&self.supplementary_groups)?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        set_thread_res_uid(self.uid, self.uid, self.uid)?;
        let is_done = self.is_current() && (getgid(), getegid()) == (self.gid, self.gid);
        // A process that keeps its capabilities (PR_SET_SECUREBITS) could still become root.
        if !is_done || (!self.uid.is_root() && set_thread_uid(Uid::ROOT).is_ok()) {
            return Err(io::Error::other("can't drop the privileges of root"));
        }
        Ok(())
    }

    /// Whether the process runs as this user and, if one is configured, this group.
    fn is_current(&self) -> bool {
        let has_group = !self.has_explicit_group || (getgid(), getegid()) == (self.gid, self.gid);
        (getuid(), geteuid()) == (self.uid, self.uid) && has_group
    }
}

/// Checks that `user` exists.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    config.user.as_deref().map_or(Ok(()), |spec| Identity::resolve(spec).map(drop))
}

/// Switches to the configured `user`, if any. Must be called when the ports are open and no thread has been started.
///
/// # Errors
///
/// If that fails, or if the user can't access the configured files and directories.
pub fn drop_root(config: &Config) -> Result<(), ConfigError> {
    let Some(spec) = &config.user else { return Ok(()) };
    let identity = Identity::resolve(spec)?;
    if geteuid().is_root() {
        config.handlers.iter().flat_map(Handler::stores).for_each(|store| {
            // If this fails, `check_access` tells whether it matters.
            let _ = chown_new(&store.path, &identity);
        });
    }
    let program = fs::read_link(PROGRAM).unwrap_or_else(|_| PROGRAM.into());
    identity.assume().map_err(|error| {
        let hint = if geteuid().is_root() { "" } else { "; only root can switch to another user" };
        config_error(FIELD, format!("can't switch to {spec}: {error}{hint}"))
    })?;
    if let Err(error) = rustix::fs::access(PROGRAM, Access::EXEC_OK) {
        let program = program.display();
        return Err(config_error(
            FIELD,
            format!(
                "{spec} can't execute {program}, which the renderer is started from ({error}): chmod a+rx {program}"
            ),
        ));
    }
    check_access(config, spec)
}

/// Gives the user a directory that the configuration check has just created as root: it belongs to root, is empty, and
/// is not a symbolic link.
fn chown_new(directory: &Path, identity: &Identity) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Without a trailing slash, which would follow a link in spite of O_NOFOLLOW.
    let directory: PathBuf = directory.components().collect();
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    if Uid::from_raw(stat.st_uid).is_root() && is_empty(&directory)? {
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

/// Repeats, as the user, the checks of access that the configuration check has done as root.
fn check_access(config: &Config, user: &str) -> Result<(), ConfigError> {
    for (index, handler) in config.handlers.iter().enumerate() {
        for store in handler.stores() {
            check_writable(&store.path).map_err(|error| {
                let path = store.path.display();
                let message =
                    format!("{path}: {user} can't write to it ({error}): chown -R {user} {path}");
                config_error(&format!("handlers[{index}].{}", store.field), message)
            })?;
        }
        handler.check_access(user)?;
    }
    Ok(())
}

/// Checks the directory and its subdirectories, which an earlier run as root may have created.
fn check_writable(directory: &Path) -> io::Result<()> {
    config::prove_writable(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            rustix::fs::access(entry.path(), Access::WRITE_OK | Access::EXEC_OK)?;
        }
    }
    Ok(())
}

fn config_error(path: &str, message: String) -> ConfigError {
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
    fn switching_to_the_current_user_does_nothing() {
        let uid = getuid().as_raw();
        let gid = getgid().as_raw();
        Identity::resolve(&format!("{uid}:{gid}")).unwrap().assume().unwrap();
    }

    #[test]
    fn switching_the_user_is_refused_while_another_thread_runs() {
        let before = geteuid();
        let other = format!("{0}:{0}", before.as_raw() + 1);
        let thread = std::thread::spawn(move || Identity::resolve(&other).unwrap().assume());
        let error = thread.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("threads are running"), "{error}");
        assert_eq!(geteuid(), before);
    }

    #[test]
    fn only_an_empty_directory_of_root_is_given_to_the_user() {
        if !geteuid().is_root() {
            return crate::testing::skip("needs root");
        }
        let temp = tempfile::tempdir().unwrap();
        let directory = |name: &str| {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let empty = directory("empty");
        let full = directory("full");
        let target = directory("target");
        let foreign = directory("foreign");
        fs::write(full.join("file"), b"").unwrap();
        let link = temp.path().join("link");
        symlink(&target, &link).unwrap();
        std::os::unix::fs::chown(&foreign, Some(1), None).unwrap();
        for path in [&empty, &full, &link, &link.join(""), &foreign] {
            let _ = chown_new(path, &nobody());
        }
        let owners =
            [&empty, &full, &target, &foreign].map(|path| fs::metadata(path).unwrap().uid());
        assert_eq!(owners, [65534, 0, 0, 1]);
    }
}
