//! A file by whose change the keepers of a cache folder, in other processes, learn that entries were removed from it.

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
    /// The mark of a cache folder, if anything was ever removed from it.
    pub fn of(cache_path: &Path) -> Option<PurgeMark> {
        let metadata = fs::symlink_metadata(cache_path.join(NAME)).ok()?;
        Some(PurgeMark(metadata.ino(), metadata.modified().ok()))
    }

    /// Makes a new one. Who removes entries may be another user than the one whose folder it is, so nothing that lies at
    /// this path is written to.
    pub fn renew(cache_path: &Path) -> io::Result<()> {
        let path = cache_path.join(NAME);
        let _ = fs::remove_file(&path);
        File::create_new(&path).map(drop)
    }
}
