//! A file in a cache directory that is replaced when a command removes entries, so that the cache manager of a running
//! server notices and scans the directory again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

const NAME: &str = ".purged";

/// Inode and mtime of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeMark(u64, Option<SystemTime>);

impl PurgeMark {
    /// The mark of a cache directory, if a command has ever removed entries from it.
    pub fn of(cache_path: &Path) -> Option<PurgeMark> {
        let metadata = fs::symlink_metadata(cache_path.join(NAME)).ok()?;
        Some(PurgeMark(metadata.ino(), metadata.modified().ok()))
    }

    /// Replaces the mark. The command may run as another user than the owner of the directory, so an existing file or
    /// link at this path is removed and never written to.
    pub fn replace(cache_path: &Path) -> io::Result<()> {
        let path = cache_path.join(NAME);
        let _ = fs::remove_file(&path);
        File::create_new(&path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn purge_marks_differ_and_links_are_not_followed() {
        let directory = TempDir::new().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join(NAME)).unwrap();
        let mut before = PurgeMark::of(directory.path());
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            PurgeMark::replace(directory.path()).unwrap();
            let mark = PurgeMark::of(directory.path());
            assert!(mark.is_some() && mark != before);
            before = mark;
        }
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(PurgeMark::of(&directory.path().join("nowhere")), None);
    }
}
