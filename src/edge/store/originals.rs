//! What the edge does about an `originals_cache`, in which only renderers read and write.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Keeper;
use crate::cache::{DiskCache, EntryId, Name, ORIGINAL, OriginalEntry};
use crate::config::Handler;

/// The keeper of a handler's originals, if they are kept.
#[derive(Debug)]
pub struct OriginalsKeeper {
    disk: Option<DiskCache>,
    keeper: Option<Arc<Keeper>>,
    identity: String,
}

impl OriginalsKeeper {
    /// The one of this handler among the keepers of its configuration.
    pub fn of(handler: &Handler, keepers: &HashMap<PathBuf, Arc<Keeper>>) -> OriginalsKeeper {
        let keeper = handler.originals.as_ref().and_then(|originals| keepers.get(&originals.path));
        let disk =
            handler.originals.as_ref().map(|originals| DiskCache::new(&originals.path, handler.lifetime()));
        OriginalsKeeper { disk, keeper: keeper.map(Arc::clone), identity: handler.identity() }
    }

    /// What a renderer says became of the original of this key.
    pub fn note(&self, key: &str, original: OriginalEntry) {
        let Some(keeper) = &self.keeper else { return };
        match original {
            OriginalEntry::None => {}
            OriginalEntry::Stored(bytes) => keeper.stored(self.id(key), bytes),
            OriginalEntry::Used => keeper.used(self.id(key)),
        }
    }

    /// What is kept of this key is not right any more.
    pub fn drop_entry(&self, key: &str) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.remove(self.id(key))?;
        if let Some(keeper) = &self.keeper {
            keeper.removed(self.id(key));
        }
        Ok(())
    }

    fn id(&self, key: &str) -> EntryId {
        let (handler, key) = (self.identity.clone(), key.to_owned());
        EntryId::of(&Name { handler, key, options: ORIGINAL.to_owned() })
    }
}
