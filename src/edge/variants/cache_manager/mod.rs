//! The cache manager: a thread that keeps one cache directory within its size limits (nginx: cache manager and cache
//! loader).
//!
//! Its index of the directory comes from a scan at the start and one each hour; between scans, the edge reports which
//! entries are stored, used and removed. The least recently used entries are evicted first.
//!
//! `scan` reads a directory, `index` holds its entries, `clock` dates their last use, and `registry` shares one
//! manager among all handlers and configurations that name the directory.

mod clock;
mod index;
#[cfg(test)]
mod model;
mod registry;
mod scan;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Weak};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use self::clock::Clock;
use self::index::Index;
pub use self::registry::CacheManagers;
use crate::cache::{self, EntryId, PurgeMark};
use crate::check_interval::check_interval;
use crate::log::RateLimited;
use crate::metrics::{METRICS, Removal, RemovedEntries};
use crate::sync::{self, Mutex};

/// How often the directory is read for entries that the index does not know.
const SCAN_INTERVAL: Duration = Duration::from_secs(3600);
/// This fraction (1/n) of the file system's inodes is kept free.
const FREE_INODES_FRACTION: u64 = 100;
/// This fraction (1/n) of a limit is evicted in addition, so that the index is not searched for every new entry.
const SLACK_FRACTION: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// `cache_max_bytes`
    pub max_bytes: Option<u64>,
    /// `cache_min_free`
    pub min_free: Option<u64>,
    /// Entries that were written longer ago are removed by a scan; `None` means never.
    pub max_age: Option<Duration>,
}

#[derive(Debug)]
pub struct CacheManager {
    path: PathBuf,
    /// A reload may change them.
    limits: Mutex<CacheLimits>,
    index: Index,
    clock: Clock,
    is_woken: Mutex<bool>,
    wake: Condvar,
    warning: RateLimited,
    removed: Arc<RemovedEntries>,
}

impl CacheManager {
    fn new(path: &Path, limits: CacheLimits) -> CacheManager {
        CacheManager {
            path: path.to_owned(),
            limits: Mutex::new(limits),
            index: Index::new(),
            clock: Clock::start(),
            is_woken: Mutex::new(false),
            wake: Condvar::new(),
            warning: RateLimited::default(),
            removed: METRICS.caches.directory(path),
        }
    }

    /// Starts the manager's thread, which ends when the manager is dropped.
    pub fn start(path: &Path, limits: CacheLimits) -> io::Result<Arc<CacheManager>> {
        let manager = Arc::new(CacheManager::new(path, limits));
        let weak = Arc::downgrade(&manager);
        thread::Builder::new().name("cache-manager".into()).spawn(move || run(&weak))?;
        Ok(manager)
    }

    pub fn set_limits(&self, limits: CacheLimits) {
        *self.limits.lock() = limits;
        self.wake();
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn limits(&self) -> CacheLimits {
        *self.limits.lock()
    }

    /// Records a use of the entry.
    pub fn touch(&self, id: EntryId) {
        self.index.touch(id, self.clock.now());
    }

    /// Records that the entry was stored and takes `disk_bytes`.
    pub fn insert(&self, id: EntryId, disk_bytes: u64) {
        self.index.insert(id, disk_bytes, self.clock.now());
        if self.limits().max_bytes.is_some_and(|max_bytes| self.index.bytes() > max_bytes) {
            self.wake();
        }
    }

    /// Records that another thread has removed the entry.
    pub fn remove(&self, id: EntryId) {
        self.index.remove(id);
    }

    pub fn count_removed(&self, cause: Removal) {
        self.removed.get(cause).add(1);
    }

    /// The number of entries in the index and the bytes that they take on disk.
    pub fn totals(&self) -> (u64, u64) {
        (self.index.entries(), self.index.bytes())
    }

    /// When the entry was last used, in ticks of the manager's clock.
    pub fn last_use(&self, id: EntryId) -> Option<u32> {
        self.index.last_use(id)
    }

    /// Identifies the directory. The creation time tells it from one that replaced it, which often has the same inode.
    fn directory_id(&self) -> Option<(u64, u64, Option<SystemTime>)> {
        let metadata = fs::metadata(self.path.join(cache::LAYOUT)).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
    }

    fn wake(&self) {
        let mut is_woken = self.is_woken.lock();
        if !*is_woken {
            *is_woken = true;
            self.wake.notify_one();
        }
    }

    fn wait(&self) {
        let is_woken = self.is_woken.lock();
        let is_asleep = |is_woken: &mut bool| !*is_woken;
        *sync::wait_timeout_while(&self.wake, is_woken, check_interval(), is_asleep) = false;
    }

    /// Evicts entries until the limits are met. Only entries in the index can be evicted; a scan finds the others.
    fn enforce_limits(&self) {
        let limits = self.limits();
        let mut bytes = 0;
        if let Some(max_bytes) = limits.max_bytes {
            // Read once: other threads store entries meanwhile.
            let excess = self.index.bytes().saturating_sub(max_bytes);
            bytes = if excess > 0 { excess + max_bytes / SLACK_FRACTION } else { 0 };
        }
        let mut entries = 0;
        if let Ok(disk) = rustix::fs::statvfs(&self.path) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let min_free = cache::min_free_bytes(limits.min_free, &disk);
            if free < min_free {
                bytes = bytes.max(min_free - free + min_free / SLACK_FRACTION);
            }
            // File systems that create inodes on demand report 0.
            let min_free_inodes = disk.f_files / FREE_INODES_FRACTION;
            if disk.f_files > 0 && disk.f_favail < min_free_inodes {
                entries = min_free_inodes - disk.f_favail;
            }
        }
        if bytes > 0 || entries > 0 {
            self.evict(bytes, entries);
        }
    }

    fn evict(&self, bytes: u64, entries: u64) {
        let root = self.path.join(cache::LAYOUT);
        for (id, last_use) in self.index.least_recently_used(bytes, entries) {
            // Used since it was selected.
            if self.index.last_use(id) != Some(last_use) {
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
            self.count_removed(Removal::Evicted);
        }
    }
}

fn run(manager: &Weak<CacheManager>) {
    let mut scanned: Option<Instant> = None;
    let mut directory_id = None;
    let mut purge_mark = manager.upgrade().and_then(|manager| PurgeMark::of(&manager.path));
    loop {
        let Some(manager) = manager.upgrade() else { return };
        let new_directory_id = manager.directory_id();
        let new_purge_mark = PurgeMark::of(&manager.path);
        // The directory was created, deleted or replaced, or another process has purged entries.
        if new_directory_id != directory_id || new_purge_mark != purge_mark {
            scanned = None;
        }
        directory_id = new_directory_id;
        purge_mark = new_purge_mark;
        if scanned.is_none_or(|at| at.elapsed() > SCAN_INTERVAL) {
            scan::scan(&manager);
            scanned = Some(Instant::now());
        }
        manager.enforce_limits();
        manager.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn free_inodes_are_as_documented() {
        let sentence = format!("and {} % of the inodes", 100 / FREE_INODES_FRACTION);
        assert_says("docs/configuration.md", &sentence);
    }
}
