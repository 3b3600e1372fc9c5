//! What lies in a cache directory: how large each entry is and when it was last asked for.
//!
//! An entry takes 40 bytes and the map's room to grow, 94 bytes at the worst; it is found by the hashes that its path is
//! made of, so that it can be removed without knowing what it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cache::EntryId;

/// A power of two. Growing one of so many maps holds the others up for nothing.
const SHARDS: usize = 64;
/// Sizes are counted in the blocks of `st_blocks`.
pub const BLOCK: u64 = 512;
/// How finely the last uses are told apart when the oldest are looked for.
const BINS: usize = 4096;

/// Every entry of one cache directory, as far as it is known.
#[derive(Debug)]
pub struct Index {
    shards: Vec<RwLock<HashMap<EntryId, Record>>>,
    blocks: AtomicU64,
    entries: AtomicU64,
    /// Changes with each time that the directory is gone through.
    round: AtomicBool,
}

#[derive(Debug)]
struct Record {
    /// Ticks of the manager's clock.
    used: AtomicU32,
    size: Size,
}

/// The blocks that an entry takes, and in which round it was last seen: no more than four bytes an entry.
#[derive(Clone, Copy, Debug)]
struct Size(u32);

impl Size {
    /// A tebibyte.
    const MOST: u32 = u32::MAX >> 1;

    fn new(bytes: u64, round: bool) -> Size {
        let blocks = u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX).min(Size::MOST);
        Size(blocks << 1 | u32::from(round))
    }

    fn blocks(self) -> u32 {
        self.0 >> 1
    }

    fn round(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Index {
    /// Nothing is known.
    pub fn new() -> Index {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let (blocks, entries, round) =
            (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Index { shards, blocks, entries, round }
    }

    /// The size of everything that is known, in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed) * BLOCK
    }

    /// How many entries are known.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// An entry is there, with this size; it was last asked for at this tick.
    pub fn put(&self, id: EntryId, bytes: u64, used: u32) {
        let mut shard = self.write(id);
        // Not before: a round may begin while the lock is waited for.
        let size = Size::new(bytes, self.round.load(Ordering::Relaxed));
        // Before what it replaces is taken off: the sum is looked at meanwhile.
        self.blocks.fetch_add(u64::from(size.blocks()), Ordering::Relaxed);
        match shard.insert(id, Record { used: AtomicU32::new(used), size }) {
            Some(old) => {
                self.blocks.fetch_sub(u64::from(old.size.blocks()), Ordering::Relaxed);
                // What was seen in the directory knows less than what was asked for meanwhile.
                if let Some(record) = shard.get(&id) {
                    record.used.fetch_max(old.used.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            }
            None => {
                self.entries.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// From now on it is noticed what is [put](Index::put).
    pub fn begin_round(&self) {
        self.round.fetch_xor(true, Ordering::Relaxed);
    }

    /// Forgets what was not put since the round began: who else works in the directory has removed it.
    pub fn end_round(&self) {
        let round = self.round.load(Ordering::Relaxed);
        self.retain(|record| record.size.round() == round);
    }

    /// An entry was asked for at this tick. Whether it is known.
    pub fn touch(&self, id: EntryId, now: u32) -> bool {
        match self.read(id).get(&id) {
            None => false,
            Some(record) => {
                // Not written when it is right already: the cache line stays shared.
                if record.used.load(Ordering::Relaxed) < now {
                    record.used.store(now, Ordering::Relaxed);
                }
                true
            }
        }
    }

    /// When an entry was last asked for, if it is known.
    pub fn last_use(&self, id: EntryId) -> Option<u32> {
        self.read(id).get(&id).map(|record| record.used.load(Ordering::Relaxed))
    }

    /// An entry is gone. Whether it was known.
    pub fn remove(&self, id: EntryId) -> bool {
        match self.write(id).remove(&id) {
            None => false,
            Some(record) => {
                self.blocks.fetch_sub(u64::from(record.size.blocks()), Ordering::Relaxed);
                self.entries.fetch_sub(1, Ordering::Relaxed);
                true
            }
        }
    }

    /// The entries that were not asked for for the longest time, at least so many bytes of them and so many entries,
    /// each with when it was last asked for.
    pub fn oldest(&self, bytes: u64, entries: u64) -> Vec<(EntryId, u32)> {
        let (mut first, mut last) = (u32::MAX, 0);
        self.each(|_, used, _| (first, last) = (first.min(used), last.max(used)));
        if first > last || (bytes == 0 && entries == 0) {
            return Vec::new();
        }
        let width = (last - first) / BINS as u32 + 1;
        let mut bins = vec![(0_u64, 0_u64); BINS];
        self.each(|_, used, blocks| {
            let bin = &mut bins[((used.max(first) - first) / width).min(BINS as u32 - 1) as usize];
            *bin = (bin.0 + u64::from(blocks) * BLOCK, bin.1 + 1);
        });
        // The last bin that is needed; what is older than it goes anyway.
        let (mut sum, mut count, mut newest) = (0, 0, first);
        for (number, (bin_bytes, bin_entries)) in (1_u32..).zip(bins) {
            newest = first.saturating_add(width.saturating_mul(number) - 1);
            (sum, count) = (sum + bin_bytes, count + bin_entries);
            if sum >= bytes && count >= entries {
                break;
            }
        }
        let mut oldest = Vec::new();
        let (mut sum, mut count) = (0, 0);
        self.each(|id, used, blocks| {
            if used <= newest {
                oldest.push((id, used, blocks));
            }
        });
        oldest.sort_unstable_by_key(|(_, used, _)| *used);
        oldest
            .into_iter()
            .take_while(|(_, _, blocks)| {
                let wanted = sum < bytes || count < entries;
                (sum, count) = (sum + u64::from(*blocks) * BLOCK, count + 1);
                wanted
            })
            .map(|(id, used, _)| (id, used))
            .collect()
    }

    fn retain(&self, stays: impl Fn(&Record) -> bool) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).retain(|_, record| {
                let stays = stays(record);
                if !stays {
                    self.blocks.fetch_sub(u64::from(record.size.blocks()), Ordering::Relaxed);
                    self.entries.fetch_sub(1, Ordering::Relaxed);
                }
                stays
            });
        }
    }

    /// Every entry, in no order: its last use and its blocks.
    fn each(&self, mut see: impl FnMut(EntryId, u32, u32)) {
        for shard in &self.shards {
            for (id, record) in &*shard.read().unwrap_or_else(PoisonError::into_inner) {
                see(*id, record.used.load(Ordering::Relaxed), record.size.blocks());
            }
        }
    }

    fn shard(&self, id: EntryId) -> &RwLock<HashMap<EntryId, Record>> {
        &self.shards[usize::from(id.key_hash[0]) % SHARDS]
    }

    fn read(&self, id: EntryId) -> RwLockReadGuard<'_, HashMap<EntryId, Record>> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: EntryId) -> RwLockWriteGuard<'_, HashMap<EntryId, Record>> {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> EntryId {
        let mut source = [0; 16];
        source[..4].copy_from_slice(&number.to_le_bytes());
        EntryId { key_hash: source, options_hash: [7; 16] }
    }

    #[test]
    fn sizes_and_entries_are_counted_through_everything_that_happens() {
        let index = Index::new();
        index.put(id(1), 1, 0);
        index.put(id(2), 4096, 0);
        assert_eq!((index.bytes(), index.entries()), (512 + 4096, 2));
        index.put(id(2), 8192, 0);
        assert_eq!((index.bytes(), index.entries()), (512 + 8192, 2));
        assert!(index.remove(id(1)) && !index.remove(id(1)) && !index.remove(id(3)));
        assert_eq!((index.bytes(), index.entries()), (8192, 1));
    }

    #[test]
    fn a_walk_makes_nothing_older_than_it_is() {
        let index = Index::new();
        index.put(id(1), 512, 10);
        assert!(index.touch(id(1), 50) && !index.touch(id(2), 50));
        index.put(id(1), 512, 10);
        assert_eq!(index.last_use(id(1)), Some(50));
    }

    #[test]
    fn what_a_whole_round_has_not_seen_is_forgotten() {
        let index = Index::new();
        for round in 0..3 {
            (0..10).for_each(|n| index.put(id(n), 4096, n));
            index.begin_round();
            (0..4).for_each(|n| index.put(id(n), 512, 0));
            assert_eq!(index.entries(), 10, "round {round}");
            index.end_round();
            assert_eq!((index.entries(), index.bytes()), (4, 4 * 512), "round {round}");
            assert_eq!(index.last_use(id(3)), Some(3));
        }
        index.begin_round();
        index.end_round();
        assert_eq!((index.entries(), index.bytes()), (0, 0));
        index.put(id(1), u64::MAX, 0);
        assert_eq!(index.bytes(), u64::from(Size::MOST) * BLOCK);
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_are_needed() {
        let index = Index::new();
        for n in 0..1000 {
            index.put(id(n), 4096, 1_000_000 - n * 500);
        }
        let oldest = index.oldest(10 * 4096, 0);
        let expected: Vec<(EntryId, u32)> =
            (990..1000).rev().map(|n| (id(n), 1_000_000 - n * 500)).collect();
        assert_eq!(oldest, expected);
        assert_eq!(index.oldest(1, 0).len(), 1);
        assert_eq!(index.oldest(0, 7).len(), 7);
        assert_eq!(index.oldest(u64::MAX, 0).len(), 1000);
        assert!(index.oldest(0, 0).is_empty());
        assert!(Index::new().oldest(1, 1).is_empty());
    }

    #[test]
    fn entries_of_one_tick_can_be_told_apart_by_nothing_and_go_all_the_same() {
        let index = Index::new();
        (0..100).for_each(|n| index.put(id(n), 512, 5));
        assert_eq!(index.oldest(512 * 30, 0).len(), 30);
    }
}
