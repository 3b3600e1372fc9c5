//! Keeps a cache directory within its bounds, from a thread of its own.
//!
//! It learns what lies there by going through the directory once at the start, slowly, and again each hour; what is
//! written and asked for meanwhile it is told. What was not asked for for the longest time goes first.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use super::index::Index;
use crate::cache::{self, EntryId, Found, PurgeMark};
use crate::log::{RateLimited, info, warn};

/// How often the free space of the disk is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How often the directory is gone through.
const BETWEEN_WALKS: Duration = Duration::from_secs(3600);
/// A walk rests for [`REST`] after so many entries: 20,000 a second at the most.
const STRIDE: u32 = 200;
const REST: Duration = Duration::from_millis(10);
/// One inode of so many stays free.
const LEAST_FREE_INODES: u64 = 100;
/// So much of the bound is made free at once, that not every new entry costs a search for the oldest.
const SLACK: u64 = 100;

/// How large a directory may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `cache_max_bytes`
    pub max_bytes: Option<u64>,
    /// `cache_min_free`
    pub min_free: Option<u64>,
    /// How long after it was written an entry is of no use to anybody; `None` is never.
    pub useful: Option<Duration>,
}

/// Sixteenths of a second in 32 bits, four years before and after its start. It does not follow a wall clock that is
/// set, so that nothing becomes older than what was asked for before it.
#[derive(Debug)]
struct Clock {
    start: Instant,
    /// Time that a test lets pass, in seconds.
    #[cfg(test)]
    ahead: std::sync::atomic::AtomicU64,
}

impl Clock {
    const TICKS: u64 = 16;
    const START: u32 = 1 << 31;

    fn start() -> Clock {
        Clock {
            start: Instant::now(),
            #[cfg(test)]
            ahead: Default::default(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed() + self.ahead()
    }

    /// The time of day.
    fn wall(&self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }

    #[cfg(not(test))]
    fn ahead(&self) -> Duration {
        Duration::ZERO
    }

    #[cfg(test)]
    fn ahead(&self) -> Duration {
        Duration::from_secs(self.ahead.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn now(&self) -> u32 {
        Clock::START.saturating_add(ticks(self.elapsed()))
    }

    fn ago(&self, age: Duration) -> u32 {
        self.now().saturating_sub(ticks(age))
    }
}

fn ticks(time: Duration) -> u32 {
    let whole = time.as_secs().saturating_mul(Clock::TICKS);
    let part = u64::from(time.subsec_millis()) * Clock::TICKS / 1000;
    u32::try_from(whole.saturating_add(part)).unwrap_or(u32::MAX)
}

/// One cache directory.
#[derive(Debug)]
pub struct CacheManager {
    path: PathBuf,
    /// Others after a reload.
    bounds: Mutex<Bounds>,
    index: Index,
    clock: Clock,
    woken: Mutex<bool>,
    wake: Condvar,
    warning: RateLimited,
}

impl CacheManager {
    fn new(path: &Path, bounds: Bounds) -> CacheManager {
        CacheManager {
            path: path.to_owned(),
            bounds: Mutex::new(bounds),
            index: Index::new(),
            clock: Clock::start(),
            woken: Mutex::new(false),
            wake: Condvar::new(),
            warning: RateLimited::default(),
        }
    }

    /// Begins; the thread ends when the manager is dropped.
    pub fn start(path: &Path, bounds: Bounds) -> io::Result<Arc<CacheManager>> {
        let manager = Arc::new(CacheManager::new(path, bounds));
        let weak = Arc::downgrade(&manager);
        thread::Builder::new().name("cache-manager".into()).spawn(move || run(&weak))?;
        Ok(manager)
    }

    /// From now on other bounds hold.
    pub fn set_bounds(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
        self.wake();
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry was asked for.
    pub fn used(&self, id: EntryId) {
        self.index.touch(id, self.clock.now());
    }

    /// The entry was written and takes so many bytes of the disk.
    pub fn stored(&self, id: EntryId, bytes: u64) {
        self.index.put(id, bytes, self.clock.now());
        if self.bounds().max_bytes.is_some_and(|most| self.index.bytes() > most) {
            self.wake();
        }
    }

    /// The entry was removed by somebody else.
    pub fn removed(&self, id: EntryId) {
        self.index.remove(id);
    }

    /// How many entries are known, and how many bytes of the disk they take.
    pub fn known(&self) -> (u64, u64) {
        (self.index.entries(), self.index.bytes())
    }

    /// When the entry was last asked for, in ticks of a clock of its own.
    pub fn last_use(&self, id: EntryId) -> Option<u32> {
        self.index.last_use(id)
    }

    /// What tells the directory from one that is made anew in its place, which often gets the same inode.
    fn directory(&self) -> Option<(u64, u64, Option<SystemTime>)> {
        let metadata = fs::metadata(self.path.join(cache::LAYOUT)).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
    }

    fn wake(&self) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            *woken = true;
            self.wake.notify_one();
        }
    }

    fn wait(&self) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(woken, BETWEEN_LOOKS, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Removes what is too much. Only what is known can be removed; a walk finds the rest.
    fn keep_bounds(&self) {
        let bounds = self.bounds();
        let mut bytes = 0;
        if let Some(most) = bounds.max_bytes {
            // Looked at once: others store meanwhile.
            let over = self.index.bytes().saturating_sub(most);
            bytes = if over > 0 { over + most / SLACK } else { 0 };
        }
        let mut entries = 0;
        if let Ok(disk) = rustix::fs::statvfs(&self.path) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let least = cache::min_free_bytes(bounds.min_free, &disk);
            if free < least {
                bytes = bytes.max(least - free + least / SLACK);
            }
            // Some file systems have as many inodes as they like, and say 0.
            let least = disk.f_files / LEAST_FREE_INODES;
            if disk.f_files > 0 && disk.f_favail < least {
                entries = least - disk.f_favail;
            }
        }
        if bytes > 0 || entries > 0 {
            self.evict(bytes, entries);
        }
    }

    fn evict(&self, bytes: u64, entries: u64) {
        let oldest = self.index.oldest(bytes, entries);
        let root = self.path.join(cache::LAYOUT);
        for (id, used) in oldest {
            // Asked for since it was found to be old.
            if self.index.last_use(id) != Some(used) {
                continue;
            }
            let path = id.path(&root);
            if let Err(error) = cache::remove_entry(&path) {
                let path = path.display();
                self.warning
                    .warn("entry_not_removed", format_args!("can't remove {path}: {error}"));
                continue;
            }
            self.index.remove(id);
        }
    }
}

fn run(manager: &Weak<CacheManager>) {
    let mut walked: Option<Instant> = None;
    let mut directory = None;
    let mut purged = manager.upgrade().and_then(|manager| PurgeMark::of(&manager.path));
    loop {
        let Some(manager) = manager.upgrade() else { return };
        let now = manager.directory();
        if now != directory {
            // It was made, deleted, or deleted and made again: what we know may not be there.
            walked = None;
        }
        directory = now;
        let now = PurgeMark::of(&manager.path);
        if now != purged {
            // Somebody removes entries from outside and says so.
            walked = None;
        }
        purged = now;
        if walked.is_none_or(|at| at.elapsed() > BETWEEN_WALKS) {
            walk(&manager);
            walked = Some(Instant::now());
        }
        manager.keep_bounds();
        manager.wait();
    }
}

/// Goes through the directory once.
fn walk(manager: &Arc<CacheManager>) {
    let now = manager.clock.wall();
    let mut seen = 0;
    let mut is_whole = true;
    manager.index.begin_round();
    let result = cache::walk(&manager.path, &mut |found| {
        seen += 1;
        if seen % STRIDE == 0 {
            manager.keep_bounds();
            thread::sleep(REST);
        }
        is_whole &= !matches!(found, Found::Unreadable(..));
        manager.see(found, now);
        // Nobody but us holds it any more: the edge has ended or has another configuration.
        let is_wanted = Arc::strong_count(manager) > 1;
        is_whole &= is_wanted;
        is_wanted
    });
    match result {
        Ok(()) if is_whole => manager.index.end_round(),
        // What could not be looked at may be there all the same.
        Ok(()) => {}
        Err(error) => {
            warn!("cache_unreadable", "can't read cache {}: {error}", manager.path.display())
        }
    }
    remove_other_layouts(&manager.path);
}

impl CacheManager {
    fn see(&self, found: Found, now: SystemTime) {
        let age = |time: Option<SystemTime>| time.and_then(|time| now.duration_since(time).ok());
        match found {
            Found::Entry(entry) => {
                let is_useless = age(entry.written)
                    .zip(self.bounds().useful)
                    .is_some_and(|(age, useful)| age > useful);
                if is_useless && fs::remove_file(&entry.path).is_ok() {
                    self.index.remove(entry.id);
                } else {
                    let written = self.clock.ago(age(entry.written).unwrap_or_default());
                    self.index.put(entry.id, entry.disk_bytes, written);
                }
            }
            Found::Temporary(path, written) => {
                // One that can't be opened is not ours.
                let _ = cache::remove_abandoned(&path, written);
            }
            Found::EmptyDirectory(path) => {
                let _ = fs::remove_dir(path);
            }
            Found::Unreadable(path, error) => {
                let path = path.display();
                self.warning.warn("cache_unreadable", format_args!("can't read {path}: {error}"));
            }
            // What somebody else has put there is not ours to remove.
            Found::Foreign => {}
        }
    }
}

/// Removes the directories of other layouts: `v` and a number, in them nothing but directories as layouts have them.
fn remove_other_layouts(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_other =
            name.to_str().is_some_and(|name| name != cache::LAYOUT && cache::is_layout(name));
        if is_other
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && is_fanned_out(&entry.path())
        {
            let path = entry.path();
            info!("cache_layout_removed", "removing {}, which has another layout", path.display());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether there is nothing in it but directories of two hexadecimal digits, and nothing else in these. What an operator has
/// put there is not ours to remove.
fn is_fanned_out(directory: &Path) -> bool {
    let is_ours = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let is_hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_named =
            name.to_str().is_some_and(|name| name.len() == 2 && name.bytes().all(is_hexadecimal));
        is_named && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    let all = |directory: &Path, holds: &dyn Fn(&fs::DirEntry) -> bool| {
        fs::read_dir(directory)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| holds(&entry))))
    };
    all(directory, &|entry| is_ours(entry) && all(&entry.path(), &is_ours))
}

#[cfg(test)]
mod model;
