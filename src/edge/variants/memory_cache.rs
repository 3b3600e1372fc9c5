//! The memory cache: small, frequently requested variants are served without reading a file.
//!
//! A variant enters the memory cache when it is read from the disk cache. Its file is checked at most once per
//! [`CHECK_INTERVAL`], so a variant that is removed from disk leaves memory shortly after.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::cache_manager::CacheManager;
use super::purge_log::Compared;
use crate::cache::{DiskCache, EncodedImage, EntryStamp, Freshness, Name};
use crate::metrics::METRICS;
use crate::sync::RwLock;

/// Minimum time between two checks of an entry's file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes that an entry takes besides its image: name, header fields, map and ring.
const OVERHEAD: usize = 1024;
/// An entry takes at most this fraction (1/n) of the cache, so that one image can't evict all others.
const MAX_ENTRY_FRACTION: usize = 8;
/// Number of removed entries that may stay in the ring before it is compacted.
const RING_SLACK: usize = 64;

/// Header fields that are formatted once and sent with every response for an image.
#[derive(Debug)]
pub struct HeaderTemplates {
    /// For the whole image (200), without `Cache-Control`.
    pub whole: Arc<str>,
    /// For 304, without `Cache-Control`.
    pub not_modified: Arc<str>,
    /// The value of `Cache-Control` for requests whose token doesn't change it.
    pub cache_control: String,
    /// The entity tag with its quotes.
    pub etag: String,
}

/// An image with the header fields of its responses.
#[derive(Debug)]
pub struct CachedResponse {
    pub image: Arc<EncodedImage>,
    /// Set by the first response.
    pub headers: OnceLock<HeaderTemplates>,
    /// The most bytes that the handler's own fields take in the header fields.
    field_bytes: usize,
    /// The stamp of the file that the image was read from.
    pub stamp: EntryStamp,
    /// Which purges it has been compared with.
    pub compared: Compared,
    /// When the file was last checked, in milliseconds since [`MemoryCache::started`].
    checked: AtomicU64,
    /// The reference bit of the CLOCK algorithm.
    referenced: AtomicBool,
}

impl CachedResponse {
    /// `field_bytes` is the most that the handler's own fields take in a response.
    pub fn new(image: Arc<EncodedImage>, stamp: EntryStamp, field_bytes: usize) -> CachedResponse {
        CachedResponse {
            image,
            // In two templates.
            field_bytes: 2 * field_bytes,
            headers: OnceLock::new(),
            stamp,
            compared: Compared::default(),
            checked: AtomicU64::new(0),
            referenced: AtomicBool::new(false),
        }
    }

    fn size(&self) -> usize {
        self.image.bytes.len() + OVERHEAD + self.field_bytes
    }
}

/// Evicts by the CLOCK algorithm (second chance): a hit sets one flag and moves nothing.
#[derive(Debug)]
pub struct MemoryCache {
    max_bytes: usize,
    started: Instant,
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<Arc<Name>, Slot>,
    /// In the order in which the clock hand passes them. An item whose number differs from its slot's was removed.
    ring: VecDeque<(u64, Arc<Name>)>,
    next_number: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    response: Arc<CachedResponse>,
}

impl MemoryCache {
    /// With `max_bytes` 0, nothing is cached.
    pub fn new(max_bytes: u64) -> MemoryCache {
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        MemoryCache { max_bytes, started: Instant::now(), entries: RwLock::default() }
    }

    /// Whether an image of `length` bytes is small enough to be cached.
    pub fn fits(&self, length: usize) -> bool {
        length + OVERHEAD <= self.max_bytes / MAX_ENTRY_FRACTION
    }

    /// The response cached for `name` and its freshness, unless its file was removed or replaced.
    pub fn find(
        &self,
        name: &Name,
        disk: &DiskCache,
        manager: Option<&CacheManager>,
        now: SystemTime,
    ) -> Option<(Arc<CachedResponse>, Freshness)> {
        if self.max_bytes == 0 {
            return None;
        }
        let response = Arc::clone(&self.entries.read().by_name.get(name)?.response);
        let freshness = disk.freshness(&response.stamp, now);
        // A stale one is always checked: another thread or server may have revalidated its file.
        let needs_check = freshness != Freshness::Fresh || self.is_check_due(&response, manager);
        if needs_check
            && (freshness == Freshness::MustRevalidate || !disk.is_unchanged(&response.stamp))
        {
            self.remove_if_same(name, &response);
            return None;
        }
        // Written only when it changes, so that the cache line stays shared.
        if !response.referenced.load(Ordering::Relaxed) {
            response.referenced.store(true, Ordering::Relaxed);
        }
        Some((response, freshness))
    }

    /// Whether this thread has to check the file.
    fn is_check_due(&self, response: &CachedResponse, manager: Option<&CacheManager>) -> bool {
        const INTERVAL: u64 = CHECK_INTERVAL.as_millis() as u64;
        let now = self.now();
        let checked = response.checked.load(Ordering::Relaxed);
        if now.saturating_sub(checked) < INTERVAL {
            return false;
        }
        // One thread checks. The others skip the check, unless the last one is too long ago.
        let order = Ordering::Relaxed;
        if response.checked.compare_exchange(checked, now, order, order).is_err() {
            return now.saturating_sub(checked) >= 2 * INTERVAL;
        }
        // Recording the use once per check is precise enough for eviction from disk.
        if let Some(manager) = manager {
            manager.touch(response.stamp.id());
        }
        true
    }

    /// Adds or replaces a response, and evicts others if necessary.
    pub fn insert(&self, name: Name, response: Arc<CachedResponse>) {
        if !self.fits(response.image.bytes.len()) {
            return;
        }
        response.checked.store(self.now(), Ordering::Relaxed);
        let name = Arc::new(name);
        let mut entries = self.entries.write();
        entries.bytes += response.size();
        if let Some(slot) = entries.by_name.get_mut(&name) {
            let replaced = std::mem::replace(&mut slot.response, response);
            entries.bytes -= replaced.size();
        } else {
            let number = entries.next_number;
            entries.next_number += 1;
            entries.ring.push_back((number, Arc::clone(&name)));
            entries.by_name.insert(name, Slot { number, response });
        }
        while entries.bytes > self.max_bytes && entries.evict_one() {
            METRICS.caches.memory_evictions.add(1);
        }
    }

    /// The number of entries and the bytes that they take.
    pub fn totals(&self) -> (usize, usize) {
        let entries = self.entries.read();
        (entries.by_name.len(), entries.bytes)
    }

    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub fn remove(&self, name: &Name) {
        let known = self.entries.read().by_name.get(name).map(|slot| Arc::clone(&slot.response));
        if let Some(response) = known {
            self.remove_if_same(name, &response);
        }
    }

    /// Removes every response whose name matches.
    pub fn remove_matching(&self, matches: &dyn Fn(&Name) -> bool) {
        // Hits go on while the names are compared.
        let removed: Vec<_> = {
            let entries = self.entries.read();
            let matching = entries.by_name.iter().filter(|(name, _)| matches(name));
            matching.map(|(name, slot)| (Arc::clone(name), Arc::clone(&slot.response))).collect()
        };
        removed.iter().for_each(|(name, response)| self.remove_if_same(name, response));
    }

    /// Removes a response, unless a newer one has replaced it.
    fn remove_if_same(&self, name: &Name, outdated: &Arc<CachedResponse>) {
        let mut entries = self.entries.write();
        let current = entries.by_name.get(name);
        if current.is_some_and(|current| Arc::ptr_eq(&current.response, outdated)) {
            entries.by_name.remove(name);
            entries.bytes -= outdated.size();
            entries.compact_ring();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Entries {
    /// Evicts the next entry that was not used since the hand last passed it. `false` if there is none.
    fn evict_one(&mut self) -> bool {
        while let Some((number, name)) = self.ring.pop_front() {
            match self.by_name.get(&name) {
                Some(slot) if slot.number != number => {}
                Some(slot) if slot.response.referenced.swap(false, Ordering::Relaxed) => {
                    self.ring.push_back((number, name));
                }
                Some(slot) => {
                    self.bytes -= slot.response.size();
                    self.by_name.remove(&name);
                    return true;
                }
                None => {}
            }
        }
        false
    }

    /// Drops removed entries from the ring once they outnumber the others. Searching the ring at each removal would
    /// block hits when many entries expire.
    fn compact_ring(&mut self) {
        let Entries { by_name, ring, .. } = self;
        if ring.len() > 2 * by_name.len() + RING_SLACK {
            ring.retain(|(number, name)| {
                by_name.get(name).is_some_and(|slot| slot.number == *number)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheTime;
    use crate::cache::Need;
    use crate::format::Format;
    use std::fs;
    use tempfile::TempDir;

    const LENGTH: usize = 9_000;

    struct Fixture {
        memory: MemoryCache,
        disk: DiskCache,
        directory: TempDir,
    }

    /// A cache with room for this many entries.
    fn fixture(entries: usize) -> Fixture {
        let directory = TempDir::new().unwrap();
        let memory = MemoryCache::new((entries * (LENGTH + OVERHEAD)) as u64);
        let disk = DiskCache::new(directory.path(), CacheTime::Seconds(60));
        Fixture { memory, disk, directory }
    }

    fn name(number: usize) -> Name {
        Name { handler: "h".into(), key: number.to_string(), options: String::new() }
    }

    impl Fixture {
        fn put(&self, number: usize) {
            let image = EncodedImage::new(vec![number as u8; LENGTH], Format::Png, None);
            self.disk.store(&name(number), &image, None, SystemTime::now()).unwrap();
            let entry = self.disk.find(&name(number), Need::Image).unwrap();
            let stamp = entry.stamp();
            let image = Arc::new(entry.read().unwrap());
            self.memory.insert(name(number), Arc::new(CachedResponse::new(image, stamp, 0)));
        }

        fn has(&self, number: usize) -> bool {
            self.memory.find(&name(number), &self.disk, None, SystemTime::now()).is_some()
        }
    }

    #[test]
    fn memory_cache_evicts_unreferenced_entries_first() {
        let fixture = fixture(10);
        (0..10).for_each(|number| fixture.put(number));
        assert!(fixture.has(0) && fixture.has(3));
        (10..18).for_each(|number| fixture.put(number));
        assert!(fixture.has(0) && fixture.has(3), "second chance");
        assert!(!fixture.has(1) && !fixture.has(2));
        assert!(fixture.memory.entries.read().bytes <= fixture.memory.max_bytes);
        assert_eq!(
            fixture.memory.entries.read().by_name.len(),
            fixture.memory.entries.read().ring.len()
        );
    }

    #[test]
    fn memory_cache_drops_an_entry_after_its_file_was_removed() {
        let fixture = fixture(10);
        fixture.put(1);
        fixture.put(2);
        fs::remove_dir_all(fixture.directory.path().join("v1")).unwrap();
        fixture.put(2);
        assert!(fixture.has(1) && fixture.has(2), "the files are not checked again at once");
        std::thread::sleep(CHECK_INTERVAL + Duration::from_millis(50));
        assert!(!fixture.has(1));
        assert!(fixture.has(2));
        assert_eq!(fixture.memory.entries.read().by_name.len(), 1);
    }

    #[test]
    fn memory_cache_ring_stays_bounded_when_entries_expire_and_return() {
        let fixture = fixture(10);
        let expired = DiskCache::new(fixture.directory.path(), CacheTime::Seconds(0));
        (0..10).for_each(|number| fixture.put(number));
        // The first entry's place in the ring is void now.
        assert!(fixture.memory.find(&name(0), &expired, None, SystemTime::now()).is_none());
        fixture.put(0);
        fixture.put(10);
        let is_cached = |number| fixture.memory.entries.read().by_name.contains_key(&name(number));
        assert!(is_cached(0) && !is_cached(1));
        for number in [10, 1] {
            assert!(
                fixture.memory.find(&name(number), &expired, None, SystemTime::now()).is_none()
            );
        }
        fixture.put(1);
        for round in 0..300 {
            assert!(
                fixture.memory.find(&name(round % 5), &expired, None, SystemTime::now()).is_none()
            );
            fixture.put(round % 5);
            let entries = fixture.memory.entries.read();
            assert_eq!((entries.by_name.len(), entries.bytes), (10, 10 * (LENGTH + OVERHEAD)));
            assert!(entries.ring.len() <= 2 * 10 + RING_SLACK);
        }
        // Entries that were inserted last are evicted last, wherever they were in the ring before.
        (10..15).for_each(|number| fixture.put(number));
        assert!(
            (0..5).all(|number| fixture.has(number)) && !(5..10).any(|number| fixture.has(number))
        );
    }

    #[test]
    fn memory_cache_remove_matching_frees_its_bytes() {
        let fixture = fixture(300);
        (0..300).for_each(|number| fixture.put(number));
        fixture.memory.remove_matching(&|name| name.key.len() == 3);
        assert!(fixture.has(0) && fixture.has(99) && !fixture.has(100) && !fixture.has(299));
        let entries = fixture.memory.entries.read();
        assert_eq!((entries.by_name.len(), entries.bytes), (100, 100 * (LENGTH + OVERHEAD)));
        assert!(entries.ring.len() <= 2 * 100 + RING_SLACK);
    }

    #[test]
    fn memory_cache_does_not_return_an_expired_entry() {
        let fixture = fixture(10);
        fixture.put(1);
        let expired = DiskCache::new(fixture.directory.path(), CacheTime::Seconds(0));
        assert!(fixture.memory.find(&name(1), &expired, None, SystemTime::now()).is_none());
    }

    #[test]
    fn memory_cache_skips_large_images_and_may_be_disabled() {
        assert!(!MemoryCache::new(0).fits(0));
        let memory = MemoryCache::new(80_000);
        assert!(!memory.fits(10_000) && memory.fits(8_000));
        let fixture = fixture(0);
        fixture.put(1);
        assert!(!fixture.has(1));
    }
}
