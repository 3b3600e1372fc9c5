//! The symbolic links on the way to a directory, such as the `current -> releases/42` of a deployment.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Links that are followed on one way, as many as Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Where a path leads, and when a link on the way was last made or renamed. It differs after a link was switched, even
/// if that was switched back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStamp {
    /// Without links.
    pub target: PathBuf,
    /// `None` without a link.
    pub changed: Option<SystemTime>,
}

impl LinkStamp {
    /// The stamp of an absolute path; `None` if it leads nowhere.
    pub fn read(path: &Path) -> Option<LinkStamp> {
        let mut stamp = LinkStamp { target: PathBuf::from("/"), changed: None };
        let mut links = 0;
        // The next component is the last item.
        let mut ahead = Vec::new();
        push(&mut ahead, path);
        while let Some(component) = ahead.pop() {
            match Path::new(&component).components().next() {
                Some(Component::RootDir) => stamp.target = PathBuf::from("/"),
                // No link is left in the target, so this is its parent directory.
                Some(Component::ParentDir) => drop(stamp.target.pop()),
                Some(Component::Normal(name)) => {
                    let next = stamp.target.join(name);
                    let metadata = fs::symlink_metadata(&next).ok()?;
                    if !metadata.is_symlink() {
                        stamp.target = next;
                        continue;
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    stamp.changed = stamp.changed.max(changed(&metadata));
                    push(&mut ahead, &fs::read_link(&next).ok()?);
                }
                Some(Component::CurDir | Component::Prefix(_)) | None => {}
            }
        }
        Some(stamp)
    }
}

/// Adds the components of a path, the first one last.
fn push(ahead: &mut Vec<OsString>, path: &Path) {
    ahead.extend(path.components().rev().map(|component| component.as_os_str().to_owned()));
}

/// The time of the last change of the inode. Unlike the time of modification, no program can set it, and file systems
/// update it when a link is renamed (rename(2), as `mv -T` does).
fn changed(metadata: &fs::Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_stamp_is_the_canonical_path_and_the_newest_link() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1/public")).unwrap();
        fs::create_dir_all(root.join("releases/2/public")).unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        symlink(root.join("current/public"), root.join("images")).unwrap();
        symlink("../images/../public/.", root.join("releases/up")).unwrap();
        for path in
            ["releases/1/public", "current/public", "images", "current/../1/public", "releases/up"]
        {
            let stamp = LinkStamp::read(&root.join(path)).unwrap();
            assert_eq!(stamp.target, root.join("releases/1/public"), "{path}");
            assert_eq!(stamp.changed.is_some(), path != "releases/1/public", "{path}");
        }
        let before = LinkStamp::read(&root.join("images")).unwrap();
        assert_eq!(LinkStamp::read(&root.join("images")), Some(before.clone()));
        // The outer link leads elsewhere because the inner one does.
        std::thread::sleep(Duration::from_millis(20));
        symlink("releases/2", root.join("next")).unwrap();
        fs::rename(root.join("next"), root.join("current")).unwrap();
        let after = LinkStamp::read(&root.join("images")).unwrap();
        assert_eq!(after.target, root.join("releases/2/public"));
        assert!(after.changed > before.changed, "{before:?} {after:?}");
    }

    #[test]
    fn a_path_that_leads_nowhere_has_no_link_stamp() {
        let temp = tempfile::tempdir().unwrap();
        symlink("loop", temp.path().join("loop")).unwrap();
        symlink("nothing", temp.path().join("dangling")).unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        for name in ["loop", "dangling", "dangling/..", "nothing", "file/x"] {
            assert_eq!(LinkStamp::read(&temp.path().join(name)), None, "{name}");
        }
    }
}
