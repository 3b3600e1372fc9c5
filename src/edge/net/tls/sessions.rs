//! The sessions that TLS 1.2 clients may resume. rustls has a store of its own, which forgets when it is full and
//! never otherwise; a session's secret should not outlive a day (RFC 5246 §F.1.4).

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::server::StoresServerSessions;

/// How many sessions a generation has. Each is about 200 bytes.
const MOST: usize = 4096;
/// How long a generation takes new sessions, and after that how long it is kept.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// Sessions in two generations: when the young one is full or old, it becomes the old one, which is forgotten.
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
        self.grow_old(now);
        if self.young.len() >= MOST {
            self.next(now);
        }
        self.young.insert(id, session);
    }

    fn get(&mut self, now: Instant, id: &[u8]) -> Option<Vec<u8>> {
        self.grow_old(now);
        self.young.get(id).or_else(|| self.old.get(id)).cloned()
    }

    /// Nobody may have asked for more than two generations' time.
    fn grow_old(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= LONGEST {
            self.next(now);
        }
        if age >= LONGEST * 2 {
            self.old.clear();
        }
    }

    fn next(&mut self, now: Instant) {
        self.old = mem::take(&mut self.young);
        self.since = now;
    }
}

impl Sessions {
    fn with<T>(&self, work: impl FnOnce(&mut Generations) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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

/// Without the secrets.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(generations: &Generations) -> usize {
        generations.young.len() + generations.old.len()
    }

    #[test]
    fn a_session_is_found_for_half_a_day_and_forgotten_after_a_whole_one() {
        let mut generations = Generations::default();
        let start = generations.since;
        generations.put(start, vec![1], vec![10]);
        assert_eq!(generations.get(start + LONGEST, &[1]), Some(vec![10]));
        assert_eq!(generations.get(start + LONGEST * 2, &[1]), None);
        assert_eq!(held(&generations), 0);

        let start = generations.since;
        generations.put(start, vec![2], vec![20]);
        assert_eq!(generations.get(start + LONGEST * 2, &[2]), None, "nobody asked in between");
        assert_eq!(held(&generations), 0);
    }

    #[test]
    fn the_latest_sessions_are_kept_and_there_are_never_more_than_two_generations() {
        let mut generations = Generations::default();
        let now = generations.since;
        for number in 0..MOST * 3 {
            generations.put(now, number.to_be_bytes().to_vec(), Vec::new());
            assert!(held(&generations) <= MOST * 2);
        }
        for (number, found) in [(0, false), (MOST * 2, true), (MOST * 3 - 1, true)] {
            assert_eq!(generations.get(now, &number.to_be_bytes()).is_some(), found, "{number}");
        }
    }
}
