//! The access log: one line per request on standard error.
//!
//! `time client method target status bytes duration cache|- error|-`, where `cache` and `error` are the values of
//! `X-Cache` and `X-Error`.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::key::decode_query;
use crate::log::{escape, sink, timestamp};

pub fn add(line: &Line, now: SystemTime) {
    thread_local! {
        /// One buffer per thread, so that lines are formatted without a lock.
        static BUFFER: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        line.format(now, buffer);
        sink::line(buffer.as_bytes());
    });
}

#[derive(Debug)]
pub struct Line<'r> {
    pub client: Option<IpAddr>,
    /// Empty for a request that could not be parsed.
    pub method: &'r str,
    /// Path and query as sent; empty for a request that could not be parsed.
    pub target: &'r str,
    pub status: u16,
    /// Number of bytes of the body that were sent.
    pub bytes: usize,
    /// From the end of the head to the end of the response.
    pub took: Duration,
    /// The value of `X-Cache`.
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
        push_redacted(line, if self.target.is_empty() { "-" } else { self.target });
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

/// Writes a target without the value of any `t`, however the name is encoded: a token is a secret.
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

/// Whether a parameter is `t`, or is meant to be: in upper case, or after an `&amp;` from HTML.
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
    fn access_log_line_has_nine_columns() {
        assert_eq!(
            line("/h/a?w=1"),
            "2026-11-22T15:29:41.123Z 127.0.0.1 GET /h/a?w=1 200 12 1.234ms hit -\n"
        );
    }

    #[test]
    fn access_log_redacts_tokens_in_every_spelling() {
        let redacted = |target| line(target).split(' ').nth(3).unwrap().to_owned();
        assert_eq!(
            redacted("/h/a?t=x&w=1&%74=y&tt=z&t="),
            "/h/a?t=[redacted]&w=1&%74=[redacted]&tt=z&t=[redacted]"
        );
        // Copied from HTML, and in upper case.
        assert_eq!(
            redacted("/h/a?w=1&amp;t=x&T=y&%54=z&at=v"),
            "/h/a?w=1&amp;t=[redacted]&T=[redacted]&%54=[redacted]&at=v"
        );
        assert_eq!(redacted("/h/t=x"), "/h/t=x");
    }

    #[test]
    fn access_log_escapes_control_characters() {
        assert!(line("/h/\u{1b}[0m\u{85} x").contains("/h/\\u{1b}[0m\\u{85}\\u{20}x "));
    }
}
