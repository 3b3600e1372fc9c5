//! The purger: removes the cached variants and the cached original of a key, or of every key below a prefix.
//!
//! A purge is first recorded in the purge log, so that nothing older is served from then on. Then the entries are
//! removed from disk, from the cache managers' indexes and from memory, before the log forgets the purge. With a results
//! bucket, the purge is recorded in the shared journal as well, before its answer.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::handler_caches::{CacheDirectory, HandlerCaches, with_path};
use super::node::node;
use super::purge_hooks::PurgeHooks;
use super::purge_journal::PurgeJournal;
use super::purge_log::PurgeLog;
use super::{HandlerState, Variants};
use crate::cache::{self, EntryId, Found, Name, ORIGINAL};
use crate::cache_tag::PurgeScope;
use crate::edge::renderer::Renderer;
use crate::error::Failure;
use crate::log::warn_ratelimited;
use crate::metrics::{METRICS, Purge, Removal};
use crate::shared_journal::{Target, TargetKind};

/// Maximum number of variants that `render=1` makes again.
const MAX_RERENDERED: usize = 16;

/// Purges the caches of a configuration's handlers.
#[derive(Debug)]
pub struct Purger {
    pub(super) log: Arc<PurgeLog>,
    hooks: Arc<PurgeHooks>,
    pub(super) variants: Arc<Variants>,
    /// By route.
    pub(super) handlers: HashMap<String, Arc<HandlerState>>,
}

/// The number of entries that a purge has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub variants: u64,
    pub originals: u64,
}

/// The number of variants that were made again, and that could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rerendered {
    pub rendered: u64,
    pub failed: u64,
}

/// Why a purge is incomplete. It is in force on this server.
#[derive(Debug)]
pub enum PurgeError {
    /// Not everything could be removed from this server's disks, so it would be served again once the purge log has
    /// forgotten the purge.
    NotRemoved(io::Error),
    /// Other servers don't learn of it.
    NotShared(Failure),
}

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PurgeError::NotRemoved(error) => write!(f, "not everything could be removed: {error}"),
            PurgeError::NotShared(failure) => write!(
                f,
                "purged on this server, but maybe not on the others, because the results bucket could not be updated \
                 ({failure}): send it again"
            ),
        }
    }
}

/// The results buckets that have failed during a batch of purges, and why.
#[derive(Debug, Default)]
pub struct FailedBuckets(HashMap<String, Failure>);

impl FailedBuckets {
    /// Records a purge, unless the bucket of this journal has failed.
    fn share(
        &mut self,
        journal: Option<String>,
        record: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(journal) = journal else { return record() };
        if let Some(failure) = self.0.get(&journal) {
            METRICS.caches.unrecorded_purges.add(1);
            return Err(failure.clone());
        }
        record().inspect_err(|failure| drop(self.0.insert(journal, failure.clone())))
    }
}

/// Its handler's results bucket, if it has one, also gets the purge.
pub type PurgeResult<T> = Result<T, PurgeError>;

impl Purger {
    pub fn new(
        variants: &Arc<Variants>,
        handlers: impl Iterator<Item = Arc<HandlerState>>,
        log: &Arc<PurgeLog>,
        hooks: &Arc<PurgeHooks>,
    ) -> Purger {
        let handlers: HashMap<_, _> =
            handlers.map(|handler| (handler.config.route.clone(), handler)).collect();
        hooks.configure(variants, handlers.values());
        let (log, hooks) = (Arc::clone(log), Arc::clone(hooks));
        Purger { log, hooks, variants: Arc::clone(variants), handlers }
    }

    /// The handler with this route.
    pub fn handler(&self, route: &str) -> Option<&HandlerState> {
        self.handlers.get(route).map(Arc::as_ref)
    }

    /// The purges that wait for a purge hook, by route.
    pub fn waiting_for_hooks(&self) -> Vec<(String, usize)> {
        self.hooks.waiting()
    }

    /// Restores the purge log from the journals of earlier servers, which may have been killed.
    pub fn restore(&self) {
        for HandlerState { caches, .. } in self.handlers.values().map(Arc::as_ref) {
            for directory in caches.directories() {
                let journal = PurgeJournal::new(&directory.path);
                for entry in journal.read(self.log.retention()) {
                    if entry.target.handler == caches.hash {
                        self.log.restore(entry.target, entry.time);
                    }
                }
            }
        }
    }

    /// Purges a key: its variants and its original. `None` if there is no such handler.
    pub fn purge_key(&self, route: &str, key: &str) -> Option<PurgeResult<Removed>> {
        self.purge_key_of_batch(route, key, &mut FailedBuckets::default())
    }

    /// Purges one of several keys. It is not recorded in a results bucket that has failed for one before, so that a batch
    /// does not wait for the same timeout again and again.
    pub fn purge_key_of_batch(
        &self,
        route: &str,
        key: &str,
        failed: &mut FailedBuckets,
    ) -> Option<PurgeResult<Removed>> {
        let handler = self.handlers.get(route)?;
        let caches = &handler.caches;
        METRICS.caches.purges.get(Purge::Key).add(1);
        let target = Target::new(&caches.identity, key, TargetKind::Key);
        let purges = self.log.record(target);
        // A CDN that is purged from now on gets nothing older.
        self.hooks.push(route, PurgeScope::Key(key.to_owned()));
        caches.append_to_journals(purges.time(), purges.targets());
        self.variants.remove_matching(&|name| name.handler == caches.identity && name.key == key);
        let removed = caches.remove_key(key);
        let shared =
            failed.share(handler.config.journal(), || self.share(handler, key, TargetKind::Key));
        Some(complete(removed, shared))
    }

    /// Purges a key and makes its variants again, the most recently used first.
    pub fn purge_key_and_rerender(
        &self,
        route: &str,
        key: &str,
    ) -> Option<PurgeResult<(Removed, Rerendered)>> {
        let handler = self.handlers.get(route)?;
        let names = handler.caches.most_recently_used(key);
        let removed = match self.purge_key(route, key)? {
            Ok(removed) => removed,
            Err(error) => return Some(Err(error)),
        };
        let mut rerendered = Rerendered::default();
        for name in names {
            if self.variants.rerender(handler, &name) {
                rerendered.rendered += 1;
            } else {
                rerendered.failed += 1;
            }
        }
        Some(Ok((removed, rerendered)))
    }

    /// Purges every key that starts with `prefix`. File names are hashes, so this reads the header of each entry in the
    /// directory. `None` if there is no such handler.
    pub fn purge_prefix(&self, route: &str, prefix: &str) -> Option<PurgeResult<Removed>> {
        let handler = self.handlers.get(route)?;
        let caches = &handler.caches;
        METRICS.caches.purges.get(Purge::Prefix).add(1);
        let target = Target::new(&caches.identity, prefix, TargetKind::Prefix);
        let purges = self.log.record(target);
        self.hooks.push(route, PurgeScope::Prefix(prefix.to_owned()));
        caches.append_to_journals(purges.time(), purges.targets());
        self.variants.remove_matching(&|name| caches.has_prefix(name, prefix));
        // Before the directory is read, which may take minutes.
        let shared = self.share(handler, prefix, TargetKind::Prefix);
        let removed = caches.remove_matching(&|name| caches.has_prefix(name, prefix));
        drop(purges);
        Some(complete(removed, shared))
    }

    pub(super) fn renderer(&self) -> &Renderer {
        self.variants.renderer()
    }

    /// Records a purge for the other servers that share the handler's results.
    fn share(&self, handler: &HandlerState, target: &str, kind: TargetKind) -> Result<(), Failure> {
        if handler.config.results.is_none() {
            return Ok(());
        }
        let route = &handler.config.route;
        let recorded = self.renderer().record_purge(route, target, kind, node());
        recorded.inspect_err(|_| METRICS.caches.unrecorded_purges.add(1))
    }
}

fn complete(removed: io::Result<Removed>, shared: Result<(), Failure>) -> PurgeResult<Removed> {
    shared.map_err(PurgeError::NotShared)?;
    removed.map_err(PurgeError::NotRemoved)
}

impl HandlerCaches {
    pub(super) fn directories(&self) -> impl Iterator<Item = &CacheDirectory> {
        self.variants.iter().chain(&self.originals)
    }

    pub(super) fn append_to_journals<'t>(
        &self,
        time: u64,
        targets: impl IntoIterator<Item = &'t Target> + Clone,
    ) {
        for directory in self.directories() {
            let journal = PurgeJournal::new(&directory.path);
            if let Err(error) = journal.append(time, targets.clone()) {
                let path = directory.path.display();
                warn_ratelimited!("purge_not_recorded", "{path}: can't record a purge: {error}");
            }
        }
    }

    fn remove_key(&self, key: &str) -> io::Result<Removed> {
        self.remove_key_hash(self.original(key).key_hash)
    }

    /// Removes the variants and the original of a key.
    pub(super) fn remove_key_hash(&self, key_hash: [u8; 16]) -> io::Result<Removed> {
        // Both are attempted, even if the first one fails.
        let variants =
            self.variants.as_ref().map_or(Ok(0), |directory| directory.remove_key(key_hash));
        let options_hash = EntryId::of(&self.name("", ORIGINAL)).options_hash;
        let original = EntryId { key_hash, options_hash };
        let originals =
            self.originals.as_ref().map_or(Ok(0), |directory| directory.purge(original));
        Ok(Removed { variants: variants?, originals: originals? })
    }

    fn has_prefix(&self, name: &Name, prefix: &str) -> bool {
        name.handler == self.identity && name.key.starts_with(prefix)
    }

    /// Removes every entry whose name matches, which must be of this handler.
    pub(super) fn remove_matching(&self, matches: &dyn Fn(&Name) -> bool) -> io::Result<Removed> {
        let remove = |directory: &Option<CacheDirectory>| {
            directory.as_ref().map_or(Ok(0), |directory| directory.remove_matching(matches))
        };
        // Both are attempted, even if the first one fails.
        let variants = remove(&self.variants);
        let originals = remove(&self.originals);
        Ok(Removed { variants: variants?, originals: originals? })
    }

    /// The names of up to [`MAX_RERENDERED`] variants of a key, the most recently used first.
    fn most_recently_used(&self, key: &str) -> Vec<Name> {
        let Some(directory) = &self.variants else { return Vec::new() };
        let key_hash = EntryId::of(&self.name(key, "")).key_hash;
        let mut entries = cache::entries_of(&directory.path, key_hash).unwrap_or_default();
        let last_use = |id| directory.manager.as_ref().and_then(|manager| manager.last_use(id));
        entries.sort_by_key(|entry| (last_use(entry.id), entry.written));
        let names =
            entries.iter().rev().filter_map(|entry| Some(cache::inspect(&entry.path).ok()??.name));
        names.take(MAX_RERENDERED).collect()
    }
}

impl CacheDirectory {
    /// Removes an entry, and returns the number of removed entries.
    fn purge(&self, id: EntryId) -> io::Result<u64> {
        let removed = self.remove(id)?;
        if removed > 0
            && let Some(manager) = &self.manager
        {
            manager.count_removed(Removal::Purged);
        }
        Ok(removed)
    }

    /// Removes every entry of one key and returns their number.
    fn remove_key(&self, key_hash: [u8; 16]) -> io::Result<u64> {
        let mut removed = RemovedCount::default();
        for entry in cache::entries_of(&self.path, key_hash)? {
            removed.add(self.purge(entry.id));
        }
        removed.into_result()
    }

    /// Removes every entry whose name matches and returns their number.
    fn remove_matching(&self, matches: &dyn Fn(&Name) -> bool) -> io::Result<u64> {
        let mut removed = RemovedCount::default();
        // The entries of a key are adjacent, so only the first of them is read.
        let mut last_key: Option<([u8; 16], bool)> = None;
        cache::walk(&self.path, &mut |found| {
            let entry = match found {
                Found::Entry(entry) => entry,
                Found::Unreadable(path, error) => {
                    removed.add(Err(with_path(&error, &path)));
                    return true;
                }
                Found::Temporary(..) | Found::EmptyDirectory(_) | Found::Foreign => return true,
            };
            let is_match = match last_key {
                Some((key_hash, is_match)) if key_hash == entry.id.key_hash => is_match,
                // A damaged entry is never served, and is removed by the next request for it.
                _ => match cache::inspect(&entry.path) {
                    Ok(Some(found)) => last_key.insert((entry.id.key_hash, matches(&found.name))).1,
                    Ok(None) => false,
                    Err(error) if cache::is_damage(&error) => false,
                    Err(error) => {
                        removed.add(Err(with_path(&error, &entry.path)));
                        false
                    }
                },
            };
            if is_match {
                removed.add(self.purge(entry.id));
            }
            true
        })?;
        removed.into_result()
    }
}

/// The number of removed entries, and the first error. An error does not stop the removal of the others.
#[derive(Debug, Default)]
struct RemovedCount {
    count: u64,
    error: Option<io::Error>,
}

impl RemovedCount {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CacheTime, DiskCache, EncodedImage};
    use crate::documents::assert_says;
    use crate::error::Code;
    use crate::format::Format;
    use std::fs;
    use std::time::{Duration, SystemTime};
    use tempfile::TempDir;

    fn name(handler: &str, key: &str, options: &str) -> Name {
        Name { handler: handler.into(), key: key.into(), options: options.into() }
    }

    fn directory(at: &TempDir) -> CacheDirectory {
        let disk = DiskCache::new(at.path(), CacheTime::Forever);
        CacheDirectory { path: at.path().to_owned(), disk, manager: None }
    }

    fn caches(
        variants: Option<CacheDirectory>,
        originals: Option<CacheDirectory>,
    ) -> HandlerCaches {
        let hash = crate::shared_journal::handler_hash("h");
        HandlerCaches { identity: "h".into(), hash, variants, originals }
    }

    #[test]
    fn a_bucket_that_failed_is_not_asked_again_during_a_batch() {
        let asked = std::cell::Cell::new(0);
        let mut failed = FailedBuckets::default();
        let mut share = |bucket: Option<&str>, is_ok: bool| {
            let result = failed.share(bucket.map(str::to_owned), || {
                asked.set(asked.get() + 1);
                if is_ok { Ok(()) } else { Err(Failure::new(Code::RendererFailed, "late")) }
            });
            (result.map_err(|failure| failure.detail), asked.get())
        };
        let late = || Err("late".to_owned());
        assert_eq!(share(Some("a"), true), (Ok(()), 1));
        assert_eq!(share(Some("a"), false), (late(), 2));
        assert_eq!(share(Some("a"), true), (late(), 2), "it is not asked");
        assert_eq!(share(Some("b"), true), (Ok(()), 3), "another bucket is");
        assert_eq!(share(None, true), (Ok(()), 4));
    }

    fn remove_prefix(caches: &HandlerCaches, prefix: &str) -> io::Result<Removed> {
        caches.remove_matching(&|name| caches.has_prefix(name, prefix))
    }

    fn store(at: &TempDir, name: &Name, age: u64) {
        let image = EncodedImage::new(vec![1; 3000], Format::Png, None);
        directory(at).disk.store(name, &image, None, SystemTime::now()).unwrap();
        let path = EntryId::of(name).path(&at.path().join(cache::LAYOUT));
        let written = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().append(true).open(path).unwrap().set_modified(written).unwrap();
    }

    fn exists(at: &TempDir, name: &Name) -> bool {
        EntryId::of(name).path(&at.path().join(cache::LAYOUT)).exists()
    }

    /// Two cache directories that two handlers share, with variants and originals of both.
    fn shared() -> (HandlerCaches, TempDir, TempDir) {
        let variants = TempDir::new().unwrap();
        let originals = TempDir::new().unwrap();
        for handler in ["h", "i"] {
            for key in ["a", "a/", "a/1", "a/b/2", "ab/1", "b/a/1"] {
                store(&variants, &name(handler, key, "w=1"), 0);
                store(&variants, &name(handler, key, "w=2"), 0);
                store(&originals, &name(handler, key, ORIGINAL), 0);
            }
        }
        let caches = caches(Some(directory(&variants)), Some(directory(&originals)));
        (caches, variants, originals)
    }

    #[test]
    fn purge_of_a_key_removes_its_variants_and_its_original_and_no_other_key() {
        let (caches, variants, originals) = shared();
        let removed = Removed { variants: 2, originals: 1 };
        assert_eq!(caches.remove_key("a/1").unwrap(), removed);
        assert_eq!(caches.remove_key("a/1").unwrap(), Removed::default());
        assert_eq!(caches.remove_key("nothing").unwrap(), Removed::default());
        for handler in ["h", "i"] {
            for key in ["a", "a/", "a/1", "a/b/2", "ab/1", "b/a/1"] {
                let is_kept = (handler, key) != ("h", "a/1");
                assert_eq!(
                    exists(&variants, &name(handler, key, "w=1")),
                    is_kept,
                    "{handler} {key}"
                );
                assert_eq!(
                    exists(&variants, &name(handler, key, "w=2")),
                    is_kept,
                    "{handler} {key}"
                );
                assert_eq!(
                    exists(&originals, &name(handler, key, ORIGINAL)),
                    is_kept,
                    "{handler} {key}"
                );
            }
        }
        let id = EntryId::of(&name("h", "a/1", "w=1"));
        assert!(!id.path(&variants.path().join(cache::LAYOUT)).parent().unwrap().exists());
    }

    #[test]
    fn purge_of_a_prefix_removes_every_key_below_it_and_no_other() {
        let (caches, variants, originals) = shared();
        assert_eq!(remove_prefix(&caches, "a/").unwrap(), Removed { variants: 6, originals: 3 });
        for handler in ["h", "i"] {
            for key in ["a", "a/", "a/1", "a/b/2", "ab/1", "b/a/1"] {
                let is_kept = handler == "i" || !key.starts_with("a/");
                assert_eq!(
                    exists(&variants, &name(handler, key, "w=1")),
                    is_kept,
                    "{handler} {key}"
                );
                assert_eq!(
                    exists(&variants, &name(handler, key, "w=2")),
                    is_kept,
                    "{handler} {key}"
                );
                assert_eq!(
                    exists(&originals, &name(handler, key, ORIGINAL)),
                    is_kept,
                    "{handler} {key}"
                );
            }
        }
        assert_eq!(remove_prefix(&caches, "").unwrap(), Removed { variants: 6, originals: 3 });
        assert_eq!(remove_prefix(&caches, "").unwrap(), Removed::default());
        assert!(exists(&variants, &name("i", "a/1", "w=1")));
    }

    #[test]
    fn purge_continues_past_damaged_entries_and_other_files() {
        let (caches, variants, _originals) = shared();
        let root = variants.path().join(cache::LAYOUT);
        let damaged = EntryId::of(&name("h", "a/1", "w=1")).path(&root);
        let other = EntryId::of(&name("h", "a/1", "w=2")).path(&root);
        fs::write(&damaged, b"S3IS").unwrap();
        fs::write(&other, b"").unwrap();
        fs::write(damaged.with_file_name(".tmp-1-2"), b"").unwrap();
        fs::write(root.join("stranger"), b"").unwrap();
        // The key of a damaged entry is unknown.
        assert_eq!(remove_prefix(&caches, "").unwrap().variants, 10);
        assert!(damaged.exists() && other.exists());
        // A purge by key finds it by its path.
        assert_eq!(caches.remove_key("a/1").unwrap().variants, 2);
        assert!(!damaged.exists() && !other.exists());
        assert!(damaged.with_file_name(".tmp-1-2").exists());
    }

    #[test]
    fn purge_of_a_handler_without_caches_removes_nothing() {
        let caches = caches(None, None);
        assert_eq!(caches.remove_key("a").unwrap(), Removed::default());
        assert_eq!(remove_prefix(&caches, "").unwrap(), Removed::default());
        assert!(caches.most_recently_used("a").is_empty());
    }

    #[test]
    fn purge_fails_if_the_directory_can_not_be_read() {
        let (caches, variants, _originals) = shared();
        let root = variants.path().join(cache::LAYOUT);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(remove_prefix(&caches, "").unwrap().variants, 0);
        fs::write(&root, b"").unwrap();
        caches.remove_key("a").unwrap_err();
        remove_prefix(&caches, "").unwrap_err();
    }

    #[test]
    fn purge_rerenders_the_most_recently_used_variants() {
        let variants = TempDir::new().unwrap();
        for number in 0..20 {
            store(&variants, &name("h", "a", &format!("w={number}")), 100 - number);
        }
        store(&variants, &name("h", "b", "w=100"), 0);
        let caches = caches(Some(directory(&variants)), None);
        let expected: Vec<Name> =
            (4..20).rev().map(|n| name("h", "a", &format!("w={n}"))).collect();
        assert_eq!(caches.most_recently_used("a"), expected);
    }

    #[test]
    fn maximum_of_rerendered_variants_is_as_documented() {
        let sentence = format!("renders up to {MAX_RERENDERED} of the variants again");
        assert_says("docs/cache.md", &sentence);
    }
}
