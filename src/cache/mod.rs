//! The disk cache: one file per entry, written by the renderer and read by the edge.
//!
//! ```text
//! {cache_path}/v1/{2 hex}/{2 hex}/{28 hex: key}/{32 hex: options}
//!
//! magic "S3IS\0\0\0\x01" │ u32 length of the header │ 8 bytes of its SHA-256 │ header (JSON) │ image
//! ```
//!
//! The directory is named by a hash over handler and key, the file by a hash over the options that change the bytes:
//! no name contains anything a client sent, and all variants of an original share a directory. An entry appears by
//! `rename` and is never written in place, so a reader sees all of it or nothing. The header holds the name, length
//! and SHA-256 of the image; a reader checks them and treats an entry that does not match as missing.

mod disk;
mod entry;
mod entry_body;
#[cfg(test)]
pub mod faults;
mod freshness;
pub mod hexadecimal;
mod inspect;
mod layout;
mod purge_mark;
mod shared;
mod system;
mod variants;
mod walk;
mod write;

use std::time::SystemTime;

use sha2::{Digest, Sha256};

pub use disk::{DiskCache, Entry, EntryStamp, Need};
pub use entry_body::EntryBody;
pub use freshness::{CacheTime, Freshness, Lifetime, age};
pub use hexadecimal::{decode as decode_hash, encode as encode_hash};
pub use inspect::{Inspected, inspect, is_damage};
pub use layout::{EntryId, VERSION as LAYOUT, is_layout, key_directory, key_hash};
pub use purge_mark::PurgeMark;
pub use shared::SharedEntry;
pub use system::remove_entry;
pub use variants::{entries_of, has_room};
#[cfg(test)]
pub use walk::disk_bytes;
pub use walk::{Found, OnDisk, walk};
pub use write::remove_abandoned;

use crate::cache_control::CacheControl;
use crate::media_type::MediaType;
use crate::quality::Level;
use crate::time::unix_seconds;

/// The default of `cache_min_free` as a fraction of the disk.
const MIN_FREE_FRACTION: u64 = 20;
/// The largest default of `cache_min_free`, in bytes.
const MAX_DEFAULT_MIN_FREE: u64 = 1 << 30;

/// The options of an original's own entry. It is not a canonical query.
pub const ORIGINAL: &str = "original";

/// The full name of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// [`crate::config::Handler::identity`]
    pub handler: String,
    pub key: String,
    /// The canonical query of a variant, or [`ORIGINAL`].
    pub options: String,
}

/// An encoded image, or another body, and the values of its response headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedImage {
    pub bytes: Vec<u8>,
    pub media_type: MediaType,
    /// SHA-256 of the bytes, in hexadecimal: the strong `ETag`.
    pub sha256: String,
    /// `Last-Modified` of the original, if the origin sent it, in Unix seconds.
    pub last_modified: Option<u64>,
    /// `Cache-Control` of the original, if the origin sent it.
    pub cache_control: Option<CacheControl>,
    /// The quality that was found for `max_bytes`.
    pub quality: Option<Level>,
}

/// What the origins are asked with whether an original has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Validator {
    /// The entity tag of the original at its origin.
    pub etag: Option<String>,
    /// The identity of the origin that has it; `None`: the handler's first, which is part of [`Name::handler`].
    pub origin: Option<String>,
}

impl From<Option<&str>> for Validator {
    /// An entity tag of the handler's first origin.
    fn from(etag: Option<&str>) -> Validator {
        Validator { etag: etag.map(str::to_owned), origin: None }
    }
}

/// The result of a render request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub image: EncodedImage,
    /// Disk space of its cache entry in bytes, if it was stored.
    pub disk_bytes: Option<u64>,
    /// When the origin was asked for the original, in milliseconds since 1970.
    pub validated_at: u64,
    /// Whether it is an existing entry that the origin confirmed.
    pub revalidated: bool,
    /// Whether it is a shared result, which the origin was not asked about.
    pub shared: bool,
    pub original: OriginalEntry,
}

/// How a render used the cache of originals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalEntry {
    /// Nothing: there is no such cache, or the original was not needed.
    None,
    /// It was written, with this disk space in bytes.
    Stored(u64),
    /// It was read.
    Used,
}

impl EncodedImage {
    pub fn new(
        bytes: Vec<u8>,
        media_type: impl Into<MediaType>,
        last_modified: Option<SystemTime>,
    ) -> EncodedImage {
        let media_type = media_type.into();
        let sha256 = hexadecimal::encode(&Sha256::digest(&bytes));
        let last_modified = last_modified.map(unix_seconds);
        EncodedImage {
            bytes,
            media_type,
            sha256,
            last_modified,
            cache_control: None,
            quality: None,
        }
    }

    pub fn with_cache_control(self, cache_control: Option<CacheControl>) -> EncodedImage {
        EncodedImage { cache_control, ..self }
    }

    pub fn with_quality(self, quality: Option<Level>) -> EncodedImage {
        EncodedImage { quality, ..self }
    }
}

/// The disk space that stays free, in bytes: `cache_min_free`, or else a twentieth of the disk, at most 1 GiB.
pub fn min_free_bytes(min_free: Option<u64>, disk: &rustix::fs::StatVfs) -> u64 {
    let size = disk.f_blocks.saturating_mul(disk.f_frsize);
    min_free.unwrap_or_else(|| (size / MIN_FREE_FRACTION).min(MAX_DEFAULT_MIN_FREE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn default_of_cache_min_free_is_as_documented() {
        let percent = 100 / MIN_FREE_FRACTION;
        let gibibytes = MAX_DEFAULT_MIN_FREE >> 30;
        let default = format!("{percent} % of the disk, at most {gibibytes} GiB");
        assert_says("docs/configuration.md", &default);
    }
}
