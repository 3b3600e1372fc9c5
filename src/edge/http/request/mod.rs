//! A strict parser of request heads (RFC 9112).

mod authority;

use std::borrow::Cow;
use std::io::BufRead as _;
use std::mem::MaybeUninit;

use httparse::{Error as ParseError, Status};

/// Maximum length of a head: request line and fields together.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
/// Maximum length of a path, without the query.
pub const MAX_PATH_BYTES: usize = 4 << 10;
/// Maximum length of a body, where one is allowed.
pub const MAX_BODY_BYTES: usize = 256 << 10;
const MAX_FIELDS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    /// Only the health check allows it.
    Options,
    /// Only the admin listener allows it.
    Post,
    /// Only the admin listener allows it.
    Delete,
    /// Any other method, answered with 405.
    Other,
}

/// The head of a valid request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'b> {
    pub method: Method,
    /// The method as sent, for the access log.
    pub method_name: &'b str,
    /// Path and query as sent, in origin form.
    pub target: &'b str,
    /// The value of `Host`; empty if an HTTP/1.0 request has none.
    pub host: &'b str,
    /// Whether the client wants to keep the connection open.
    pub keep_alive: bool,
    pub is_http_10: bool,
    /// The length of the body in bytes, at most [`MAX_BODY_BYTES`]; 0 without one.
    pub body_length: usize,
    fields: Vec<(&'b str, &'b [u8])>,
}

/// An invalid request: its response, after which the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestError {
    pub status: u16,
    pub message: &'static str,
}

/// The head at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Head<'b> {
    /// More bytes are needed.
    Partial,
    /// A head and its length in bytes.
    Complete(Request<'b>, usize),
}

const NOT_HTTP: RequestError = error(400, "the request is not HTTP");
const BARE_LINE_FEED: RequestError = error(400, "a line of the request does not end with CR LF");
const NO_BODY: RequestError = error(413, "a request must not have a body");

const fn error(status: u16, message: &'static str) -> RequestError {
    RequestError { status, message }
}

/// Parses the head at the start of `buffer`. Bytes after the head, and after the first [`MAX_HEAD_BYTES`], make no
/// difference. A request with a body is refused.
pub fn parse(buffer: &[u8]) -> Result<Head<'_>, RequestError> {
    parse_head(buffer, None)
}

/// [`parse`], except that a POST to `body_path` may have a body with a `Content-Length`.
pub fn parse_with_body<'b>(buffer: &'b [u8], body_path: &str) -> Result<Head<'b>, RequestError> {
    parse_head(buffer, Some(body_path))
}

fn parse_head<'b>(buffer: &'b [u8], body_path: Option<&str>) -> Result<Head<'b>, RequestError> {
    let within = &buffer[..buffer.len().min(MAX_HEAD_BYTES)];
    let skipped = empty_lines(within);
    let head = &within[skipped..];
    if matches!(head, [b'\n', ..] | [b'\r', _, ..]) {
        return Err(BARE_LINE_FEED);
    }
    if !has_empty_line(head) {
        return if within.len() == MAX_HEAD_BYTES {
            Err(too_long(head))
        } else {
            Ok(Head::Partial)
        };
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Err(ParseError::TooManyHeaders) => {
            return Err(error(431, "the request has too many header fields"));
        }
        Err(ParseError::Version) if has_version(head) => {
            return Err(error(505, "only HTTP/1.0 and HTTP/1.1 are supported"));
        }
        // Partial is an error too, because the head has ended.
        Ok(Status::Partial) | Err(_) => return Err(NOT_HTTP),
    };
    // RFC 9112 §2.2 lets a parser accept a bare LF as the end of a line; parsers that differ on it allow request
    // smuggling.
    if has_bare_line_feed(&head[..length]) {
        return Err(BARE_LINE_FEED);
    }
    let (Some(method_name), Some(target), Some(version)) =
        (parsed.method, parsed.path, parsed.version)
    else {
        return Err(NOT_HTTP);
    };
    let request = Request {
        method: match method_name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "OPTIONS" => Method::Options,
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            _ => Method::Other,
        },
        method_name,
        target,
        host: "",
        keep_alive: false,
        is_http_10: version == 0,
        body_length: 0,
        fields: parsed.headers.iter().map(|field| (field.name, field.value)).collect(),
    };
    let (request, body) = check_fields(request, body_path.is_some())?;
    let mut request = check_target(request)?;
    request.body_length = check_body(&request, body, body_path)?;
    Ok(Head::Complete(request, skipped + length))
}

/// The body that a request announces (RFC 9112 §6.3).
#[derive(Clone, Copy)]
enum Body {
    None,
    Length(u64),
    /// With `Transfer-Encoding`.
    Chunked,
}

/// Checks the fields that tell the host and the end of a request, and sets `host` and `keep_alive`. With
/// `allows_body`, a body is left to [`check_body`].
fn check_fields(mut request: Request, allows_body: bool) -> Result<(Request, Body), RequestError> {
    let mut host = None;
    let mut has_length = false;
    let mut body = Body::None;
    let mut close = false;
    let mut keep_alive = false;
    for &(name, value) in &request.fields {
        if name.eq_ignore_ascii_case("host") {
            let Some(value) = authority::host_field(value) else {
                return Err(error(400, "the Host field is not a host name"));
            };
            if host.replace(value).is_some() {
                return Err(error(400, "the request has more than one Host field"));
            }
        } else if name.eq_ignore_ascii_case("connection") {
            close |= has_option(value, "close");
            keep_alive |= has_option(value, "keep-alive");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !allows_body {
                return Err(NO_BODY);
            }
            body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(value)?;
            if length > 0 && !allows_body {
                return Err(NO_BODY);
            }
            // RFC 9110 §8.6 allows refusing a second one even if it is equal.
            if std::mem::replace(&mut has_length, true) {
                return Err(error(400, "the request has more than one Content-Length field"));
            }
            if matches!(body, Body::None) && length > 0 {
                body = Body::Length(length);
            }
        }
    }
    // RFC 9112 §6.1: parsers that differ on which one applies allow request smuggling.
    if has_length && matches!(body, Body::Chunked) {
        return Err(error(400, "the request has both Content-Length and Transfer-Encoding"));
    }
    // RFC 9112 §3.2: required.
    request.host = match host {
        Some(host) => host,
        None if request.is_http_10 => "",
        None => return Err(error(400, "the request has no Host field")),
    };
    // §9.3
    request.keep_alive = !close && (keep_alive || !request.is_http_10);
    Ok((request, body))
}

/// A `Content-Length` (RFC 9110 §8.6: digits only), clamped to the range of `u64`.
fn parse_length(value: &[u8]) -> Result<u64, RequestError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(error(400, "Content-Length is not a number"));
    }
    let digit = |digit: &u8| u64::from(digit - b'0');
    Ok(value
        .iter()
        .map(digit)
        .fold(0, |length: u64, digit| length.saturating_mul(10).saturating_add(digit)))
}

/// The length of the body of a request; an error if it may have none, or not this one.
fn check_body(
    request: &Request,
    body: Body,
    body_path: Option<&str>,
) -> Result<usize, RequestError> {
    let is_allowed = request.method == Method::Post && body_path == Some(request.path());
    match body {
        Body::None => Ok(0),
        _ if !is_allowed => Err(NO_BODY),
        Body::Chunked => Err(error(411, "a body must have a Content-Length")),
        Body::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= MAX_BODY_BYTES => Ok(length),
            _ => Err(error(413, "the body is longer than 262144 bytes")),
        },
    }
}

/// Checks the target, and converts the absolute form to the origin form.
fn check_target(mut request: Request) -> Result<Request, RequestError> {
    // Clients must not send a fragment (RFC 9110 §7.1). Some servers cut it off, others treat it as part of the path.
    if request.target.as_bytes().contains(&b'#') {
        return Err(error(400, "a # in the request target must be written as %23"));
    }
    if !request.target.starts_with('/')
        && let Some((authority, target)) = authority::split(request.target)
    {
        // §3.2.2: a server must accept the absolute form, and ignore `Host` then.
        let Some(host) = authority::authority(authority.as_bytes()) else {
            return Err(error(400, "the request target does not name a host"));
        };
        request.host = host;
        request.target = target;
    }
    // §3.2.4: `OPTIONS *` is valid, and is answered with 405.
    let is_asterisk_form = request.target == "*" && request.method == Method::Options;
    if !request.target.starts_with('/') && !is_asterisk_form {
        return Err(error(400, "the request target is not a path"));
    }
    if request.path().len() > MAX_PATH_BYTES {
        return Err(error(414, "the path is longer than 4096 bytes"));
    }
    Ok(request)
}

impl<'b> Request<'b> {
    /// The target before its `?`.
    pub fn path(&self) -> &'b str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The target after its `?`; empty if there is none.
    pub fn query(&self) -> &'b str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Every value of a field; empty if it is not UTF-8.
    pub fn all(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &'b str> + '_ {
        self.raw(name).map(|value| std::str::from_utf8(value).unwrap_or_default())
    }

    /// Every value of a field, without surrounding white space.
    pub fn raw(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &'b [u8]> + '_ {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The values of a list-valued field, joined (RFC 9110 §5.3); `None` if the field is absent.
    pub fn list(&self, name: &'static str) -> Option<Cow<'b, str>> {
        let mut values = self.all(name);
        let mut list = Cow::Borrowed(values.next()?);
        for value in values {
            let list = list.to_mut();
            list.push_str(", ");
            list.push_str(value);
        }
        Some(list)
    }
}

/// Whether a list of connection options contains `option` (RFC 9110 §7.6.1).
fn has_option(list: &[u8], option: &str) -> bool {
    list.split(|byte| *byte == b',')
        .any(|entry| entry.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// The length of the empty lines before a request line, which are skipped (RFC 9112 §2.2).
fn empty_lines(buffer: &[u8]) -> usize {
    buffer.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// Whether the buffer contains an empty line; parsing is pointless before.
fn has_empty_line(buffer: &[u8]) -> bool {
    // Usually the buffer holds exactly one request.
    if buffer.ends_with(b"\r\n\r\n") {
        return true;
    }
    let mut lines = buffer;
    while lines.skip_until(b'\n').is_ok_and(|skipped| skipped > 0) {
        if matches!(lines, [b'\n', ..] | [b'\r', b'\n', ..]) {
            return true;
        }
    }
    false
}

/// Whether the request line has three parts, the last of which is an HTTP version (RFC 9112 §3).
fn has_version(buffer: &[u8]) -> bool {
    let line = buffer.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').take(4).collect();
    let [_, _, version] = parts[..] else { return false };
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// Whether a line ends with LF alone. A fold instead of `any`, so that the loop has no branch.
fn has_bare_line_feed(head: &[u8]) -> bool {
    let second = head.get(1..).unwrap_or_default();
    head.iter().zip(second).fold(false, |found, (a, b)| found | (*b == b'\n' && *a != b'\r'))
}

/// 414 if the request line is too long, otherwise 431.
fn too_long(buffer: &[u8]) -> RequestError {
    match buffer.iter().position(|byte| *byte == b'\n') {
        None => error(414, "the request line is too long"),
        Some(_) => error(431, "the head of the request is longer than 16384 bytes"),
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
