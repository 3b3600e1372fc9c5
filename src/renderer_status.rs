//! What a renderer tells of itself in the body of its answer to a ping.
//!
//! A line for each value, one for each handler whose origin needs credentials, and one for each handler that shares its
//! results:
//!
//! ```text
//! permits 4
//! permits_used 1
//! renders_waiting 0
//! memory_budget 1073741824
//! memory_used 52428800
//! memory_waiting 0
//! fetches 2
//! credentials found 1795361381 /photos/
//! credentials found never /plans%20b/
//! credentials missing - /other/
//! results found never closed 17 1 2 /photos/
//! ```
//!
//! The third word of `credentials` and of `results` is the time of their expiry in Unix seconds. In `results` follow the
//! state of the circuit breaker and the uploads that succeeded, failed and were dropped. The last word is the handler's
//! route, as in a URL. Values of 0 are left out.

use std::collections::BTreeMap;
use std::fmt;

use crate::key;

/// Maximum bytes of handlers' lines, so that the answer fits into the buffer of a socket and the renderer never waits
/// for the edge to read it. The handlers beyond have no line.
const MAX_HANDLERS: usize = 48 << 10;
/// Maximum bytes of all lines.
pub const MAX_BYTES: usize = MAX_HANDLERS + (1 << 10);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RendererStatus {
    /// `limits.renders_at_once`.
    pub permits: u64,
    /// Renders in flight.
    pub permits_used: u64,
    /// Renders that wait for a permit.
    pub renders_waiting: u64,
    /// `limits.memory_budget`, in bytes.
    pub memory_budget: u64,
    /// Of renders in flight, in bytes.
    pub memory_used: u64,
    /// Of renders that wait for a permit, in bytes.
    pub memory_waiting: u64,
    /// Requests to origins in flight.
    pub fetches: u64,
    /// Uploads of results that wait or are in flight.
    pub uploads: u64,
    /// The bytes of their images.
    pub upload_bytes: u64,
    /// By route; a handler that needs none has no entry.
    pub credentials: BTreeMap<String, CredentialsStatus>,
    /// By route; a handler that does not share its results has no entry.
    pub results: BTreeMap<String, ResultsStatus>,
}

/// The results bucket of one handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultsStatus {
    pub credentials: CredentialsStatus,
    /// Whether lookups or uploads are left out because they have failed.
    pub is_breaker_open: bool,
    /// Results that were uploaded since the renderer was started.
    pub uploaded: u64,
    pub failed: u64,
    /// Results that were not uploaded: the queue was full, or earlier uploads had failed.
    pub dropped: u64,
}

/// The credentials of one handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsStatus {
    /// The first lookup has not ended.
    Pending,
    /// The lookup failed.
    Missing,
    /// From the configuration, or found. `expires` is in Unix seconds and may be past, if they can't be refreshed.
    Found { expires: Option<u64> },
}

impl CredentialsStatus {
    /// Whether a request can be signed with them at this time, in Unix seconds.
    pub fn is_usable(self, now: u64) -> bool {
        match self {
            CredentialsStatus::Pending | CredentialsStatus::Missing => false,
            CredentialsStatus::Found { expires } => expires.is_none_or(|expires| expires > now),
        }
    }
}

impl CredentialsStatus {
    /// Of the credentials of two origins of a handler, the one that is less, or less long, usable.
    pub fn worse(self, other: CredentialsStatus) -> CredentialsStatus {
        use CredentialsStatus::{Found, Missing, Pending};
        match (self, other) {
            (Missing, _) | (_, Missing) => Missing,
            (Pending, _) | (_, Pending) => Pending,
            (Found { expires: None }, found) | (found, Found { expires: None }) => found,
            (Found { expires: one }, Found { expires: other }) => Found { expires: one.min(other) },
        }
    }
}

/// Where a value is.
type Field = fn(&mut RendererStatus) -> &mut u64;

/// The values with their names.
const VALUES: [(&str, Field); 9] = [
    ("permits", |status| &mut status.permits),
    ("permits_used", |status| &mut status.permits_used),
    ("renders_waiting", |status| &mut status.renders_waiting),
    ("memory_budget", |status| &mut status.memory_budget),
    ("memory_used", |status| &mut status.memory_used),
    ("memory_waiting", |status| &mut status.memory_waiting),
    ("fetches", |status| &mut status.fetches),
    ("uploads", |status| &mut status.uploads),
    ("upload_bytes", |status| &mut status.upload_bytes),
];

impl RendererStatus {
    /// `None` if the text is malformed.
    pub fn parse(text: &str) -> Option<RendererStatus> {
        let mut status = RendererStatus::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ')?;
            match name {
                "credentials" => {
                    let mut words = value.split(' ');
                    let credentials = parse_credentials(&mut words)?;
                    status.credentials.insert(parse_route(words)?, credentials);
                }
                "results" => {
                    let mut words = value.split(' ');
                    let results = parse_results(&mut words)?;
                    status.results.insert(parse_route(words)?, results);
                }
                _ => {
                    let (_, field) = VALUES.iter().find(|(known, _)| *known == name)?;
                    *field(&mut status) = value.parse().ok()?;
                }
            }
        }
        Some(status)
    }
}

fn parse_credentials<'w>(words: &mut impl Iterator<Item = &'w str>) -> Option<CredentialsStatus> {
    Some(match (words.next()?, words.next()?) {
        ("pending", "-") => CredentialsStatus::Pending,
        ("missing", "-") => CredentialsStatus::Missing,
        ("found", "never") => CredentialsStatus::Found { expires: None },
        ("found", seconds) => CredentialsStatus::Found { expires: Some(seconds.parse().ok()?) },
        _ => return None,
    })
}

fn parse_results<'w>(words: &mut impl Iterator<Item = &'w str>) -> Option<ResultsStatus> {
    Some(ResultsStatus {
        credentials: parse_credentials(words)?,
        is_breaker_open: match words.next()? {
            "open" => true,
            "closed" => false,
            _ => return None,
        },
        uploaded: words.next()?.parse().ok()?,
        failed: words.next()?.parse().ok()?,
        dropped: words.next()?.parse().ok()?,
    })
}

/// The route in the last word of a line.
fn parse_route<'w>(mut words: impl Iterator<Item = &'w str>) -> Option<String> {
    let (route, rest) = key::split_path(words.next()?)?;
    (rest.is_empty() && words.next().is_none()).then_some(route)
}

/// As in a line.
impl fmt::Display for CredentialsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialsStatus::Pending => f.write_str("pending -"),
            CredentialsStatus::Missing => f.write_str("missing -"),
            CredentialsStatus::Found { expires: None } => f.write_str("found never"),
            CredentialsStatus::Found { expires: Some(seconds) } => write!(f, "found {seconds}"),
        }
    }
}

/// As in a line.
impl fmt::Display for ResultsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ResultsStatus { credentials, is_breaker_open, uploaded, failed, dropped } = self;
        let breaker = if *is_breaker_open { "open" } else { "closed" };
        write!(f, "{credentials} {breaker} {uploaded} {failed} {dropped}")
    }
}

impl fmt::Display for RendererStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut status = self.clone();
        for (name, field) in VALUES {
            let value = *field(&mut status);
            if value > 0 {
                writeln!(f, "{name} {value}")?;
            }
        }
        let credentials = self.credentials.iter();
        let credentials =
            credentials.map(|(route, status)| (route, format!("credentials {status}")));
        let results = self.results.iter();
        let results = results.map(|(route, status)| (route, format!("results {status}")));
        let mut bytes = 0;
        for (route, line) in credentials.chain(results) {
            let line = format!("{line} {}\n", key::to_path(route, ""));
            bytes += line.len();
            if bytes > MAX_HANDLERS {
                break;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> RendererStatus {
        let found = |expires| CredentialsStatus::Found { expires };
        let credentials = [
            ("a b\u{fc}\n\"%", found(Some(1_795_361_381))),
            ("b", found(None)),
            ("c", CredentialsStatus::Missing),
            ("d", CredentialsStatus::Pending),
        ];
        RendererStatus {
            permits: 4,
            permits_used: 1,
            renders_waiting: 7,
            memory_budget: 1 << 30,
            memory_used: 50 << 20,
            memory_waiting: u64::MAX,
            fetches: 2,
            uploads: 3,
            upload_bytes: 4 << 20,
            credentials: credentials.map(|(route, state)| (route.to_owned(), state)).into(),
            results: [("b", false, 0), ("c d", true, u64::MAX)]
                .map(|(route, is_breaker_open, dropped)| {
                    let credentials = found(Some(1_795_361_381));
                    let (uploaded, failed) = (17, 1);
                    let status =
                        ResultsStatus { credentials, is_breaker_open, uploaded, failed, dropped };
                    (route.to_owned(), status)
                })
                .into(),
        }
    }

    #[test]
    fn the_worse_of_two_credentials_counts() {
        use CredentialsStatus::{Missing, Pending};
        let found = |expires| CredentialsStatus::Found { expires };
        let order = [Missing, Pending, found(Some(1)), found(Some(2)), found(None)];
        for (place, worse) in order.into_iter().enumerate() {
            for better in order.into_iter().skip(place) {
                assert_eq!((worse.worse(better), better.worse(worse)), (worse, worse));
            }
        }
    }

    #[test]
    fn status_round_trips() {
        assert_eq!(RendererStatus::parse(&status().to_string()), Some(status()));
        assert_eq!(RendererStatus::default().to_string(), "");
        assert_eq!(RendererStatus::parse(""), Some(RendererStatus::default()));
    }

    #[test]
    fn malformed_status_is_refused() {
        for text in [
            "permits",
            "permits x",
            "permits -1",
            "permits 18446744073709551616",
            "other 1",
            "credentials",
            "credentials found",
            "credentials found never",
            "credentials found never b",
            "credentials found never /b/c",
            "credentials found never /b/ c",
            "credentials found x /b/",
            "credentials lost - /b/",
            "credentials missing 1 /b/",
            "credentials missing - /%/",
            "results found never closed 1 2 /b/",
            "results found never ajar 1 2 3 /b/",
            "results found never open 1 2 3 /b/ 4",
            "results lost - open 1 2 3 /b/",
            "results found never open 1 2 -3 /b/",
        ] {
            assert_eq!(RendererStatus::parse(text), None, "{text}");
        }
    }

    #[test]
    fn status_of_many_handlers_is_bounded() {
        let mut status = status();
        for number in 0..10_000 {
            status.credentials.insert(format!("e{number}"), CredentialsStatus::Missing);
        }
        let text = status.to_string();
        assert!(text.len() <= MAX_BYTES, "{}", text.len());
        let parsed = RendererStatus::parse(&text).unwrap();
        assert!((1000..10_000).contains(&parsed.credentials.len()));
        assert_eq!((parsed.fetches, parsed.memory_waiting), (2, u64::MAX));
    }

    #[test]
    fn credentials_are_usable_until_they_expire() {
        let found = |expires| CredentialsStatus::Found { expires };
        assert!(found(None).is_usable(100) && found(Some(101)).is_usable(100));
        assert!(!found(Some(100)).is_usable(100));
        assert!(!CredentialsStatus::Pending.is_usable(100));
        assert!(!CredentialsStatus::Missing.is_usable(100));
    }
}
