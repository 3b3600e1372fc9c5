//! The head of a request (RFC 9112), read strictly.

mod authority;

use std::io::BufRead as _;
use std::mem::MaybeUninit;

use httparse::{Error as ParseError, Status};

/// The longest head: request line and fields together.
pub const LONGEST_HEAD: usize = 16 << 10;
/// The longest path, without the query.
pub const LONGEST_PATH: usize = 4 << 10;
const MOST_FIELDS: usize = 100;

/// What a request asks to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`, which only the admin listener answers.
    Post,
    /// `DELETE`, which only the admin listener answers.
    Delete,
    /// Everything else, which is answered 405.
    Other,
}

/// A request that may be answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'b> {
    /// The method.
    pub method: Method,
    /// The method's name, for the log.
    pub method_name: &'b str,
    /// Path and query as they were sent, in origin form.
    pub target: &'b str,
    /// The value of `Host`; empty when an HTTP/1.0 request has none.
    pub host: &'b str,
    /// Whether the client will send another request on this connection.
    pub keep_alive: bool,
    /// Whether the request says HTTP/1.0.
    pub is_http_10: bool,
    fields: Vec<(&'b str, &'b [u8])>,
}

/// Why a connection gets an error and is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The sentence for the client.
    pub sentence: &'static str,
}

/// What a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Head<'b> {
    /// Not yet a whole head.
    Partial,
    /// A head and its length in bytes.
    Whole(Request<'b>, usize),
}

const NOT_HTTP: Refusal = refuse(400, "the request is not HTTP");
const BARE: Refusal = refuse(400, "a line of the request does not end with CR LF");

const fn refuse(status: u16, sentence: &'static str) -> Refusal {
    Refusal { status, sentence }
}

/// Reads the head at the start of `buffer`. What it finds depends on nothing behind the head, and on no more than
/// the first [`LONGEST_HEAD`] bytes.
pub fn parse(buffer: &[u8]) -> Result<Head<'_>, Refusal> {
    let within = &buffer[..buffer.len().min(LONGEST_HEAD)];
    let skipped = empty_lines(within);
    let head = &within[skipped..];
    if matches!(head, [b'\n', ..] | [b'\r', _, ..]) {
        return Err(BARE);
    }
    if !ends_somewhere(head) {
        return if within.len() == LONGEST_HEAD { Err(too_long(head)) } else { Ok(Head::Partial) };
    }
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Err(ParseError::TooManyHeaders) => {
            return Err(refuse(431, "the request has too many header fields"));
        }
        Err(ParseError::Version) if names_a_version(head) => {
            return Err(refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"));
        }
        // More bytes would make nothing better: the head has an end.
        Ok(Status::Partial) | Err(_) => return Err(NOT_HTTP),
    };
    // RFC 9112 §2.2 lets a lenient reader take a bare LF for a line's end; two readers that differ on it can be
    // played against each other.
    if has_bare_line_feed(&head[..length]) {
        return Err(BARE);
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
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            _ => Method::Other,
        },
        method_name,
        target,
        host: "",
        keep_alive: false,
        is_http_10: version == 0,
        fields: parsed.headers.iter().map(|field| (field.name, field.value)).collect(),
    };
    let request = with_target(with_fields(request)?)?;
    Ok(Head::Whole(request, skipped + length))
}

/// Acts on the fields that say where a request goes and where it ends.
fn with_fields(mut request: Request) -> Result<Request, Refusal> {
    let (mut host, mut has_length, mut close, mut keep_alive) = (None, false, false, false);
    for &(name, value) in &request.fields {
        if name.eq_ignore_ascii_case("host") {
            let Some(value) = authority::host_field(value) else {
                return Err(refuse(400, "the Host field is not a host name"));
            };
            if host.replace(value).is_some() {
                return Err(refuse(400, "the request has more than one Host field"));
            }
        } else if name.eq_ignore_ascii_case("connection") {
            close |= has_option(value, "close");
            keep_alive |= has_option(value, "keep-alive");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(refuse(413, "a request must not have a body"));
        } else if name.eq_ignore_ascii_case("content-length") {
            check_length(value)?;
            // RFC 9110 §8.6: a second one may be refused, even when it says the same.
            if std::mem::replace(&mut has_length, true) {
                return Err(refuse(400, "the request has more than one Content-Length field"));
            }
        }
    }
    // RFC 9112 §3.2: required.
    request.host = match host {
        Some(host) => host,
        None if request.is_http_10 => "",
        None => return Err(refuse(400, "the request has no Host field")),
    };
    // §9.3
    request.keep_alive = !close && (keep_alive || !request.is_http_10);
    Ok(request)
}

/// No image is asked for with a body; a length of nothing is let pass (RFC 9110 §8.6: digits only).
fn check_length(value: &[u8]) -> Result<(), Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(refuse(400, "Content-Length is not a number"));
    }
    if value.iter().any(|digit| *digit != b'0') {
        return Err(refuse(413, "a request must not have a body"));
    }
    Ok(())
}

fn with_target(mut request: Request) -> Result<Request, Refusal> {
    // A fragment is never sent (RFC 9110 §7.1). Some servers cut it off and others take it for a part of the path.
    if request.target.as_bytes().contains(&b'#') {
        return Err(refuse(400, "a # in the request target must be written as %23"));
    }
    if !request.target.starts_with('/')
        && let Some((authority, target)) = authority::split(request.target)
    {
        // §3.2.2: a server accepts the absolute form as well, and whatever `Host` says besides counts for nothing.
        let Some(host) = authority::authority(authority.as_bytes()) else {
            return Err(refuse(400, "the request target does not name a host"));
        };
        (request.host, request.target) = (host, target);
    }
    // §3.2.4: `OPTIONS *` is a request like another, to be told that its method is not answered.
    let is_for_the_server = request.target == "*" && request.method_name == "OPTIONS";
    if !request.target.starts_with('/') && !is_for_the_server {
        return Err(refuse(400, "the request target is not a path"));
    }
    if request.path().len() > LONGEST_PATH {
        return Err(refuse(414, "the path is longer than 4096 bytes"));
    }
    Ok(request)
}

impl<'b> Request<'b> {
    /// The target up to its `?`.
    pub fn path(&self) -> &'b str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The target after its `?`; empty when there is none.
    pub fn query(&self) -> &'b str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Every value of a field; `name` in lower case. One that is not UTF-8 is as good as empty.
    pub fn all(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &'b str> + '_ {
        self.raw(name).map(|value| std::str::from_utf8(value).unwrap_or_default())
    }

    /// Every value of a field as it was sent, without the white space around it.
    pub fn raw(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &'b [u8]> + '_ {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The values of a list-valued field as one list (RFC 9110 §5.3); `None` when the field is absent.
    pub fn list(&self, name: &'static str) -> Option<String> {
        let mut values = self.all(name);
        let mut list = values.next()?.to_owned();
        for value in values {
            list.push_str(", ");
            list.push_str(value);
        }
        Some(list)
    }
}

/// Whether a list of options has this one (RFC 9110 §7.6.1).
fn has_option(list: &[u8], option: &str) -> bool {
    list.split(|byte| *byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// RFC 9112 §2.2: empty lines before a request line are skipped. How many bytes they take.
fn empty_lines(buffer: &[u8]) -> usize {
    buffer.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// Whether an empty line is anywhere in the buffer; only then is it worth parsing.
fn ends_somewhere(buffer: &[u8]) -> bool {
    // Most of the time the buffer holds one request and nothing else.
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

/// Whether the request line is of three parts, the last of them a version (RFC 9112 §3), whichever.
fn names_a_version(buffer: &[u8]) -> bool {
    let line = buffer.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').take(4).collect();
    let [_, _, version] = parts[..] else { return false };
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// Whether a line ends with LF alone; looks at all of it, as [`ends_somewhere`] does.
fn has_bare_line_feed(head: &[u8]) -> bool {
    let second = head.get(1..).unwrap_or_default();
    head.iter().zip(second).fold(false, |found, (a, b)| found | (*b == b'\n' && *a != b'\r'))
}

/// 414 when it is the request line that does not end, else 431.
fn too_long(buffer: &[u8]) -> Refusal {
    match buffer.iter().position(|byte| *byte == b'\n') {
        None => refuse(414, "the request line is too long"),
        Some(_) => refuse(431, "the head of the request is longer than 16384 bytes"),
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
