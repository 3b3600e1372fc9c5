//! How far the shared journal has been applied to a cache directory, in a file beside the entries, so that a server that
//! was down applies what it has missed.
//!
//! `{cache_path}/.purges-read-{32 hex: journal and handler}` holds a time of the bucket, in milliseconds since 1970: the
//! purges of this handler up to then have been applied. Handlers that share a directory have a file each, because a
//! reload may remove and add them at any time.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::cache;

/// Maximum bytes of a file.
const MAX_BYTES: u64 = 32;

/// What is known of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// The file can't be read or is not one: purges from before any time may be missing.
    Damaged,
    /// Without a file, but with entries, such as those from before there was a results bucket: the whole journal has to be
    /// applied.
    Unknown,
    At(u64),
    /// There are no entries.
    Empty,
}

/// The file of a handler in one directory. `journal` identifies the results bucket.
#[derive(Debug)]
pub struct PositionFile<'d> {
    directory: &'d Path,
    path: PathBuf,
}

impl<'d> PositionFile<'d> {
    pub fn new(directory: &'d Path, journal: &str, handler: &str) -> PositionFile<'d> {
        let hash = cache::encode_hash(&cache::key_hash(journal, handler));
        PositionFile { directory, path: directory.join(format!(".purges-read-{hash}")) }
    }

    pub fn read(&self) -> Position {
        let mut text = String::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
        match read {
            Ok(_) => parse(&text).map_or(Position::Damaged, Position::At),
            Err(error) if error.kind() == ErrorKind::NotFound => match self.has_entries() {
                Ok(false) => Position::Empty,
                Ok(true) => Position::Unknown,
                Err(_) => Position::Damaged,
            },
            Err(_) => Position::Damaged,
        }
    }

    /// Replaces the file, complete even if the machine fails at any moment.
    pub fn write(&self, time: u64) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        // Not followed if it is a link.
        let _ = fs::remove_file(&temporary);
        let mut file = File::create_new(&temporary)?;
        file.write_all(format!("{time}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, &self.path)
    }

    fn has_entries(&self) -> io::Result<bool> {
        match fs::read_dir(self.directory.join(cache::LAYOUT)) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('\n')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn positions_are_of_one_handler_and_one_journal() {
        let directory = TempDir::new().unwrap();
        let file = |journal, handler| PositionFile::new(directory.path(), journal, handler);
        file("j", "h").write(17).unwrap();
        file("j", "h").write(1_795_361_381_123).unwrap();
        assert_eq!(file("j", "h").read(), Position::At(1_795_361_381_123));
        assert_eq!(file("j", "i").read(), Position::Empty);
        assert_eq!(file("k", "h").read(), Position::Empty);
        fs::create_dir_all(directory.path().join("v1/00")).unwrap();
        assert_eq!(file("j", "i").read(), Position::Unknown);
        assert_eq!(file("j", "h").read(), Position::At(1_795_361_381_123));
        assert_eq!(directory.path().read_dir().unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_damaged_file_is_not_a_position() {
        let directory = TempDir::new().unwrap();
        let file = PositionFile::new(directory.path(), "j", "h");
        for text in
            ["", "\n", "17", "x\n", "-1\n", "+1\n", "1 \n", "1\n2\n", "99999999999999999999\n"]
        {
            fs::write(&file.path, text).unwrap();
            assert_eq!(file.read(), Position::Damaged, "{text:?}");
        }
        fs::write(&file.path, b"\xff\n").unwrap();
        assert_eq!(file.read(), Position::Damaged);
        fs::remove_file(&file.path).unwrap();
        fs::create_dir(&file.path).unwrap();
        assert_eq!(file.read(), Position::Damaged);
        assert!(file.write(1).is_err());
        assert!(PositionFile::new(&directory.path().join("none"), "j", "h").write(1).is_err());
    }
}
