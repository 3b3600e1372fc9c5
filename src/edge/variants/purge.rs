//! Purging: drops what is cached of a key, or of every key below a prefix, at once.
//!
//! First it is written into the log, from when on nobody is served what is older. Then it is removed, from the disk,
//! the managers' indexes and the memory, so that it is gone when the log has forgotten about it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::cache_manager::CacheManager;
use super::purge_journal::{self, Line};
use super::purge_log::{Kind, PurgeLog};
use crate::cache::{self, CacheTime, DiskCache, EntryId, Found, Name, ORIGINAL};
use crate::config::{Config, Handler};
use crate::edge::serve::image_handler::ImageHandler;
use crate::log::warn_ratelimited;

/// So many variants are made again at the most.
const MOST_RENDERED: usize = 16;

/// PurgeLog what is cached for a configuration's handlers.
#[derive(Debug)]
pub struct Purger {
    log: Arc<PurgeLog>,
    /// By their routes.
    handlers: HashMap<String, Places>,
}

/// Where a handler's entries lie.
#[derive(Debug)]
struct Places {
    identity: String,
    results: Option<Directory>,
    originals: Option<Directory>,
}

/// A cache directory, which other handlers may have their entries in as well.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    disk: DiskCache,
    manager: Option<Arc<CacheManager>>,
}

/// How many entries were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Variants.
    pub variants: u64,
    /// Originals.
    pub originals: u64,
}

/// What came of making variants again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// So many are there again.
    pub rendered: u64,
    /// So many could not be made.
    pub failed: u64,
}

impl Purger {
    /// For the handlers of a configuration.
    pub fn new(
        config: &Config,
        managers: &HashMap<PathBuf, Arc<CacheManager>>,
        log: &Arc<PurgeLog>,
    ) -> Purger {
        let directory = |path: &PathBuf| Directory {
            path: path.clone(),
            disk: DiskCache::new(path, CacheTime::Forever),
            manager: managers.get(path).map(Arc::clone),
        };
        let places = |handler: &Handler| Places {
            identity: handler.identity(),
            results: handler.cache.as_ref().map(|cache| directory(&cache.path)),
            originals: handler.originals.as_ref().map(|originals| directory(&originals.path)),
        };
        let handlers =
            config.handlers.iter().map(|handler| (handler.route.clone(), places(handler)));
        Purger { log: Arc::clone(log), handlers: handlers.collect() }
    }

    /// Goes on with what servers before this one have purged, which may have been killed since.
    pub fn restore(&self) {
        for places in self.handlers.values() {
            for line in places
                .directories()
                .flat_map(|directory| purge_journal::read(&directory.path, self.log.keep()))
            {
                if line.handler == places.identity {
                    self.log.restore(&line.handler, &line.what, line.kind, line.time);
                }
            }
        }
    }

    /// Drops a key: its variants and its original. `None` if there is no such handler.
    pub fn key(
        &self,
        route: &str,
        key: &str,
        images: &ImageHandler,
    ) -> Option<io::Result<Dropped>> {
        let places = self.handlers.get(route)?;
        let time = self.log.record_key(&places.identity, key);
        places.write_down(time, key, Kind::Key);
        images.forget(&|name| name.handler == places.identity && name.key == key);
        Some(places.drop_key(key))
    }

    /// Drops a key, and has the variants made again that were there, those first that were asked for last.
    pub fn key_and_render(
        &self,
        route: &str,
        key: &str,
        images: &ImageHandler,
    ) -> Option<io::Result<(Dropped, Rendered)>> {
        let places = self.handlers.get(route)?;
        let names = places.hottest(key);
        let dropped = match self.key(route, key, images)? {
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
    pub fn prefix(
        &self,
        route: &str,
        prefix: &str,
        images: &ImageHandler,
    ) -> Option<io::Result<Dropped>> {
        let places = self.handlers.get(route)?;
        let walk = self.log.record_prefix(&places.identity, prefix);
        places.write_down(walk.time(), prefix, Kind::Prefix);
        images.forget(&|name| places.has_below(name, prefix));
        let dropped = places.drop_prefix(prefix);
        drop(walk);
        Some(dropped)
    }
}

impl Places {
    fn directories(&self) -> impl Iterator<Item = &Directory> {
        self.results.iter().chain(&self.originals)
    }

    /// For a server that is started after this one was killed.
    fn write_down(&self, time: u64, what: &str, kind: Kind) {
        let line = Line { time, handler: self.identity.clone(), what: what.to_owned(), kind };
        for directory in self.directories() {
            if let Err(error) = purge_journal::append(&directory.path, &line) {
                let path = directory.path.display();
                warn_ratelimited!("purge_not_recorded", "{path}: can't record a purge: {error}");
            }
        }
    }

    fn drop_key(&self, key: &str) -> io::Result<Dropped> {
        let name = |options: &str| Name {
            handler: self.identity.clone(),
            key: key.to_owned(),
            options: options.to_owned(),
        };
        let original = EntryId::of(&name(ORIGINAL));
        let variants = self
            .results
            .as_ref()
            .map_or(Ok(0), |directory| directory.drop_source(original.key_hash));
        let originals =
            self.originals.as_ref().map_or(Ok(0), |directory| directory.remove(original));
        Ok(Dropped { variants: variants?, originals: originals? })
    }

    fn has_below(&self, name: &Name, prefix: &str) -> bool {
        name.handler == self.identity && name.key.starts_with(prefix)
    }

    fn drop_prefix(&self, prefix: &str) -> io::Result<Dropped> {
        let is_touched = |name: &Name| self.has_below(name, prefix);
        let walk = |directory: &Option<Directory>| {
            directory.as_ref().map_or(Ok(0), |directory| directory.drop_all(&is_touched))
        };
        let (variants, originals) = (walk(&self.results), walk(&self.originals));
        Ok(Dropped { variants: variants?, originals: originals? })
    }

    /// The variants of a key that were asked for last, the last one first.
    fn hottest(&self, key: &str) -> Vec<Name> {
        let Some(directory) = &self.results else { return Vec::new() };
        let (handler, key) = (self.identity.clone(), key.to_owned());
        let source = EntryId::of(&Name { handler, key, options: String::new() }).key_hash;
        let mut entries = cache::entries_of(&directory.path, source).unwrap_or_default();
        let last_use = |id| directory.manager.as_ref().and_then(|manager| manager.last_use(id));
        entries.sort_by_key(|entry| (last_use(entry.id), entry.written));
        let names =
            entries.iter().rev().filter_map(|entry| Some(cache::inspect(&entry.path).ok()??.name));
        names.take(MOST_RENDERED).collect()
    }
}

impl Directory {
    /// Removes every entry of one handler and key, and tells how many there were.
    fn drop_source(&self, source: [u8; 16]) -> io::Result<u64> {
        let mut removed = Tally::default();
        for entry in cache::entries_of(&self.path, source)? {
            removed.add(self.remove(entry.id));
        }
        removed.into_result()
    }

    /// Goes through the directory and removes every entry of such a name.
    fn drop_all(&self, is_touched: &dyn Fn(&Name) -> bool) -> io::Result<u64> {
        let mut removed = Tally::default();
        // All entries of a key lie side by side, and one of them tells for all.
        let mut known: Option<([u8; 16], bool)> = None;
        cache::walk(&self.path, &mut |found| {
            let entry = match found {
                Found::Entry(entry) => entry,
                Found::Unreadable(path, error) => {
                    removed.add(Err(with_path(&error, &path)));
                    return true;
                }
                Found::Temporary(..) | Found::EmptyDirectory(_) | Found::Foreign => return true,
            };
            let goes = match known {
                Some((source, goes)) if source == entry.id.key_hash => goes,
                // One that can't tell is never served, and goes when it is asked for.
                _ => match cache::inspect(&entry.path) {
                    Ok(Some(found)) => known.insert((entry.id.key_hash, is_touched(&found.name))).1,
                    Ok(None) => false,
                    Err(error) if cache::is_damage(&error) => false,
                    Err(error) => {
                        removed.add(Err(with_path(&error, &entry.path)));
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
        if let Some(manager) = &self.manager {
            manager.removed(id);
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

fn with_path(error: &io::Error, path: &std::path::Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::EncodedImage;
    use crate::format::Format;
    use std::fs;
    use std::time::{Duration, SystemTime};
    use tempfile::TempDir;

    fn name(handler: &str, key: &str, options: &str) -> Name {
        Name { handler: handler.into(), key: key.into(), options: options.into() }
    }

    fn directory(at: &TempDir) -> Directory {
        let (path, disk) = (at.path().to_owned(), DiskCache::new(at.path(), CacheTime::Forever));
        Directory { path, disk, manager: None }
    }

    fn store(at: &TempDir, name: &Name, age: u64) {
        let image = EncodedImage::new(vec![1; 3000], Format::Png, None);
        directory(at).disk.store(name, &image, None, SystemTime::now()).unwrap();
        let path = EntryId::of(name).path(&at.path().join(cache::LAYOUT));
        let written = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().append(true).open(path).unwrap().set_modified(written).unwrap();
    }

    fn is_there(at: &TempDir, name: &Name) -> bool {
        EntryId::of(name).path(&at.path().join(cache::LAYOUT)).exists()
    }

    /// Two directories that two handlers share, with some variants and originals of each.
    fn shared() -> (Places, TempDir, TempDir) {
        let (results, originals) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for handler in ["h", "i"] {
            for key in ["a", "a/", "a/1", "a/b/2", "ab/1", "b/a/1"] {
                store(&results, &name(handler, key, "w=1"), 0);
                store(&results, &name(handler, key, "w=2"), 0);
                store(&originals, &name(handler, key, ORIGINAL), 0);
            }
        }
        let places = Places {
            identity: "h".into(),
            results: Some(directory(&results)),
            originals: Some(directory(&originals)),
        };
        (places, results, originals)
    }

    #[test]
    fn a_key_goes_with_its_original_and_no_other_does() {
        let (places, results, originals) = shared();
        let gone = Dropped { variants: 2, originals: 1 };
        assert_eq!(places.drop_key("a/1").unwrap(), gone);
        assert_eq!(places.drop_key("a/1").unwrap(), Dropped::default());
        assert_eq!(places.drop_key("nothing").unwrap(), Dropped::default());
        for handler in ["h", "i"] {
            for key in ["a", "a/", "a/1", "a/b/2", "ab/1", "b/a/1"] {
                let stays = (handler, key) != ("h", "a/1");
                assert_eq!(
                    is_there(&results, &name(handler, key, "w=1")),
                    stays,
                    "{handler} {key}"
                );
                assert_eq!(
                    is_there(&results, &name(handler, key, "w=2")),
                    stays,
                    "{handler} {key}"
                );
                assert_eq!(
                    is_there(&originals, &name(handler, key, ORIGINAL)),
                    stays,
                    "{handler} {key}"
                );
            }
        }
        let id = EntryId::of(&name("h", "a/1", "w=1"));
        assert!(!id.path(&results.path().join(cache::LAYOUT)).parent().unwrap().exists());
    }

    #[test]
    fn a_prefix_goes_and_what_is_beside_it_stays() {
        let (places, results, originals) = shared();
        assert_eq!(places.drop_prefix("a/").unwrap(), Dropped { variants: 6, originals: 3 });
        for handler in ["h", "i"] {
            for key in ["a", "a/", "a/1", "a/b/2", "ab/1", "b/a/1"] {
                let stays = handler == "i" || !key.starts_with("a/");
                assert_eq!(
                    is_there(&results, &name(handler, key, "w=1")),
                    stays,
                    "{handler} {key}"
                );
                assert_eq!(
                    is_there(&results, &name(handler, key, "w=2")),
                    stays,
                    "{handler} {key}"
                );
                assert_eq!(
                    is_there(&originals, &name(handler, key, ORIGINAL)),
                    stays,
                    "{handler} {key}"
                );
            }
        }
        assert_eq!(places.drop_prefix("").unwrap(), Dropped { variants: 6, originals: 3 });
        assert_eq!(places.drop_prefix("").unwrap(), Dropped::default());
        assert!(is_there(&results, &name("i", "a/1", "w=1")));
    }

    #[test]
    fn what_is_damaged_or_no_entry_stops_nothing() {
        let (places, results, _originals) = shared();
        let root = results.path().join(cache::LAYOUT);
        let damaged = EntryId::of(&name("h", "a/1", "w=1")).path(&root);
        let other = EntryId::of(&name("h", "a/1", "w=2")).path(&root);
        fs::write(&damaged, b"S3IS").unwrap();
        fs::write(&other, b"").unwrap();
        fs::write(damaged.with_file_name(".tmp-1-2"), b"").unwrap();
        fs::write(root.join("stranger"), b"").unwrap();
        // Only what can be read tells whose it is.
        assert_eq!(places.drop_prefix("").unwrap().variants, 10);
        assert!(damaged.exists() && other.exists());
        // By its key it is known without being read.
        assert_eq!(places.drop_key("a/1").unwrap().variants, 2);
        assert!(!damaged.exists() && !other.exists());
        assert!(damaged.with_file_name(".tmp-1-2").exists());
    }

    #[test]
    fn a_handler_without_a_cache_has_nothing_to_drop() {
        let places = Places { identity: "h".into(), results: None, originals: None };
        assert_eq!(places.drop_key("a").unwrap(), Dropped::default());
        assert_eq!(places.drop_prefix("").unwrap(), Dropped::default());
        assert!(places.hottest("a").is_empty());
    }

    #[test]
    fn what_can_not_be_gone_through_is_no_success() {
        let (places, results, _originals) = shared();
        let root = results.path().join(cache::LAYOUT);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(places.drop_prefix("").unwrap().variants, 0);
        fs::write(&root, b"").unwrap();
        places.drop_key("a").unwrap_err();
        places.drop_prefix("").unwrap_err();
    }

    #[test]
    fn of_all_variants_the_last_used_are_made_again() {
        let results = TempDir::new().unwrap();
        for number in 0..20 {
            store(&results, &name("h", "a", &format!("w={number}")), 100 - number);
        }
        store(&results, &name("h", "b", "w=100"), 0);
        let places =
            Places { identity: "h".into(), results: Some(directory(&results)), originals: None };
        let expected: Vec<Name> =
            (4..20).rev().map(|n| name("h", "a", &format!("w={n}"))).collect();
        assert_eq!(places.hottest("a"), expected);
    }
}
