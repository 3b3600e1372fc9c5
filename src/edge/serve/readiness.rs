//! Readiness: whether the server can make images and store them. A thread of the process checks it once per check
//! interval; a request reads the latest result from memory.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// The path with status 200 if the server is ready, and 503 with reasons if it is not.
pub const PATH: &str = "/-/ready";
/// The age at which a result counts as none: the check hangs in a file system.
const MAX_AGE: Duration = Duration::from_secs(15);

/// Why the server is not ready. It is displayed for operators: with names, paths and errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No check has ended yet, or for a while.
    Unchecked,
    /// There is no renderer, or it does not answer.
    Renderer,
    /// The lookup of the credentials of the handler with this route has not ended.
    CredentialsPending(String),
    /// It has failed, or they have expired.
    CredentialsMissing(String),
    /// The cache directory can't be written.
    Cache(PathBuf, String),
    /// The purges of other servers can't be read for the handler with this route.
    PurgesUnread(String, String),
}

impl Reason {
    /// The sentence for clients, which names nothing of the configuration. `None` if only operators are told: a load
    /// balancer must not take every server out of service because their common results bucket fails.
    fn public(&self) -> Option<&'static str> {
        match self {
            Reason::Unchecked => Some("not checked yet"),
            Reason::Renderer => Some("the renderer does not answer"),
            Reason::CredentialsPending(_) | Reason::CredentialsMissing(_) => {
                Some("credentials are missing")
            }
            Reason::Cache(..) => Some("a cache can't be written"),
            Reason::PurgesUnread(..) => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unchecked | Reason::Renderer => f.write_str(self.public().unwrap_or_default()),
            Reason::CredentialsPending(route) => {
                write!(f, "{route}: credentials are being looked for")
            }
            Reason::CredentialsMissing(route) => {
                write!(f, "{route}: no credentials were found, or they have expired")
            }
            Reason::Cache(path, error) => {
                write!(f, "{}: can't be written: {error}", path.display())
            }
            Reason::PurgesUnread(route, error) => {
                write!(f, "{route}: purges of other servers can't be read: {error}")
            }
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Public,
    Operators,
}

/// The latest result.
#[derive(Debug)]
pub struct Readiness(Mutex<Checked>);

#[derive(Debug)]
struct Checked {
    at: Instant,
    reasons: Vec<Reason>,
}

impl Default for Readiness {
    fn default() -> Readiness {
        let checked = Checked { at: Instant::now(), reasons: vec![Reason::Unchecked] };
        Readiness(Mutex::new(checked))
    }
}

impl Readiness {
    /// Replaces the result, and returns the previous one.
    pub fn replace(&self, reasons: Vec<Reason>) -> Vec<Reason> {
        let mut checked = self.0.lock();
        std::mem::replace(&mut *checked, Checked { at: Instant::now(), reasons }).reasons
    }

    /// The sentences about the handler with this route and these directories of caches.
    pub fn problems(&self, route: &str, caches: &[&Path]) -> Vec<String> {
        let checked = self.0.lock();
        let is_own = |reason: &&Reason| match reason {
            Reason::Unchecked | Reason::Renderer => false,
            Reason::CredentialsPending(name)
            | Reason::CredentialsMissing(name)
            | Reason::PurgesUnread(name, _) => name == route,
            Reason::Cache(path, _) => caches.contains(&path.as_path()),
        };
        checked.reasons.iter().filter(is_own).map(Reason::to_string).collect()
    }

    /// One line for each reason why the server is not ready; `None` if it is.
    pub fn failure(&self, audience: Audience) -> Option<String> {
        self.failure_at(audience, Instant::now())
    }

    fn failure_at(&self, audience: Audience, now: Instant) -> Option<String> {
        let checked = self.0.lock();
        let is_old = now.saturating_duration_since(checked.at) > MAX_AGE;
        let reasons = if is_old { &[Reason::Unchecked] } else { checked.reasons.as_slice() };
        let mut lines: Vec<String> = match audience {
            Audience::Public => {
                reasons.iter().filter_map(Reason::public).map(str::to_owned).collect()
            }
            Audience::Operators => reasons.iter().map(Reason::to_string).collect(),
        };
        // Equal ones are next to each other.
        lines.dedup();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    fn reasons() -> Vec<Reason> {
        vec![
            Reason::Renderer,
            Reason::CredentialsMissing("secret-route".into()),
            Reason::CredentialsPending("other-route".into()),
            Reason::Cache("/secret/path".into(), "No space left on device".into()),
            Reason::PurgesUnread("third-route".into(), "connection refused".into()),
        ]
    }

    #[test]
    fn readiness_begins_with_the_first_check_and_ends_when_checks_hang() {
        let readiness = Readiness::default();
        assert_eq!(readiness.failure(Audience::Public).as_deref(), Some("not checked yet"));
        assert_eq!(readiness.replace(Vec::new()), [Reason::Unchecked]);
        assert_eq!(readiness.failure(Audience::Public), None);
        let later = Instant::now() + MAX_AGE + Duration::from_secs(1);
        let failure = readiness.failure_at(Audience::Operators, later);
        assert_eq!(failure.as_deref(), Some("not checked yet"));
    }

    #[test]
    fn a_results_bucket_that_fails_is_a_reason_for_operators_only() {
        let readiness = Readiness::default();
        readiness.replace(vec![Reason::PurgesUnread("h".into(), "refused".into())]);
        assert_eq!(readiness.failure(Audience::Public), None);
        assert!(readiness.failure(Audience::Operators).is_some());
    }

    #[test]
    fn a_handler_has_the_reasons_of_its_credentials_and_caches() {
        let readiness = Readiness::default();
        readiness.replace(reasons());
        let of = |route, cache| readiness.problems(route, &[Path::new(cache)]);
        assert_eq!(
            of("secret-route", "/other/path"),
            ["secret-route: no credentials were found, or they have expired"]
        );
        assert_eq!(
            of("route", "/secret/path"),
            ["/secret/path: can't be written: No space left on device"]
        );
        assert_eq!(
            of("third-route", "/other/path"),
            ["third-route: purges of other servers can't be read: connection refused"]
        );
        assert_eq!(of("route", "/secret"), [""; 0]);
    }

    #[test]
    fn reasons_for_clients_name_nothing_and_are_documented() {
        let readiness = Readiness::default();
        readiness.replace(reasons());
        let public = readiness.failure(Audience::Public).unwrap();
        assert_eq!(
            public,
            "the renderer does not answer\ncredentials are missing\na cache can't be written"
        );
        for line in public.lines().chain(["not checked yet"]) {
            assert_says("docs/deployment.md", &format!("`{line}`"));
        }
        let lines = readiness.failure(Audience::Operators).unwrap();
        assert_eq!(lines.lines().count(), 5, "{lines}");
        for part in ["secret-route: ", "other-route: ", "/secret/path: ", "No space left"] {
            assert!(lines.contains(part), "{lines}");
        }
    }
}
