//! What the edge does about an `originals_cache`, in which only renderers read and write.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::CacheManager;
use crate::cache::{DiskCache, EntryId, Name, ORIGINAL, OriginalEntry};
use crate::config::Handler;

/// The manager of a handler's originals, if they are kept.
#[derive(Debug)]
pub struct OriginalsManager {
    disk: Option<DiskCache>,
    manager: Option<Arc<CacheManager>>,
    identity: String,
}

impl OriginalsManager {
    /// The one of this handler among the managers of its configuration.
    pub fn of(
        handler: &Handler,
        managers: &HashMap<PathBuf, Arc<CacheManager>>,
    ) -> OriginalsManager {
        let manager =
            handler.originals.as_ref().and_then(|originals| managers.get(&originals.path));
        let disk = handler
            .originals
            .as_ref()
            .map(|originals| DiskCache::new(&originals.path, handler.lifetime()));
        OriginalsManager { disk, manager: manager.map(Arc::clone), identity: handler.identity() }
    }

    /// What a renderer says became of the original of this key.
    pub fn note(&self, key: &str, original: OriginalEntry) {
        let Some(manager) = &self.manager else { return };
        match original {
            OriginalEntry::None => {}
            OriginalEntry::Stored(bytes) => manager.stored(self.id(key), bytes),
            OriginalEntry::Used => manager.used(self.id(key)),
        }
    }

    /// What is kept of this key is not right any more.
    pub fn drop_entry(&self, key: &str) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.remove(self.id(key))?;
        if let Some(manager) = &self.manager {
            manager.removed(self.id(key));
        }
        Ok(())
    }

    fn id(&self, key: &str) -> EntryId {
        let (handler, key) = (self.identity.clone(), key.to_owned());
        EntryId::of(&Name { handler, key, options: ORIGINAL.to_owned() })
    }
}
