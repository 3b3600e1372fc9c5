//! The purges that results in the bucket must not be from before.
//!
//! Clocks of servers differ, so times alone don't tell whether a result is from after a purge. The server that made it
//! knows: the origin was asked after it had learned of the purge. It marks the result with the time of the latest purge
//! that it knew, by the clock of the bucket, which all servers know it by.

use std::time::{Duration, Instant};

use crate::cache::Name;
use crate::purge_table::{Purge, PurgeTable};
use crate::shared_journal::TargetKind;

/// Maximum number of keys. When it is reached, all results from before the newest purge count as purged.
const MAX_KEYS: usize = 200_000;

#[derive(Debug, Default)]
pub struct Known {
    /// Those of keys are of the last minutes.
    purges: PurgeTable<Learned>,
    /// A purge of everything.
    all: Learned,
    is_loaded: bool,
    read: Option<Instant>,
}

/// A purge, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Learned {
    /// By the clock of the bucket.
    time: u64,
    /// When this server has learned of it, by its own clock.
    learned: u64,
}

// Of two purges at one time, the table keeps the one that it knows: what is read again was learned the first time.
impl Purge for Learned {
    fn time(self) -> u64 {
        self.time
    }
}

impl Known {
    pub fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Adds all that had been recorded before.
    pub fn load(&mut self, before: Known) {
        self.purges.extend(before.purges);
        self.all = self.all.later(before.all);
        self.bound();
        self.is_loaded = true;
    }

    /// Adds a purge by the clock of the bucket, which was learned at `learned` by the clock of this server.
    pub fn add(&mut self, kind: TargetKind, hash: [u8; 16], time: u64, learned: u64) {
        self.purges.insert(kind, hash, Learned { time, learned });
        self.bound();
    }

    /// Adds a purge of everything.
    pub fn add_all(&mut self, time: u64, learned: u64) {
        self.all = self.all.later(Learned { time, learned });
    }

    fn bound(&mut self) {
        if self.purges.key_count() > MAX_KEYS {
            self.all = self.all.later(self.purges.drain_keys());
        }
    }

    /// Forgets the keys that were purged before.
    pub fn forget_before(&mut self, time: u64) {
        self.purges.remove_keys_before(time);
    }

    /// Records that the journal was read.
    pub fn read(&mut self, at: Instant) {
        self.read = Some(at);
    }

    /// See [`super::Journal::mark`].
    pub fn mark(
        &self,
        name: &Name,
        validated_at: u64,
        max_age: Duration,
    ) -> Result<u64, &'static str> {
        if !self.is_current(max_age) {
            return Err("the purges of other servers can't be read");
        }
        let latest = self.latest(name);
        let is_later = latest.time == 0 || validated_at > latest.learned;
        if is_later { Ok(latest.time) } else { Err("it is from before a purge") }
    }

    /// See [`super::Journal::allows`].
    pub fn allows(&self, name: &Name, mark: u64, max_age: Duration) -> bool {
        self.is_current(max_age) && mark >= self.latest(name).time
    }

    fn is_current(&self, max_age: Duration) -> bool {
        self.is_loaded && self.read.is_some_and(|read| read.elapsed() <= max_age)
    }

    fn latest(&self, name: &Name) -> Learned {
        self.all.later(self.purges.latest(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache;

    const LONG: Duration = Duration::from_secs(60);

    fn name(key: &str) -> Name {
        Name { handler: "h".into(), key: key.into(), options: "w=1".into() }
    }

    fn known() -> Known {
        let mut known = Known::default();
        known.load(Known::default());
        known.read(Instant::now());
        known
    }

    #[test]
    fn nothing_is_exchanged_before_the_purges_are_known() {
        let mut known = Known::default();
        let is_exchanged = |known: &Known, max_age| {
            let [allows, marks] = [
                known.allows(&name("a"), 0, max_age),
                known.mark(&name("a"), 1000, max_age).is_ok(),
            ];
            assert_eq!(allows, marks);
            allows
        };
        assert!(!is_exchanged(&known, LONG));
        known.read(Instant::now());
        assert!(!is_exchanged(&known, LONG));
        known.load(Known::default());
        assert!(is_exchanged(&known, LONG));
        assert!(!is_exchanged(&known, Duration::ZERO), "they were read long ago");
    }

    #[test]
    fn a_result_must_have_the_mark_of_the_latest_purge_of_its_key() {
        let mut known = known();
        known.add(TargetKind::Key, cache::key_hash("h", "a/1"), 50_000, 7000);
        known.add(TargetKind::Key, cache::key_hash("h", "a/1"), 40_000, 8000);
        known.add(TargetKind::Prefix, cache::key_hash("h", "b/"), 60_000, 9000);
        for (key, time, learned) in
            [("a/1", 50_000, 7000), ("b/1", 60_000, 9000), ("b/c/d", 60_000, 9000)]
        {
            assert_eq!(known.mark(&name(key), learned + 1, LONG), Ok(time), "{key}");
            assert!(known.mark(&name(key), learned, LONG).is_err(), "{key}");
            let allows = |mark| known.allows(&name(key), mark, LONG);
            assert!(allows(time) && allows(time + 1), "{key}");
            assert!(!allows(time - 1) && !allows(0), "{key}");
        }
        for other in [name("a/2"), Name { handler: "i".into(), ..name("a/1") }] {
            assert_eq!(known.mark(&other, 0, LONG), Ok(0));
            assert!(known.allows(&other, 0, LONG));
        }
        known.forget_before(50_001);
        assert!(known.allows(&name("a/1"), 0, LONG), "old purges of keys are forgotten");
        assert!(!known.allows(&name("b/1"), 0, LONG), "those of prefixes are not");
    }

    #[test]
    fn a_purge_that_is_read_again_was_learned_the_first_time() {
        let mut known = known();
        for learned in [7000, 9000] {
            known.add(TargetKind::Key, cache::key_hash("h", "a"), 50_000, learned);
        }
        assert_eq!(known.mark(&name("a"), 7001, LONG), Ok(50_000));
        known.add(TargetKind::Key, cache::key_hash("h", "a"), 50_001, 9000);
        assert!(known.mark(&name("a"), 7001, LONG).is_err());
    }

    #[test]
    fn what_was_recorded_before_loading_is_kept() {
        let mut known = Known::default();
        known.add(TargetKind::Key, cache::key_hash("h", "a"), 50_000, 1);
        let mut before = Known::default();
        before.add(TargetKind::Key, cache::key_hash("h", "a"), 40_000, 1);
        before.add(TargetKind::Prefix, cache::key_hash("h", "b/"), 40_000, 1);
        known.load(before);
        known.read(Instant::now());
        assert!(!known.allows(&name("a"), 40_000, LONG));
        assert!(!known.allows(&name("b/1"), 0, LONG));
    }

    #[test]
    fn keys_are_bounded_and_no_old_result_becomes_allowed() {
        let mut known = known();
        for number in 0..=MAX_KEYS as u64 {
            let hash = cache::key_hash("h", &number.to_string());
            known.add(TargetKind::Key, hash, 1000 + number, 1);
        }
        assert!(known.purges.key_count() <= 1);
        assert!(!known.allows(&name("7"), 1007, LONG));
        assert!(known.allows(&name("7"), 1000 + MAX_KEYS as u64, LONG));
    }
}
