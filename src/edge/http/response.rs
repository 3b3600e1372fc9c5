//! A response, and the formatting of its head.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cache::{EncodedImage, EntryBody};
use crate::media_type::MediaType;

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub body: Body,
    /// Header fields that were formatted for an earlier response.
    template: Option<Arc<str>>,
    /// In place of the policy in [`SECURITY_FIELDS`].
    policy: Option<&'static str>,
    /// Formatted header fields, except those that every response has.
    fields: String,
}

#[derive(Clone, Debug)]
pub enum Body {
    /// No body and no `Content-Length` (204, 304).
    None,
    Text(String),
    /// A range of an image's bytes.
    EncodedImage(Arc<EncodedImage>, Range<usize>),
    /// A range of an entry on disk, which is read while it is sent.
    Entry(Arc<EntryBody>, Range<u64>),
    /// `Content-Length` alone, for HEAD.
    Length(u64),
}

impl Body {
    /// The bytes to send after the head, unless the method is HEAD, of a body that is in memory.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::None | Body::Length(_) | Body::Entry(..) => &[],
            Body::Text(text) => text.as_bytes(),
            Body::EncodedImage(image, range) => image.bytes.get(range.clone()).unwrap_or_default(),
        }
    }

    /// The number of bytes to send after the head, unless the method is HEAD.
    pub fn length(&self) -> usize {
        match self {
            Body::Entry(_, range) => {
                usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
            }
            other => other.bytes().len(),
        }
    }

    /// The type and the length of the whole variant that it is of.
    pub fn variant(&self) -> Option<(MediaType, u64)> {
        match self {
            Body::EncodedImage(image, _) => Some((image.media_type, image.bytes.len() as u64)),
            Body::Entry(entry, _) => Some((entry.media_type(), entry.length())),
            Body::None | Body::Text(_) | Body::Length(_) => None,
        }
    }

    fn content_length(&self) -> Option<u64> {
        match self {
            Body::None => None,
            Body::Length(length) => Some(*length),
            Body::Entry(_, range) => Some(range.end.saturating_sub(range.start)),
            other => Some(other.bytes().len() as u64),
        }
    }
}

/// The parts of a head that depend on the request and its connection.
#[derive(Clone, Copy, Debug)]
pub struct HeadOptions<'r> {
    /// The value of `X-Request-Id`; `None` if no request was read.
    pub request_id: Option<&'r str>,
    /// Whether the request is HTTP/1.0.
    pub is_http_10: bool,
    pub keep_alive: bool,
    /// The `max-age` of `Strict-Transport-Security` in seconds (RFC 6797 §6.1).
    pub hsts: Option<u64>,
}

/// Fields of every response, after the line before them. Whatever it holds, a response opened as a document runs and
/// loads nothing. Inline styles are allowed: they can't load anything either, and Chromium centres an image opened as a
/// document with them.
const SECURITY_FIELDS: &str = "\r\nX-Content-Type-Options: nosniff\r\n\
    Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; sandbox\r\n";

impl Response {
    pub fn new(status: u16, body: Body) -> Response {
        Response { status, body, template: None, policy: None, fields: String::new() }
    }

    /// A response that starts with fields from [`Response::into_template`].
    pub fn with_template(status: u16, body: Body, template: &Arc<str>) -> Response {
        Response { template: Some(Arc::clone(template)), ..Response::new(status, body) }
    }

    /// With another `Content-Security-Policy`, for a document of the server's own.
    #[must_use]
    pub fn with_policy(self, policy: &'static str) -> Response {
        Response { policy: Some(policy), ..self }
    }

    /// A message in plain text that must not be cached.
    pub fn text(status: u16, message: &str) -> Response {
        Response::new(status, Body::Text(format!("{message}\n")))
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Cache-Control", "no-store")
    }

    /// Adds a header field. A field whose value contains CR, LF or NUL is dropped, so that a client can't inject fields
    /// into a response.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Response {
        debug_assert!(!value.contains(['\r', '\n', '\0']), "{name} carries a line break");
        if !value.contains(['\r', '\n', '\0']) {
            if self.fields.capacity() == 0 {
                self.fields.reserve(320);
            }
            for part in [name, ": ", value, "\r\n"] {
                self.fields.push_str(part);
            }
        }
        self
    }

    /// The fields that [`Response::with`] has added, for later responses.
    pub fn into_template(self) -> Arc<str> {
        self.fields.into()
    }

    /// Appends the status line and every header field to `head`.
    pub fn write_head(
        &self,
        head: &mut String,
        date: &mut Date,
        now: SystemTime,
        options: HeadOptions,
    ) {
        head.push_str("HTTP/1.1 ");
        // Writing to a String can't fail.
        let _ = write!(head, "{}", self.status);
        for part in
            [" ", reason(self.status), "\r\nServer: s3imageserver\r\nDate: ", date.text(now)]
        {
            head.push_str(part);
        }
        match self.policy {
            None => head.push_str(SECURITY_FIELDS),
            Some(policy) => {
                const NAMES: &str =
                    "\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: ";
                [NAMES, policy, "\r\n"].into_iter().for_each(|part| head.push_str(part));
            }
        }
        if let Some(id) = options.request_id {
            for part in ["X-Request-Id: ", id, "\r\n"] {
                head.push_str(part);
            }
        }
        if let Some(seconds) = options.hsts {
            let _ = write!(head, "Strict-Transport-Security: max-age={seconds}\r\n");
        }
        if let Some(template) = &self.template {
            head.push_str(template);
        }
        head.push_str(&self.fields);
        if let Some(length) = self.body.content_length() {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        match (options.is_http_10, options.keep_alive) {
            (_, false) => head.push_str("Connection: close\r\n"),
            (true, true) => head.push_str("Connection: keep-alive\r\n"),
            (false, true) => {}
        }
        head.push_str("\r\n");
    }
}

/// Caches the value of `Date` for a second.
#[derive(Debug, Default)]
pub struct Date {
    second: Option<u64>,
    text: String,
}

impl Date {
    fn text(&mut self, now: SystemTime) -> &str {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            let _ = write!(self.text, "{}", httpdate::HttpDate::from(now));
        }
        &self.text
    }
}

/// The reason phrase, which clients ignore (RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(response: &Response, is_http_10: bool, keep_alive: bool, hsts: Option<u64>) -> String {
        let mut head = String::new();
        let options = HeadOptions { request_id: Some("one"), is_http_10, keep_alive, hsts };
        response.write_head(&mut head, &mut Date::default(), SystemTime::now(), options);
        head
    }

    #[test]
    fn each_status_has_a_counter() {
        let known = (100..600).filter(|status| !reason(*status).is_empty());
        let mut counted = crate::metrics::STATUSES;
        counted.sort_unstable();
        assert_eq!(known.collect::<Vec<_>>(), counted);
    }

    #[test]
    fn response_head_is_complete() {
        let head = head(&Response::text(400, "no").with("X-Error", "x"), false, true, None);
        assert!(
            head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nContent-Length: 3\r\n") && head.contains("\r\nX-Error: x\r\n"),
            "{head}"
        );
        assert!(!head.contains("Connection") && !head.contains("Strict"), "{head}");
        assert!(head.contains("\r\nX-Request-Id: one\r\n"), "{head}");
        assert!(head.contains(SECURITY_FIELDS), "{head}");
    }

    #[test]
    fn response_head_has_the_connection_field_of_its_version() {
        let head = |is_http_10, keep_alive| {
            head(&Response::new(304, Body::None), is_http_10, keep_alive, Some(9))
        };
        assert!(head(false, false).contains("\r\nConnection: close\r\n"));
        assert!(head(true, true).contains("\r\nConnection: keep-alive\r\n"));
        assert!(!head(false, true).contains("Content-Length"), "a 304 has no Content-Length");
        assert!(head(false, true).contains("\r\nStrict-Transport-Security: max-age=9\r\n"));
    }

    #[test]
    fn date_field_is_the_current_time() {
        let mut date = Date::default();
        let time = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (seconds, expected) in [(0, "00:00:00"), (0, "00:00:00"), (61, "00:01:01")] {
            assert_eq!(date.text(time(seconds)), format!("Thu, 01 Jan 1970 {expected} GMT"));
        }
    }
}
