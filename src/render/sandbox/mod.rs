//! Takes from the renderer every right that its work does not need, before it sees the first image.
//!
//! Whoever breaks a decoder with a crafted image has the renderer's rights. Its resources are bounded
//! (`limits.rs`); `no_new_privs` makes set-user-ID programs ordinary ones; and Landlock leaves the directories and files
//! of `places.rs`, no program to execute, no port to listen on and nobody outside to signal. What Landlock can't do
//! on an older kernel is left out: <https://docs.kernel.org/userspace-api/landlock.html>.
//!
//! A rule holds for the directory or file that was there, not for its path. So a [`Sandbox`] remembers what it
//! has let in: when there is something else at a path now, the edge is asked for a renderer that is let in there.

mod allowed_paths;
mod rlimits;

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};
use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::config::Config;
use crate::log::warn;
use crate::render::origin;
use allowed_paths::{AllowedPath, PathAccess};

/// The newest Landlock whose file rights we know: also connecting to sockets that have a path.
const NEWEST: ABI = ABI::V9;

/// What may be done with what is in a cache. Nothing there is executed, a device, a socket or a link.
const STORE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});

/// What this process has been left with.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// Empty where Landlock holds nobody back.
    watched: Vec<Watched>,
}

/// What was at a path when the rule for it was made.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    was: Option<Identity>,
    /// The next renderer makes it when it is missing.
    is_made: bool,
}

/// Device and inode.
type Identity = (u64, u64);

impl Sandbox {
    /// Whether a path leads to something else than what this process was let into. Asking changes nothing and
    /// needs no right.
    pub fn is_outdated(&self) -> bool {
        self.watched.iter().any(|watched| match identity(&watched.path) {
            None => watched.is_made && watched.was.is_some(),
            now => now != watched.was,
        })
    }
}

/// Whether this kernel confines at all.
pub fn is_possible() -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    strict.handle_access(AccessFs::ReadFile).and_then(Ruleset::create).is_ok()
}

/// Confines the calling thread and those that it starts from now on; the resource limits are the whole process's.
/// `socket` is where this renderer is going to listen. What can't be taken away is said and does not stop it.
pub fn enter(config: &Config, socket: &Path) -> Sandbox {
    rlimits::bound(config);
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

/// Keeps the calling thread to the places that it needs.
fn restrict_paths(config: &Config, socket: &Path) -> Result<Sandbox, RulesetError> {
    for handler in &config.handlers {
        for (_, directory) in handler.stores() {
            // Where that fails, storing says so.
            let _ = std::fs::create_dir_all(directory);
        }
    }
    let places = allowed_paths::needed(config, socket, &|name| std::env::var_os(name));
    let connects = config.handlers.iter().any(|handler| origin::connects(&handler.origin));
    restrict(&places, connects)
}

fn restrict(places: &[AllowedPath], connects: bool) -> Result<Sandbox, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(ABI::V6))?;
    if !connects {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut ruleset = ruleset.create()?;
    let mut watched = Vec::new();
    for place in places {
        let opened = open(&place.path);
        if place.is_watched {
            watched.push(Watched {
                path: place.path.clone(),
                was: opened.as_ref().ok().map(|(_, found)| (found.st_dev, found.st_ino)),
                is_made: place.right == PathAccess::Store,
            });
        }
        if let Ok((opened, found)) = opened {
            ruleset = allow(ruleset, opened, FileType::from_raw_mode(found.st_mode), place.right)?;
        }
    }
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Ok(Sandbox::default()),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(Sandbox { watched }),
    }
}

fn allow(
    ruleset: RulesetCreated,
    opened: OwnedFd,
    kind: FileType,
    right: PathAccess,
) -> Result<RulesetCreated, RulesetError> {
    let rights = match right {
        PathAccess::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        PathAccess::Store => STORE,
        PathAccess::Listen => AccessFs::MakeSock.into(),
    };
    // The kernel refuses a rule that makes no sense for a file.
    let rights =
        if kind == FileType::Directory { rights } else { rights & AccessFs::from_file(NEWEST) };
    if rights.is_empty() {
        return Ok(ruleset);
    }
    ruleset.add_rule(PathBeneath::new(opened, rights))
}

/// What a rule is made for, and who it is.
fn open(path: &Path) -> rustix::io::Result<(OwnedFd, Stat)> {
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::fstat(&opened)?;
    Ok((opened, found))
}

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests;
