//! Where originals come from: a bucket or a local directory.
//!
//! A [`OriginClient`] is opened once for each handler and then asked from any thread. Nothing here caches: that
//! is done above. The rules for keys that hold for every source stand in this file.

mod directory;
mod http;
mod s3;

#[cfg(test)]
pub(super) mod testing;

use std::time::SystemTime;

use crate::config::{Limits, Origin};
use crate::error::{Code, Failure};

/// The bytes of an original, and what its origin said about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The object or file, whole; it may be empty.
    pub bytes: Vec<u8>,
    /// The origin's entity tag with its quotes (RFC 9110 §8.8.3). Not a hash of the bytes in general.
    pub etag: Option<String>,
    /// When the original was last changed.
    pub last_modified: Option<SystemTime>,
}

/// What a fetch brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The original.
    Original(Original),
    /// The origin still has what the entity tag of the condition stands for.
    Unchanged,
}

/// One handler's originals.
pub struct OriginClient(Kind);

enum Kind {
    // Boxed because it is many times the size of the other.
    S3(Box<s3::Bucket>),
    Directory(directory::Directory),
}

impl OriginClient {
    /// Prepares to fetch. Nothing is sent: names are resolved, connections opened and credentials found by
    /// the first requests and by a thread of their own.
    ///
    /// Sources share what can be shared: one connection pool for each `ca_file`, one lookup of credentials.
    ///
    /// # Errors
    ///
    /// When the `ca_file` is not usable, see [`check`], or no thread can be started.
    pub fn open(origin: &Origin, limits: &Limits) -> Result<OriginClient, Failure> {
        Ok(OriginClient(match origin {
            Origin::S3(s3) => Kind::S3(Box::new(s3::Bucket::open(s3, limits)?)),
            Origin::Directory(directory) => {
                Kind::Directory(directory::Directory::new(directory, limits))
            }
        }))
    }

    /// Fetches the original of a decoded key, byte for byte as the key is: `a//b`, `/a` and `a` are three.
    ///
    /// Blocks, at most as long as the limits allow (`origin_timeout` for a bucket).
    ///
    /// With an entity tag that the origin once gave, it is fetched unless it still has that one
    /// (RFC 9110 §13.1.2). What is no entity tag is no condition.
    ///
    /// # Errors
    ///
    /// The failure's code is for the client. Its sentence names bucket and key, never a secret.
    pub fn fetch_unless(&self, key: &str, etag: Option<&str>) -> Result<Fetched, Failure> {
        let etag = etag.filter(|etag| is_entity_tag(etag));
        match &self.0 {
            Kind::S3(bucket) => bucket.fetch_unless(key, etag),
            Kind::Directory(directory) => directory.fetch_unless(key, etag),
        }
    }
}

/// RFC 9110 §8.8.3, in ASCII. `*` or a list in its place would be another condition.
fn is_entity_tag(text: &str) -> bool {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    opaque.is_some_and(|opaque| opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

/// What can be checked about an origin without asking it: that its `ca_file` holds certificates.
///
/// # Errors
///
/// A sentence that starts with the JSON path.
pub fn check(origin: &Origin) -> Result<(), String> {
    match origin {
        Origin::S3(s3) => http::tls::roots(s3.ca_file.as_deref())
            .map(drop)
            .map_err(|problem| format!("{}.ca_file: {problem}", s3.json_path)),
        Origin::Directory(_) => Ok(()),
    }
}

/// Refuses the keys that mean something to what stands between us and the object.
///
/// URL libraries remove `.` and `..` segments (WHATWG URL §4.4, path state; RFC 3986 §5.2.4), so a signed
/// `a/../b` would fetch `b`; file systems resolve them; and C ends a string at NUL.
fn refuse_unsafe(key: &str) -> Result<(), Failure> {
    if key.contains('\0') {
        return Err(Failure::new(Code::InvalidKey, format!("key {key:?}: has a NUL")));
    }
    if key.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Failure::new(
            Code::InvalidKey,
            format!("key {key:?}: has . or .. as a segment"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_and_nul_are_refused() {
        for key in
            [".", "..", "a/..", "../a", "a/../b", "a/./b", "./a", "a/.", "//..", "a\0b", "\0"]
        {
            assert_eq!(refuse_unsafe(key).unwrap_err().code, Code::InvalidKey, "{key:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_dot_segment_is_a_key() {
        for key in
            ["...", "a..b", ".a", "a.", "%2e%2e/a", "..\\a", "a/ ../b", ".. /a", "/", "//", "é/…"]
        {
            assert_eq!(refuse_unsafe(key), Ok(()), "{key:?}");
        }
    }

    #[test]
    fn only_one_entity_tag_is_an_entity_tag() {
        for etag in ["\"\"", "\"a\"", "W/\"a-1,b\""] {
            assert!(is_entity_tag(etag), "{etag}");
        }
        for other in [
            "",
            "*",
            "a",
            "\"",
            "\"a",
            "a\"",
            "w/\"a\"",
            "\"a\", \"b\"",
            "\"a b\"",
            "\"\r\nX: y\"",
            "\"\u{e9}\"",
        ] {
            assert!(!is_entity_tag(other), "{other:?}");
        }
    }

    #[test]
    fn a_source_can_be_shared() {
        fn shared<T: Send + Sync>() {}
        shared::<OriginClient>();
    }
}
