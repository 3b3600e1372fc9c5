//! The managers of all cache directories.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{CacheLimits, CacheManager};
use crate::config::{Config, Handler, place};
use crate::log::error;
use crate::sync::Mutex;

/// One manager per directory. A manager survives a reload if the new configuration names its directory.
#[derive(Debug, Default)]
pub struct CacheManagers(Mutex<HashMap<PathBuf, Weak<CacheManager>>>);

impl CacheManagers {
    /// The managers of a configuration's directories, of variants and of originals, by configured path. Starts those
    /// that don't run yet, and gives the others their new limits.
    pub fn for_config(&self, config: &Config) -> HashMap<PathBuf, Arc<CacheManager>> {
        let mut running = self.0.lock();
        running.retain(|_, manager| manager.strong_count() > 0);
        let mut managers = HashMap::new();
        let ages = max_ages(config);
        for store in config.handlers.iter().flat_map(Handler::stores) {
            let path = &store.path;
            if managers.contains_key(path) {
                continue;
            }
            // Different spellings of one directory share a manager.
            let place = place(path);
            let limits = CacheLimits {
                max_bytes: store.max_bytes,
                min_free: store.min_free,
                max_age: ages.get(&place).copied().flatten(),
            };
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

/// The longest time for which a handler uses the entries of a directory, by canonical path; `None` means forever.
fn max_ages(config: &Config) -> HashMap<PathBuf, Option<Duration>> {
    let mut ages = HashMap::new();
    for handler in &config.handlers {
        let age = handler.lifetime().retention();
        for store in handler.stores() {
            let longest = ages.entry(place(&store.path)).or_insert(age);
            *longest = longest.zip(age).map(|(one, other)| one.max(other));
        }
    }
    ages
}
