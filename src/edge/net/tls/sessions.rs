//! The store of TLS 1.2 sessions. The store of rustls drops sessions only when it is full; a session's secret should
//! not live longer than a day (RFC 5246 §F.1.4).

use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

use rustls::server::StoresServerSessions;

use crate::sync::Mutex;

/// Maximum sessions of a generation. Each takes about 200 bytes.
const MAX_SESSIONS: usize = 4096;
/// How long a generation takes new sessions, and how long it is kept after that.
const GENERATION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Two generations of sessions: when the young one is full or expires, it replaces the old one.
#[derive(Default)]
pub struct Sessions(Mutex<Generations>);

struct Generations {
    since: Instant,
    young: HashMap<Vec<u8>, Vec<u8>>,
    old: HashMap<Vec<u8>, Vec<u8>>,
}

impl Default for Generations {
    fn default() -> Generations {
        Generations { since: Instant::now(), young: HashMap::new(), old: HashMap::new() }
    }
}

impl Generations {
    fn put(&mut self, now: Instant, id: Vec<u8>, session: Vec<u8>) {
        self.expire(now);
        if self.young.len() >= MAX_SESSIONS {
            self.rotate(now);
        }
        self.young.insert(id, session);
    }

    fn get(&mut self, now: Instant, id: &[u8]) -> Option<Vec<u8>> {
        self.expire(now);
        self.young.get(id).or_else(|| self.old.get(id)).cloned()
    }

    /// Rotates the generations if the young one has expired, and drops both if neither was used for two lifetimes.
    fn expire(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= GENERATION_LIFETIME {
            self.rotate(now);
        }
        if age >= GENERATION_LIFETIME * 2 {
            self.old.clear();
        }
    }

    fn rotate(&mut self, now: Instant) {
        self.old = mem::take(&mut self.young);
        self.since = now;
    }
}

impl Sessions {
    fn with<T>(&self, work: impl FnOnce(&mut Generations) -> T) -> T {
        work(&mut self.0.lock())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.with(|generations| generations.put(Instant::now(), id, session));
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.with(|generations| generations.get(Instant::now(), id))
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.with(|generations| generations.young.remove(id).or_else(|| generations.old.remove(id)))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Leaves out the secrets.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    fn count(generations: &Generations) -> usize {
        generations.young.len() + generations.old.len()
    }

    #[test]
    fn tls_session_is_kept_for_12_hours_and_dropped_after_24() {
        let mut generations = Generations::default();
        let start = generations.since;
        generations.put(start, vec![1], vec![10]);
        assert_eq!(generations.get(start + GENERATION_LIFETIME, &[1]), Some(vec![10]));
        assert_eq!(generations.get(start + GENERATION_LIFETIME * 2, &[1]), None);
        assert_eq!(count(&generations), 0);

        let start = generations.since;
        generations.put(start, vec![2], vec![20]);
        assert_eq!(
            generations.get(start + GENERATION_LIFETIME * 2, &[2]),
            None,
            "no call in between"
        );
        assert_eq!(count(&generations), 0);
    }

    #[test]
    fn tls_session_store_keeps_the_latest_sessions_in_at_most_two_generations() {
        let mut generations = Generations::default();
        let now = generations.since;
        for number in 0..MAX_SESSIONS * 3 {
            generations.put(now, number.to_be_bytes().to_vec(), Vec::new());
            assert!(count(&generations) <= MAX_SESSIONS * 2);
        }
        for (number, found) in [(0, false), (MAX_SESSIONS * 2, true), (MAX_SESSIONS * 3 - 1, true)]
        {
            assert_eq!(generations.get(now, &number.to_be_bytes()).is_some(), found, "{number}");
        }
    }

    #[test]
    fn lifetime_of_a_session_is_as_documented() {
        assert_eq!(2 * GENERATION_LIFETIME, Duration::from_secs(86_400));
        assert_says("docs/configuration.md", "none is resumed after a day");
    }
}
