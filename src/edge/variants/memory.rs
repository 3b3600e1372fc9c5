//! The hottest results in memory: what is asked for again and again costs no file.
//!
//! A result comes here when it is read from the disk cache. Before it is used as a fresh one, at
//! most [`TRUST`] ago its file was seen to be the one that it was read from: what is removed from the disk is gone
//! here as well, a moment later.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime};

use super::cache_manager::CacheManager;
use crate::cache::{DiskCache, EncodedImage, EntryStamp, Freshness, Name};

/// How long a file that was looked at is taken to be there.
const TRUST: Duration = Duration::from_secs(1);
/// What an entry costs besides its image: name, header fields, the maps' own memory.
const OVERHEAD: usize = 1024;
/// No entry takes more than this part of the whole, so that one image can't push out all others.
const LARGEST_PART: usize = 8;
/// So many forgotten ones may stay in the ring in any case.
const FORGOTTEN: usize = 64;

/// What is written once for all answers with an image.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Header fields of the whole image's answer (200), without `Cache-Control`.
    pub whole: String,
    /// Header fields of the answer without it (304), without `Cache-Control`.
    pub not_modified: String,
    /// `Cache-Control` for those who need no token.
    pub keep: String,
}

/// A result as it is sent.
#[derive(Debug)]
pub struct Hot {
    /// The image.
    pub image: Arc<EncodedImage>,
    /// What its answers say.
    pub prepared: Prepared,
    /// The entity tag with its quotes.
    pub etag: String,
    stamp: EntryStamp,
    /// When the file was last looked at, in milliseconds since `started`.
    checked: AtomicU64,
    /// Whether it was asked for since the hand came by.
    used: AtomicBool,
}

impl Hot {
    /// An entry that has just been read from its file.
    pub fn new(
        image: Arc<EncodedImage>,
        etag: String,
        prepared: Prepared,
        stamp: EntryStamp,
    ) -> Hot {
        let (checked, used) = (AtomicU64::new(0), AtomicBool::new(false));
        Hot { image, prepared, etag, stamp, checked, used }
    }

    /// What tells whether its file is still the one that it was read from.
    pub fn stamp(&self) -> &EntryStamp {
        &self.stamp
    }

    fn size(&self) -> usize {
        self.image.bytes.len() + OVERHEAD
    }
}

/// A bounded number of bytes of results, evicted by the clock algorithm (second chance): a hit sets one flag and
/// moves nothing.
#[derive(Debug)]
pub struct Memory {
    most: usize,
    started: Instant,
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<Arc<Name>, Kept>,
    /// In the order in which the hand passes them. One whose number is not that of its name's entry was forgotten.
    ring: VecDeque<(u64, Arc<Name>)>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    hot: Arc<Hot>,
}

impl Memory {
    /// Room for this many bytes; 0 keeps nothing.
    pub fn new(most: u64) -> Memory {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Memory { most, started: Instant::now(), entries: RwLock::default() }
    }

    /// Whether an image of this length is worth reading whole for.
    pub fn takes(&self, length: usize) -> bool {
        length + OVERHEAD <= self.most / LARGEST_PART
    }

    /// The result of this name, if it is here and still what is on disk, with what it is good for.
    pub fn find(
        &self,
        name: &Name,
        disk: &DiskCache,
        manager: Option<&CacheManager>,
        now: SystemTime,
    ) -> Option<(Arc<Hot>, Freshness)> {
        if self.most == 0 {
            return None;
        }
        let hot = Arc::clone(&self.read().by_name.get(name)?.hot);
        let freshness = disk.freshness(&hot.stamp, now);
        // Somebody may have revalidated what is past its time here.
        let is_trusted = freshness == Freshness::Fresh && self.is_trusted(&hot, manager);
        if !is_trusted && (freshness == Freshness::MustRevalidate || !disk.is_unchanged(&hot.stamp))
        {
            self.forget_this(name, &hot);
            return None;
        }
        // Not written when it is set already: the cache line stays shared.
        if !hot.used.load(Ordering::Relaxed) {
            hot.used.store(true, Ordering::Relaxed);
        }
        Some((hot, freshness))
    }

    /// Whether the file need not be looked at.
    fn is_trusted(&self, hot: &Hot, manager: Option<&CacheManager>) -> bool {
        let now = self.now();
        let checked = hot.checked.load(Ordering::Relaxed);
        if now.saturating_sub(checked) < TRUST.as_millis() as u64 {
            return true;
        }
        // One of those who notice at this moment looks; the others believe for the moment what they believed, unless
        // that is too long ago.
        if hot.checked.compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return now.saturating_sub(checked) < 2 * TRUST.as_millis() as u64;
        }
        // Once in a while is enough to be known as asked for.
        if let Some(manager) = manager {
            manager.used(hot.stamp.id());
        }
        false
    }

    /// Keeps a result.
    pub fn keep(&self, name: Name, hot: Arc<Hot>) {
        if !self.takes(hot.image.bytes.len()) {
            return;
        }
        hot.checked.store(self.now(), Ordering::Relaxed);
        let (name, size) = (Arc::new(name), hot.size());
        let mut entries = self.write();
        entries.bytes += size;
        if let Some(kept) = entries.by_name.get_mut(&name) {
            let replaced = std::mem::replace(&mut kept.hot, hot);
            entries.bytes -= replaced.size();
        } else {
            let number = entries.next;
            entries.next += 1;
            entries.ring.push_back((number, Arc::clone(&name)));
            entries.by_name.insert(name, Kept { number, hot });
        }
        while entries.bytes > self.most && entries.evict_one() {}
    }

    /// Forgets a result.
    pub fn forget(&self, name: &Name) {
        let known = self.read().by_name.get(name).map(|kept| Arc::clone(&kept.hot));
        if let Some(hot) = known {
            self.forget_this(name, &hot);
        }
    }

    /// Forgets every result of such a name.
    pub fn forget_all(&self, is_touched: &dyn Fn(&Name) -> bool) {
        // Hits go on while all names are looked at.
        let touched: Vec<_> = {
            let entries = self.read();
            let touched = entries.by_name.iter().filter(|(name, _)| is_touched(name));
            touched.map(|(name, kept)| (Arc::clone(name), Arc::clone(&kept.hot))).collect()
        };
        touched.iter().for_each(|(name, hot)| self.forget_this(name, hot));
    }

    /// Unless it has been replaced by a newer one.
    fn forget_this(&self, name: &Name, stale: &Arc<Hot>) {
        let mut entries = self.write();
        if entries.by_name.get(name).is_some_and(|current| Arc::ptr_eq(&current.hot, stale)) {
            entries.by_name.remove(name);
            entries.bytes -= stale.size();
            entries.sweep();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Takes out the next one that nobody has asked for since the hand came by. Whether there was one.
    fn evict_one(&mut self) -> bool {
        while let Some((number, name)) = self.ring.pop_front() {
            match self.by_name.get(&name) {
                Some(kept) if kept.number != number => {}
                Some(kept) if kept.hot.used.swap(false, Ordering::Relaxed) => {
                    self.ring.push_back((number, name));
                }
                Some(kept) => {
                    self.bytes -= kept.hot.size();
                    self.by_name.remove(&name);
                    return true;
                }
                None => {}
            }
        }
        false
    }

    /// Takes the forgotten ones out of the ring once they are more than the others: looking for each of them alone
    /// would hold up every hit when many expire.
    fn sweep(&mut self) {
        let Entries { by_name, ring, .. } = self;
        if ring.len() > 2 * by_name.len() + FORGOTTEN {
            ring.retain(|(number, name)| {
                by_name.get(name).is_some_and(|kept| kept.number == *number)
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

    struct Room {
        memory: Memory,
        disk: DiskCache,
        directory: TempDir,
    }

    fn room(places: usize) -> Room {
        let directory = TempDir::new().unwrap();
        let memory = Memory::new((places * (LENGTH + OVERHEAD)) as u64);
        Room { memory, disk: DiskCache::new(directory.path(), CacheTime::Seconds(60)), directory }
    }

    fn name(number: usize) -> Name {
        Name { handler: "h".into(), key: number.to_string(), options: String::new() }
    }

    impl Room {
        fn put(&self, number: usize) {
            let image = EncodedImage::new(vec![number as u8; LENGTH], Format::Png, None);
            self.disk.store(&name(number), &image, None, SystemTime::now()).unwrap();
            let entry = self.disk.find(&name(number), Need::Image).unwrap();
            let stamp = entry.stamp();
            let image = Arc::new(entry.read().unwrap());
            let (etag, prepared) = Default::default();
            let hot = Hot::new(image, etag, prepared, stamp);
            self.memory.keep(name(number), Arc::new(hot));
        }

        fn has(&self, number: usize) -> bool {
            self.memory.find(&name(number), &self.disk, None, SystemTime::now()).is_some()
        }
    }

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_goes() {
        let room = room(10);
        (0..10).for_each(|number| room.put(number));
        assert!(room.has(0) && room.has(3));
        (10..18).for_each(|number| room.put(number));
        assert!(room.has(0) && room.has(3), "second chance");
        assert!(!room.has(1) && !room.has(2));
        assert!(room.memory.read().bytes <= room.memory.most);
        assert_eq!(room.memory.read().by_name.len(), room.memory.read().ring.len());
    }

    #[test]
    fn what_is_gone_from_disk_is_gone_here_a_moment_later() {
        let room = room(10);
        room.put(1);
        room.put(2);
        fs::remove_dir_all(room.directory.path().join("v1")).unwrap();
        room.put(2);
        assert!(room.has(1) && room.has(2), "not looked at again at once");
        std::thread::sleep(TRUST + Duration::from_millis(50));
        assert!(!room.has(1));
        assert!(room.has(2));
        assert_eq!(room.memory.read().by_name.len(), 1);
    }

    #[test]
    fn what_expires_and_comes_again_leaves_nothing_behind() {
        let room = room(10);
        let expired = DiskCache::new(room.directory.path(), CacheTime::Seconds(0));
        (0..10).for_each(|number| room.put(number));
        // The place that the first one had is nobody's now.
        assert!(room.memory.find(&name(0), &expired, None, SystemTime::now()).is_none());
        room.put(0);
        room.put(10);
        let is_kept = |number| room.memory.read().by_name.contains_key(&name(number));
        assert!(is_kept(0) && !is_kept(1));
        for number in [10, 1] {
            assert!(room.memory.find(&name(number), &expired, None, SystemTime::now()).is_none());
        }
        room.put(1);
        for round in 0..300 {
            assert!(
                room.memory.find(&name(round % 5), &expired, None, SystemTime::now()).is_none()
            );
            room.put(round % 5);
            let entries = room.memory.read();
            assert_eq!((entries.by_name.len(), entries.bytes), (10, 10 * (LENGTH + OVERHEAD)));
            assert!(entries.ring.len() <= 2 * 10 + FORGOTTEN);
        }
        // Those that came again last go last, wherever they had been in the ring before.
        (10..15).for_each(|number| room.put(number));
        assert!((0..5).all(|number| room.has(number)) && !(5..10).any(|number| room.has(number)));
    }

    #[test]
    fn what_is_purged_goes_and_gives_its_room_back() {
        let room = room(300);
        (0..300).for_each(|number| room.put(number));
        room.memory.forget_all(&|name| name.key.len() == 3);
        assert!(room.has(0) && room.has(99) && !room.has(100) && !room.has(299));
        let entries = room.memory.read();
        assert_eq!((entries.by_name.len(), entries.bytes), (100, 100 * (LENGTH + OVERHEAD)));
        assert!(entries.ring.len() <= 2 * 100 + FORGOTTEN);
    }

    #[test]
    fn an_expired_one_is_not_served() {
        let room = room(10);
        room.put(1);
        let expired = DiskCache::new(room.directory.path(), CacheTime::Seconds(0));
        assert!(room.memory.find(&name(1), &expired, None, SystemTime::now()).is_none());
    }

    #[test]
    fn large_images_and_no_room_at_all_are_passed_over() {
        assert!(!Memory::new(0).takes(0));
        assert!(!Memory::new(80_000).takes(10_000) && Memory::new(80_000).takes(8_000));
        let room = room(0);
        room.put(1);
        assert!(!room.has(1));
    }
}
