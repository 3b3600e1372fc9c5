//! The index of a cache directory: the size and the last use of each entry.
//!
//! An entry takes 40 bytes, or up to 94 with the spare capacity of the map. Its key is the pair of hashes in its path,
//! so that an entry can be removed without its name being known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::cache::EntryId;
use crate::sync::RwLock;

/// Number of maps: a map that grows blocks only its own entries.
const SHARDS: usize = 64;
/// Bytes in a block of `st_blocks`.
const BLOCK: u64 = 512;
/// Number of bins in the histogram of last uses.
const BINS: usize = 4096;

#[derive(Debug)]
pub struct Index {
    shards: Vec<RwLock<HashMap<EntryId, Record>>>,
    blocks: AtomicU64,
    entries: AtomicU64,
    /// Flips with each scan.
    scan_parity: AtomicBool,
}

#[derive(Debug)]
struct Record {
    /// Ticks of the manager's clock.
    last_use: AtomicU32,
    size: Size,
}

/// The blocks of an entry, and in the lowest bit the parity of the scan that last saw it: four bytes per entry.
#[derive(Clone, Copy, Debug)]
struct Size(u32);

impl Size {
    /// A tebibyte.
    const MAX_BLOCKS: u32 = u32::MAX >> 1;

    fn new(bytes: u64, scan_parity: bool) -> Size {
        let blocks = u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX);
        Size(blocks.min(Size::MAX_BLOCKS) << 1 | u32::from(scan_parity))
    }

    fn blocks(self) -> u32 {
        self.0 >> 1
    }

    fn scan_parity(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Index {
    pub fn new() -> Index {
        Index {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            blocks: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            scan_parity: AtomicBool::new(false),
        }
    }

    /// The bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed) * BLOCK
    }

    /// The number of entries.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Adds or replaces an entry that was last used at this tick.
    pub fn insert(&self, id: EntryId, bytes: u64, last_use: u32) {
        let mut shard = self.shard(id).write();
        // Loaded under the lock: a scan may begin while this thread waits for it.
        let size = Size::new(bytes, self.scan_parity.load(Ordering::Relaxed));
        // Added before the replaced size is subtracted, so that the sum is never too small for its readers.
        self.blocks.fetch_add(u64::from(size.blocks()), Ordering::Relaxed);
        match shard.insert(id, Record { last_use: AtomicU32::new(last_use), size }) {
            Some(old) => {
                self.blocks.fetch_sub(u64::from(old.size.blocks()), Ordering::Relaxed);
                // A scan knows only when the entry was written, which may be before its last use.
                if let Some(record) = shard.get(&id) {
                    let last_use = old.last_use.load(Ordering::Relaxed);
                    record.last_use.fetch_max(last_use, Ordering::Relaxed);
                }
            }
            None => {
                self.entries.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Begins to mark the entries that are [inserted](Index::insert).
    pub fn begin_scan(&self) {
        self.scan_parity.fetch_xor(true, Ordering::Relaxed);
    }

    /// Removes the entries that were not inserted since the scan began: another process has deleted their files.
    pub fn end_scan(&self) {
        let scan_parity = self.scan_parity.load(Ordering::Relaxed);
        self.retain(|record| record.size.scan_parity() == scan_parity);
    }

    /// Records a use at this tick. `false` if there is no such entry.
    pub fn touch(&self, id: EntryId, now: u32) -> bool {
        match self.shard(id).read().get(&id) {
            None => false,
            Some(record) => {
                // Written only when it changes, so that the cache line stays shared.
                if record.last_use.load(Ordering::Relaxed) < now {
                    record.last_use.store(now, Ordering::Relaxed);
                }
                true
            }
        }
    }

    pub fn last_use(&self, id: EntryId) -> Option<u32> {
        self.shard(id).read().get(&id).map(|record| record.last_use.load(Ordering::Relaxed))
    }

    /// Removes an entry. `false` if there is no such entry.
    pub fn remove(&self, id: EntryId) -> bool {
        match self.shard(id).write().remove(&id) {
            None => false,
            Some(record) => {
                self.blocks.fetch_sub(u64::from(record.size.blocks()), Ordering::Relaxed);
                self.entries.fetch_sub(1, Ordering::Relaxed);
                true
            }
        }
    }

    /// The least recently used entries, with their last use: as few as add up to `bytes` and to `entries`.
    pub fn least_recently_used(&self, bytes: u64, entries: u64) -> Vec<(EntryId, u32)> {
        let mut first = u32::MAX;
        let mut last = 0;
        self.for_each(|_, last_use, _| {
            first = first.min(last_use);
            last = last.max(last_use);
        });
        if first > last || (bytes == 0 && entries == 0) {
            return Vec::new();
        }
        // A histogram finds the last use up to which entries are needed; only those are collected and sorted.
        let width = (last - first) / BINS as u32 + 1;
        let mut bins = vec![(0_u64, 0_u64); BINS];
        self.for_each(|_, last_use, blocks| {
            let bin = ((last_use.max(first) - first) / width).min(BINS as u32 - 1);
            let (bin_bytes, bin_entries) = &mut bins[bin as usize];
            *bin_bytes += u64::from(blocks) * BLOCK;
            *bin_entries += 1;
        });
        let mut sum = 0;
        let mut count = 0;
        let mut newest = first;
        for (number, (bin_bytes, bin_entries)) in (1_u32..).zip(bins) {
            newest = first.saturating_add(width.saturating_mul(number) - 1);
            sum += bin_bytes;
            count += bin_entries;
            if sum >= bytes && count >= entries {
                break;
            }
        }
        let mut candidates = Vec::new();
        self.for_each(|id, last_use, blocks| {
            if last_use <= newest {
                candidates.push((id, last_use, blocks));
            }
        });
        candidates.sort_unstable_by_key(|(_, last_use, _)| *last_use);
        let mut sum = 0;
        let mut count = 0;
        candidates
            .into_iter()
            .take_while(|(_, _, blocks)| {
                let is_needed = sum < bytes || count < entries;
                sum += u64::from(*blocks) * BLOCK;
                count += 1;
                is_needed
            })
            .map(|(id, last_use, _)| (id, last_use))
            .collect()
    }

    fn retain(&self, is_kept: impl Fn(&Record) -> bool) {
        for shard in &self.shards {
            shard.write().retain(|_, record| {
                let is_kept = is_kept(record);
                if !is_kept {
                    self.blocks.fetch_sub(u64::from(record.size.blocks()), Ordering::Relaxed);
                    self.entries.fetch_sub(1, Ordering::Relaxed);
                }
                is_kept
            });
        }
    }

    /// Calls `visit` with the last use and the blocks of each entry, in no particular order.
    fn for_each(&self, mut visit: impl FnMut(EntryId, u32, u32)) {
        for shard in &self.shards {
            for (id, record) in &*shard.read() {
                visit(*id, record.last_use.load(Ordering::Relaxed), record.size.blocks());
            }
        }
    }

    fn shard(&self, id: EntryId) -> &RwLock<HashMap<EntryId, Record>> {
        &self.shards[usize::from(id.key_hash[0]) % SHARDS]
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
    fn index_counts_bytes_and_entries() {
        let index = Index::new();
        index.insert(id(1), 1, 0);
        index.insert(id(2), 4096, 0);
        assert_eq!((index.bytes(), index.entries()), (512 + 4096, 2));
        index.insert(id(2), 8192, 0);
        assert_eq!((index.bytes(), index.entries()), (512 + 8192, 2));
        assert!(index.remove(id(1)) && !index.remove(id(1)) && !index.remove(id(3)));
        assert_eq!((index.bytes(), index.entries()), (8192, 1));
    }

    #[test]
    fn index_insert_does_not_lower_the_last_use() {
        let index = Index::new();
        index.insert(id(1), 512, 10);
        assert!(index.touch(id(1), 50) && !index.touch(id(2), 50));
        index.insert(id(1), 512, 10);
        assert_eq!(index.last_use(id(1)), Some(50));
    }

    #[test]
    fn index_scan_removes_entries_that_it_has_not_seen() {
        let index = Index::new();
        for scan in 0..3 {
            (0..10).for_each(|n| index.insert(id(n), 4096, n));
            index.begin_scan();
            (0..4).for_each(|n| index.insert(id(n), 512, 0));
            assert_eq!(index.entries(), 10, "scan {scan}");
            index.end_scan();
            assert_eq!((index.entries(), index.bytes()), (4, 4 * 512), "scan {scan}");
            assert_eq!(index.last_use(id(3)), Some(3));
        }
        index.begin_scan();
        index.end_scan();
        assert_eq!((index.entries(), index.bytes()), (0, 0));
        index.insert(id(1), u64::MAX, 0);
        assert_eq!(index.bytes(), u64::from(Size::MAX_BLOCKS) * BLOCK);
    }

    #[test]
    fn index_returns_as_few_least_recently_used_entries_as_needed() {
        let index = Index::new();
        for n in 0..1000 {
            index.insert(id(n), 4096, 1_000_000 - n * 500);
        }
        let evicted = index.least_recently_used(10 * 4096, 0);
        let expected: Vec<(EntryId, u32)> =
            (990..1000).rev().map(|n| (id(n), 1_000_000 - n * 500)).collect();
        assert_eq!(evicted, expected);
        assert_eq!(index.least_recently_used(1, 0).len(), 1);
        assert_eq!(index.least_recently_used(0, 7).len(), 7);
        assert_eq!(index.least_recently_used(u64::MAX, 0).len(), 1000);
        assert!(index.least_recently_used(0, 0).is_empty());
        assert!(Index::new().least_recently_used(1, 1).is_empty());
    }

    #[test]
    fn index_returns_some_of_many_entries_of_one_tick() {
        let index = Index::new();
        (0..100).for_each(|n| index.insert(id(n), 512, 5));
        assert_eq!(index.least_recently_used(512 * 30, 0).len(), 30);
    }
}
