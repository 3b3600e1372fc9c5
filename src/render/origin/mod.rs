//! Where originals come from: buckets, local directories and web servers.
//!
//! An [`OriginClient`] is opened once for each handler and used by any thread. No original is cached here. A kind of
//! origin is the type of its configuration with an implementation of [`Kind`], and an arm of [`kind`].

mod absences;
mod client;
mod directory;
mod http;
mod listing;
mod s3;

#[cfg(test)]
pub(super) mod testing;

use std::time::{Duration, SystemTime};

pub use self::client::OriginClient;

use super::http::Deadline;
use super::read_path::{ReadPath, Variable};
use crate::cache::Validator;
use crate::cache_control::CacheControl;
use crate::config::{ConfigError, Limits, Origin};
use crate::error::{Code, Failure};
use crate::renderer_status::CredentialsStatus;

/// The bytes of an original and their metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The whole object or file; it may be empty.
    pub bytes: Vec<u8>,
    /// The origin's entity tag with its quotes (RFC 9110 §8.8.3). In general it is not a hash of the bytes.
    pub etag: Option<String>,
    /// Not after the time of the fetch.
    pub last_modified: Option<SystemTime>,
    pub cache_control: Option<CacheControl>,
    /// The identity of the origin that it is from; `None`: the handler's first.
    pub origin: Option<String>,
}

impl Original {
    /// What the origins are asked with later whether it has changed.
    pub fn validator(&self) -> Validator {
        Validator { etag: self.etag.clone(), origin: self.origin.clone() }
    }

    /// Replaces a `last_modified` in the future: the origin's clock may be wrong, and a file may have any time. RFC 9110
    /// §8.8.2.1 requires it of every response; done once here, the date stays the same for as long as it is cached.
    fn not_in_the_future(self, now: SystemTime) -> Original {
        Original { last_modified: self.last_modified.map(|time| time.min(now)), ..self }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    Original(Original),
    /// The origin's entity tag is still the one of the condition.
    Unchanged,
}

/// The renderer's interface to a kind of origin.
trait Kind {
    /// The checks that need the renderer's libraries, but no request to the origin.
    fn check(&self) -> Result<(), ConfigError>;

    /// Whether the renderer connects to it over the network.
    fn connects(&self) -> bool;

    /// The files and directories that fetching reads.
    fn read_paths(&self, variable: Variable) -> Vec<ReadPath>;

    /// Prepares to fetch, see [`OriginClient::open`].
    fn open(&self, limits: &Limits) -> Result<Box<dyn Fetch>, Failure>;
}

fn kind(origin: &Origin) -> &dyn Kind {
    match origin {
        Origin::S3(config) => config,
        Origin::Directory(config) => config,
        Origin::Http(config) => config,
    }
}

/// Checks the configuration of an origin without a request to it.
pub fn check(origin: &Origin) -> Result<(), ConfigError> {
    kind(origin).check()
}

/// Whether the renderer connects to this origin over the network.
pub fn connects(origin: &Origin) -> bool {
    kind(origin).connects()
}

/// The files and directories that fetching from this origin reads.
pub fn read_paths(origin: &Origin, variable: Variable) -> Vec<ReadPath> {
    kind(origin).read_paths(variable)
}

/// One origin. Its methods block, at most until the deadline.
trait Fetch: Send + Sync {
    /// Fetches the original of a decoded key, whose `origin` is left empty. The condition is one entity tag.
    fn fetch(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        deadline: Deadline,
        retries: &mut u32,
    ) -> Result<Fetched, Failure>;

    /// See [`OriginClient::credentials`].
    fn credentials(&self) -> Option<CredentialsStatus> {
        None
    }

    /// See [`probe`].
    fn probe(&self, key: Option<&str>, deadline: Deadline) -> Result<String, Failure>;

    /// See [`OriginClient::keys`].
    fn keys(&self, _max: usize) -> Vec<String> {
        Vec::new()
    }
}

/// Asks one origin, as an operator does: for this key, or for one that need not exist. Returns a phrase about an origin
/// that works.
///
/// # Errors
///
/// A sentence about what is wrong with the configuration, the credentials or the origin; with a key, also
/// [`is_not_there`].
pub fn probe(origin: &Origin, limits: &Limits, key: Option<&str>) -> Result<String, Failure> {
    kind(origin).open(limits)?.probe(key, deadline(limits.origin_timeout))
}

/// Whether a failure says that the origin has no such key, or may say so: then the next origin is asked. All others may
/// be temporary or a mistake, which must not be hidden by another origin's original.
pub fn is_not_there(failure: &Failure) -> bool {
    matches!(failure.code, Code::NotFound | Code::NotShown | Code::InvalidKey)
}

/// The deadline of a request to all origins of a handler.
fn deadline(timeout: Duration) -> Deadline {
    Deadline::after(timeout, "limits.origin_timeout")
}

/// RFC 9110 §8.8.3, in ASCII. `*` or a list would be another condition.
fn is_entity_tag(text: &str) -> bool {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    opaque.is_some_and(|opaque| opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_entity_tag_accepts_exactly_one_entity_tag() {
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
    fn a_last_modified_in_the_future_becomes_the_time_of_the_fetch() {
        let now = SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        let dated = |last_modified| {
            let original = Original {
                bytes: vec![1],
                etag: None,
                last_modified,
                cache_control: None,
                origin: None,
            };
            original.not_in_the_future(now).last_modified
        };
        assert_eq!(dated(Some(now + day)), Some(now));
        for kept in [None, Some(now), Some(now - day), Some(SystemTime::UNIX_EPOCH - day)] {
            assert_eq!(dated(kept), kept);
        }
    }

    #[test]
    fn an_origin_client_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<OriginClient>();
    }
}
