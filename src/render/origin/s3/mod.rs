//! Originals from a bucket: rust-s3 signs the URL, the pooled agent fetches it.
//!
//! rust-s3's own GET opens a connection for each object, accepts a truncated body, has no size limit and follows
//! redirects; so only its signature is used, which is pure computation.

mod content_coding;
mod credential_files;
mod credentials;
mod endpoint;
mod failure;
mod keys;
mod probe;
mod refusal;
mod sts;
mod xml;

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use s3::Region;
use s3::creds::Credentials as SigningKeys;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body, Error, Timeout};

use self::content_coding::Bounds;
use self::credentials::Provider;
use self::endpoint::{path_style, region};
use self::failure::is_closed;
use super::http::{self, agent};
use super::{Fetch, Fetched, Kind, Original, ReadPath, Variable, refuse_unsafe};
use crate::config::{ConfigError, Credentials, Limits, S3};
use crate::error::{Code, Failure};
use crate::log::RateLimited;
use crate::renderer_status::CredentialsStatus;

/// How long a signed URL is valid. Only this process and the origin see it; the time allows for clocks that differ, as
/// much as S3 allows for signatures in a header.
const URL_SECONDS: u32 = 15 * 60;
/// S3's limit for a key, in bytes of UTF-8:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const MAX_KEY: usize = 1024;
/// How much of an error response is read: for its error code, and so that the connection can be used again.
const MAX_ERROR_BODY: u64 = 64 << 10;
/// A deadline this much shorter than the agent's own timeout needs no configuration of its own.
const NEGLIGIBLE: Duration = Duration::from_millis(20);

/// A bucket, or a directory in it.
pub(super) struct Bucket {
    config: S3,
    region: Region,
    keys: Keys,
    agent: Arc<Agent>,
    limits: Limits,
    warning: RateLimited,
}

enum Keys {
    Fixed(Box<SigningKeys>),
    Chain(Arc<Provider>),
    None,
}

struct Request<'r> {
    url: &'r str,
    /// The entity tag of `If-None-Match`.
    if_none_match: Option<&'r str>,
}

/// Whether a request may use a kept connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Any,
    New,
}

impl Kind for S3 {
    fn check(&self) -> Result<(), ConfigError> {
        let Some(file) = &self.ca_file else { return Ok(()) };
        http::tls::read_ca_file(file)
            .map(drop)
            .map_err(|problem| ConfigError::new(format!("{}.ca_file", self.json_path), problem))
    }

    fn connects(&self) -> bool {
        true
    }

    fn read_paths(&self, variable: Variable) -> Vec<ReadPath> {
        let mut paths = Vec::from(http::RESOLVER_FILES.map(ReadPath::replaceable));
        paths.extend(self.ca_file.as_ref().map(ReadPath::replaceable));
        if self.credentials == Credentials::Chain {
            paths.extend(credential_files::read_paths(variable));
        }
        paths
    }

    fn open(&self, limits: &Limits) -> Result<Box<dyn Fetch>, Failure> {
        Ok(Box::new(Bucket::open(self, limits)?))
    }
}

impl Fetch for Bucket {
    fn fetch(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        retries: &mut u32,
    ) -> Result<Fetched, Failure> {
        let deadline = Instant::now() + self.limits.origin_timeout;
        let object = &self.object(key)?;
        let url = &self.url(object, deadline)?;
        let response = self.get(object, &Request { url, if_none_match }, deadline, retries)?;
        match response.status() {
            StatusCode::OK => self.read(object, response, deadline).map(Fetched::Original),
            // It has no body, even with a Content-Length, so its connection is free already.
            StatusCode::NOT_MODIFIED if if_none_match.is_some() => Ok(Fetched::Unchanged),
            _ => Err(self.refused(object, response)),
        }
    }

    fn credentials(&self) -> Option<CredentialsStatus> {
        match &self.keys {
            Keys::Fixed(_) => Some(CredentialsStatus::Found { expires: None }),
            Keys::Chain(provider) => Some(provider.status()),
            Keys::None => None,
        }
    }

    fn probe(&self, key: Option<&str>) -> Result<String, Failure> {
        self.ask(key)
    }
}

impl Bucket {
    fn open(config: &S3, limits: &Limits) -> Result<Bucket, Failure> {
        let agent = agent::shared(config.ca_file.clone(), limits).map_err(|problem| {
            Failure::new(
                Code::OriginUnreachable,
                format!("{}.ca_file: {problem}", config.json_path),
            )
        })?;
        let no_credentials =
            |problem| Failure::new(Code::NoCredentials, format!("{}: {problem}", config.json_path));
        let keys = match &config.credentials {
            Credentials::Anonymous => Keys::None,
            Credentials::Chain => Keys::Chain(credentials::shared(limits).map_err(no_credentials)?),
            Credentials::Static { access, secret, session_token } => {
                let keys = SigningKeys::new(
                    Some(access),
                    Some(secret),
                    None,
                    session_token.as_deref(),
                    None,
                )
                .map_err(|error| no_credentials(error.to_string()))?;
                Keys::Fixed(Box::new(keys))
            }
        };
        Ok(Bucket {
            region: region(config),
            config: config.clone(),
            keys,
            agent,
            limits: limits.clone(),
            warning: RateLimited::default(),
        })
    }

    fn refused(&self, object: &Object, response: Response<Body>) -> Failure {
        let status = response.status();
        let headers = response.headers().clone();
        let body = drain(response);
        let failure = refusal::failure(&self.config, &object.to_string(), status, &headers, &body);
        if refusal::may_hide_misconfiguration(status, &body) {
            let path = &self.config.json_path;
            self.warning.warn(
                "origin_access_denied",
                format_args!(
                    "{}; answered not_found: the key does not exist or {path} is wrong",
                    failure.detail
                ),
            );
        }
        failure
    }

    fn object(&self, key: &str) -> Result<Object<'_>, Failure> {
        let directory = &self.config.directory;
        let key = if directory.is_empty() { key.to_owned() } else { format!("{directory}/{key}") };
        let object = Object { bucket: &self.config.bucket, key };
        refuse_unsafe(&object.key)?;
        // GET of an empty key is the request that lists the bucket.
        if object.key.is_empty() || object.key.len() > MAX_KEY {
            return Err(
                object.failure(Code::InvalidKey, format_args!("must have 1 to {MAX_KEY} bytes"))
            );
        }
        Ok(object)
    }

    /// The URL to fetch the object from, signed unless the bucket is public.
    fn url(&self, object: &Object, deadline: Instant) -> Result<String, Failure> {
        let keys = match &self.keys {
            Keys::Fixed(keys) => (**keys).clone(),
            Keys::Chain(provider) => {
                let timeout = Instant::now() + self.limits.origin_first_byte_timeout;
                let keys = provider
                    .keys(timeout.min(deadline))
                    .map_err(|failure| object.failure(failure.code, failure.detail))?;
                keys.to_rust_s3().map_err(|error| object.failure(Code::NoCredentials, error))?
            }
            Keys::None => SigningKeys::anonymous()
                .map_err(|error| object.failure(Code::NoCredentials, error))?,
        };
        let unsigned =
            |error| object.failure(Code::OriginError, format_args!("can't be signed: {error}"));
        let mut bucket =
            s3::Bucket::new(&self.config.bucket, self.region.clone(), keys).map_err(unsigned)?;
        if path_style(&self.config) {
            bucket = bucket.with_path_style();
        }
        if let Keys::None = self.keys {
            return Ok(format!("{}/{}", bucket.url(), s3::signing::uri_encode(&object.key, false)));
        }
        // rust-s3 drops one leading slash; with this one, it keeps those of the key.
        bucket.presign_get(format!("/{}", object.key), URL_SECONDS, None).map_err(unsigned)
    }

    /// Sends a request and reads the head of its response. A closed connection and a 5xx are tried once more, at once:
    /// both are often over by then, and the first is that of a connection which was closed while it was idle.
    fn get(
        &self,
        object: &Object,
        request: &Request,
        deadline: Instant,
        retries: &mut u32,
    ) -> Result<Response<Body>, Failure> {
        let outcome = match self.attempt(request, deadline, Connection::Any) {
            Ok(response) if response.status().is_server_error() => {
                drain(response);
                *retries += 1;
                self.attempt(request, deadline, Connection::Any)
            }
            Err(error) if is_closed(&error) => {
                *retries += 1;
                self.attempt(request, deadline, Connection::New)
            }
            outcome => outcome,
        };
        outcome.map_err(|error| self.no_response(object, &error))
    }

    fn attempt(
        &self,
        request: &Request,
        deadline: Instant,
        connection: Connection,
    ) -> Result<Response<Body>, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(Timeout::Global));
        }
        let mut get = self.agent.get(request.url);
        if let Some(etag) = request.if_none_match {
            // Not part of the signature, which covers no header but the host.
            get = get.header(header::IF_NONE_MATCH, etag);
        }
        if connection == Connection::Any && left + NEGLIGIBLE >= self.limits.origin_timeout {
            return get.call();
        }
        let mut config = get.config().timeout_global(Some(left));
        if connection == Connection::New {
            config = config.max_idle_age(Duration::ZERO);
        }
        config.build().call()
    }

    /// Reads an object. Its entity tag is that of the bytes as they were sent, before their codings are undone.
    fn read(
        &self,
        object: &Object,
        response: Response<Body>,
        deadline: Instant,
    ) -> Result<Original, Failure> {
        let (head, body) = response.into_parts();
        let headers = &head.headers;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let etag = text(header::ETAG).map(str::to_owned);
        let last_modified =
            text(header::LAST_MODIFIED).and_then(|date| httpdate::parse_http_date(date).ok());
        let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let length = if is_chunked { None } else { content_length(headers) };
        if !is_chunked && length.is_none() {
            // Such a body ends with the connection, whether it is complete or not.
            let problem = "the response has no Content-Length, so it may be incomplete";
            return Err(object.failure(Code::OriginError, problem));
        }
        let bytes = self.read_body(object, body, length)?;
        let bounds = Bounds { max_bytes: self.limits.origin_max_bytes, deadline };
        let bytes = content_coding::decode(bytes, headers, bounds)
            .map_err(|(code, problem)| object.failure(code, problem))?;
        Ok(Original { bytes, etag, last_modified })
    }

    fn read_body(
        &self,
        object: &Object,
        body: Body,
        length: Option<u64>,
    ) -> Result<Vec<u8>, Failure> {
        let limit = self.limits.origin_max_bytes;
        let too_large = || {
            let problem = format_args!("is larger than {limit} bytes (limits.origin_max_bytes)");
            object.failure(Code::TooLarge, problem)
        };
        let expected = length.unwrap_or_default();
        if expected > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(expected).unwrap_or(usize::MAX)).map_err(
            |error| {
                object.failure(
                    Code::OriginError,
                    format_args!("can't allocate memory for it: {error}"),
                )
            },
        )?;
        // The connection goes back into the pool only when the end of the body has been read.
        let read = body.into_reader().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.truncated(object, error, bytes.len(), length)),
        }
    }
}

/// An object's name, for failures.
struct Object<'b> {
    bucket: &'b str,
    /// The key, including the directory.
    key: String,
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?} in bucket {}", self.key, self.bucket)
    }
}

impl Object<'_> {
    fn failure(&self, code: Code, problem: impl fmt::Display) -> Failure {
        Failure::new(code, format!("{self}: {problem}"))
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Reads the start of an error response. A read error does not matter. A body that is read whole gives its connection
/// back to the pool.
fn drain(response: Response<Body>) -> Vec<u8> {
    let mut body = Vec::new();
    if content_length(response.headers()).is_none_or(|length| length <= MAX_ERROR_BODY) {
        let _ = response.into_body().into_reader().take(MAX_ERROR_BODY + 1).read_to_end(&mut body);
    }
    body
}

#[cfg(test)]
mod tests;
