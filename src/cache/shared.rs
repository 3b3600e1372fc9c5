//! An entry outside of a cache directory, as in a bucket: its header apart from its image.
//!
//! The header is that of an entry on disk, with its checksum, so that an entry describes and verifies itself wherever it
//! is kept.

use std::io;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::entry::{self, Header, damaged};
use super::{EncodedImage, Name, Validator, hexadecimal};
use crate::media_type::MediaType;
use crate::time::system_time;

/// A variant that several servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedEntry {
    pub image: EncodedImage,
    /// What the origins are asked with whether the original has changed.
    pub validator: Validator,
    /// When the origin was asked for the original.
    pub validated_at: SystemTime,
}

impl SharedEntry {
    /// The header of the entry, with its checksum.
    pub fn encode_header(&self, name: &Name) -> io::Result<Vec<u8>> {
        let validator = self.validator.clone();
        entry::encode(&Header::new(name, &self.image, validator, self.validated_at))
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
        let media_type =
            MediaType::parse(&header.format).ok_or_else(|| damaged("names an unknown format"))?;
        if header.length != bytes.len() as u64 {
            return Err(damaged("does not have the length in its header"));
        }
        if hexadecimal::encode(&Sha256::digest(&bytes)) != header.sha256 {
            return Err(damaged("does not match its SHA-256"));
        }
        let (validator, validated_at) = (header.validator(), system_time(header.validated_at));
        Ok(SharedEntry { image: header.into_image(bytes, media_type), validator, validated_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn name(key: &str) -> Name {
        Name { handler: "h\0s3".into(), key: key.into(), options: "w=1".into() }
    }

    fn entry() -> SharedEntry {
        let image = EncodedImage::new(vec![1, 2, 3], Format::Webp, Some(system_time(7000)));
        let validator = Validator::from(Some("\"abc\""));
        SharedEntry { image, validator, validated_at: system_time(1_795_361_381_123) }
    }

    #[test]
    fn a_shared_entry_is_what_was_encoded() {
        let etag = Some("\"a\"".to_owned());
        let second = Validator { etag, origin: Some("s3\0aws\0b\0".to_owned()) };
        for validator in [Validator::default(), second] {
            let entry = SharedEntry { validator, ..entry() };
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
