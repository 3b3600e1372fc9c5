//! The disk cache: one file an entry, written by the renderer, read by the edge.
//!
//! ```text
//! {cache_path}/v1/{2 hex}/{2 hex}/{28 hex: source}/{32 hex: options}
//!
//! magic "S3IS\0\0\0\x01" │ u32 length of the description │ 8 bytes of its SHA-256 │ description (JSON) │ image
//! ```
//!
//! The directory is named by a hash over handler and key, the file by a hash over the options that change the
//! bytes: no name is made from what a client sent, and all variants of one original lie together. An entry
//! appears by `rename` and is never written in place, so a reader sees all of it or nothing. The description
//! says which image this is, how long it is and what its SHA-256 is; a reader checks all of it and takes an
//! entry that does not match for one that is not there.

mod disk;
mod entry;
#[cfg(test)]
pub mod faults;
mod freshness;
mod inspect;
mod layout;
mod purge_mark;
mod system;
mod variants;
mod walk;
mod write;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

pub use disk::{DiskCache, Entry, FileStamp, Need};
pub use freshness::{CacheTime, Freshness, Lifetime, age};
pub use inspect::{Inspected, inspect, is_damage};
pub use layout::{EntryId, VERSION as LAYOUT, is_layout, source, source_directory};
pub use purge_mark::PurgeMark;
pub use system::remove_entry;
pub use variants::{entries_of, has_room};
#[cfg(test)]
pub use walk::bytes_on_disk;
pub use walk::{Found, OnDisk, walk};
pub use write::remove_abandoned;

use crate::format::Format;

/// The options of an original's own entry. No canonical query looks like it.
pub const ORIGINAL: &str = "original";

/// What is cached: a handler's original and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// [`crate::config::Handler::identity`]
    pub handler: String,
    /// The original's key.
    pub key: String,
    /// The canonical query.
    pub options: String,
}

/// An image as it is sent, with what its answer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedImage {
    /// The encoded image.
    pub bytes: Vec<u8>,
    /// Its format.
    pub format: Format,
    /// SHA-256 of the bytes, in hexadecimal: the strong `ETag`.
    pub sha256: String,
    /// When the original last changed, if the origin says so, in Unix seconds.
    pub last_modified: Option<u64>,
}

/// An image that has just been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The image.
    pub image: EncodedImage,
    /// How many bytes of the disk its cache entry takes, if it has one.
    pub stored: Option<u64>,
    /// When the origin was asked for what it is made from, in milliseconds since 1970.
    pub asked: u64,
    /// Whether it is the entry that was there, which its origin says to be right still.
    pub revalidated: bool,
    /// What became of the original in the cache of originals.
    pub original: OriginalEntry,
}

/// What became of an original in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalEntry {
    /// Nothing: there is no such cache, or it was not needed.
    None,
    /// It was written and takes so many bytes of the disk.
    Stored(u64),
    /// It was there.
    Used,
}

impl EncodedImage {
    /// An image from its bytes.
    pub fn new(bytes: Vec<u8>, format: Format, last_modified: Option<SystemTime>) -> EncodedImage {
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        EncodedImage { bytes, format, sha256, last_modified: last_modified.map(unix_seconds) }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// How much of a disk stays free: what `cache_min_free` says, else a twentieth of it and a gibibyte at the most.
pub fn least_free(min_free: Option<u64>, disk: &rustix::fs::StatVfs) -> u64 {
    const MOST: u64 = 1 << 30;
    min_free.unwrap_or_else(|| (disk.f_blocks.saturating_mul(disk.f_frsize) / 20).min(MOST))
}

/// Whole seconds since 1970; a time before is 1970.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Milliseconds since 1970; a time before is 1970.
pub fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
