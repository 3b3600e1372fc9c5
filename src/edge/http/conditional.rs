//! Conditional and range requests (RFC 9110 §13 and §14).

use std::borrow::Cow;
use std::ops::Range;

use super::request::{Method, Request};
use crate::time::unix_seconds;

/// The response to a request for an image, after its conditions are evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200
    Full,
    /// 304
    NotModified,
    /// 206 with these bytes.
    Partial(Range<u64>),
    /// 416
    Unsatisfiable,
    /// 412
    PreconditionFailed,
}

/// The current state of the image, with which conditions are compared.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'p> {
    /// A strong entity tag, with its quotes.
    pub etag: &'p str,
    /// Unix seconds.
    pub last_modified: Option<u64>,
    /// Length of the image in bytes.
    pub length: u64,
}

/// The conditional and range fields of a request.
#[derive(Clone, Debug, Default)]
pub struct Conditions<'r> {
    if_match: Option<Cow<'r, str>>,
    /// Unix seconds, as every date here.
    if_unmodified_since: Option<u64>,
    if_none_match: Option<Cow<'r, str>>,
    if_modified_since: Option<u64>,
    /// §14.2: defined for GET only.
    range: Option<Cow<'r, str>>,
    if_range: Option<Cow<'r, str>>,
}

impl<'r> Conditions<'r> {
    /// Fields that RFC 9110 §13.2.2 ignores because of another one are left out.
    pub fn from_request(request: &Request<'r>) -> Conditions<'r> {
        let if_match = request.list("if-match");
        let if_none_match = request.list("if-none-match");
        let range = if request.method == Method::Get { request.list("range") } else { None };
        let date_without = |list: &Option<_>, name| match list {
            Some(_) => None,
            None => request.all(name).next().and_then(date),
        };
        Conditions {
            if_unmodified_since: date_without(&if_match, "if-unmodified-since"),
            if_modified_since: date_without(&if_none_match, "if-modified-since"),
            if_range: range.as_ref().and_then(|_| request.all("if-range").next()).map(Cow::from),
            if_match,
            if_none_match,
            range,
        }
    }

    pub fn into_owned(self) -> Conditions<'static> {
        let owned = |value: Option<Cow<'r, str>>| value.map(|value| Cow::Owned(value.into_owned()));
        Conditions {
            if_match: owned(self.if_match),
            if_unmodified_since: self.if_unmodified_since,
            if_none_match: owned(self.if_none_match),
            if_modified_since: self.if_modified_since,
            range: owned(self.range),
            if_range: owned(self.if_range),
        }
    }

    /// Whether the response may be a 304.
    pub fn allow_not_modified(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }

    /// Evaluates the conditions in the order of RFC 9110 §13.2.2.
    pub fn evaluate(&self, current: Validators) -> Outcome {
        let is_modified_since = |since| current.last_modified.map(|modified| modified > since);
        if let Some(list) = &self.if_match {
            if !matches_strongly(list, current.etag) {
                return Outcome::PreconditionFailed;
            }
        } else if self.if_unmodified_since.and_then(is_modified_since) == Some(true) {
            return Outcome::PreconditionFailed;
        }
        if let Some(list) = &self.if_none_match {
            if matches_weakly(list, current.etag) {
                return Outcome::NotModified;
            }
        } else if self.if_modified_since.and_then(is_modified_since) == Some(false) {
            return Outcome::NotModified;
        }
        match &self.range {
            Some(ranges) if self.range_applies(current) => select(ranges, current.length),
            _ => Outcome::Full,
        }
    }

    /// §13.1.5: the range is ignored unless `If-Range` matches by strong comparison.
    fn range_applies(&self, current: Validators) -> bool {
        match self.if_range.as_deref() {
            None => true,
            Some(tag) if tag.starts_with('"') => tag == current.etag,
            Some(text) => date(text).is_some_and(|date| Some(date) == current.last_modified),
        }
    }
}

/// §13.1.1: matches `*`, or an entry by strong comparison, in which a weak tag never matches.
fn matches_strongly(list: &str, etag: &str) -> bool {
    let mut at = 0;
    list.trim() == "*"
        || entity_tags(list).any(|candidate| {
            let start = at + list[at..].find(candidate).unwrap_or(0);
            at = start + candidate.len();
            candidate == etag && !list[..start].ends_with("W/")
        })
}

/// §13.1.2: matches `*`, or an entry by weak comparison.
fn matches_weakly(list: &str, etag: &str) -> bool {
    list.trim() == "*" || entity_tags(list).any(|candidate| candidate == etag)
}

/// The tags of a list without `W/`. It is split at quotes, because a tag may contain commas.
fn entity_tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.find('"')?;
        let end = start + 1 + rest[start + 1..].find('"')?;
        let tag = &rest[start..=end];
        rest = &rest[end + 1..];
        Some(tag)
    })
}

/// Selects a single byte range. Several ranges, another unit or an invalid value are ignored, as §14.2 allows.
fn select(ranges: &str, length: u64) -> Outcome {
    let Some((unit, set)) = ranges.split_once('=') else { return Outcome::Full };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Outcome::Full;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Outcome::Full };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Outcome::Full,
        (Some(first), _) if first >= length && (last.is_empty() || number(last).is_some()) => {
            Outcome::Unsatisfiable
        }
        (Some(first), Some(last)) => Outcome::Partial(first..last.saturating_add(1).min(length)),
        (Some(first), None) if last.is_empty() => Outcome::Partial(first..length),
        (None, Some(0)) if first.is_empty() => Outcome::Unsatisfiable,
        (None, Some(_)) if first.is_empty() && length == 0 => Outcome::Unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => {
            Outcome::Partial(length.saturating_sub(suffix)..length)
        }
        _ => Outcome::Full,
    }
}

fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn date(text: &str) -> Option<u64> {
    httpdate::parse_http_date(text).ok().map(unix_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::request::{Head, parse};

    const ETAG: &str = "\"abc\"";
    /// Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples.
    const MODIFIED: u64 = 784_111_777;

    fn outcome(fields: &str) -> Outcome {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let Ok(Head::Complete(request, _)) = parse(head.as_bytes()) else { panic!("{head}") };
        let current = Validators { etag: ETAG, last_modified: Some(MODIFIED), length: 100 };
        let conditions = Conditions::from_request(&request);
        let outcome = conditions.evaluate(current);
        assert_eq!(conditions.into_owned().evaluate(current), outcome);
        outcome
    }

    #[test]
    fn if_none_match_compares_weakly_with_each_entry() {
        for value in ["\"abc\"", "W/\"abc\"", "*", "\"x\", W/\"abc\"", "\"a,b\",\"abc\"", " * "] {
            assert_eq!(
                outcome(&format!("If-None-Match: {value}\r\n")),
                Outcome::NotModified,
                "{value}"
            );
        }
        assert_eq!(
            outcome("If-None-Match: \"x\"\r\nIf-None-Match: \"abc\"\r\n"),
            Outcome::NotModified
        );
        for value in ["\"ab\"", "abc", "\"\"", "\"abc", "\"x\", *"] {
            assert_eq!(outcome(&format!("If-None-Match: {value}\r\n")), Outcome::Full, "{value}");
        }
    }

    #[test]
    fn if_modified_since_is_ignored_with_if_none_match() {
        let since = |date| outcome(&format!("If-Modified-Since: {date}\r\n"));
        assert_eq!(since("Sun, 06 Nov 1994 08:49:37 GMT"), Outcome::NotModified);
        assert_eq!(since("Sunday, 06-Nov-94 08:49:37 GMT"), Outcome::NotModified);
        assert_eq!(since("Sun, 06 Nov 1994 08:49:36 GMT"), Outcome::Full);
        assert_eq!(since("yesterday"), Outcome::Full);
        let both = "If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert_eq!(outcome(both), Outcome::Full);
    }

    #[test]
    fn if_match_compares_strongly_and_overrides_if_unmodified_since() {
        for value in ["\"abc\"", "*", "\"x\", \"abc\"", "W/\"abc\", \"abc\""] {
            assert_eq!(outcome(&format!("If-Match: {value}\r\n")), Outcome::Full, "{value}");
        }
        for value in ["\"x\"", "W/\"abc\"", "abc", ""] {
            assert_eq!(
                outcome(&format!("If-Match: {value}\r\n")),
                Outcome::PreconditionFailed,
                "{value}"
            );
        }
        let since = |date| outcome(&format!("If-Unmodified-Since: {date}\r\n"));
        assert_eq!(since("Sun, 06 Nov 1994 08:49:37 GMT"), Outcome::Full);
        assert_eq!(since("Sun, 06 Nov 1994 08:49:36 GMT"), Outcome::PreconditionFailed);
        assert_eq!(since("yesterday"), Outcome::Full);
        let both = "If-Match: \"abc\"\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n";
        assert_eq!(outcome(both), Outcome::Full);
        let then = "If-Match: \"abc\"\r\nIf-None-Match: \"abc\"\r\n";
        assert_eq!(outcome(then), Outcome::NotModified);
    }

    #[test]
    fn single_byte_ranges_are_served() {
        for (range, expected) in [
            ("0-0", 0..1),
            ("10-19", 10..20),
            ("90-", 90..100),
            ("90-1000", 90..100),
            ("-10", 90..100),
            ("-1000", 0..100),
            ("0-99999999999999999999999", 0..100),
        ] {
            assert_eq!(
                outcome(&format!("Range: bytes={range}\r\n")),
                Outcome::Partial(expected),
                "{range}"
            );
        }
        for range in ["100-", "100-200", "-0", "99999999999999999999999-"] {
            assert_eq!(
                outcome(&format!("Range: bytes={range}\r\n")),
                Outcome::Unsatisfiable,
                "{range}"
            );
        }
        for range in [
            "bytes=1-0",
            "bytes=0-1,3-4",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "items=0-1",
            "0-1",
            "bytes=1-x",
        ] {
            assert_eq!(outcome(&format!("Range: {range}\r\n")), Outcome::Full, "{range}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        let with = |validator| outcome(&format!("Range: bytes=0-0\r\nIf-Range: {validator}\r\n"));
        assert_eq!(with("\"abc\""), Outcome::Partial(0..1));
        assert_eq!(with("Sun, 06 Nov 1994 08:49:37 GMT"), Outcome::Partial(0..1));
        for validator in ["W/\"abc\"", "\"x\"", "Sun, 06 Nov 1994 08:49:38 GMT", "x"] {
            assert_eq!(with(validator), Outcome::Full, "{validator}");
        }
    }
}
