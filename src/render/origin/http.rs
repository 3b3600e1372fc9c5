//! Originals from a directory of a web server.
//!
//! The configuration gives the server and the directory, a client only the key, which is appended percent-encoded. A
//! redirect may lead to another path below the directory and nowhere else.

mod redirect;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use ureq::{Agent, Body, Error};

use super::{Fetch, Fetched, Kind, Original, is_entity_tag};
use crate::cache_control::CacheControl;
use crate::config::{ConfigError, Http, Limits};
use crate::error::{Code, Failure};
use crate::key;
use crate::render::http::content_coding::{self, Bounds};
use crate::render::http::{self, Deadline, Exchange, MaxBytes, agent, drain};
use crate::render::read_path::{ReadPath, Variable};
use crate::render::unsafe_key::refuse_unsafe;

/// RFC 3986 §2.3: the characters that are never escaped; and the slash, which separates segments.
const KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// Redirects that are followed for one key.
const MAX_REDIRECTS: usize = 3;
/// A key that nobody stores.
const PROBE: &str = ".s3imageserver-check";
/// The beginning of an entity tag that stands for a `Last-Modified`; the rest is its time in Unix seconds.
const LAST_MODIFIED: &str = "\"s3imageserver-last-modified-";
/// The last second that a date of HTTP can have.
const MAX_DATE: u64 = 253_402_300_799;

struct WebServer {
    config: Http,
    agent: Arc<Agent>,
    limits: Limits,
}

impl Kind for Http {
    fn check(&self) -> Result<(), ConfigError> {
        let Some(file) = &self.ca_file else { return Ok(()) };
        http::tls::read_ca_file(file)
            .map(drop)
            .map_err(|problem| ConfigError::new(format!("{}.ca_file", self.json_path), problem))
    }

    fn connects(&self) -> bool {
        true
    }

    fn read_paths(&self, _: Variable) -> Vec<ReadPath> {
        let mut paths = Vec::from(http::RESOLVER_FILES.map(ReadPath::replaceable));
        paths.extend(self.ca_file.as_ref().map(ReadPath::replaceable));
        paths
    }

    fn open(&self, limits: &Limits) -> Result<Box<dyn Fetch>, Failure> {
        Ok(Box::new(WebServer::open(self, limits)?))
    }
}

impl Fetch for WebServer {
    fn fetch(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        deadline: Deadline,
        retries: &mut u32,
    ) -> Result<Fetched, Failure> {
        let subject = Subject { config: &self.config, key };
        let exchange = self.exchange(&subject);
        let response = self.get(&exchange, key, if_none_match, deadline, retries)?;
        match response.status() {
            StatusCode::OK => read(&exchange, response, deadline).map(Fetched::Original),
            StatusCode::NOT_MODIFIED if if_none_match.is_some() => Ok(Fetched::Unchanged),
            _ => Err(refused(&exchange, response)),
        }
    }

    fn probe(&self, key: Option<&str>, deadline: Deadline) -> Result<String, Failure> {
        let subject = Subject { config: &self.config, key: key.unwrap_or(PROBE) };
        let exchange = self.exchange(&subject);
        let response = self.get(&exchange, subject.key, None, deadline, &mut 0)?;
        match (key, response.status()) {
            (Some(_), StatusCode::OK) => {
                let original = read(&exchange, response, deadline)?;
                Ok(format!("{subject} has {} bytes", original.bytes.len()))
            }
            (None, StatusCode::NOT_FOUND | StatusCode::GONE) => {
                Ok(format!("{} answers", self.config.base()))
            }
            (None, StatusCode::OK) => {
                let problem = "the server answered 200 for a key that does not exist, so missing keys \
                               can't be told from others";
                Err(exchange.failure(Code::OriginError, problem))
            }
            _ => Err(refused(&exchange, response)),
        }
    }
}

impl WebServer {
    fn open(config: &Http, limits: &Limits) -> Result<WebServer, Failure> {
        let open = if config.allow_private { agent::shared } else { agent::public_only };
        let agent = open(config.ca_file.clone(), limits).map_err(|problem| {
            let path = &config.json_path;
            Failure::new(Code::OriginUnreachable, format!("{path}.ca_file: {problem}"))
        })?;
        Ok(WebServer { config: config.clone(), agent, limits: limits.clone() })
    }

    fn exchange<'e>(&'e self, subject: &'e Subject) -> Exchange<'e> {
        Exchange {
            agent: &self.agent,
            limits: &self.limits,
            host: self.config.server.clone(),
            subject,
            json_path: &self.config.json_path,
        }
    }

    /// Sends a GET and follows redirects.
    fn get(
        &self,
        exchange: &Exchange,
        key: &str,
        if_none_match: Option<&str>,
        deadline: Deadline,
        retries: &mut u32,
    ) -> Result<Response<Body>, Failure> {
        let mut target = self.target(exchange, key)?;
        let mut redirects = 0;
        loop {
            let make = || self.request(&target, if_none_match);
            let response = exchange.send(make, deadline, retries)?;
            if !redirect::is_redirect(response.status()) {
                return Ok(response);
            }
            let status = response.status().as_u16();
            let refuse = |problem: String| {
                let problem = format!("the server answered {status}: {problem}");
                exchange.failure(Code::OriginError, problem)
            };
            if redirects == MAX_REDIRECTS {
                return Err(refuse(format!("more than {MAX_REDIRECTS} redirects")));
            }
            redirects += 1;
            let location = response.headers().get(header::LOCATION).cloned();
            drain(response);
            let location = location.as_ref().and_then(|location| location.to_str().ok());
            target = redirect::follow(&self.config, &target, location).map_err(refuse)?;
        }
    }

    /// The path of a key at the server, which is below that of the directory whatever the key is.
    fn target(&self, exchange: &Exchange, key: &str) -> Result<String, Failure> {
        refuse_unsafe(key)?;
        if !key::is_below(key) {
            let problem = "has . or .. as a segment, encoded or between backslashes";
            return Err(exchange.failure(Code::InvalidKey, problem));
        }
        Ok(format!("{}{}", self.config.path, utf8_percent_encode(key, KEY)))
    }

    fn request(&self, target: &str, if_none_match: Option<&str>) -> Result<Request<()>, Error> {
        let mut request = Request::get(format!("{}{target}", self.config.server));
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        request = match if_none_match.map(|etag| (etag, date_of(etag))) {
            None => request,
            Some((etag, None)) => request.header(header::IF_NONE_MATCH, etag),
            Some((_, Some(date))) => {
                request.header(header::IF_MODIFIED_SINCE, httpdate::fmt_http_date(date))
            }
        };
        Ok(request.body(())?)
    }
}

fn read(
    exchange: &Exchange,
    response: Response<Body>,
    deadline: Deadline,
) -> Result<Original, Failure> {
    let (head, body) = response.into_parts();
    let headers = &head.headers;
    let (etag, last_modified) = validators(headers);
    let max = MaxBytes::of_original(exchange.limits);
    let bytes = exchange.read_body(headers, body, max, deadline)?;
    let bounds = Bounds { max_bytes: max.bytes, deadline: deadline.at };
    let bytes = content_coding::decode(bytes, headers, bounds)
        .map_err(|(code, problem)| exchange.failure(code, problem))?;
    let cache_control = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let cache_control = cache_control.and_then(CacheControl::parse);
    Ok(Original { bytes, etag, last_modified, cache_control, origin: None })
}

/// The entity tag and the `Last-Modified` of a response. Without an entity tag, one that stands for the date.
fn validators(headers: &HeaderMap) -> (Option<String>, Option<SystemTime>) {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let date = |name| text(name).and_then(|date| httpdate::parse_http_date(date).ok());
    let last_modified = date(header::LAST_MODIFIED);
    let is_usable = |etag: &&str| is_entity_tag(etag) && !etag.starts_with(LAST_MODIFIED);
    let etag = text(header::ETAG).filter(is_usable).map(str::to_owned);
    let of_date = || {
        let (modified, sent) = (last_modified?, date(header::DATE)?);
        // RFC 9110 §8.8.2.2: otherwise it may have changed again within the same second.
        (sent >= modified.checked_add(Duration::from_secs(1))?).then(|| etag_of(modified)).flatten()
    };
    (etag.or_else(of_date), last_modified)
}

fn etag_of(date: SystemTime) -> Option<String> {
    let seconds = date.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(format!("{LAST_MODIFIED}{seconds}\""))
}

/// The date that an entity tag stands for.
fn date_of(etag: &str) -> Option<SystemTime> {
    let seconds = etag.strip_prefix(LAST_MODIFIED)?.strip_suffix('"')?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).filter(|_| seconds <= MAX_DATE)
}

/// The failure for a response that has no original.
fn refused(exchange: &Exchange, response: Response<Body>) -> Failure {
    let status = response.status();
    drain(response);
    let answered = format!("the server answered {}", status.as_u16());
    let path = exchange.json_path;
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => exchange.failure(Code::NotFound, answered),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let advice = format!("{answered}: check {path}.headers.Authorization");
            exchange.failure(Code::OriginError, advice)
        }
        status if status.is_server_error() => {
            exchange.failure(Code::OriginError, format!("{answered} twice"))
        }
        _ => exchange.failure(Code::OriginError, answered),
    }
}

/// A key at a server, for failures.
struct Subject<'s> {
    config: &'s Http,
    key: &'s str,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?} at {}", self.key, self.config.base())
    }
}

#[cfg(test)]
mod tests;
