//! How an entry comes to be: it is written under another name and renamed, so that nobody sees a part of it.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::entry::{Description, head};
use super::system::{self, EntryFile};
use super::walk::bytes_on_disk;

/// What temporary files' names start with.
pub const TEMPORARY: &str = ".tmp-";
/// Where the file system knows no locks, a temporary file is given up after this.
const LONGEST_WRITE: Duration = Duration::from_secs(600);
/// How often somebody else's removing folders may be met before it is an error.
const TRIES: u32 = 100;

/// Writes entries under names that no other process, on no other machine, gives its temporary files.
#[derive(Debug)]
pub struct Writer {
    /// Process ids repeat, in containers above all, and a killed process leaves its file behind.
    random: u64,
}

impl Writer {
    /// One for each cache.
    pub fn new() -> Writer {
        Writer { random: RandomState::new().build_hasher().finish() }
    }

    /// Writes an entry and tells how many bytes of the disk that takes.
    ///
    /// Somebody may be removing empty folders or the whole cache at the same time, so a folder that has just been made
    /// may be gone, and the temporary file as well.
    pub fn write(&self, path: &Path, description: &Description, bytes: &[u8]) -> io::Result<u64> {
        let folder = path.parent().ok_or_else(|| io::Error::other("an entry has a folder"))?;
        let head = head(description)?;
        let mut written = self.attempt(folder, path, &head, bytes);
        for _ in 1..TRIES {
            match &written {
                // The second is what making a folder ends with that another makes and a third removes.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {}
                _ => break,
            }
            written = system::create_folders(folder).and_then(|()| self.attempt(folder, path, &head, bytes));
        }
        written
    }

    fn attempt(&self, folder: &Path, path: &Path, head: &[u8], bytes: &[u8]) -> io::Result<u64> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{TEMPORARY}{:016x}-{number}", self.random));
        let mut file = EntryFile::create(&temporary)?;
        file.claim();
        let written = file
            .write_all(head)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.metadata())
            .and_then(|metadata| system::rename(&temporary, path).map(|()| bytes_on_disk(&metadata)));
        if written.is_err() {
            let _ = system::remove(&temporary);
        }
        written
    }
}

/// Removes a temporary file if nobody writes it any more. Whether it was removed.
///
/// Whoever writes one holds a lock on it, which ends with the process. A writer that has made its file and not locked it
/// yet loses it, notices that when it renames it, and writes it again.
pub fn remove_abandoned(path: &Path, written: Option<SystemTime>) -> io::Result<bool> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let is_abandoned = match file.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => false,
        Err(fs::TryLockError::Error(_)) => {
            let age = written.and_then(|time| SystemTime::now().duration_since(time).ok());
            age.is_some_and(|age| age > LONGEST_WRITE)
        }
    };
    // It stays locked until it is gone.
    Ok(is_abandoned && fs::remove_file(path).is_ok())
}
