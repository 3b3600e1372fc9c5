//! The sandbox of the renderer, entered before the first image is decoded. It limits the damage when a crafted image
//! exploits a decoder.
//!
//! Resource limits bound memory and open files (`rlimits`). `no_new_privs` disables set-user-ID programs. Landlock
//! allows the paths in `allowed_paths` and forbids executing programs, listening on ports and signalling other
//! processes. Restrictions that an older kernel does not know are left out:
//! <https://docs.kernel.org/userspace-api/landlock.html>.
//!
//! A Landlock rule applies to the file or directory that was opened for it, not to its path. [`Sandbox`] therefore
//! remembers the identity of each; when a path leads to another one, the edge starts a new renderer.

mod allowed_paths;
mod rlimits;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::config::Config;
use crate::log::warn;
use crate::render::origin;
use allowed_paths::{AllowedPath, PathAccess, allowed_paths};

/// The newest ABI that the crate `landlock` knows.
const NEWEST: ABI = ABI::V9;

/// Rights in a cache directory: none to execute, or to create devices, sockets or symbolic links.
const READ_WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});

/// The attempts to create the directory of a cache while other processes change what is at its path.
const MAX_ATTEMPTS: u32 = 10;

/// The paths that the sandbox of this process allows.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// Empty without Landlock.
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Of the file or directory that the rule was made for; `None` if there was none.
    identity: Option<Identity>,
    /// A cache: the next renderer creates it if it is missing.
    is_created: bool,
}

/// Device and inode.
type Identity = (u64, u64);

impl Sandbox {
    /// Whether an allowed path now leads to another file or directory, so that a new renderer would have access and
    /// this one does not. The check needs no rights: stat(2) is not restricted by Landlock.
    pub fn is_outdated(&self) -> bool {
        self.watched.iter().any(|watched| match identity(&watched.path) {
            None => watched.is_created && watched.identity.is_some(),
            now => now != watched.identity,
        })
    }
}

/// Whether the kernel has Landlock.
pub fn is_supported() -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    strict.handle_access(AccessFs::ReadFile).and_then(Ruleset::create).is_ok()
}

/// Restricts the calling thread and the threads that it starts from now on; resource limits apply to the process.
/// `socket` is the path where the renderer will listen. A restriction that fails is logged and skipped.
pub fn enter(config: &Config, socket: &Path) -> Sandbox {
    rlimits::set(config);
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        warn!("not_sandboxed", "the renderer can gain privileges by executing a program: {error}");
    }
    restrict_paths(config, socket).unwrap_or_else(|error| {
        warn!(
            "not_sandboxed",
            "the renderer keeps the rights of its user: can't use Landlock: {error}"
        );
        Sandbox::default()
    })
}

/// Restricts the calling thread to the allowed paths, with Landlock.
fn restrict_paths(config: &Config, socket: &Path) -> Result<Sandbox, RulesetError> {
    let paths = allowed_paths(config, socket, &|name| std::env::var_os(name));
    let connects = config.handlers.iter().any(|handler| {
        handler.origins.iter().any(origin::connects)
            || handler.results.is_some()
            || handler.cdn.purge_hook.is_some()
    });
    restrict(&paths, connects)
}

fn restrict(paths: &[AllowedPath], connects: bool) -> Result<Sandbox, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(ABI::V6))?;
    if !connects {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut ruleset = ruleset.create()?;
    let mut watched = Vec::new();
    for allowed in paths {
        let opened = match allowed.access {
            PathAccess::ReadWrite => open_cache(&allowed.path, &|path| fs::create_dir_all(path)),
            PathAccess::Read | PathAccess::CreateSocket => open(&allowed.path),
        };
        if allowed.is_watched {
            watched.push(Watched {
                path: allowed.path.clone(),
                identity: opened.as_ref().ok().map(|(_, stat)| (stat.st_dev, stat.st_ino)),
                is_created: allowed.access == PathAccess::ReadWrite,
            });
        }
        if let Ok((file, stat)) = opened {
            ruleset = allow(ruleset, file, FileType::from_raw_mode(stat.st_mode), allowed.access)?;
        }
    }
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Ok(Sandbox::default()),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(Sandbox { watched }),
    }
}

fn allow(
    ruleset: RulesetCreated,
    file: OwnedFd,
    kind: FileType,
    access: PathAccess,
) -> Result<RulesetCreated, RulesetError> {
    let rights = match access {
        PathAccess::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        PathAccess::ReadWrite => READ_WRITE,
        PathAccess::CreateSocket => AccessFs::MakeSock.into(),
    };
    // landlock_add_rule(2) refuses directory rights for a file.
    let rights =
        if kind == FileType::Directory { rights } else { rights & AccessFs::from_file(NEWEST) };
    if rights.is_empty() {
        return Ok(ruleset);
    }
    ruleset.add_rule(PathBeneath::new(file, rights))
}

/// Opens the directory of a cache and creates it before, if it is missing. If that fails, the first write to the cache
/// logs it.
///
/// What prevents it may disappear before the directory is opened: then it is created at the next attempt. Otherwise
/// nothing would create it until a renderer is started for another reason.
fn open_cache(
    path: &Path,
    create: &dyn Fn(&Path) -> io::Result<()>,
) -> rustix::io::Result<(OwnedFd, Stat)> {
    for _ in 1..MAX_ATTEMPTS {
        let _ = create(path);
        match open(path) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
    }
    let _ = create(path);
    open(path)
}

fn open(path: &Path) -> rustix::io::Result<(OwnedFd, Stat)> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    Ok((file, stat))
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests;
