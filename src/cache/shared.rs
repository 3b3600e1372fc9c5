//! An entry outside of a cache directory, as in a bucket: its header apart from its image.
//!
//! The header is that of an entry on disk, with its checksum, so that an entry describes and verifies itself wherever it
//! is kept.

use std::io;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::entry::{self, Header, damaged};
use super::{EncodedImage, Name, hexadecimal};
use crate::format::Format;
use crate::time::system_time;

/// A variant that several servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedEntry {
    pub image: EncodedImage,
    /// `ETag` of the original at the origin.
    pub original_etag: Option<String>,
    /// When the origin was asked for the original.
    pub validated_at: SystemTime,
}

impl SharedEntry {
    /// The header of the entry, with its checksum.
    pub fn encode_header(&self, name: &Name) -> io::Result<Vec<u8>> {
        let etag = self.original_etag.as_deref();
        entry::encode(&Header::new(name, &self.image, etag, self.validated_at))
    }

    /// The entry of this name from its encoded header and its image.
    ///
    /// # Errors
    ///
    /// If the header is damaged or belongs to another image, or the image is not the one that it describes.
    pub fn decode(name: &Name, encoded: &[u8], bytes: Vec<u8>) -> io::Result<SharedEntry> {
        let (header, end) = entry::parse(encoded)?;
        if end != encoded.len() {
            return Err(damaged("has more than its header"));
        }
        if !header.is_of(name) {
            return Err(damaged("belongs to another image"));
        }
        let format =
            Format::parse(&header.format).ok_or_else(|| damaged("names an unknown format"))?;
        if header.length != bytes.len() as u64 {
            return Err(damaged("does not have the length in its header"));
        }
        if hexadecimal::encode(&Sha256::digest(&bytes)) != header.sha256 {
            return Err(damaged("does not match its SHA-256"));
        }
        let cache_control = header.cache_control();
        let Header { sha256, last_modified, original_etag, .. } = header;
        Ok(SharedEntry {
            image: EncodedImage { bytes, format, sha256, last_modified, cache_control },
            original_etag,
            validated_at: system_time(header.validated_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> Name {
        Name { handler: "h\0s3".into(), key: key.into(), options: "w=1".into() }
    }

    fn entry() -> SharedEntry {
        let image = EncodedImage::new(vec![1, 2, 3], Format::Webp, Some(system_time(7000)));
        let original_etag = Some("\"abc\"".to_owned());
        SharedEntry { image, original_etag, validated_at: system_time(1_795_361_381_123) }
    }

    #[test]
    fn a_shared_entry_is_what_was_encoded() {
        for original_etag in [None, Some("\"a\"".to_owned())] {
            let entry = SharedEntry { original_etag, ..entry() };
            let header = entry.encode_header(&name("k")).unwrap();
            let bytes = entry.image.bytes.clone();
            assert_eq!(SharedEntry::decode(&name("k"), &header, bytes).unwrap(), entry);
        }
    }

    #[test]
    fn every_damaged_byte_of_a_shared_entry_is_noticed() {
        let bytes = entry().image.bytes;
        let header = entry().encode_header(&name("k")).unwrap();
        let is_refused = |header: &[u8], bytes: &[u8]| {
            SharedEntry::decode(&name("k"), header, bytes.into()).is_err()
        };
        assert!(!is_refused(&header, &bytes));
        for at in 0..header.len() {
            let mut damaged = header.clone();
            damaged[at] ^= 0x10;
            assert!(is_refused(&damaged, &bytes) && is_refused(&header[..at], &bytes), "{at}");
        }
        assert!(is_refused(&[&header[..], b"x"].concat(), &bytes));
        for other in [&[1, 2][..], &[1, 2, 4], &[1, 2, 3, 4], &[]] {
            assert!(is_refused(&header, other));
        }
        let other = SharedEntry::decode(&name("other"), &header, bytes).unwrap_err();
        assert!(other.to_string().contains("belongs to another image"));
    }
}
