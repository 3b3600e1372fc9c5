//! Which origins of a handler did not have a key a moment ago, while another one had it. They are not asked again within
//! `negative_cache_time`.
//!
//! A key that no origin has is remembered by the edge.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cache::key_hash;
use crate::sync::Mutex;

/// Maximum number of keys. When it is reached, expired keys are removed, or all keys if none has expired.
const MAX_KEYS: usize = 1 << 14;

/// A set of origins, by their places in the handler's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginSet(u64);

impl OriginSet {
    pub fn contains(self, index: usize) -> bool {
        self.0 & bit(index) != 0
    }

    pub fn insert(&mut self, index: usize) {
        self.0 |= bit(index);
    }

    pub fn remove(&mut self, index: usize) {
        self.0 &= !bit(index);
    }
}

/// No bit for an index that the set has no place for: such an origin is asked each time.
fn bit(index: usize) -> u64 {
    u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or_default()
}

pub struct Absences {
    time: Duration,
    /// By a hash of the key: a key may be long.
    keys: Mutex<HashMap<[u8; 16], Absence>>,
}

#[derive(Clone, Copy)]
struct Absence {
    origins: OriginSet,
    /// When the first of them was asked, in milliseconds since 1970.
    asked_at: u64,
    expires: Instant,
}

impl Absences {
    /// `time` is how long an absence is remembered; zero: not at all.
    pub fn new(time: Duration) -> Absences {
        Absences { time, keys: Mutex::default() }
    }

    /// The origins that did not have a key after `not_before`, in milliseconds since 1970.
    pub fn find(&self, key: &str, not_before: u64) -> OriginSet {
        let mut keys = self.keys.lock();
        if keys.is_empty() {
            return OriginSet::default();
        }
        let hash = key_hash("", key);
        match keys.get(&hash) {
            None => OriginSet::default(),
            Some(absence) if absence.expires > Instant::now() && absence.asked_at > not_before => {
                absence.origins
            }
            Some(_) => {
                keys.remove(&hash);
                OriginSet::default()
            }
        }
    }

    /// Remembers that these origins did not have a key when they were asked, while another one had it. Those that were
    /// known already stay known only as long as before.
    pub fn insert(&self, key: &str, origins: OriginSet, asked_at: u64) {
        let Some(expires) = Instant::now().checked_add(self.time) else { return };
        if self.time.is_zero() {
            return;
        }
        let mut keys = self.keys.lock();
        if keys.len() >= MAX_KEYS {
            let now = Instant::now();
            keys.retain(|_, absence| absence.expires > now);
        }
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        let new = Absence { origins, asked_at, expires };
        keys.entry(key_hash("", key))
            .and_modify(|known| {
                *known = Absence {
                    origins,
                    asked_at: known.asked_at.min(asked_at),
                    expires: known.expires.min(expires),
                };
            })
            .or_insert(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn set(indices: &[usize]) -> OriginSet {
        let mut set = OriginSet::default();
        indices.iter().for_each(|index| set.insert(*index));
        set
    }

    #[test]
    fn absences_are_remembered_for_their_time_and_until_a_purge() {
        let absences = Absences::new(LONG);
        absences.insert("a", set(&[0, 2]), 1000);
        assert_eq!(absences.find("a", 0), set(&[0, 2]));
        assert_eq!(absences.find("b", 0), set(&[]));
        // With what is known longer, it expires at the earlier time.
        absences.insert("a", set(&[0, 1]), 2000);
        assert_eq!(absences.find("a", 999), set(&[0, 1]));
        assert_eq!(absences.find("a", 1000), set(&[]));
        assert_eq!(absences.find("a", 0), set(&[]), "it is removed");

        for time in [Duration::ZERO, Duration::from_nanos(1)] {
            let absences = Absences::new(time);
            absences.insert("a", set(&[0]), 1000);
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(absences.find("a", 0), set(&[]), "{time:?}");
        }
    }

    #[test]
    fn the_number_of_absences_is_as_documented() {
        let sentence = format!("at most {MAX_KEYS} keys are remembered");
        crate::documents::assert_says("docs/s3.md", &sentence);
    }

    #[test]
    fn absences_are_bounded() {
        let absences = Absences::new(LONG);
        for number in 0..2 * MAX_KEYS + 1 {
            absences.insert(&number.to_string(), set(&[0]), 1000);
            assert!(absences.keys.lock().len() <= MAX_KEYS);
        }
        assert_eq!(absences.find(&(2 * MAX_KEYS).to_string(), 0), set(&[0]));
    }

    #[test]
    fn a_set_has_the_origins_that_were_inserted() {
        let mut some = set(&[1, 63, 64, usize::MAX]);
        assert!(some.contains(1) && some.contains(63));
        assert!(!some.contains(0) && !some.contains(64) && !some.contains(usize::MAX));
        some.remove(1);
        assert_eq!(some, set(&[63]));
    }
}
