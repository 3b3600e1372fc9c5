//! What a renderer tells of itself in the body of its answer to a ping.
//!
//! A line for each value, and one for each handler whose origin needs credentials:
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
//! ```
//!
//! The third word of `credentials` is the time of their expiry in Unix seconds; the fourth is the handler's route, as in
//! a URL. Values of 0 are left out.

use std::collections::BTreeMap;
use std::fmt;

use crate::key;

/// Maximum bytes of handlers' lines, so that the answer fits into the buffer of a socket and the renderer never waits
/// for the edge to read it. The handlers beyond have no line.
const MAX_CREDENTIALS: usize = 48 << 10;
/// Maximum bytes of all lines.
pub const MAX_BYTES: usize = MAX_CREDENTIALS + (1 << 10);

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
    /// By route; a handler that needs none has no entry.
    pub credentials: BTreeMap<String, CredentialsStatus>,
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

/// Where a value is.
type Field = fn(&mut RendererStatus) -> &mut u64;

/// The values with their names.
const VALUES: [(&str, Field); 7] = [
    ("permits", |status| &mut status.permits),
    ("permits_used", |status| &mut status.permits_used),
    ("renders_waiting", |status| &mut status.renders_waiting),
    ("memory_budget", |status| &mut status.memory_budget),
    ("memory_used", |status| &mut status.memory_used),
    ("memory_waiting", |status| &mut status.memory_waiting),
    ("fetches", |status| &mut status.fetches),
];

impl RendererStatus {
    /// `None` if the text is malformed.
    pub fn parse(text: &str) -> Option<RendererStatus> {
        let mut status = RendererStatus::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ')?;
            if name == "credentials" {
                let (route, credentials) = parse_credentials(value)?;
                status.credentials.insert(route, credentials);
            } else {
                let (_, field) = VALUES.iter().find(|(known, _)| *known == name)?;
                *field(&mut status) = value.parse().ok()?;
            }
        }
        Some(status)
    }
}

fn parse_credentials(value: &str) -> Option<(String, CredentialsStatus)> {
    let mut words = value.split(' ');
    let (state, expires, path) = (words.next()?, words.next()?, words.next()?);
    let credentials = match (state, expires) {
        ("pending", "-") => CredentialsStatus::Pending,
        ("missing", "-") => CredentialsStatus::Missing,
        ("found", "never") => CredentialsStatus::Found { expires: None },
        ("found", seconds) => CredentialsStatus::Found { expires: Some(seconds.parse().ok()?) },
        _ => return None,
    };
    let (route, rest) = key::split_path(path)?;
    (rest.is_empty() && words.next().is_none()).then_some((route, credentials))
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
        let mut bytes = 0;
        for (route, credentials) in &self.credentials {
            let path = key::to_path(route, "");
            let line = match credentials {
                CredentialsStatus::Pending => format!("credentials pending - {path}\n"),
                CredentialsStatus::Missing => format!("credentials missing - {path}\n"),
                CredentialsStatus::Found { expires: None } => {
                    format!("credentials found never {path}\n")
                }
                CredentialsStatus::Found { expires: Some(seconds) } => {
                    format!("credentials found {seconds} {path}\n")
                }
            };
            bytes += line.len();
            if bytes > MAX_CREDENTIALS {
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
            credentials: credentials.map(|(route, state)| (route.to_owned(), state)).into(),
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
