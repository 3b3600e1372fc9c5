//! ListObjectsV2: keys in the order of their UTF-8 bytes.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>

use std::io::Read;
use std::time::SystemTime;

use ureq::http::{HeaderMap, StatusCode, header};

use super::send::Request;
use super::signing::Action;
use super::{Bucket, Deadline, xml};
use crate::error::{Code, Failure};
use crate::render::http::{content_length, drain};

/// S3's limit for `max-keys`.
const MAX_KEYS: usize = 1000;
/// 1000 keys of 1024 bytes, with entities and about 600 bytes around each.
const MAX_RESPONSE: u64 = 4 << 20;

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Relative to the bucket's directory.
    pub keys: Vec<String>,
    /// Whether there are more keys: those after the last one of this page.
    pub is_truncated: bool,
    /// The time of the bucket's clock.
    pub date: Option<SystemTime>,
}

impl Bucket {
    /// The first keys with this prefix, after `start_after` if it is given, at most `max_keys` and at most 1000.
    ///
    /// # Errors
    ///
    /// If the bucket does not answer with a complete list.
    pub fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        max_keys: usize,
        deadline: Deadline,
    ) -> Result<Listing, Failure> {
        let object = &self.name(prefix);
        let mut parameters = vec![
            ("list-type", "2".to_owned()),
            ("max-keys", max_keys.min(MAX_KEYS).to_string()),
            ("prefix", object.key.clone()),
        ];
        parameters.extend(start_after.map(|key| ("start-after", self.name(key).key)));
        let request = Request::new(Action::List(&parameters), deadline);
        let response = self.send(object, &request, &mut 0)?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(object, &request, response));
        }
        let length = content_length(response.headers());
        let date = date(response.headers());
        if length.is_some_and(|length| length > MAX_RESPONSE) {
            drain(response);
            return Err(object.failure(Code::OriginError, "the list of keys is too long"));
        }
        let mut text = Vec::new();
        let body = response.into_body().into_reader();
        body.take(MAX_RESPONSE + 1).read_to_end(&mut text).map_err(|error| {
            self.exchange(object).truncated(error, text.len(), length, deadline)
        })?;
        let (keys, is_truncated) = self.parse_list(&text).ok_or_else(|| {
            object.failure(Code::OriginError, "the response is no list of keys (ListObjectsV2)")
        })?;
        Ok(Listing { keys, is_truncated, date })
    }

    /// The keys, and whether there are more.
    fn parse_list(&self, response: &[u8]) -> Option<(Vec<String>, bool)> {
        let text = std::str::from_utf8(response).ok()?;
        // An XML parser takes a document that ends early for one with open elements.
        if !text.trim_end().ends_with("ListBucketResult>") {
            return None;
        }
        let is_truncated = match xml::element(text, "IsTruncated")?.as_str() {
            "true" => true,
            "false" => false,
            _ => return None,
        };
        let directory = match self.config.directory.as_str() {
            "" => String::new(),
            directory => format!("{directory}/"),
        };
        // Keys of other directories were not asked for.
        let keys = xml::texts(text, "Key")?;
        let keys = keys.iter().filter_map(|key| key.strip_prefix(&directory).map(str::to_owned));
        Some((keys.collect(), is_truncated))
    }
}

/// RFC 9110 §6.6.1.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()
}
