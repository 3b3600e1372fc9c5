//! Where originals come from: a bucket or a local directory.
//!
//! An [`OriginClient`] is opened once for each handler and used by any thread. Nothing is cached here. A kind of origin
//! is the type of its configuration with an implementation of [`Kind`], and an arm of [`kind`].

mod directory;
mod listing;
mod s3;

#[cfg(test)]
pub(super) mod testing;

use std::time::SystemTime;

use super::read_path::{ReadPath, Variable};
use crate::cache_control::CacheControl;
use crate::config::{ConfigError, Limits, Origin};
use crate::error::Failure;
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
}

impl Original {
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

    /// See [`OriginClient::open`].
    fn open(&self, limits: &Limits) -> Result<Box<dyn Fetch>, Failure>;
}

fn kind(origin: &Origin) -> &dyn Kind {
    match origin {
        Origin::S3(config) => config,
        Origin::Directory(config) => config,
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

trait Fetch: Send + Sync {
    /// See [`OriginClient::fetch`]. The condition is one entity tag.
    fn fetch(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        retries: &mut u32,
    ) -> Result<Fetched, Failure>;

    /// See [`OriginClient::credentials`].
    fn credentials(&self) -> Option<CredentialsStatus> {
        None
    }

    /// See [`OriginClient::probe`].
    fn probe(&self, key: Option<&str>) -> Result<String, Failure>;

    /// See [`OriginClient::keys`].
    fn keys(&self, _max: usize) -> Vec<String> {
        Vec::new()
    }
}

/// The originals of one handler.
pub struct OriginClient(Box<dyn Fetch>);

impl OriginClient {
    /// Prepares to fetch. Nothing is sent: names are resolved, connections opened and credentials looked up by the
    /// first requests and by a thread of its own.
    ///
    /// Clients share a connection pool for each `ca_file`, and one lookup of credentials.
    ///
    /// # Errors
    ///
    /// When the `ca_file` is not usable, see [`check`], or no thread can be started.
    pub fn open(origin: &Origin, limits: &Limits) -> Result<OriginClient, Failure> {
        kind(origin).open(limits).map(OriginClient)
    }

    /// Fetches the original of a decoded key. The key is used byte for byte: `a//b`, `/a` and `a` are three keys.
    ///
    /// With an entity tag that the origin gave before, the original is fetched only if the origin's has changed (RFC
    /// 9110 §13.1.2). Anything but an entity tag is ignored.
    ///
    /// `retries` counts the requests that are sent again.
    ///
    /// Blocks, at most as long as the limits allow (`origin_timeout` for a bucket).
    ///
    /// # Errors
    ///
    /// The failure's code is for the client. Its sentence names bucket and key, never a secret.
    pub fn fetch(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        retries: &mut u32,
    ) -> Result<Fetched, Failure> {
        match self.0.fetch(key, if_none_match.filter(|etag| is_entity_tag(etag)), retries)? {
            Fetched::Original(original) => {
                Ok(Fetched::Original(original.not_in_the_future(SystemTime::now())))
            }
            Fetched::Unchanged => Ok(Fetched::Unchanged),
        }
    }

    /// The state of the credentials, if this origin needs any. Does not wait for their lookup.
    pub fn credentials(&self) -> Option<CredentialsStatus> {
        self.0.credentials()
    }

    /// Asks the origin, as an operator does: for this key, or for one that need not exist. Returns a phrase about an
    /// origin that works.
    ///
    /// # Errors
    ///
    /// A sentence about what is wrong with the configuration, the credentials or the origin.
    pub fn probe(&self, key: Option<&str>) -> Result<String, Failure> {
        self.0.probe(key)
    }

    /// The first keys of a directory, for a playground; none of a bucket, whose credentials may not list it.
    pub fn keys(&self, max: usize) -> Vec<String> {
        self.0.keys(max)
    }
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
            let original =
                Original { bytes: vec![1], etag: None, last_modified, cache_control: None };
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
