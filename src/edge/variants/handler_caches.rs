//! The disk caches of one handler: its variants and its originals. Renderers write the entries; the edge reads variants,
//! removes entries of both, and reports to the cache managers what is stored and used.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache_manager::CacheManager;
use crate::cache::{self, DiskCache, EntryId, Name, ORIGINAL, OriginalEntry};
use crate::config::{Handler, Store};
use crate::shared_journal;

#[derive(Debug)]
pub struct HandlerCaches {
    /// [`Handler::identity`]
    pub identity: String,
    /// Of the identity, as purges of other servers have it.
    pub hash: [u8; 16],
    pub variants: Option<CacheDirectory>,
    pub originals: Option<CacheDirectory>,
}

/// A cache directory, which may also have entries of other handlers.
#[derive(Debug)]
pub struct CacheDirectory {
    pub path: PathBuf,
    pub disk: DiskCache,
    pub manager: Option<Arc<CacheManager>>,
}

impl HandlerCaches {
    pub fn new(config: &Handler, managers: &HashMap<PathBuf, Arc<CacheManager>>) -> HandlerCaches {
        let directory = |store: &Store| CacheDirectory {
            path: store.path.clone(),
            disk: DiskCache::new(&store.path, config.lifetime()),
            manager: managers.get(&store.path).map(Arc::clone),
        };
        let identity = config.identity();
        HandlerCaches {
            hash: shared_journal::handler_hash(&identity),
            identity,
            variants: config.cache.as_ref().map(directory),
            originals: config.originals.as_ref().map(directory),
        }
    }

    pub fn name(&self, key: &str, options: &str) -> Name {
        Name { handler: self.identity.clone(), key: key.to_owned(), options: options.to_owned() }
    }

    /// The entry of an original.
    pub fn original(&self, key: &str) -> EntryId {
        EntryId::of(&self.name(key, ORIGINAL))
    }

    /// Records what a renderer did with the entry of an original.
    pub fn record_original(&self, key: &str, entry: OriginalEntry) {
        let manager = self.originals.as_ref().and_then(|directory| directory.manager.as_ref());
        match (manager, entry) {
            (None, _) | (_, OriginalEntry::None) => {}
            (Some(manager), OriginalEntry::Stored(bytes)) => {
                manager.insert(self.original(key), bytes);
            }
            (Some(manager), OriginalEntry::Used) => manager.touch(self.original(key)),
        }
    }
}

impl CacheDirectory {
    /// Removes an entry, and returns the number of removed entries.
    pub fn remove(&self, id: EntryId) -> io::Result<u64> {
        let path = id.path(&self.path.join(cache::LAYOUT));
        let existed = self.disk.remove(id).map_err(|error| with_path(&error, &path))?;
        if let Some(manager) = &self.manager {
            manager.remove(id);
        }
        Ok(u64::from(existed))
    }
}

pub fn with_path(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
