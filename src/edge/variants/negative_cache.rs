//! The negative cache: keys that the origin did not have a moment ago are answered without asking it again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cache::{EntryId, Name};
use crate::error::{Code, Failure};
use crate::sync::Mutex;

/// Maximum number of keys. When it is reached, expired keys are removed, or all keys if none has expired.
const MAX_KEYS: usize = 1 << 14;

/// Failures by the hash of handler and key.
#[derive(Debug, Default)]
pub struct NegativeCache(Mutex<HashMap<[u8; 16], NegativeEntry>>);

#[derive(Debug)]
struct NegativeEntry {
    /// The name of one variant of this key.
    name: Name,
    /// [`super::HandlerState::epoch`] before the failure.
    epoch: u64,
    expires: Instant,
    failure: Failure,
}

impl NegativeCache {
    /// Stores for `ttl` that the origin has no such key, or does not show it. Other failures may be transient and are
    /// not stored.
    pub fn insert(&self, name: &Name, epoch: u64, failure: &Failure, ttl: Duration) {
        if ttl.is_zero() || !matches!(failure.code, Code::NotFound | Code::NotShown) {
            return;
        }
        let now = Instant::now();
        let Some(expires) = now.checked_add(ttl) else { return };
        let mut entries = self.0.lock();
        if entries.len() >= MAX_KEYS {
            entries.retain(|_, entry| entry.expires > now);
        }
        if entries.len() >= MAX_KEYS {
            entries.clear();
        }
        let key_hash = EntryId::of(name).key_hash;
        entries.insert(
            key_hash,
            NegativeEntry { name: name.clone(), epoch, expires, failure: failure.clone() },
        );
    }

    /// The failure stored for the key of `name`, unless it expired or is from an earlier epoch.
    pub fn find(&self, name: &Name, epoch: u64) -> Option<Failure> {
        let mut entries = self.0.lock();
        if entries.is_empty() {
            return None;
        }
        let key_hash = EntryId::of(name).key_hash;
        let entry = entries.get(&key_hash)?;
        if entry.expires > Instant::now() && entry.epoch >= epoch {
            return Some(entry.failure.clone());
        }
        entries.remove(&key_hash);
        None
    }

    /// Removes the keys whose name matches.
    pub fn remove_matching(&self, matches: &dyn Fn(&Name) -> bool) {
        self.0.lock().retain(|_, entry| !matches(&entry.name));
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
    fn negative_cache_stores_missing_keys_for_their_ttl_and_no_other_failure() {
        let negative = NegativeCache::default();
        negative.insert(&key(1), 5, &failed(Code::NotFound), LONG);
        negative.insert(&key(2), 5, &failed(Code::NotShown), LONG);
        negative.insert(&key(3), 5, &failed(Code::NotFound), Duration::ZERO);
        negative.insert(&key(4), 5, &failed(Code::NotFound), Duration::from_nanos(1));
        for (number, code) in
            [Code::OriginTimeout, Code::OriginError, Code::CorruptImage].iter().enumerate()
        {
            negative.insert(&key(10 + number), 5, &failed(*code), LONG);
        }
        std::thread::sleep(Duration::from_millis(1));
        let found: Vec<usize> =
            (0..20).filter(|number| negative.find(&key(*number), 5).is_some()).collect();
        assert_eq!(found, [1, 2]);
        assert_eq!(negative.find(&key(1), 5), Some(failed(Code::NotFound)));
        assert_eq!(negative.find(&key(2), 6), None, "purged since then");
        negative.insert(&key(2), 5, &failed(Code::NotShown), LONG);
        negative.remove_matching(&|name| name.key == "1");
        assert!(negative.find(&key(1), 5).is_none() && negative.find(&key(2), 5).is_some());
    }

    #[test]
    fn negative_cache_is_bounded() {
        let negative = NegativeCache::default();
        for number in 0..3 * MAX_KEYS {
            negative.insert(&key(number), 5, &failed(Code::NotFound), LONG);
            assert!(negative.0.lock().len() <= MAX_KEYS);
        }
        assert!(negative.find(&key(3 * MAX_KEYS - 1), 5).is_some());
    }
}
