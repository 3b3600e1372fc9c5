//! Opens entries, and inspects entries that were found by walking a directory, not by name.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::entry::{self, FIXED, Header, damaged, header_length};
use super::layout::EntryId;
use super::system::EntryFile;
use super::{Name, ORIGINAL, hexadecimal};
use crate::media_type::MediaType;

/// Bytes of the first read when only the header is needed: most headers fit.
pub const HEADER_READ: usize = 1 << 10;
/// Bytes of each read while an image is verified.
const CHUNK: usize = 64 << 10;

/// An open entry whose header is valid and matches the length of the file.
#[derive(Debug)]
pub struct Opened {
    /// The file, read up to the end of `start`.
    pub file: EntryFile,
    pub metadata: std::fs::Metadata,
    pub header: Header,
    pub media_type: MediaType,
    /// The start of the image, read with the header.
    pub start: Vec<u8>,
}

impl Opened {
    /// Opens an entry with one read of `first` bytes, and a second one only if the header is longer. `None` if there
    /// is no such file; see [`is_damage`] for errors.
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
        let header_end = FIXED.saturating_add(header_length(&start)?);
        if header_end > start.len() && length > start.len() {
            // A long key.
            let read = start.len();
            start.resize(header_end.min(length), 0);
            file.read_exact(&mut start[read..])?;
        }
        let (header, image_offset) = entry::parse(&start)?;
        let media_type =
            MediaType::parse(&header.format).ok_or_else(|| damaged("names an unknown format"))?;
        if header.length.checked_add(image_offset as u64) != Some(metadata.len()) {
            return Err(damaged("does not have the length in its header"));
        }
        start.drain(..image_offset);
        Ok(Some(Opened { file, metadata, header, media_type, start }))
    }
}

/// Whether the contents of an entry are wrong, as opposed to an error of reading (too many open files, a failing disk).
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// An entry that was found on the disk.
#[derive(Debug)]
pub struct Inspected {
    pub name: Name,
    /// When the origin was asked for the original, in milliseconds since 1970.
    pub validated_at: u64,
    sha256: String,
    start: Vec<u8>,
    file: EntryFile,
}

impl Inspected {
    /// Whether it is an original, not a variant.
    pub fn is_original(&self) -> bool {
        self.name.options == ORIGINAL
    }

    /// Reads the image in chunks and checks its SHA-256.
    pub fn verify(mut self) -> io::Result<()> {
        let mut hash = Sha256::new();
        hash.update(&self.start);
        let mut chunk = vec![0; CHUNK];
        loop {
            match self.file.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => hash.update(chunk.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if hexadecimal::encode(&hash.finalize()) != self.sha256 {
            return Err(damaged("does not match its SHA-256"));
        }
        Ok(())
    }
}

/// Reads the header of the entry at this path and checks that the path matches it. `None` if the file is gone; see
/// [`is_damage`] for errors.
pub fn inspect(path: &Path) -> io::Result<Option<Inspected>> {
    let Some(opened) = Opened::open(path, HEADER_READ)? else { return Ok(None) };
    let Header { handler, key, options, sha256, validated_at, .. } = opened.header;
    let name = Name { handler, key, options };
    if EntryId::of_path(path) != Some(EntryId::of(&name)) {
        return Err(damaged("belongs to another image"));
    }
    Ok(Some(Inspected { name, validated_at, sha256, start: opened.start, file: opened.file }))
}
