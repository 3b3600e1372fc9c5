//! One line a request on standard error.
//!
//! `time client method target status bytes milliseconds hit|miss|- error|-`

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::key::decode_query;
use crate::log::{escape, sink, timestamp};

/// Adds a line.
pub fn add(line: &Line, now: SystemTime) {
    thread_local! {
        /// One buffer a connection's thread, so that nothing is formatted under a lock.
        static BUFFER: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        line.format(now, buffer);
        sink::line(buffer.as_bytes());
    });
}

/// What there is to say about one request.
#[derive(Debug)]
pub struct Line<'r> {
    /// Who asked.
    pub client: Option<IpAddr>,
    /// `GET`, …; empty for a request that could not be read.
    pub method: &'r str,
    /// Path and query as they were sent.
    pub target: &'r str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub bytes: usize,
    /// From the head read to the answer written.
    pub took: Duration,
    /// `hit` or `miss`.
    pub cache: Option<&'r str>,
    /// The value of `X-Error`.
    pub error: Option<&'r str>,
}

impl Line<'_> {
    fn format(&self, now: SystemTime, line: &mut String) {
        timestamp::push(line, now);
        // Writing to a String can't fail.
        let _ = match self.client {
            Some(address) => write!(line, " {address} "),
            None => write!(line, " - "),
        };
        escape::push_column(line, if self.method.is_empty() { "-" } else { self.method });
        line.push(' ');
        match self.target {
            "" => line.push('-'),
            target => push_redacted(line, target),
        }
        let micros = self.took.as_micros();
        let _ = write!(
            line,
            " {} {} {}.{:03}ms ",
            self.status,
            self.bytes,
            micros / 1000,
            micros % 1000
        );
        line.push_str(self.cache.unwrap_or("-"));
        line.push(' ');
        line.push_str(self.error.unwrap_or("-"));
        line.push('\n');
    }
}

/// The target with the value of each `t` replaced, however the name is encoded: a token is a secret.
fn push_redacted(line: &mut String, target: &str) {
    let Some((path, query)) = target.split_once('?') else {
        return escape::push_column(line, target);
    };
    escape::push_column(line, path);
    for (number, pair) in query.split('&').enumerate() {
        line.push(if number == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_token(name) => {
                escape::push_column(line, name);
                line.push_str("=[redacted]");
            }
            _ => escape::push_column(line, pair),
        }
    }
}

/// As `t` is written, and as it is written by mistake: in another case, or behind an `&amp;` of HTML.
fn is_token(name: &str) -> bool {
    let decoded =
        if name.contains('%') { decode_query(name).unwrap_or_default() } else { name.to_owned() };
    decoded.rsplit(';').next().is_some_and(|name| name.eq_ignore_ascii_case("t"))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn line(target: &str) -> String {
        let line = Line {
            client: Some([127, 0, 0, 1].into()),
            method: "GET",
            target,
            status: 200,
            bytes: 12,
            took: Duration::from_micros(1234),
            cache: Some("hit"),
            error: None,
        };
        let mut text = String::new();
        line.format(UNIX_EPOCH + Duration::from_millis(1_795_361_381_123), &mut text);
        text
    }

    #[test]
    fn a_line_has_nine_columns() {
        assert_eq!(
            line("/h/a?w=1"),
            "2026-11-22T15:29:41.123Z 127.0.0.1 GET /h/a?w=1 200 12 1.234ms hit -\n"
        );
    }

    #[test]
    fn tokens_are_redacted_however_they_are_spelled() {
        let redacted = |target| line(target).split(' ').nth(3).unwrap().to_owned();
        assert_eq!(
            redacted("/h/a?t=x&w=1&%74=y&tt=z&t="),
            "/h/a?t=[redacted]&w=1&%74=[redacted]&tt=z&t=[redacted]"
        );
        // As a page's source has it, and as somebody may type it.
        assert_eq!(
            redacted("/h/a?w=1&amp;t=x&T=y&%54=z&at=v"),
            "/h/a?w=1&amp;t=[redacted]&T=[redacted]&%54=[redacted]&at=v"
        );
        assert_eq!(redacted("/h/t=x"), "/h/t=x");
    }

    #[test]
    fn control_characters_make_no_line() {
        assert!(line("/h/\u{1b}[0m\u{85} x").contains("/h/\\u{1b}[0m\\u{85}\\u{20}x "));
    }
}
