//! What the edge knows of the cache folders: what lies there, and that it does not become too much.

mod index;
mod keeper;
mod originals;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use keeper::Bounds;
pub use keeper::Keeper;
pub use originals::OriginalsKeeper;

use crate::config::{Config, Handler, place};
use crate::report::say;

/// The keepers of all cache folders, which outlive the configurations that name them.
#[derive(Debug, Default)]
pub struct Keepers(Mutex<HashMap<PathBuf, Weak<Keeper>>>);

impl Keepers {
    /// The keeper of each folder that a configuration names, of results or of originals, with the bounds that it
    /// wants.
    pub fn of(&self, config: &Config) -> HashMap<PathBuf, Arc<Keeper>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, keeper| keeper.strong_count() > 0);
        let mut wanted = HashMap::new();
        for (path, max_bytes, min_free) in config.handlers.iter().flat_map(folders) {
            if wanted.contains_key(path) {
                continue;
            }
            // One folder has one keeper, however it is spelled.
            let place = place(path);
            let bounds = Bounds { max_bytes, min_free, useful: useful(config, &place) };
            let keeper = match known.get(&place).and_then(Weak::upgrade) {
                Some(keeper) => {
                    keeper.set_bounds(bounds);
                    keeper
                }
                None => match Keeper::start(path, bounds) {
                    Ok(keeper) => keeper,
                    Err(error) => {
                        say!("cache: {}: nobody keeps it within its bounds: {error}", path.display());
                        continue;
                    }
                },
            };
            known.insert(place, Arc::downgrade(&keeper));
            wanted.insert(path.to_owned(), keeper);
        }
        wanted
    }
}

/// The folders of a handler, with their `max_bytes` and `min_free`.
fn folders(handler: &Handler) -> impl Iterator<Item = (&Path, Option<u64>, Option<u64>)> {
    let cache = handler.cache.iter().map(|cache| (cache.path.as_path(), cache.max_bytes, cache.min_free));
    let originals = handler.originals.iter();
    cache.chain(originals.map(|originals| (originals.path.as_path(), originals.max_bytes, None)))
}

/// How long an entry is of use in a folder: as long as to the handler that keeps its results for the longest time.
fn useful(config: &Config, wanted: &Path) -> Option<Duration> {
    let of_folder =
        config.handlers.iter().filter(|handler| handler.stores().any(|(_, folder)| place(folder) == wanted));
    let times = of_folder.map(|handler| handler.lifetime().useful());
    times.max_by_key(|time| time.unwrap_or(Duration::MAX)).flatten()
}
