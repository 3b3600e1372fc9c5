//! What the edge knows of the cache folders: what lies there, and that it does not become too much.

mod index;
mod keeper;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use keeper::Bounds;
pub use keeper::Keeper;

use crate::config::Config;
use crate::report::say;

/// The keepers of all cache folders, which outlive the configurations that name them.
#[derive(Debug, Default)]
pub struct Keepers(Mutex<HashMap<PathBuf, Weak<Keeper>>>);

impl Keepers {
    /// The keeper of each folder that a configuration names, with the bounds that it wants.
    pub fn of(&self, config: &Config) -> HashMap<PathBuf, Arc<Keeper>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, keeper| keeper.strong_count() > 0);
        let mut wanted = HashMap::new();
        for cache in config.handlers.iter().filter_map(|handler| handler.cache.as_ref()) {
            if wanted.contains_key(&cache.path) {
                continue;
            }
            let useful = useful(config, &cache.path);
            let bounds = Bounds { max_bytes: cache.max_bytes, min_free: cache.min_free, useful };
            let keeper = match known.get(&cache.path).and_then(Weak::upgrade) {
                Some(keeper) => {
                    keeper.set_bounds(bounds);
                    keeper
                }
                None => match Keeper::start(&cache.path, bounds) {
                    Ok(keeper) => keeper,
                    Err(error) => {
                        say!("cache: {}: nobody keeps it within its bounds: {error}", cache.path.display());
                        continue;
                    }
                },
            };
            known.insert(cache.path.clone(), Arc::downgrade(&keeper));
            wanted.insert(cache.path.clone(), keeper);
        }
        wanted
    }
}

/// How long an entry is of use in a folder: as long as to the handler that keeps its results for the longest time.
fn useful(config: &Config, path: &Path) -> Option<Duration> {
    let of_folder = config
        .handlers
        .iter()
        .filter(|handler| handler.cache.as_ref().is_some_and(|cache| cache.path == path));
    let times = of_folder.map(|handler| handler.lifetime().useful());
    times.max_by_key(|time| time.unwrap_or(Duration::MAX)).flatten()
}
