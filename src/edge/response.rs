//! An answer and the bytes of its head.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use crate::cache::Picture;

/// An answer to one request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// What follows the head.
    pub body: Body,
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
    /// A picture, or a part of one.
    Picture(Arc<Picture>, Range<usize>),
    /// The length of a picture whose bytes are not needed (HEAD).
    Length(u64),
}

impl Body {
    /// The bytes that follow the head when the method is not HEAD.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::None | Body::Length(_) => &[],
            Body::Text(text) => text.as_bytes(),
            Body::Picture(picture, range) => picture.bytes.get(range.clone()).unwrap_or_default(),
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

impl Response {
    /// An answer without header fields of its own.
    pub fn new(status: u16, body: Body) -> Response {
        Response { status, body, fields: String::with_capacity(320) }
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
            // Writing to a String can't fail.
            let _ = write!(self.fields, "{name}: {value}\r\n");
        }
        self
    }

    /// The status line and every header field.
    pub fn head(&self, is_http_10: bool, keep_alive: bool) -> Vec<u8> {
        let mut head = String::with_capacity(192 + self.fields.len());
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\nServer: s3imageserver\r\nDate: {}\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; sandbox\r\n{}",
            self.status,
            reason(self.status),
            httpdate::HttpDate::from(SystemTime::now()),
            self.fields
        );
        if let Some(length) = self.body.announced() {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        match (is_http_10, keep_alive) {
            (_, false) => head.push_str("Connection: close\r\n"),
            (true, true) => head.push_str("Connection: keep-alive\r\n"),
            (false, true) => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
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

    #[test]
    fn a_head_is_complete() {
        let head = Response::text(400, "no").with("X-Error", "x").head(false, true);
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 3\r\n") && head.contains("\r\nX-Error: x\r\n"), "{head}");
        assert!(!head.contains("Connection"), "{head}");
    }

    #[test]
    fn the_connection_field_says_what_happens() {
        let head = |old, keep| String::from_utf8(Response::new(304, Body::None).head(old, keep)).unwrap();
        assert!(head(false, false).contains("\r\nConnection: close\r\n"));
        assert!(head(true, true).contains("\r\nConnection: keep-alive\r\n"));
        assert!(!head(false, true).contains("Content-Length"), "a 304 announces no body");
    }
}
