//! The file format of an entry: a header with a checksum, then the image.

use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{EncodedImage, Name, Validator};
use crate::cache_control::CacheControl;
use crate::media_type::MediaType;
use crate::quality::Level;
use crate::time::unix_milliseconds;

const MAGIC: &[u8; 8] = b"S3IS\0\0\0\x01";
/// Length of magic, header length and header checksum, in bytes.
pub const FIXED: usize = 8 + 4 + 8;
/// Maximum length of a header in bytes: keys have at most 1024 bytes.
const MAX_HEADER: usize = 16 << 10;

/// The header of an entry. The names of the fields are part of the layout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// [`crate::config::Handler::identity`]
    pub handler: String,
    pub key: String,
    /// The canonical query, or [`super::ORIGINAL`].
    pub options: String,
    /// [`crate::media_type::MediaType::name`]
    pub format: String,
    /// SHA-256 of the image, in hexadecimal.
    pub sha256: String,
    /// Length of the image in bytes.
    pub length: u64,
    /// `Last-Modified` of the original, in Unix seconds.
    pub last_modified: Option<u64>,
    /// `ETag` of the original at the origin.
    #[serde(rename = "source_etag")]
    pub original_etag: Option<String>,
    /// `Cache-Control` of the original. Entries of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// The quality that was found for `max_bytes`. Other entries have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<String>,
    /// The identity of the origin that has the original; missing: the first one of the handler, which is in `handler`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// When the origin was asked for the original, in milliseconds since 1970.
    #[serde(rename = "stored")]
    pub validated_at: u64,
}

impl Header {
    /// `validated_at` is when the origin was asked for the original.
    pub fn new(
        name: &Name,
        image: &EncodedImage,
        validator: Validator,
        validated_at: SystemTime,
    ) -> Header {
        Header {
            handler: name.handler.clone(),
            key: name.key.clone(),
            options: name.options.clone(),
            format: image.media_type.name().to_owned(),
            sha256: image.sha256.clone(),
            length: image.bytes.len() as u64,
            last_modified: image.last_modified,
            original_etag: validator.etag,
            cache_control: image.cache_control.map(|value| value.to_string()),
            quality: image.quality.map(|level| level.to_string()),
            origin: validator.origin,
            validated_at: unix_milliseconds(validated_at),
        }
    }

    /// `Cache-Control` of the original.
    pub fn cache_control(&self) -> Option<CacheControl> {
        CacheControl::parse(self.cache_control.as_deref()?)
    }

    /// The quality that was found for `max_bytes`.
    pub fn quality(&self) -> Option<Level> {
        Level::parse(self.quality.as_deref()?)
    }

    /// What the origins are asked with whether the original has changed.
    pub fn validator(&self) -> Validator {
        Validator { etag: self.original_etag.clone(), origin: self.origin.clone() }
    }

    /// The image that these are the metadata of.
    pub fn into_image(self, bytes: Vec<u8>, media_type: MediaType) -> EncodedImage {
        let (cache_control, quality) = (self.cache_control(), self.quality());
        let Header { sha256, last_modified, .. } = self;
        EncodedImage { bytes, media_type, sha256, last_modified, cache_control, quality }
    }

    pub fn is_of(&self, name: &Name) -> bool {
        self.handler == name.handler && self.key == name.key && self.options == name.options
    }
}

/// Everything before the image: magic, length, checksum and header.
pub fn encode(header: &Header) -> io::Result<Vec<u8>> {
    let header = serde_json::to_vec(header)?;
    let mut bytes = Vec::with_capacity(FIXED + header.len());
    bytes.extend_from_slice(MAGIC);
    let length = u32::try_from(header.len()).map_err(io::Error::other)?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(&header)[..8]);
    bytes.extend_from_slice(&header);
    Ok(bytes)
}

/// Length of the header, read from the first bytes of the file.
pub fn header_length(start: &[u8]) -> io::Result<usize> {
    let rest = start.strip_prefix(MAGIC).ok_or_else(|| damaged("is not a cache entry"))?;
    let (length, _) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("is too short"))?;
    match u32::from_le_bytes(*length) as usize {
        length if length > MAX_HEADER => Err(damaged("has too long a header")),
        length => Ok(length),
    }
}

/// The header, and the offset of the image.
pub fn parse(start: &[u8]) -> io::Result<(Header, usize)> {
    let end = FIXED + header_length(start)?;
    let checksum = start.get(FIXED - 8..FIXED).ok_or_else(|| damaged("is too short"))?;
    let header = start.get(FIXED..end).ok_or_else(|| damaged("is too short"))?;
    if Sha256::digest(header)[..8] != *checksum {
        return Err(damaged("has a damaged header"));
    }
    Ok((serde_json::from_slice(header)?, end))
}

/// The error of an entry whose contents are wrong.
pub fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the entry {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    #[test]
    fn an_entry_of_an_earlier_version_has_no_cache_control() {
        let name = Name { handler: "h".into(), key: "k".into(), options: String::new() };
        let image = EncodedImage::new(vec![1], Format::Png, None);
        let header = |cache_control| {
            let image = image.clone().with_cache_control(cache_control);
            Header::new(&name, &image, Validator::default(), SystemTime::UNIX_EPOCH)
        };
        let without = encode(&header(None)).unwrap();
        assert!(!String::from_utf8_lossy(&without).contains("cache_control"));
        assert_eq!(parse(&without).unwrap().0.cache_control(), None);
        let value = CacheControl::parse("max-age=60, immutable");
        assert!(value.is_some());
        let with = encode(&header(value)).unwrap();
        assert_eq!(parse(&with).unwrap().0.cache_control(), value);
        let hostile = Header { cache_control: Some("\r\nX: y".into()), ..header(None) };
        assert_eq!(parse(&encode(&hostile).unwrap()).unwrap().0.cache_control(), None);
    }

    #[test]
    fn an_entry_of_an_earlier_version_has_no_quality() {
        let name = Name { handler: "h".into(), key: "k".into(), options: String::new() };
        let header = |quality| {
            let image = EncodedImage::new(vec![1], Format::Jpeg, None).with_quality(quality);
            Header::new(&name, &image, Validator::default(), SystemTime::UNIX_EPOCH)
        };
        let without = encode(&header(None)).unwrap();
        assert!(!String::from_utf8_lossy(&without).contains("quality"));
        assert_eq!(parse(&without).unwrap().0.quality(), None);
        for level in [Level::Scaled(62), Level::Native(5)] {
            let with = encode(&header(Some(level))).unwrap();
            assert_eq!(parse(&with).unwrap().0.quality(), Some(level));
        }
        let hostile = Header { quality: Some("5\r\nX: y".into()), ..header(None) };
        assert_eq!(parse(&encode(&hostile).unwrap()).unwrap().0.quality(), None);
    }
}
