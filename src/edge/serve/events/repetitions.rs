//! Finds events that were sent before, and events that are older than one about the same key.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use super::object_event::{ObjectEvent, Version};
use crate::sync::Mutex;

/// Maximum number of keys. The key whose first event is the oldest is forgotten for a new one.
const MAX_KEYS: usize = 1 << 14;

/// The latest version of each key, for the life of the process. It only saves work: a purge that is made again asks the
/// origin once more.
#[derive(Debug, Default)]
pub struct Repetitions(Mutex<Versions>);

#[derive(Debug, Default)]
struct Versions {
    latest: HashMap<Hash, Version>,
    /// The keys, the oldest first.
    order: VecDeque<Hash>,
}

/// Of a bucket and a key.
type Hash = [u8; 16];

impl Repetitions {
    /// Whether everything that this event tells is known.
    pub fn contains(&self, event: &ObjectEvent) -> bool {
        self.0.lock().latest.get(&hash(event)).is_some_and(|known| covers(known, &event.version))
    }

    /// Remembers an event whose key has been purged.
    pub fn insert(&self, event: &ObjectEvent) {
        if event.version == Version::Unknown {
            return;
        }
        let hash = hash(event);
        let mut versions = self.0.lock();
        match versions.latest.get_mut(&hash) {
            // Another request may have been faster.
            Some(known) if covers(known, &event.version) => {}
            Some(known) => *known = event.version.clone(),
            None => {
                if versions.order.len() >= MAX_KEYS
                    && let Some(oldest) = versions.order.pop_front()
                {
                    versions.latest.remove(&oldest);
                }
                versions.order.push_back(hash);
                versions.latest.insert(hash, event.version.clone());
            }
        }
    }
}

fn covers(known: &Version, version: &Version) -> bool {
    match (known, version) {
        (Version::Ordered(known), Version::Ordered(version)) => version <= known,
        (Version::Unordered(known), Version::Unordered(version)) => version == known,
        _ => false,
    }
}

fn hash(event: &ObjectEvent) -> Hash {
    let mut digest = Sha256::new_with_prefix(&event.bucket);
    for key in &event.keys {
        digest.update([0]);
        digest.update(key);
    }
    let mut hash = Hash::default();
    hash.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    hash
}

#[cfg(test)]
mod tests {
    use super::super::object_event::Change;
    use super::*;
    use crate::metrics::EventSource;

    fn event(key: &str, version: Version) -> ObjectEvent {
        ObjectEvent {
            source: EventSource::S3,
            bucket: "b".into(),
            keys: vec![key.into()],
            change: Change::Created,
            time: None,
            version,
        }
    }

    fn ordered(key: &str, text: &str) -> ObjectEvent {
        event(key, Version::Ordered(text.into()))
    }

    fn unordered(key: &str, text: &str) -> ObjectEvent {
        event(key, Version::Unordered(text.into()))
    }

    #[test]
    fn equal_and_older_events_of_a_key_are_repetitions() {
        let repetitions = Repetitions::default();
        assert!(!repetitions.contains(&ordered("a", "02")));
        repetitions.insert(&ordered("a", "02"));
        // Handled by another request at the same time.
        repetitions.insert(&ordered("a", "01"));
        for (text, expected) in [("01", true), ("02", true), ("03", false)] {
            assert_eq!(repetitions.contains(&ordered("a", text)), expected, "{text}");
            assert!(!repetitions.contains(&ordered("b", text)));
            assert!(!repetitions.contains(&unordered("a", text)));
        }
    }

    #[test]
    fn without_an_order_only_equal_events_are_repetitions() {
        let repetitions = Repetitions::default();
        repetitions.insert(&unordered("a", "2"));
        assert!(repetitions.contains(&unordered("a", "2")));
        assert!(!repetitions.contains(&unordered("a", "1")));
        repetitions.insert(&event("a", Version::Unknown));
        assert!(!repetitions.contains(&event("a", Version::Unknown)));
        assert!(repetitions.contains(&unordered("a", "2")));
        repetitions.insert(&unordered("a", "1"));
        assert!(!repetitions.contains(&unordered("a", "2")));
    }

    #[test]
    fn repetitions_are_bounded_and_the_oldest_key_is_forgotten() {
        let repetitions = Repetitions::default();
        for number in 0..=MAX_KEYS {
            repetitions.insert(&ordered(&number.to_string(), "1"));
        }
        let versions = repetitions.0.lock();
        assert_eq!((versions.latest.len(), versions.order.len()), (MAX_KEYS, MAX_KEYS));
        drop(versions);
        assert!(!repetitions.contains(&ordered("0", "1")));
        assert!(repetitions.contains(&ordered("1", "1")));
        assert!(repetitions.contains(&ordered(&MAX_KEYS.to_string(), "1")));
    }
}
