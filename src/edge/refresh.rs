//! Refreshing: drops what is cached of a key, or of every key below a prefix, at once.
//!
//! First it is written into the log, from when on nobody is served what is older. Then it is removed, from the disk,
//! the keepers' indexes and the memory, so that it is gone when the log has forgotten about it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::images::Images;
use super::refreshes::Refreshes;
use super::store::Keeper;
use crate::cache::{self, DiskCache, EntryId, Found, Name, ORIGINAL};
use crate::config::{CacheTime, Config, Handler};

/// So many renditions are made again at the most.
const MOST_RENDERED: usize = 16;

/// Refreshes what is cached for a configuration's handlers.
#[derive(Debug)]
pub struct Refresher {
    log: Arc<Refreshes>,
    /// By their routes.
    handlers: HashMap<String, Places>,
}

/// Where a handler's entries lie.
#[derive(Debug)]
struct Places {
    identity: String,
    results: Option<Folder>,
    originals: Option<Folder>,
}

/// A cache folder, which other handlers may have their entries in as well.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    disk: DiskCache,
    keeper: Option<Arc<Keeper>>,
}

/// How many entries were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Renditions.
    pub renditions: u64,
    /// Originals.
    pub originals: u64,
}

/// What came of making renditions again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// So many are there again.
    pub rendered: u64,
    /// So many could not be made.
    pub failed: u64,
}

impl Refresher {
    /// For the handlers of a configuration.
    pub fn new(
        config: &Config,
        keepers: &HashMap<PathBuf, Arc<Keeper>>,
        log: &Arc<Refreshes>,
    ) -> Refresher {
        let folder = |path: &PathBuf| Folder {
            path: path.clone(),
            disk: DiskCache::new(path, CacheTime::Forever),
            keeper: keepers.get(path).map(Arc::clone),
        };
        let places = |handler: &Handler| Places {
            identity: handler.identity(),
            results: handler.cache.as_ref().map(|cache| folder(&cache.path)),
            originals: handler.originals.as_ref().map(|originals| folder(&originals.path)),
        };
        let handlers = config.handlers.iter().map(|handler| (handler.route.clone(), places(handler)));
        Refresher { log: Arc::clone(log), handlers: handlers.collect() }
    }

    /// Drops a key: its renditions and its original. `None` if there is no such handler.
    pub fn key(&self, route: &str, key: &str, images: &Images) -> Option<io::Result<Dropped>> {
        let places = self.handlers.get(route)?;
        self.log.record_key(&places.identity, key);
        Some(places.drop_key(key, images))
    }

    /// Drops a key, and has the renditions made again that were there, those first that were asked for last.
    pub fn key_and_render(
        &self,
        route: &str,
        key: &str,
        images: &Images,
    ) -> Option<io::Result<(Dropped, Rendered)>> {
        let places = self.handlers.get(route)?;
        let names = places.hottest(key);
        self.log.record_key(&places.identity, key);
        let dropped = match places.drop_key(key, images) {
            Ok(dropped) => dropped,
            Err(error) => return Some(Err(error)),
        };
        let mut outcome = Rendered::default();
        for name in names {
            match images.render(route, &name) {
                true => outcome.rendered += 1,
                false => outcome.failed += 1,
            }
        }
        Some(Ok((dropped, outcome)))
    }

    /// Drops every key that starts with this prefix. Names on disk are hashes, so that this reads what every entry says
    /// of itself. `None` if there is no such handler.
    pub fn prefix(&self, route: &str, prefix: &str, images: &Images) -> Option<io::Result<Dropped>> {
        let places = self.handlers.get(route)?;
        let walk = self.log.record_prefix(&places.identity, prefix);
        let dropped = places.drop_prefix(prefix, images);
        drop(walk);
        Some(dropped)
    }
}

impl Places {
    fn drop_key(&self, key: &str, images: &Images) -> io::Result<Dropped> {
        let name = |options: &str| Name {
            handler: self.identity.clone(),
            key: key.to_owned(),
            options: options.to_owned(),
        };
        let original = EntryId::of(&name(ORIGINAL));
        let renditions = self.results.as_ref().map_or(Ok(0), |folder| folder.drop_source(original.source));
        let originals = self.originals.as_ref().map_or(Ok(0), |folder| folder.remove(original));
        images.forget(&|name| name.handler == self.identity && name.key == key);
        Ok(Dropped { renditions: renditions?, originals: originals? })
    }

    fn drop_prefix(&self, prefix: &str, images: &Images) -> io::Result<Dropped> {
        let is_touched = |name: &Name| name.handler == self.identity && name.key.starts_with(prefix);
        images.forget(&is_touched);
        let walk = |folder: &Option<Folder>| folder.as_ref().map_or(Ok(0), |folder| folder.drop_all(&is_touched));
        let (renditions, originals) = (walk(&self.results), walk(&self.originals));
        Ok(Dropped { renditions: renditions?, originals: originals? })
    }

    /// The renditions of a key that were asked for last, the last one first.
    fn hottest(&self, key: &str) -> Vec<Name> {
        let Some(folder) = &self.results else { return Vec::new() };
        let (handler, key) = (self.identity.clone(), key.to_owned());
        let source = EntryId::of(&Name { handler, key, options: String::new() }).source;
        let mut entries = cache::entries_of(&folder.path, source).unwrap_or_default();
        let last_use = |id| folder.keeper.as_ref().and_then(|keeper| keeper.last_use(id));
        entries.sort_by_key(|entry| (last_use(entry.id), entry.written));
        let names = entries.iter().rev().filter_map(|entry| cache::describe(&entry.path).ok());
        names.take(MOST_RENDERED).collect()
    }
}

impl Folder {
    /// Removes every entry of one handler and key, and tells how many there were.
    fn drop_source(&self, source: [u8; 16]) -> io::Result<u64> {
        let mut removed = Tally::default();
        for entry in cache::entries_of(&self.path, source)? {
            removed.add(self.remove(entry.id));
        }
        removed.into_result()
    }

    /// Goes through the folder and removes every entry of such a name.
    fn drop_all(&self, is_touched: &dyn Fn(&Name) -> bool) -> io::Result<u64> {
        let mut removed = Tally::default();
        // All entries of a key lie side by side, and one of them tells for all.
        let mut known: Option<([u8; 16], bool)> = None;
        cache::walk(&self.path, &mut |found| {
            let Found::Entry(entry) = found else { return true };
            let goes = match known {
                Some((source, goes)) if source == entry.id.source => goes,
                // One that can't tell is never served, and goes when it is asked for.
                _ => match cache::describe(&entry.path) {
                    Ok(name) => known.insert((entry.id.source, is_touched(&name))).1,
                    Err(error) => {
                        if !is_about_the_entry(&error) {
                            removed.add(Err(with_path(&error, &entry.path)));
                        }
                        false
                    }
                },
            };
            if goes {
                removed.add(self.remove(entry.id));
            }
            true
        })?;
        removed.into_result()
    }

    /// Removes an entry and what is known of it: 1 if it was there.
    fn remove(&self, id: EntryId) -> io::Result<u64> {
        let path = id.path(&self.path.join(cache::LAYOUT));
        let was_there = self.disk.remove(id).map_err(|error| with_path(&error, &path))?;
        if let Some(keeper) = &self.keeper {
            keeper.removed(id);
        }
        if let Some(folder) = path.parent() {
            // Fails, as it should, when there is something in it.
            let _ = fs::remove_dir(folder);
        }
        Ok(u64::from(was_there))
    }
}

/// How many were removed, and the first error: one that can't be removed is no reason to leave the others.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    error: Option<io::Error>,
}

impl Tally {
    fn add(&mut self, removed: io::Result<u64>) {
        match removed {
            Ok(count) => self.count += count,
            Err(error) => drop(self.error.get_or_insert(error)),
        }
    }

    fn into_result(self) -> io::Result<u64> {
        self.error.map_or(Ok(self.count), Err)
    }
}

/// Whether it says that there is no entry, or a damaged one; and not that it can't be read.
fn is_about_the_entry(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

fn with_path(error: &io::Error, path: &std::path::Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
