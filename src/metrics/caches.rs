//! The metrics of the caches.

use std::path::Path;
use std::sync::Arc;

use super::by_name::ByName;
use super::family::{
    CACHE_REMOVED_ENTRIES, MEMORY_CACHE_EVICTIONS, PURGES, PURGES_APPLIED, PURGES_NOT_RECORDED,
};
use super::labels::{By, Purge, Removal};
use super::text::Writer;
use super::values::Counter;

/// The entries that were removed from one cache directory.
pub type RemovedEntries = By<Removal, Counter>;

#[derive(Debug, Default)]
pub struct Caches {
    /// By path.
    directories: ByName<RemovedEntries>,
    pub memory_evictions: Counter,
    pub purges: By<Purge, Counter>,
    /// Those of other servers.
    pub applied_purges: By<Purge, Counter>,
    /// Those that other servers don't learn of.
    pub unrecorded_purges: Counter,
}

impl Caches {
    pub fn directory(&self, path: &Path) -> Arc<RemovedEntries> {
        self.directories.find(&path.to_string_lossy(), |_| By::default())
    }

    pub fn write(&self, writer: &mut Writer) {
        let mut samples = writer.family(CACHE_REMOVED_ENTRIES);
        for (path, removed) in self.directories.all() {
            removed.iter().for_each(|(cause, count)| samples.add(&[&path, cause], count.get()));
        }
        writer.family(MEMORY_CACHE_EVICTIONS).add(&[], self.memory_evictions.get());
        let mut samples = writer.family(PURGES);
        self.purges.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        let mut samples = writer.family(PURGES_APPLIED);
        self.applied_purges.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        writer.family(PURGES_NOT_RECORDED).add(&[], self.unrecorded_purges.get());
    }
}
