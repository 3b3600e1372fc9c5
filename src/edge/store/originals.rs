//! Tells the keeper of an `originals_cache` what renderers do there.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Keeper;
use crate::cache::{EntryId, Name, ORIGINAL, OriginalEntry};
use crate::config::Handler;

/// The keeper of a handler's originals, if they are kept.
#[derive(Debug)]
pub struct OriginalsKeeper {
    keeper: Option<Arc<Keeper>>,
    identity: String,
}

impl OriginalsKeeper {
    /// The one of this handler among the keepers of its configuration.
    pub fn of(handler: &Handler, keepers: &HashMap<PathBuf, Arc<Keeper>>) -> OriginalsKeeper {
        let keeper = handler.originals.as_ref().and_then(|originals| keepers.get(&originals.path));
        OriginalsKeeper { keeper: keeper.map(Arc::clone), identity: handler.identity() }
    }

    /// What a renderer says became of the original of this key.
    pub fn note(&self, key: &str, original: OriginalEntry) {
        let Some(keeper) = &self.keeper else { return };
        let name = || {
            let (handler, key) = (self.identity.clone(), key.to_owned());
            EntryId::of(&Name { handler, key, options: ORIGINAL.to_owned() })
        };
        match original {
            OriginalEntry::None => {}
            OriginalEntry::Stored(bytes) => keeper.stored(name(), bytes),
            OriginalEntry::Used => keeper.used(name()),
        }
    }
}
