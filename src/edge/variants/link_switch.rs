//! Notices that a symbolic link to a directory of a handler is switched. What was cached before is revalidated then, by the
//! stamps of the files that the link leads to.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::link_stamp::LinkStamp;
use crate::sync::Mutex;
use crate::time::unix_milliseconds;

/// Twice the granularity of file times on Linux, in milliseconds: an original from the directory before the switch may
/// seem to be this much newer than the link.
const TICK: u64 = 20;

#[derive(Debug)]
pub struct LinkSwitch {
    /// The directories of the originals; empty if all origins are reached over the network.
    directories: Vec<Watched>,
    /// Milliseconds since 1970; 0 without a link.
    switched_at: AtomicU64,
}

#[derive(Debug)]
struct Watched {
    directory: PathBuf,
    stamp: Mutex<Option<LinkStamp>>,
}

impl LinkSwitch {
    /// The last switch, also from before the start of this server.
    pub fn new<'d>(directories: impl IntoIterator<Item = &'d Path>, now: SystemTime) -> LinkSwitch {
        let mut changed: Option<u64> = None;
        let mut watched = Vec::new();
        for directory in directories {
            let stamp = LinkStamp::read(directory);
            changed =
                changed.max(stamp.as_ref().and_then(|stamp| stamp.changed).map(unix_milliseconds));
            watched.push(Watched { directory: directory.to_owned(), stamp: Mutex::new(stamp) });
        }
        let now = unix_milliseconds(now);
        LinkSwitch {
            directories: watched,
            // A clock that was set back must not make everything stale until it has caught up.
            switched_at: AtomicU64::new(changed.map_or(0, |changed| (changed + TICK).min(now))),
        }
    }

    /// Looks at the links again. Returns a directory and its new target if one was switched; of several, each call
    /// returns one.
    pub fn check(&self, now: SystemTime) -> Option<(&Path, PathBuf)> {
        let (directory, target) = self.directories.iter().find_map(Watched::check)?;
        self.switched_at.store(unix_milliseconds(now), Ordering::Relaxed);
        Some((directory, target))
    }

    /// When a link was last switched, in milliseconds since 1970; 0 without a link.
    pub fn switched_at(&self) -> u64 {
        self.switched_at.load(Ordering::Relaxed)
    }
}

impl Watched {
    fn check(&self) -> Option<(&Path, PathBuf)> {
        // While a link leads nowhere, as for a moment after `ln -sfn`, nothing can be revalidated.
        let found = LinkStamp::read(&self.directory)?;
        let mut stamp = self.stamp.lock();
        if stamp.as_ref() == Some(&found) {
            return None;
        }
        *stamp = Some(found.clone());
        Some((&self.directory, found.target))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_switched_link_is_noticed_once() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let [one, two, link] = ["one", "two", "link"].map(|name| root.join(name));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        symlink("one", &link).unwrap();
        let begun = SystemTime::now();
        let later = begun + Duration::from_secs(60);
        let switch = LinkSwitch::new([link.as_path()], later);
        let made = switch.switched_at();
        assert!(made > 0 && made <= unix_milliseconds(begun) + 2 * TICK, "{made}");
        assert_eq!(switch.check(later), None);
        for (target, path) in [("two", &two), ("one", &one)] {
            fs::remove_file(&link).unwrap();
            assert_eq!(switch.check(later), None, "it leads nowhere");
            symlink(target, &link).unwrap();
            assert_eq!(switch.check(later), Some((link.as_path(), path.clone())));
            assert_eq!(switch.check(later), None);
            assert_eq!(switch.switched_at(), unix_milliseconds(later));
        }
        fs::remove_file(&link).unwrap();
        fs::rename(&two, &link).unwrap();
        assert_eq!(switch.check(later), Some((link.as_path(), link.clone())));
    }

    #[test]
    fn origins_without_a_link_are_never_switched() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().canonicalize().unwrap();
        for directories in [&[][..], &[path.as_path()]] {
            let switch = LinkSwitch::new(directories.iter().copied(), SystemTime::now());
            assert_eq!((switch.check(SystemTime::now()), switch.switched_at()), (None, 0));
        }
    }

    #[test]
    fn switched_links_of_several_directories_are_noticed_one_by_one() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let links = ["a", "b"].map(|name| root.join(name));
        let point_to = |target: &str| {
            fs::create_dir(root.join(target)).unwrap();
            for link in &links {
                let _ = fs::remove_file(link);
                symlink(target, link).unwrap();
            }
        };
        point_to("one");
        let switch = LinkSwitch::new(links.iter().map(PathBuf::as_path), SystemTime::now());
        let now = SystemTime::now();
        assert_eq!(switch.check(now), None);
        point_to("two");
        for link in &links {
            assert_eq!(switch.check(now), Some((link.as_path(), root.join("two"))));
        }
        assert_eq!(switch.check(now), None);
    }

    #[test]
    fn a_link_from_the_future_was_switched_now() {
        let temp = tempfile::tempdir().unwrap();
        let link = temp.path().join("link");
        symlink(temp.path(), &link).unwrap();
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(LinkSwitch::new([link.as_path()], past).switched_at(), 1_000_000);
    }
}
