//! GET: an object without its codings, or as it is stored.

use std::time::SystemTime;

use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode, header};

use super::send::Request;
use super::signing::Action;
use super::{Bucket, Deadline, ObjectName};
use crate::cache_control::CacheControl;
use crate::error::Failure;
use crate::render::http::MaxBytes;
use crate::render::http::content_coding::{self, Bounds};

/// An object without its `Content-Encoding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bytes: Vec<u8>,
    /// Of the bytes as they were sent, before their codings are undone.
    pub etag: Option<String>,
    pub last_modified: Option<SystemTime>,
    pub cache_control: Option<CacheControl>,
}

/// The answer to a GET, which may have had a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Object(Object),
    /// The entity tag is still the one of the condition.
    NotModified,
}

/// An object as it is stored.
#[derive(Clone, Debug)]
pub struct StoredObject {
    pub bytes: Vec<u8>,
    /// Those of the response, the object's own metadata among them.
    pub fields: HeaderMap,
}

impl StoredObject {
    /// A header field in ASCII.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Bucket {
    /// The object of a key of at most `limits.origin_max_bytes`, without its codings; with an entity tag, only if the
    /// object has another one.
    ///
    /// `retries` counts the requests that are sent again.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is certainly no such object, `NotShown` if that can't be told from a lack of permission.
    pub fn get(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        deadline: Deadline,
        retries: &mut u32,
    ) -> Result<Got, Failure> {
        let object = &self.object(key)?;
        let request = Request { if_none_match, ..Request::new(Action::Get, deadline) };
        let response = self.send(object, &request, retries)?;
        match response.status() {
            StatusCode::OK => self.read(object, response, deadline).map(Got::Object),
            // It has no body, even with a Content-Length, so its connection is free already.
            StatusCode::NOT_MODIFIED if if_none_match.is_some() => Ok(Got::NotModified),
            _ => Err(self.refused(object, &request, response)),
        }
    }

    /// The object of a key as it is stored, unless it has more than `max_bytes`.
    ///
    /// # Errors
    ///
    /// As for [`Bucket::get`].
    pub fn get_stored(
        &self,
        key: &str,
        max_bytes: u64,
        deadline: Deadline,
    ) -> Result<StoredObject, Failure> {
        let object = &self.object(key)?;
        let request = Request::new(Action::Get, deadline);
        let response = self.send(object, &request, &mut 0)?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(object, &request, response));
        }
        let (head, body) = response.into_parts();
        let max = MaxBytes { bytes: max_bytes, field: "" };
        let bytes = self.exchange(object).read_body(&head.headers, body, max, deadline)?;
        Ok(StoredObject { bytes, fields: head.headers })
    }

    fn read(
        &self,
        object: &ObjectName,
        response: Response<Body>,
        deadline: Deadline,
    ) -> Result<Object, Failure> {
        let (head, body) = response.into_parts();
        let headers = &head.headers;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let etag = text(header::ETAG).map(str::to_owned);
        let last_modified =
            text(header::LAST_MODIFIED).and_then(|date| httpdate::parse_http_date(date).ok());
        let cache_control = text(header::CACHE_CONTROL).and_then(CacheControl::parse);
        let max = MaxBytes::of_original(&self.limits);
        let bytes = self.exchange(object).read_body(headers, body, max, deadline)?;
        let bounds = Bounds { max_bytes: max.bytes, deadline: deadline.at };
        let bytes = content_coding::decode(bytes, headers, bounds)
            .map_err(|(code, problem)| object.failure(code, problem))?;
        Ok(Object { bytes, etag, last_modified, cache_control })
    }
}
