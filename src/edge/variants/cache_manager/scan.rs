//! The scan of a cache directory: indexes its entries, and removes expired entries, abandoned files and other layouts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::CacheManager;
use crate::cache::{self, Found};
use crate::log::{info, warn};
use crate::metrics::Removal;

/// A scan pauses after each batch: 20,000 entries a second at most.
const BATCH: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

pub fn scan(manager: &Arc<CacheManager>) {
    let now = manager.clock.wall_time();
    let mut seen = 0;
    let mut is_complete = true;
    manager.index.begin_scan();
    let result = cache::walk(&manager.path, &mut |found| {
        seen += 1;
        if seen % BATCH == 0 {
            manager.enforce_limits();
            thread::sleep(PAUSE);
        }
        is_complete &= !matches!(found, Found::Unreadable(..));
        process(manager, found, now);
        // The last other reference is gone: the edge has ended or has another configuration.
        let is_wanted = Arc::strong_count(manager) > 1;
        is_complete &= is_wanted;
        is_wanted
    });
    match result {
        Ok(()) if is_complete => manager.index.end_scan(),
        // Entries that could not be read stay in the index.
        Ok(()) => {}
        Err(error) => {
            warn!("cache_unreadable", "can't read cache {}: {error}", manager.path.display())
        }
    }
    remove_other_layouts(&manager.path);
}

fn process(manager: &CacheManager, found: Found, now: SystemTime) {
    let age = |time: Option<SystemTime>| time.and_then(|time| now.duration_since(time).ok());
    match found {
        Found::Entry(entry) => {
            let age = age(entry.written);
            let is_expired =
                age.zip(manager.limits().max_age).is_some_and(|(age, max_age)| age > max_age);
            if is_expired && fs::remove_file(&entry.path).is_ok() {
                manager.index.remove(entry.id);
                manager.count_removed(Removal::Expired);
            } else {
                let written = manager.clock.ago(age.unwrap_or_default());
                manager.index.insert(entry.id, entry.disk_bytes, written);
            }
        }
        Found::Temporary(path, written) => {
            // If it can't be opened, it belongs to another user.
            let _ = cache::remove_abandoned(&path, written);
        }
        Found::EmptyDirectory(path) => {
            let _ = fs::remove_dir(path);
        }
        Found::Unreadable(path, error) => {
            let path = path.display();
            manager.warning.warn("cache_unreadable", format_args!("can't read {path}: {error}"));
        }
        // Files that this program did not write are left alone.
        Found::Foreign => {}
    }
}

/// Removes the directories of other layouts: those named `v` and a number that contain only subdirectories as a layout
/// has them.
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
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Whether a directory and its subdirectories contain only directories named by two hexadecimal digits. Anything else
/// was put there by an operator and must stay.
fn is_fanned_out(directory: &Path) -> bool {
    let is_fan_out = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let is_hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_named =
            name.to_str().is_some_and(|name| name.len() == 2 && name.bytes().all(is_hexadecimal));
        is_named && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    let all = |directory: &Path, predicate: &dyn Fn(&fs::DirEntry) -> bool| {
        fs::read_dir(directory).is_ok_and(|mut entries| {
            entries.all(|entry| entry.is_ok_and(|entry| predicate(&entry)))
        })
    };
    all(directory, &|entry| is_fan_out(entry) && all(&entry.path(), &is_fan_out))
}
