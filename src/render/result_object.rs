//! The objects of a results bucket.
//!
//! ```text
//! {file_path}/v1/results/{2 hex}/{2 hex}/{28 hex: key}/{32 hex: options}
//! ```
//!
//! The hashes are those of an entry on disk. The body is the image, so that a person can open it; the header of the
//! entry is in the object's metadata, and in words for a person.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::cache::{self, CacheTime, EntryId, Name, SharedEntry};
use crate::render::s3::StoredObject;

/// Below the bucket's directory. Another layout gets another directory.
pub const DIRECTORY: &str = "v1/results";
/// The header of the entry, in base64.
pub const ENTRY: &str = "x-amz-meta-entry";
/// The time of the latest purge that the result is from after, if one was known ([`crate::render::journal`]).
const MARK: &str = "x-amz-meta-purge";
/// Maximum bytes of it.
const MAX_MARK: usize = 20;
/// Handler, key and options, percent-encoded.
const ABOUT: &str = "x-amz-meta-about";
/// S3's limit for the names and values of an object's metadata is 2 KB:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
const MAX_METADATA: usize = 2000;
/// A year, as for a variant that does not expire.
const FOREVER: u64 = 365 * 24 * 60 * 60;
/// What is escaped in [`ABOUT`]: a field has visible ASCII only.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"');

/// The key of a result in its bucket.
pub fn key(id: EntryId) -> String {
    id.path(Path::new(DIRECTORY)).to_string_lossy().into_owned()
}

/// The directory of all results of an original, with its slash.
pub fn directory_of(key_hash: [u8; 16]) -> String {
    format!("{}/", cache::key_directory(Path::new(DIRECTORY), key_hash).display())
}

/// The time of the latest purge that a result is from after; 0 without one. `None` for an object that is no result.
pub fn mark(object: &StoredObject) -> Option<u64> {
    object.field(ENTRY)?;
    Some(object.field(MARK).and_then(|time| time.parse().ok()).unwrap_or_default())
}

/// The metadata of an object.
#[derive(Debug)]
pub struct Metadata {
    pub cache_control: String,
    pub entry: String,
    pub about: String,
    pub mark: String,
}

impl Metadata {
    /// `None` if the header of the entry is too long for S3, as with the longest keys.
    pub fn new(
        name: &Name,
        route: &str,
        entry: &SharedEntry,
        cache_time: CacheTime,
        mark: u64,
    ) -> io::Result<Option<Metadata>> {
        let encoded = STANDARD.encode(entry.encode_header(name)?);
        let names = ENTRY.len() + ABOUT.len() + MARK.len() + MAX_MARK;
        let Some(left) = MAX_METADATA.checked_sub(names + encoded.len()) else { return Ok(None) };
        let query = if name.options.is_empty() { "" } else { "?" };
        let about = format!("/{route}/{}{query}{}", name.key, name.options);
        let mut about = utf8_percent_encode(&about, ESCAPED).to_string();
        // It is ASCII now.
        about.truncate(left);
        let max_age = match cache_time {
            CacheTime::Seconds(seconds) => seconds,
            CacheTime::Forever => FOREVER,
            CacheTime::Never => 0,
        };
        let cache_control = format!("max-age={max_age}");
        Ok(Some(Metadata { cache_control, entry: encoded, about, mark: mark.to_string() }))
    }

    /// For a PUT.
    pub fn fields(&self) -> [(&'static str, &str); 4] {
        [
            ("cache-control", self.cache_control.as_str()),
            (ENTRY, self.entry.as_str()),
            (ABOUT, self.about.as_str()),
            (MARK, self.mark.as_str()),
        ]
    }
}

/// The entry of this name in an object.
///
/// # Errors
///
/// If it has no entry, a damaged one, or one of another image.
pub fn decode(name: &Name, stored: StoredObject) -> io::Result<SharedEntry> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let encoded = stored.field(ENTRY).ok_or_else(|| invalid("it has no x-amz-meta-entry"))?;
    let header = STANDARD
        .decode(encoded)
        .map_err(|_| invalid("its x-amz-meta-entry is not valid base64"))?;
    SharedEntry::decode(name, &header, stored.bytes)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ureq::http::HeaderMap;

    use super::*;
    use crate::cache::EncodedImage;
    use crate::format::Format;
    use crate::time::system_time;

    fn name(key: &str) -> Name {
        Name { handler: "h\0s3\0aws\0b\0".into(), key: key.into(), options: "w=1".into() }
    }

    fn entry(validated_at: SystemTime) -> SharedEntry {
        let image = EncodedImage::new(b"image".to_vec(), Format::Webp, None);
        SharedEntry { image, validator: Some("\"e\"").into(), validated_at }
    }

    fn metadata(key: &str) -> Option<Metadata> {
        let entry = entry(system_time(1000));
        Metadata::new(&name(key), "h", &entry, CacheTime::Seconds(60), u64::MAX).unwrap()
    }

    #[test]
    fn the_key_of_a_result_has_hashes_only() {
        let key = key(EntryId::of(&name("../\u{fc} a")));
        let rest = key.strip_prefix("v1/results/").unwrap();
        let lengths: Vec<usize> = rest.split('/').map(str::len).collect();
        assert_eq!(lengths, [2, 2, 28, 32]);
        assert!(rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'/'), "{key}");
    }

    #[test]
    fn an_object_has_its_entry_and_words_about_it() {
        let metadata = metadata("a b/\u{fc}%\r\n.jpg").unwrap();
        assert_eq!(metadata.about, "/h/a%20b/%C3%BC%25%0D%0A.jpg?w=1");
        assert_eq!(metadata.cache_control, "max-age=60");
        let mut fields = HeaderMap::new();
        for (name, value) in metadata.fields() {
            fields.insert(name, value.parse().unwrap());
        }
        let object = StoredObject { bytes: b"image".to_vec(), fields };
        assert_eq!(mark(&object), Some(u64::MAX));
        let name = name("a b/\u{fc}%\r\n.jpg");
        assert_eq!(decode(&name, object).unwrap(), entry(system_time(1000)));
    }

    #[test]
    fn metadata_is_at_most_as_long_as_s3_allows() {
        for length in 0..1400 {
            let Some(metadata) = metadata(&"k".repeat(length)) else {
                assert!(length > 1024, "{length}");
                continue;
            };
            let Metadata { entry, about, mark, .. } = metadata;
            let names = ENTRY.len() + ABOUT.len() + MARK.len();
            let total = entry.len() + about.len() + mark.len() + names;
            assert!(total <= MAX_METADATA, "{length}: {total}");
        }
        assert!(metadata(&"k".repeat(1400)).is_none() && metadata(&"\n".repeat(1024)).is_none());
    }

    #[test]
    fn an_object_without_a_valid_entry_is_an_error() {
        let decode = |value: Option<&str>| {
            let mut fields = HeaderMap::new();
            if let Some(value) = value {
                fields.insert(ENTRY, value.parse().unwrap());
            }
            let object = StoredObject { bytes: b"image".to_vec(), fields };
            super::decode(&name("k"), object).unwrap_err().to_string()
        };
        assert_eq!(decode(None), "it has no x-amz-meta-entry");
        assert_eq!(decode(Some("!")), "its x-amz-meta-entry is not valid base64");
        assert!(decode(Some("")).contains("is not a cache entry"));
        let other = metadata("other").unwrap().entry;
        assert!(decode(Some(&other)).contains("belongs to another image"));
    }
}
