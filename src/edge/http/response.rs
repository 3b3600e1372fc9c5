//! An answer and the bytes of its head.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cache::EncodedImage;
use crate::edge::variants::memory_cache::CachedResponse;

/// An answer to one request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// What follows the head.
    pub body: Body,
    /// Header fields that were written when the image came into memory.
    ready: Option<Arc<CachedResponse>>,
    /// The header fields besides those that every answer has, as they are written.
    fields: String,
}

/// What follows the head.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing, and nothing is announced (304).
    None,
    /// A sentence.
    Text(String),
    /// An image, or a part of one.
    EncodedImage(Arc<EncodedImage>, Range<usize>),
    /// The length of an image whose bytes are not needed (HEAD).
    Length(u64),
}

impl Body {
    /// The bytes that follow the head when the method is not HEAD.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::None | Body::Length(_) => &[],
            Body::Text(text) => text.as_bytes(),
            Body::EncodedImage(image, range) => image.bytes.get(range.clone()).unwrap_or_default(),
        }
    }

    fn announced(&self) -> Option<u64> {
        match self {
            Body::None => None,
            Body::Length(length) => Some(*length),
            other => Some(other.bytes().len() as u64),
        }
    }
}

/// What the head of an answer says about the connection.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The request said HTTP/1.0.
    pub is_http_10: bool,
    /// Another request may follow.
    pub keep_alive: bool,
    /// `Strict-Transport-Security`: its `max-age` in seconds (RFC 6797 §6.1).
    pub hsts: Option<u64>,
}

impl Response {
    /// An answer without header fields of its own.
    pub fn new(status: u16, body: Body) -> Response {
        Response { status, body, ready: None, fields: String::new() }
    }

    /// An image from memory, or that it has not changed.
    pub fn from_cached(status: u16, cached: &Arc<CachedResponse>) -> Response {
        let body = match status {
            304 => Body::None,
            _ => Body::EncodedImage(Arc::clone(&cached.image), 0..cached.image.bytes.len()),
        };
        Response { status, body, ready: Some(Arc::clone(cached)), fields: String::new() }
    }

    /// A plain sentence.
    pub fn text(status: u16, sentence: &str) -> Response {
        Response::new(status, Body::Text(format!("{sentence}\n")))
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Cache-Control", "no-store")
    }

    /// Adds a header field. A value that could end the line is left out: nothing that a client sent may write
    /// fields of its own into an answer.
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

    /// The fields that [`Response::with`] has added, for keeping.
    pub fn into_fields(self) -> String {
        self.fields
    }

    /// Writes the status line and every header field.
    pub fn write_head(&self, head: &mut String, date: &mut Date, now: SystemTime, ending: Ending) {
        head.push_str("HTTP/1.1 ");
        // Writing to a String can't fail.
        let _ = write!(head, "{}", self.status);
        for part in
            [" ", reason(self.status), "\r\nServer: s3imageserver\r\nDate: ", date.text(now)]
        {
            head.push_str(part);
        }
        head.push_str(
            "\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; sandbox\r\n",
        );
        if let Some(seconds) = ending.hsts {
            let _ = write!(head, "Strict-Transport-Security: max-age={seconds}\r\n");
        }
        match &self.ready {
            Some(cached) if self.status == 304 => head.push_str(&cached.headers.not_modified),
            Some(cached) => head.push_str(&cached.headers.whole),
            None => {}
        }
        head.push_str(&self.fields);
        if let Some(length) = self.body.announced() {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        match (ending.is_http_10, ending.keep_alive) {
            (_, false) => head.push_str("Connection: close\r\n"),
            (true, true) => head.push_str("Connection: keep-alive\r\n"),
            (false, true) => {}
        }
        head.push_str("\r\n");
    }
}

/// The value of `Date`, formatted once a second.
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

/// The reason phrase, which clients ignore and people read (RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
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
        let ending = Ending { is_http_10, keep_alive, hsts };
        response.write_head(&mut head, &mut Date::default(), SystemTime::now(), ending);
        head
    }

    #[test]
    fn a_head_is_complete() {
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
    }

    #[test]
    fn the_connection_field_says_what_happens() {
        let head = |old, keep| head(&Response::new(304, Body::None), old, keep, Some(9));
        assert!(head(false, false).contains("\r\nConnection: close\r\n"));
        assert!(head(true, true).contains("\r\nConnection: keep-alive\r\n"));
        assert!(!head(false, true).contains("Content-Length"), "a 304 announces no body");
        assert!(head(false, true).contains("\r\nStrict-Transport-Security: max-age=9\r\n"));
    }

    #[test]
    fn the_date_is_that_of_the_moment() {
        let mut date = Date::default();
        let moment = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (seconds, expected) in [(0, "00:00:00"), (0, "00:00:00"), (61, "00:01:01")] {
            assert_eq!(date.text(moment(seconds)), format!("Thu, 01 Jan 1970 {expected} GMT"));
        }
    }
}
