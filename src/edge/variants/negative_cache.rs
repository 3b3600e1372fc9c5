//! Keys that were not there a moment ago: whoever asks for them again is not worth a question to the origin.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{EntryId, Name};
use crate::error::{Code, Failure};

/// How many keys are remembered before those whose time has come, or else all, are forgotten.
const MOST: usize = 1 << 14;

/// What is remembered, by the hash over handler and key.
#[derive(Debug, Default)]
pub struct NegativeCache(Mutex<HashMap<[u8; 16], Remembered>>);

#[derive(Debug)]
struct Remembered {
    /// One of those that have this key.
    name: Name,
    /// The purge that it comes after, in milliseconds since 1970.
    not_before: u64,
    until: Instant,
    failure: Failure,
}

impl NegativeCache {
    /// Remembers that the origin has no such key, or does not show it. Any other failure may be over by the next
    /// request, and is not remembered.
    pub fn remember(&self, name: &Name, not_before: u64, failure: &Failure, time: Duration) {
        if time.is_zero() || !matches!(failure.code, Code::NotFound | Code::NotShown) {
            return;
        }
        let now = Instant::now();
        let Some(until) = now.checked_add(time) else { return };
        let mut all = self.lock();
        if all.len() >= MOST {
            all.retain(|_, remembered| remembered.until > now);
        }
        if all.len() >= MOST {
            all.clear();
        }
        let (name, failure) = (name.clone(), failure.clone());
        all.insert(EntryId::of(&name).key_hash, Remembered { name, not_before, until, failure });
    }

    /// Why there is no image of this key, if that is known from after the latest purge.
    pub fn find(&self, name: &Name, not_before: u64) -> Option<Failure> {
        let mut all = self.lock();
        if all.is_empty() {
            return None;
        }
        let source = EntryId::of(name).key_hash;
        let remembered = all.get(&source)?;
        if remembered.until > Instant::now() && remembered.not_before >= not_before {
            return Some(remembered.failure.clone());
        }
        all.remove(&source);
        None
    }

    /// Forgets every key that such names have.
    pub fn forget(&self, is_touched: &dyn Fn(&Name) -> bool) {
        self.lock().retain(|_, remembered| !is_touched(&remembered.name));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn key(number: usize) -> Name {
        Name { handler: "h".into(), key: number.to_string(), options: String::new() }
    }

    fn failed(code: Code) -> Failure {
        Failure::new(code, "why")
    }

    #[test]
    fn what_is_not_there_is_remembered_for_its_time_and_failures_are_not() {
        let negative = NegativeCache::default();
        negative.remember(&key(1), 5, &failed(Code::NotFound), LONG);
        negative.remember(&key(2), 5, &failed(Code::NotShown), LONG);
        negative.remember(&key(3), 5, &failed(Code::NotFound), Duration::ZERO);
        negative.remember(&key(4), 5, &failed(Code::NotFound), Duration::from_nanos(1));
        for (number, code) in
            [Code::OriginTimeout, Code::OriginError, Code::CorruptImage].iter().enumerate()
        {
            negative.remember(&key(10 + number), 5, &failed(*code), LONG);
        }
        std::thread::sleep(Duration::from_millis(1));
        let found: Vec<usize> =
            (0..20).filter(|number| negative.find(&key(*number), 5).is_some()).collect();
        assert_eq!(found, [1, 2]);
        assert_eq!(negative.find(&key(1), 5), Some(failed(Code::NotFound)));
        assert_eq!(negative.find(&key(2), 6), None, "purged since");
        negative.remember(&key(2), 5, &failed(Code::NotShown), LONG);
        negative.forget(&|name| name.key == "1");
        assert!(negative.find(&key(1), 5).is_none() && negative.find(&key(2), 5).is_some());
    }

    #[test]
    fn a_flood_of_keys_is_bounded() {
        let negative = NegativeCache::default();
        for number in 0..3 * MOST {
            negative.remember(&key(number), 5, &failed(Code::NotFound), LONG);
            assert!(negative.lock().len() <= MOST);
        }
        assert!(negative.find(&key(3 * MOST - 1), 5).is_some());
    }
}
