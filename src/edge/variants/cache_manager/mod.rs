//! What the edge knows of the cache directories: what lies there, and that it does not become too much.

mod index;
mod manager;
mod originals;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use manager::Bounds;
pub use manager::CacheManager;
pub use originals::OriginalsManager;

use crate::config::{Config, Handler, place};
use crate::log::error;

/// The managers of all cache directories, which outlive the configurations that name them.
#[derive(Debug, Default)]
pub struct CacheManagers(Mutex<HashMap<PathBuf, Weak<CacheManager>>>);

impl CacheManagers {
    /// The manager of each directory that a configuration names, of results or of originals, with the bounds that it
    /// wants.
    pub fn of(&self, config: &Config) -> HashMap<PathBuf, Arc<CacheManager>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, manager| manager.strong_count() > 0);
        let mut wanted = HashMap::new();
        for (path, max_bytes, min_free) in config.handlers.iter().flat_map(directories) {
            if wanted.contains_key(path) {
                continue;
            }
            // One directory has one manager, however it is spelled.
            let place = place(path);
            let bounds = Bounds { max_bytes, min_free, useful: useful(config, &place) };
            let manager = match known.get(&place).and_then(Weak::upgrade) {
                Some(manager) => {
                    manager.set_bounds(bounds);
                    manager
                }
                None => match CacheManager::start(path, bounds) {
                    Ok(manager) => manager,
                    Err(error) => {
                        let path = path.display();
                        error!("cache_unbounded", "{path}: size limits are not enforced: {error}");
                        continue;
                    }
                },
            };
            known.insert(place, Arc::downgrade(&manager));
            wanted.insert(path.to_owned(), manager);
        }
        wanted
    }
}

/// The directories of a handler, with their `max_bytes` and `min_free`.
fn directories(handler: &Handler) -> impl Iterator<Item = (&Path, Option<u64>, Option<u64>)> {
    let cache =
        handler.cache.iter().map(|cache| (cache.path.as_path(), cache.max_bytes, cache.min_free));
    let originals = handler.originals.iter();
    cache.chain(originals.map(|originals| (originals.path.as_path(), originals.max_bytes, None)))
}

/// How long an entry is of use in a directory: as long as to the handler that keeps its results for the longest time.
fn useful(config: &Config, wanted: &Path) -> Option<Duration> {
    let of_directory = config
        .handlers
        .iter()
        .filter(|handler| handler.stores().any(|(_, directory)| place(directory) == wanted));
    let times = of_directory.map(|handler| handler.lifetime().retention());
    times.max_by_key(|time| time.unwrap_or(Duration::MAX)).flatten()
}
