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
pub struct Missing(Mutex<HashMap<[u8; 16], Remembered>>);

#[derive(Debug)]
struct Remembered {
    /// One of those that have this key.
    name: Name,
    until: Instant,
    failure: Failure,
}

impl Missing {
    /// Remembers that the origin has no such key, or does not show it. Any other failure may be over by the next
    /// request, and is not remembered.
    pub fn remember(&self, name: &Name, failure: &Failure, time: Duration) {
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
        all.insert(EntryId::of(&name).source, Remembered { name, until, failure });
    }

    /// Why there is no picture of this key, if that is known.
    pub fn find(&self, name: &Name) -> Option<Failure> {
        let mut all = self.lock();
        if all.is_empty() {
            return None;
        }
        let source = EntryId::of(name).source;
        let remembered = all.get(&source)?;
        if remembered.until > Instant::now() {
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
        let missing = Missing::default();
        missing.remember(&key(1), &failed(Code::NotFound), LONG);
        missing.remember(&key(2), &failed(Code::NotShown), LONG);
        missing.remember(&key(3), &failed(Code::NotFound), Duration::ZERO);
        missing.remember(&key(4), &failed(Code::NotFound), Duration::from_nanos(1));
        for (number, code) in [Code::OriginTimeout, Code::OriginError, Code::CorruptImage].iter().enumerate()
        {
            missing.remember(&key(10 + number), &failed(*code), LONG);
        }
        std::thread::sleep(Duration::from_millis(1));
        let found: Vec<usize> = (0..20).filter(|number| missing.find(&key(*number)).is_some()).collect();
        assert_eq!(found, [1, 2]);
        assert_eq!(missing.find(&key(1)), Some(failed(Code::NotFound)));
        missing.forget(&|name| name.key == "1");
        assert!(missing.find(&key(1)).is_none() && missing.find(&key(2)).is_some());
    }

    #[test]
    fn a_flood_of_keys_is_bounded() {
        let missing = Missing::default();
        for number in 0..3 * MOST {
            missing.remember(&key(number), &failed(Code::NotFound), LONG);
            assert!(missing.lock().len() <= MOST);
        }
        assert!(missing.find(&key(3 * MOST - 1)).is_some());
    }
}
