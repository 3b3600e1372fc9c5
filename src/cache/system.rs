//! The system calls that store, find and remove entries, in one place, so that a test can make each of them fail.
//! Outside tests they are plain calls.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// In a test: returns the error that is planned for this step, if any.
macro_rules! may_fail {
    ($step:ident) => {
        #[cfg(test)]
        crate::cache::faults::check(crate::cache::faults::Step::$step)?;
    };
}

/// The file of an entry, or the temporary file of one.
#[derive(Debug)]
pub struct EntryFile(File);

impl EntryFile {
    /// Opens a file for reading, without blocking on a FIFO.
    pub fn open(path: &Path) -> io::Result<EntryFile> {
        may_fail!(Open);
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(path).map(EntryFile)
    }

    /// Creates a file that must not exist.
    pub fn create(path: &Path) -> io::Result<EntryFile> {
        may_fail!(Create);
        File::create_new(path).map(EntryFile)
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        may_fail!(Metadata);
        self.0.metadata()
    }

    /// Fills the buffer from this position of the file on.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        may_fail!(Read);
        self.0.read_exact_at(buffer, position)
    }

    /// Locks the file until it is closed or the process ends, so that [`super::remove_abandoned`] leaves it alone.
    pub fn lock(&self) {
        // Some network file systems have no locks; there abandoned files are recognised by their age.
        let _ = self.0.try_lock();
    }
}

impl Read for EntryFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        may_fail!(Read);
        self.0.read(buffer)
    }
}

impl Write for EntryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        let bytes = crate::cache::faults::truncate(bytes)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates a directory and its parents.
pub fn create_directories(path: &Path) -> io::Result<()> {
    may_fail!(CreateDirectories);
    fs::create_dir_all(path)
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    may_fail!(Rename);
    fs::rename(from, to)
}

pub fn remove(path: &Path) -> io::Result<()> {
    may_fail!(Remove);
    fs::remove_file(path)
}

/// Removes an entry, and its directory if that is empty then. Returns whether the entry existed.
pub fn remove_entry(path: &Path) -> io::Result<bool> {
    let existed = match remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        removed => removed.map(|()| true)?,
    };
    if let Some(directory) = path.parent() {
        // Fails if the directory is not empty.
        let _ = fs::remove_dir(directory);
    }
    Ok(existed)
}
