//! The latest purge of each target, by its hash: what is known of a purge is up to the process that keeps the table.

use std::collections::HashMap;

use crate::cache::{self, Name};
use crate::shared_journal::{TargetKind, prefixes_of};

/// What is known of a purge. The default is no purge.
pub trait Purge: Copy + Default {
    /// Milliseconds since 1970; 0 for no purge.
    fn time(self) -> u64;

    /// The later one. Of two purges at the same time it is this one.
    fn later(self, other: Self) -> Self {
        if other.time() > self.time() { other } else { self }
    }
}

#[derive(Debug, Default)]
pub struct PurgeTable<P> {
    keys: HashMap<[u8; 16], P>,
    /// Each prefix ends with a slash, or is empty and stands for all keys of a handler.
    prefixes: HashMap<[u8; 16], P>,
}

impl<P: Purge> PurgeTable<P> {
    /// Adds a purge, unless a later one of its target is known.
    pub fn insert(&mut self, kind: TargetKind, hash: [u8; 16], purge: P) {
        let latest = self.purges(kind).entry(hash).or_default();
        *latest = latest.later(purge);
    }

    /// Adds all purges of another table.
    pub fn extend(&mut self, other: PurgeTable<P>) {
        let PurgeTable { keys, prefixes } = other;
        for (kind, purges) in [(TargetKind::Key, keys), (TargetKind::Prefix, prefixes)] {
            purges.into_iter().for_each(|(hash, purge)| self.insert(kind, hash, purge));
        }
    }

    /// Removes the purge of a target at this time, unless the target was purged again since.
    pub fn remove(&mut self, kind: TargetKind, hash: [u8; 16], time: u64) {
        let purges = self.purges(kind);
        if purges.get(&hash).is_some_and(|latest| latest.time() == time) {
            purges.remove(&hash);
        }
    }

    /// Removes the purges of keys before this time.
    pub fn remove_keys_before(&mut self, time: u64) {
        self.keys.retain(|_, purge| purge.time() >= time);
    }

    /// Removes the purges of all keys. Returns the latest of them.
    pub fn drain_keys(&mut self) -> P {
        self.keys.drain().fold(P::default(), |latest, (_, purge)| latest.later(purge))
    }

    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    /// The latest purge that has removed this key.
    pub fn latest(&self, name: &Name) -> P {
        let purge_of = |purges: &HashMap<[u8; 16], P>, target| {
            purges.get(&cache::key_hash(&name.handler, target)).copied().unwrap_or_default()
        };
        let mut latest = P::default();
        // A hash takes longer than the lookup.
        if !self.keys.is_empty() {
            latest = latest.later(purge_of(&self.keys, &name.key));
        }
        if !self.prefixes.is_empty() {
            for prefix in prefixes_of(&name.key) {
                latest = latest.later(purge_of(&self.prefixes, prefix));
            }
        }
        latest
    }

    fn purges(&mut self, kind: TargetKind) -> &mut HashMap<[u8; 16], P> {
        match kind {
            TargetKind::Key => &mut self.keys,
            TargetKind::Prefix => &mut self.prefixes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_journal::Target;

    /// A purge of a time, with the number of its insertion.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Numbered(u64, u32);

    impl Purge for Numbered {
        fn time(self) -> u64 {
            self.0
        }
    }

    fn insert(table: &mut PurgeTable<Numbered>, kind: TargetKind, target: &str, time: u64, n: u32) {
        table.insert(kind, Target::new("h", target, kind).hash, Numbered(time, n));
    }

    fn latest(table: &PurgeTable<Numbered>, key: &str) -> Numbered {
        table.latest(&Name { handler: "h".into(), key: key.into(), options: "w=1".into() })
    }

    #[test]
    fn the_latest_purge_is_that_of_the_key_or_of_a_directory_above_it() {
        let mut table = PurgeTable::default();
        assert_eq!(latest(&table, "a/b/1"), Numbered(0, 0));
        insert(&mut table, TargetKind::Key, "a/b/1", 5, 1);
        insert(&mut table, TargetKind::Prefix, "a/", 6, 2);
        insert(&mut table, TargetKind::Prefix, "a/b/", 4, 3);
        for (key, expected) in [
            ("a/b/1", Numbered(6, 2)),
            ("a/2", Numbered(6, 2)),
            ("a/", Numbered(6, 2)),
            ("a", Numbered(0, 0)),
            ("b/a/b/1", Numbered(0, 0)),
        ] {
            assert_eq!(latest(&table, key), expected, "{key}");
        }
        insert(&mut table, TargetKind::Prefix, "", 5, 4);
        assert_eq!((latest(&table, "a/2"), latest(&table, "x")), (Numbered(6, 2), Numbered(5, 4)));
        let other = Name { handler: "i".into(), key: "a/2".into(), options: String::new() };
        assert_eq!(table.latest(&other), Numbered(0, 0));
    }

    #[test]
    fn an_older_purge_and_one_that_is_added_again_change_nothing() {
        let mut table = PurgeTable::default();
        insert(&mut table, TargetKind::Key, "a", 5, 1);
        insert(&mut table, TargetKind::Key, "a", 4, 2);
        insert(&mut table, TargetKind::Key, "a", 5, 3);
        assert_eq!(latest(&table, "a"), Numbered(5, 1));
        let mut other = PurgeTable::default();
        insert(&mut other, TargetKind::Key, "a", 3, 4);
        insert(&mut other, TargetKind::Key, "b", 3, 5);
        insert(&mut other, TargetKind::Prefix, "c/", 3, 6);
        table.extend(other);
        let found = ["a", "b", "c/1"].map(|key| latest(&table, key).1);
        assert_eq!((found, table.key_count()), ([1, 5, 6], 2));
    }

    #[test]
    fn a_purge_is_removed_unless_its_target_was_purged_again() {
        let mut table = PurgeTable::default();
        let hash = |kind, target| Target::new("h", target, kind).hash;
        for (kind, target) in [(TargetKind::Key, "a"), (TargetKind::Prefix, "a/")] {
            insert(&mut table, kind, target, 5, 1);
            insert(&mut table, kind, target, 6, 2);
            table.remove(kind, hash(kind, target), 5);
        }
        assert_eq!(["a", "a/b"].map(|key| latest(&table, key).1), [2, 2]);
        table.remove_keys_before(6);
        assert_eq!(latest(&table, "a").1, 2);
        table.remove_keys_before(7);
        assert_eq!((latest(&table, "a").1, latest(&table, "a/b").1), (0, 2));
        table.remove(TargetKind::Prefix, hash(TargetKind::Prefix, "a/"), 6);
        assert!(table.is_empty());
        insert(&mut table, TargetKind::Key, "a", 5, 1);
        insert(&mut table, TargetKind::Key, "b", 7, 2);
        assert_eq!(table.drain_keys(), Numbered(7, 2));
        assert!(table.is_empty() && table.drain_keys() == Numbered(0, 0));
    }
}
