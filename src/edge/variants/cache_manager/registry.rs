//! The managers of all cache directories.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::{CacheLimits, CacheManager};
use crate::config::{Config, Handler, place};
use crate::log::error;
use crate::sync;

/// One manager per directory. A manager survives a reload if the new configuration names its directory.
#[derive(Debug, Default)]
pub struct CacheManagers(Mutex<HashMap<PathBuf, Weak<CacheManager>>>);

impl CacheManagers {
    /// The managers of a configuration's directories, of variants and of originals, by configured path. Starts those
    /// that don't run yet, and gives the others their new limits.
    pub fn for_config(&self, config: &Config) -> HashMap<PathBuf, Arc<CacheManager>> {
        let mut running = sync::lock(&self.0);
        running.retain(|_, manager| manager.strong_count() > 0);
        let mut managers = HashMap::new();
        for (path, max_bytes, min_free) in config.handlers.iter().flat_map(directories) {
            if managers.contains_key(path) {
                continue;
            }
            // Different spellings of one directory share a manager.
            let place = place(path);
            let limits = CacheLimits { max_bytes, min_free, max_age: max_age(config, &place) };
            let manager = match running.get(&place).and_then(Weak::upgrade) {
                Some(manager) => {
                    manager.set_limits(limits);
                    manager
                }
                None => match CacheManager::start(path, limits) {
                    Ok(manager) => manager,
                    Err(error) => {
                        let path = path.display();
                        error!("cache_unbounded", "{path}: size limits are not enforced: {error}");
                        continue;
                    }
                },
            };
            running.insert(place, Arc::downgrade(&manager));
            managers.insert(path.to_owned(), manager);
        }
        managers
    }
}

/// The cache directories of a handler, with their `max_bytes` and `min_free`.
fn directories(handler: &Handler) -> impl Iterator<Item = (&Path, Option<u64>, Option<u64>)> {
    let cache =
        handler.cache.iter().map(|cache| (cache.path.as_path(), cache.max_bytes, cache.min_free));
    let originals = handler.originals.iter();
    cache.chain(originals.map(|originals| (originals.path.as_path(), originals.max_bytes, None)))
}

/// The longest time for which a handler with this directory uses an entry; `None` means forever.
fn max_age(config: &Config, directory: &Path) -> Option<Duration> {
    let sharing = config
        .handlers
        .iter()
        .filter(|handler| handler.stores().any(|(_, path)| place(path) == directory));
    let ages = sharing.map(|handler| handler.lifetime().retention());
    ages.max_by_key(|age| age.unwrap_or(Duration::MAX)).flatten()
}
