//! The bytes of an entry's file: a description that is checked, and the image.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"S3IS\0\0\0\x01";
/// Magic, length and checksum of the description.
pub const FIXED: usize = 8 + 4 + 8;
/// No description is longer: keys are at most 1024 bytes.
const LONGEST_DESCRIPTION: usize = 16 << 10;

/// Everything about an entry that is not its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// [`crate::config::Handler::identity`]
    pub handler: String,
    /// The original's key.
    pub key: String,
    /// The canonical query.
    pub options: String,
    /// The name of the format.
    pub format: String,
    /// SHA-256 of the image, in hexadecimal.
    pub sha256: String,
    /// The length of the image.
    pub length: u64,
    /// When the original last changed, in Unix seconds.
    pub last_modified: Option<u64>,
    /// The original's entity tag at the origin.
    pub source_etag: Option<String>,
    /// Milliseconds since 1970.
    pub stored: u64,
}

/// What stands in front of the image.
pub fn head(description: &Description) -> io::Result<Vec<u8>> {
    let description = serde_json::to_vec(description)?;
    let mut head = Vec::with_capacity(FIXED + description.len());
    head.extend_from_slice(MAGIC);
    let length = u32::try_from(description.len()).map_err(io::Error::other)?;
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&Sha256::digest(&description)[..8]);
    head.extend_from_slice(&description);
    Ok(head)
}

/// The length of the description, of which the start of a file tells.
pub fn description_length(start: &[u8]) -> io::Result<usize> {
    let rest = start.strip_prefix(MAGIC).ok_or_else(|| damaged("is not a cache entry"))?;
    let (length, _) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("is too short"))?;
    match u32::from_le_bytes(*length) as usize {
        length if length > LONGEST_DESCRIPTION => Err(damaged("has too long a description")),
        length => Ok(length),
    }
}

/// The description, and where the image begins.
pub fn parse_description(start: &[u8]) -> io::Result<(Description, usize)> {
    let end = FIXED + description_length(start)?;
    let checksum = start.get(FIXED - 8..FIXED).ok_or_else(|| damaged("is too short"))?;
    let description = start.get(FIXED..end).ok_or_else(|| damaged("is too short"))?;
    if Sha256::digest(description)[..8] != *checksum {
        return Err(damaged("has a damaged description"));
    }
    Ok((serde_json::from_slice(description)?, end))
}

/// An entry that can't be used.
pub fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the entry {how}"))
}
