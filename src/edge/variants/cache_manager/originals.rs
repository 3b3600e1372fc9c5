//! A handler's `originals_cache`. Renderers read and write its entries; the edge keeps its index and removes entries.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::CacheManager;
use crate::cache::{DiskCache, EntryId, Name, ORIGINAL, OriginalEntry};
use crate::config::Handler;

#[derive(Debug)]
pub struct OriginalsCache {
    /// `None` if the handler has no `originals_cache`.
    disk: Option<DiskCache>,
    manager: Option<Arc<CacheManager>>,
    identity: String,
}

impl OriginalsCache {
    pub fn new(
        handler: &Handler,
        managers: &HashMap<PathBuf, Arc<CacheManager>>,
    ) -> OriginalsCache {
        let originals = handler.originals.as_ref();
        OriginalsCache {
            disk: originals.map(|originals| DiskCache::new(&originals.path, handler.lifetime())),
            manager: originals.and_then(|originals| managers.get(&originals.path)).map(Arc::clone),
            identity: handler.identity(),
        }
    }

    /// Records that a renderer stored or used the original of this key.
    pub fn record(&self, key: &str, original: OriginalEntry) {
        let Some(manager) = &self.manager else { return };
        match original {
            OriginalEntry::None => {}
            OriginalEntry::Stored(disk_bytes) => manager.insert(self.id(key), disk_bytes),
            OriginalEntry::Used => manager.touch(self.id(key)),
        }
    }

    /// Removes the original of this key.
    pub fn remove(&self, key: &str) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let id = self.id(key);
        disk.remove(id)?;
        if let Some(manager) = &self.manager {
            manager.remove(id);
        }
        Ok(())
    }

    fn id(&self, key: &str) -> EntryId {
        EntryId::of(&Name {
            handler: self.identity.clone(),
            key: key.to_owned(),
            options: ORIGINAL.to_owned(),
        })
    }
}
