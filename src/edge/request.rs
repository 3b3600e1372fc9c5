//! The head of a request (RFC 9112), read strictly.

use httparse::{Error as ParseError, Header, Status};

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
    /// Everything else, which is answered 405.
    Other,
}

/// A request that may be answered.
#[derive(Debug)]
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
    fields: Vec<(&'b str, &'b str)>,
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
#[derive(Debug)]
pub enum Head<'b> {
    /// Not yet a whole head.
    Partial,
    /// A head and its length in bytes.
    Whole(Request<'b>, usize),
}

const fn refuse(status: u16, sentence: &'static str) -> Refusal {
    Refusal { status, sentence }
}

/// Reads the head at the start of `buffer`.
pub fn parse(buffer: &[u8]) -> Result<Head<'_>, Refusal> {
    if !ends_somewhere(buffer) {
        return if buffer.len() >= LONGEST_HEAD { Err(too_long(buffer)) } else { Ok(Head::Partial) };
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(buffer) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if buffer.len() >= LONGEST_HEAD => return Err(too_long(buffer)),
        Ok(Status::Partial) => return Ok(Head::Partial),
        Err(ParseError::TooManyHeaders) => return Err(refuse(431, "the request has too many header fields")),
        Err(ParseError::Version) if names_a_version(buffer) => {
            return Err(refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"));
        }
        Err(_) => return Err(refuse(400, "the request is not HTTP")),
    };
    if length > LONGEST_HEAD {
        return Err(too_long(buffer));
    }
    // RFC 9112 §2.2 lets a lenient reader take a bare LF for a line's end; two readers that differ on it can be
    // played against each other.
    if has_bare_line_feed(&buffer[..length]) {
        return Err(refuse(400, "a line of the request does not end with CR LF"));
    }
    let (Some(method_name), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(refuse(400, "the request is not HTTP"));
    };
    let fields = text_fields(parsed.headers)?;
    let request = Request {
        method: match method_name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        },
        method_name,
        target: origin_form(target),
        host: "",
        keep_alive: false,
        is_http_10: version == 0,
        fields,
    };
    check(request).map(|request| Head::Whole(request, length))
}

fn check(mut request: Request) -> Result<Request, Refusal> {
    // RFC 9112 §3.2: required and single.
    request.host = match request.all("host").collect::<Vec<_>>()[..] {
        [host] => host,
        [] if request.is_http_10 => "",
        [] => return Err(refuse(400, "the request has no Host field")),
        _ => return Err(refuse(400, "the request has more than one Host field")),
    };
    if request.all("transfer-encoding").next().is_some() {
        return Err(refuse(413, "a request must not have a body"));
    }
    for value in request.all("content-length") {
        // RFC 9110 §8.6: digits only.
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse(400, "Content-Length is not a number"));
        }
        if value.bytes().any(|byte| byte != b'0') {
            return Err(refuse(413, "a request must not have a body"));
        }
    }
    // §3.2.4: `OPTIONS *` is a request like another, to be told that its method is not answered.
    let is_for_the_server = request.target == "*" && request.method_name == "OPTIONS";
    if !request.target.starts_with('/') && !is_for_the_server {
        return Err(refuse(400, "the request target is not a path"));
    }
    if request.path().len() > LONGEST_PATH {
        return Err(refuse(414, "the path is longer than 4096 bytes"));
    }
    request.keep_alive = match request.is_http_10 {
        true => request.has_connection_option("keep-alive"),
        false => !request.has_connection_option("close"),
    };
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

    /// Every value of a field; `name` in lower case.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &'b str> + '_ {
        self.fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
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

    fn has_connection_option(&self, option: &str) -> bool {
        self.all("connection")
            .flat_map(|value| value.split(','))
            .any(|o| o.trim().eq_ignore_ascii_case(option))
    }
}

/// Whether an empty line is anywhere in the buffer; only then is it worth parsing.
fn ends_somewhere(buffer: &[u8]) -> bool {
    let line_feeds = buffer.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    line_feeds.into_iter().any(|(at, _)| matches!(buffer[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
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

fn has_bare_line_feed(head: &[u8]) -> bool {
    head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'))
}

/// 414 when it is the request line that does not end, else 431.
fn too_long(buffer: &[u8]) -> Refusal {
    match buffer.iter().position(|byte| *byte == b'\n') {
        None => refuse(414, "the request line is too long"),
        Some(_) => refuse(431, "the head of the request is longer than 16384 bytes"),
    }
}

fn text_fields<'b>(headers: &[Header<'b>]) -> Result<Vec<(&'b str, &'b str)>, Refusal> {
    let mut fields = Vec::with_capacity(headers.len());
    for header in headers {
        // A value outside of UTF-8 is nothing that we act on, except in Host, where an empty one is refused later.
        fields.push((header.name, std::str::from_utf8(header.value).unwrap_or_default().trim()));
    }
    Ok(fields)
}

/// RFC 9112 §3.2.2: a server accepts the absolute form as well.
fn origin_form(target: &str) -> &str {
    let lower = target.get(..8).unwrap_or(target).to_ascii_lowercase();
    let authority = if lower.starts_with("http://") {
        &target[7..]
    } else if lower.starts_with("https://") {
        &target[8..]
    } else {
        return target;
    };
    authority.find('/').map_or("/", |slash| &authority[slash..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        match parse(head.as_bytes()) {
            Ok(Head::Whole(..)) => 200,
            Ok(Head::Partial) => 0,
            Err(refusal) => refusal.status,
        }
    }

    #[test]
    fn a_request_is_read() {
        let bytes = b"GET /h/a%20b?w=1 HTTP/1.1\r\nHost: x\r\nAccept: a\r\naccept: b\r\n\r\nGET";
        let Ok(Head::Whole(request, length)) = parse(bytes) else { panic!("not whole") };
        assert_eq!((request.path(), request.query(), request.host), ("/h/a%20b", "w=1", "x"));
        assert_eq!(request.list("accept").as_deref(), Some("a, b"));
        assert!(request.keep_alive && request.method == Method::Get);
        assert_eq!(&bytes[length..], b"GET");
    }

    #[test]
    fn every_prefix_of_a_request_is_partial() {
        let bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..end]), Ok(Head::Partial)), "{end}");
        }
    }

    #[test]
    fn connections_are_kept_as_the_version_says() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            let Ok(Head::Whole(request, _)) = parse(head.as_bytes()) else { panic!("{head}") };
            assert_eq!(request.keep_alive, expected, "{head}");
        }
    }

    #[test]
    fn absolute_form_is_accepted() {
        for (target, expected) in [
            ("http://x/a?b", "/a?b"),
            ("HTTPS://x:1/a", "/a"),
            ("http://x", "/"),
            ("/http://x/", "/http://x/"),
        ] {
            assert_eq!(origin_form(target), expected);
        }
        assert_eq!(status("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
        assert_eq!(status("GET * HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    }

    #[test]
    fn hostile_heads_are_refused() {
        for (head, expected) in [
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
            ("GET / HTTP/x\r\nHost: x\r\n\r\n", 400),
            ("GET / a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: x\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000000000000000\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200),
            ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("nonsense\r\n\r\n", 400),
        ] {
            assert_eq!(status(head), expected, "{head:?}");
        }
    }

    #[test]
    fn long_heads_are_refused_with_what_is_too_long() {
        let path = "p".repeat(LONGEST_PATH);
        assert_eq!(status(&format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n")), 414);
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")), 400);
        assert_eq!(status(&format!("GET /?{path} HTTP/1.1\r\nHost: x\r\n\r\n")), 200);
        assert_eq!(status(&format!("GET /{}", "p".repeat(LONGEST_HEAD))), 414);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(LONGEST_HEAD))), 431);
        let fields = "A: b\r\n".repeat(MOST_FIELDS + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")), 431);
    }
}
