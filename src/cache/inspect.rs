//! What an entry's file says of itself, for who does not know what to look for.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::entry::{Description, FIXED, damaged, description_length, parse_description};
use super::layout::EntryId;
use super::system::EntryFile;
use super::{Name, ORIGINAL, hexadecimal};
use crate::format::Format;

/// Read to learn the description: a usual one fits.
const DESCRIPTION_READ: usize = 1 << 10;
/// Read at once to check the image.
const PIECE: usize = 64 << 10;

/// An entry's file, opened, with its description, which is whole and fits its length.
#[derive(Debug)]
pub struct Opened {
    /// The file, read up to the end of `start`.
    pub file: EntryFile,
    /// What the file system says about it.
    pub metadata: std::fs::Metadata,
    /// What it says it is.
    pub description: Description,
    /// The image's format.
    pub format: Format,
    /// What was read of the image with the description.
    pub start: Vec<u8>,
}

impl Opened {
    /// Opens an entry's file and reads so many bytes at once, more only if the description is longer. `None` if there is
    /// none; [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::UnexpectedEof`] if it is damaged.
    pub fn open(path: &Path, first: usize) -> io::Result<Option<Opened>> {
        let mut file = match EntryFile::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(damaged("is not a file"));
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let mut start = vec![0; length.min(first)];
        file.read_exact(&mut start)?;
        let described = FIXED.saturating_add(description_length(&start)?);
        if described > start.len() && length > start.len() {
            // A key of the longest kind.
            let read = start.len();
            start.resize(described.min(length), 0);
            file.read_exact(&mut start[read..])?;
        }
        let (description, body_at) = parse_description(&start)?;
        let format =
            Format::parse(&description.format).ok_or_else(|| damaged("names an unknown format"))?;
        if description.length.checked_add(body_at as u64) != Some(metadata.len()) {
            return Err(damaged("has another length than it says"));
        }
        start.drain(..body_at);
        Ok(Some(Opened { file, metadata, description, format, start }))
    }
}

/// Whether a file is wrong, and not merely unreadable now (too many open files, a failing disk).
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// An entry that was found on the disk and not looked for.
#[derive(Debug)]
pub struct Inspected {
    /// Which image it is.
    pub name: Name,
    /// When its origin was asked, in milliseconds since 1970.
    pub stored: u64,
    sha256: String,
    start: Vec<u8>,
    file: EntryFile,
}

impl Inspected {
    /// Whether it is an original, and not what was made of one.
    pub fn is_original(&self) -> bool {
        self.name.options == ORIGINAL
    }

    /// Reads all of it and checks its SHA-256. It takes no more memory than a piece of it.
    pub fn verify(mut self) -> io::Result<()> {
        let mut hash = Sha256::new();
        hash.update(&self.start);
        let mut piece = vec![0; PIECE];
        loop {
            match self.file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => hash.update(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if hexadecimal(&hash.finalize()) != self.sha256 {
            return Err(damaged("has another SHA-256 than it says"));
        }
        Ok(())
    }
}

/// Reads the description of the entry at this path and checks that the path is its own. `None` if it is gone; see
/// [`is_damage`] for errors.
pub fn inspect(path: &Path) -> io::Result<Option<Inspected>> {
    let Some(opened) = Opened::open(path, DESCRIPTION_READ)? else { return Ok(None) };
    let Description { handler, key, options, sha256, stored, .. } = opened.description;
    let name = Name { handler, key, options };
    if EntryId::of_path(path) != Some(EntryId::of(&name)) {
        return Err(damaged("belongs to another image"));
    }
    Ok(Some(Inspected { name, stored, sha256, start: opened.start, file: opened.file }))
}
