//! The calls to the system by which an entry is stored, found and removed, in one place, so that a test can let each
//! of them fail. Outside tests nothing is added to them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// In a test: returns the failure that is planned for this step, if one is.
macro_rules! may_fail {
    ($step:ident) => {
        #[cfg(test)]
        crate::cache::faults::strike(crate::cache::faults::Step::$step)?;
    };
}

/// The file of an entry or of what is going to be one.
#[derive(Debug)]
pub struct EntryFile(File);

impl EntryFile {
    /// Opens a file to read it, and does not wait for the other end of what is no file.
    pub fn open(path: &Path) -> io::Result<EntryFile> {
        may_fail!(Open);
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(path).map(EntryFile)
    }

    /// Makes a file that is not there yet.
    pub fn create(path: &Path) -> io::Result<EntryFile> {
        may_fail!(Create);
        File::create_new(path).map(EntryFile)
    }

    /// What the file system says about it.
    pub fn metadata(&self) -> io::Result<Metadata> {
        may_fail!(Metadata);
        self.0.metadata()
    }

    /// Shows others that somebody is at work on it, until it is closed or the process ends, however that happens.
    pub fn claim(&self) {
        // Some network file systems know no locks; there a file that is left behind is known by its age.
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
        let bytes = crate::cache::faults::cut(bytes)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a directory and those around it.
pub fn create_directories(path: &Path) -> io::Result<()> {
    may_fail!(CreateDirectories);
    fs::create_dir_all(path)
}

/// Puts a file in the place of another or of none.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    may_fail!(Rename);
    fs::rename(from, to)
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    may_fail!(Remove);
    fs::remove_file(path)
}

/// Removes an entry, and its directory if that is empty then. Whether it was there.
pub fn remove_entry(path: &Path) -> io::Result<bool> {
    let was_there = match remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        removed => removed.map(|()| true)?,
    };
    if let Some(directory) = path.parent() {
        // Fails, as it should, when there is something in it.
        let _ = fs::remove_dir(directory);
    }
    Ok(was_there)
}
