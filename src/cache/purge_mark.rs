//! A file by whose change the keepers of a cache directory, in other processes, learn that entries were removed from it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

const NAME: &str = ".purged";

/// What tells one state of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeMark(u64, Option<SystemTime>);

impl PurgeMark {
    /// The mark of a cache directory, if anything was ever removed from it.
    pub fn of(cache_path: &Path) -> Option<PurgeMark> {
        let metadata = fs::symlink_metadata(cache_path.join(NAME)).ok()?;
        Some(PurgeMark(metadata.ino(), metadata.modified().ok()))
    }

    /// Makes a new one. Who removes entries may be another user than the one whose directory it is, so nothing that lies at
    /// this path is written to.
    pub fn revalidate(cache_path: &Path) -> io::Result<()> {
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
    fn each_mark_is_another_and_no_link_is_followed() {
        let directory = TempDir::new().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join(NAME)).unwrap();
        let mut before = PurgeMark::of(directory.path());
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            PurgeMark::revalidate(directory.path()).unwrap();
            let mark = PurgeMark::of(directory.path());
            assert!(mark.is_some() && mark != before);
            before = mark;
        }
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(PurgeMark::of(&directory.path().join("nowhere")), None);
    }
}
