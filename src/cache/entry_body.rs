//! The body of an entry that is read piece by piece, so that a large one is never in memory as a whole.

use std::io;

use super::system::EntryFile;
use crate::media_type::MediaType;

/// An open entry whose SHA-256 was correct.
#[derive(Debug)]
pub struct EntryBody {
    file: EntryFile,
    /// Where the body starts in the file.
    offset: u64,
    length: u64,
    media_type: MediaType,
}

impl EntryBody {
    pub(super) fn new(
        file: EntryFile,
        offset: u64,
        length: u64,
        media_type: MediaType,
    ) -> EntryBody {
        EntryBody { file, offset, length, media_type }
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn media_type(&self) -> MediaType {
        self.media_type
    }

    /// Fills the buffer with the bytes from this position of the body on. A file that was cut meanwhile is an error.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = position.checked_add(buffer.len() as u64).filter(|end| *end <= self.length);
        let start = self.offset.checked_add(position);
        match (start, end) {
            (Some(start), Some(_)) => self.file.read_exact_at(buffer, start),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
