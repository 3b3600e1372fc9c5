//! Originals from a bucket: rust-s3 signs the URL, the pooled agent fetches it.
//!
//! rust-s3's own GET opens a connection for each object, takes a truncated body for a whole one, has no size
//! limit and follows redirects; so only its signature is used, which is pure computation.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use s3::Region;
use s3::creds::Credentials as SigningKeys;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body, Error, Timeout};

use self::credentials::Provider;
use super::Fetched;
use super::Original;
use super::http::agent;
use super::refuse_unsafe;
use crate::config::{Credentials, Limits, S3};
use crate::error::{Code, Failure};
use crate::log::RateLimited;

/// How long a signed URL is valid. It never leaves this process and its origin; the time is for clocks that
/// differ, as much as S3 allows for signatures in a header.
const URL_SECONDS: u32 = 15 * 60;
/// S3's limit for a key, in bytes of UTF-8:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const LONGEST_KEY: usize = 1024;
/// How much of a refusal is read: for its error code, and so that the connection can be used again.
const LONGEST_REFUSAL: u64 = 64 << 10;
/// A deadline this much shorter than the agent's own is not worth a configuration of its own.
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

/// What the origin is asked.
struct Question<'q> {
    url: &'q str,
    /// The answer may be that it still has this one.
    etag: Option<&'q str>,
}

/// Whether a request may go over a kept connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Any,
    New,
}

impl Bucket {
    pub(super) fn open(config: &S3, limits: &Limits) -> Result<Bucket, Failure> {
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

    pub(super) fn fetch_unless(&self, key: &str, etag: Option<&str>) -> Result<Fetched, Failure> {
        let deadline = Instant::now() + self.limits.origin_timeout;
        let object = &self.object(key)?;
        let url = self.url(object, deadline)?;
        let answer = self.get(object, &Question { url: &url, etag }, deadline)?;
        match answer.status() {
            StatusCode::OK => self.read(object, answer).map(Fetched::Original),
            // It has no body, whatever length it says, so its connection is free already.
            StatusCode::NOT_MODIFIED if etag.is_some() => Ok(Fetched::Unchanged),
            status => {
                let headers = answer.headers().clone();
                let body = drained(answer);
                let failure =
                    refusal::failure(&self.config, &object.to_string(), status, &headers, &body);
                if refusal::hides_a_problem(status, &body) {
                    let path = &self.config.json_path;
                    self.warning.warn(
                        "origin_access_denied",
                        format_args!(
                            "{}; answered not_found: the key does not exist or {path} is wrong",
                            failure.detail
                        ),
                    );
                }
                Err(failure)
            }
        }
    }

    fn object(&self, key: &str) -> Result<Object<'_>, Failure> {
        let directory = &self.config.directory;
        let key = if directory.is_empty() { key.to_owned() } else { format!("{directory}/{key}") };
        let object = Object { bucket: &self.config.bucket, key };
        refuse_unsafe(&object.key)?;
        // GET of an empty key would be the request that lists the bucket.
        if object.key.is_empty() || object.key.len() > LONGEST_KEY {
            return Err(object
                .failure(Code::InvalidKey, format_args!("must have 1 to {LONGEST_KEY} bytes")));
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
        // rust-s3 drops one leading slash; with this one, the key's own stay.
        bucket.presign_get(format!("/{}", object.key), URL_SECONDS, None).map_err(unsigned)
    }

    /// The answer's head. One more try, at once, for a connection that died and for a 5xx: both are over
    /// by then as often as not, and the first comes of a connection that was closed while it was idle.
    fn get(
        &self,
        object: &Object,
        question: &Question,
        deadline: Instant,
    ) -> Result<Response<Body>, Failure> {
        let outcome = match self.attempt(question, deadline, Connection::Any) {
            Ok(answer) if answer.status().is_server_error() => {
                drained(answer);
                self.attempt(question, deadline, Connection::Any)
            }
            Err(error) if died(&error) => self.attempt(question, deadline, Connection::New),
            outcome => outcome,
        };
        outcome.map_err(|error| self.unanswered(object, &error))
    }

    fn attempt(
        &self,
        question: &Question,
        deadline: Instant,
        connection: Connection,
    ) -> Result<Response<Body>, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(Timeout::Global));
        }
        let mut request = self.agent.get(question.url);
        if let Some(etag) = question.etag {
            // Not part of what is signed: of the header, that is the host alone.
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if connection == Connection::Any && left + NEGLIGIBLE >= self.limits.origin_timeout {
            return request.call();
        }
        let mut config = request.config().timeout_global(Some(left));
        if connection == Connection::New {
            config = config.max_idle_age(Duration::ZERO);
        }
        config.build().call()
    }

    fn read(&self, object: &Object, answer: Response<Body>) -> Result<Original, Failure> {
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = text(header::ETAG).map(str::to_owned);
        let last_modified =
            text(header::LAST_MODIFIED).and_then(|date| httpdate::parse_http_date(date).ok());
        let chunked = answer.headers().contains_key(header::TRANSFER_ENCODING);
        let length = if chunked { None } else { content_length(answer.headers()) };
        if !chunked && length.is_none() {
            // Such a body ends where the connection does, whether that was its end or not.
            let problem =
                "the answer has no Content-Length, so it can't be told whether it is whole";
            return Err(object.failure(Code::OriginError, problem));
        }
        let bytes = self.read_body(object, answer.into_body(), length)?;
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
            let problem =
                format_args!("is larger than {limit} bytes (limits.origin_max_bytes)").to_string();
            object.failure(Code::TooLarge, problem)
        };
        let expected = length.unwrap_or_default();
        if expected > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(expected).unwrap_or(usize::MAX)).map_err(
            |error| object.failure(Code::OriginError, format_args!("can't be held: {error}")),
        )?;
        // Read to the very end: only then does the connection go back into the pool.
        let read = body.into_reader().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.cut_short(object, error, bytes.len(), length)),
        }
    }

    fn cut_short(
        &self,
        object: &Object,
        error: io::Error,
        read: usize,
        length: Option<u64>,
    ) -> Failure {
        match Error::from(error) {
            Error::Timeout(_) => {
                let whole = self.limits.origin_timeout;
                let problem = format!(
                    "was not read whole within {whole:?}, but {read} bytes (limits.origin_timeout)"
                );
                object.failure(Code::OriginTimeout, problem)
            }
            error => {
                let announced = length.map(|length| format!(" of {length}")).unwrap_or_default();
                let problem = format!("the answer ended after {read}{announced} bytes: {error}");
                object.failure(Code::OriginTruncated, problem)
            }
        }
    }

    /// The failure for a request without an answer.
    fn unanswered(&self, object: &Object, error: &Error) -> Failure {
        let at = self.region.endpoint();
        let limits = &self.limits;
        let late = |what: &str, limit: Duration, name: &str| {
            object.failure(
                Code::OriginTimeout,
                format_args!("{at} {what} within {limit:?} (limits.{name})"),
            )
        };
        let unreachable = |problem: &dyn fmt::Display| {
            object
                .failure(Code::OriginUnreachable, format_args!("{at} can't be reached: {problem}"))
        };
        match error {
            Error::Timeout(Timeout::Resolve) => {
                late("was not resolved", limits.origin_connect_timeout, "origin_connect_timeout")
            }
            Error::Timeout(Timeout::Connect) => {
                late("did not connect", limits.origin_connect_timeout, "origin_connect_timeout")
            }
            Error::Timeout(Timeout::SendRequest | Timeout::RecvResponse) => late(
                "did not begin to answer",
                limits.origin_first_byte_timeout,
                "origin_first_byte_timeout",
            ),
            Error::Timeout(_) => late("did not answer", limits.origin_timeout, "origin_timeout"),
            Error::Io(error) => match tls_error(error) {
                Some(rustls::Error::InvalidCertificate(problem)) => {
                    let problem = format!(
                        "its certificate is not trusted ({problem}); for a private CA set {}.ca_file",
                        self.config.json_path
                    );
                    unreachable(&problem)
                }
                Some(problem) => unreachable(&format_args!("TLS failed: {problem}")),
                None if died(&Error::Io(error.kind().into())) => {
                    unreachable(&format_args!("the connection died twice: {error}"))
                }
                None => unreachable(error),
            },
            Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::Other(_) => {
                unreachable(error)
            }
            error => object
                .failure(Code::OriginError, format_args!("{at} gave no proper answer: {error}")),
        }
    }
}

/// An object's name, for sentences.
struct Object<'b> {
    bucket: &'b str,
    /// The key with the directory.
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

/// The endpoint and the region to sign for.
fn region(config: &S3) -> Region {
    let custom = |endpoint: String| Region::Custom { region: config.region.clone(), endpoint };
    if let Some(endpoint) = &config.endpoint {
        return custom(canonical_endpoint(endpoint));
    }
    match config.region.parse() {
        // DigitalOcean, Wasabi, Yandex, AWS China: rust-s3 knows their hosts.
        Ok(known) if !is_aws(&known) => known,
        // For AWS it has, in part, the old names with a hyphen, which newer regions don't have.
        // <https://docs.aws.amazon.com/general/latest/gr/s3.html>
        _ => custom(format!("https://s3.{}.amazonaws.com", config.region)),
    }
}

fn is_aws(region: &Region) -> bool {
    matches!(region, Region::Custom { .. }) || region.endpoint().ends_with(".amazonaws.com")
}

/// As the `Host` header will have it, because the host is signed: URL parsing makes it lower case and
/// removes the scheme's own port (WHATWG URL §4.4), rust-s3 signs it as it was written.
fn canonical_endpoint(endpoint: &str) -> String {
    let endpoint = endpoint.to_ascii_lowercase();
    let port = if endpoint.starts_with("https://") { ":443" } else { ":80" };
    endpoint.strip_suffix(port).map(str::to_owned).unwrap_or(endpoint)
}

/// A host name has no upper case, so a bucket with it, as us-east-1 once allowed, can only be named in the path.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>
fn path_style(config: &S3) -> bool {
    config.path_style || config.bucket.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether the connection ended before the answer's head, by no deadline and no decision of ours.
fn died(error: &Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    match error {
        Error::Io(error) => {
            [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof]
                .contains(&error.kind())
        }
        _ => false,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The start of a refusal's body. What can't be read of it does not matter; one that is read whole leaves
/// its connection to the pool.
fn drained(answer: Response<Body>) -> Vec<u8> {
    let mut body = Vec::new();
    if content_length(answer.headers()).is_none_or(|length| length <= LONGEST_REFUSAL) {
        let _ = answer.into_body().into_reader().take(LONGEST_REFUSAL + 1).read_to_end(&mut body);
    }
    body
}

pub mod credentials;
pub mod refusal;
pub mod sts;
#[cfg(test)]
mod tests;
pub mod xml;
