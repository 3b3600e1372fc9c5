//! Applies purges of other servers, which are known by their hashes only.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use crate::cache::{self, Name};
use crate::edge::variants::HandlerState;
use crate::edge::variants::handler_caches::HandlerCaches;
use crate::edge::variants::purge::Purger;
use crate::edge::variants::purge_log::PurgesInProgress;
use crate::shared_journal::{Target, TargetKind, prefixes_of};

/// Purges that are in force, and whose entries have not been removed yet.
#[derive(Debug, Default)]
pub struct Applied {
    /// Until the entries are removed.
    purges: Vec<PurgesInProgress>,
    handlers: Vec<(Arc<HandlerState>, Targets)>,
}

/// The targets of one handler, by their hashes.
#[derive(Debug, Default)]
struct Targets {
    keys: HashSet<[u8; 16]>,
    prefixes: HashSet<[u8; 16]>,
}

impl Purger {
    /// Purges targets on this server, with their times in the shared journal. From now on nothing older is served.
    pub fn apply(&self, targets: Vec<(Target, u64)>) -> Applied {
        let purges = self.log.record_shared(targets);
        let mut handlers = Vec::new();
        for handler in self.handlers.values() {
            let hash = handler.caches.hash;
            let own = purges.targets().iter().filter(|target| target.handler == hash);
            let targets = Targets::of(own.clone());
            if !targets.is_empty() {
                handler.caches.append_to_journals(purges.time(), own);
                handlers.push((Arc::clone(handler), targets));
            }
        }
        self.variants.remove_matching(&|name| {
            handlers.iter().any(|(handler, targets)| targets.include(&handler.caches, name))
        });
        Applied { purges: vec![purges], handlers }
    }
}

impl Applied {
    /// Adds others, whose entries are removed at the same time.
    pub fn merge(&mut self, other: Applied) {
        self.purges.extend(other.purges);
        for (handler, targets) in other.handlers {
            // After a reload, a handler has another state for the same directories.
            let identity = &handler.caches.identity;
            let mut known = self.handlers.iter_mut();
            match known.find(|(known, _)| known.caches.identity == *identity) {
                Some((known, own)) => {
                    *known = handler;
                    own.keys.extend(targets.keys);
                    own.prefixes.extend(targets.prefixes);
                }
                None => self.handlers.push((handler, targets)),
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// Whether every header in a directory has to be read, which may take minutes.
    pub fn takes_long(&self) -> bool {
        self.handlers.iter().any(|(_, targets)| !targets.prefixes.is_empty())
    }

    /// Removes the entries from the disks.
    pub fn remove(&self) -> io::Result<()> {
        // All are attempted, even if one fails.
        let results: Vec<_> = self
            .handlers
            .iter()
            .map(|(handler, targets)| targets.remove(&handler.caches))
            .collect();
        results.into_iter().collect()
    }
}

impl Targets {
    fn of<'t>(targets: impl Iterator<Item = &'t Target>) -> Targets {
        let mut own = Targets::default();
        for target in targets {
            match target.kind {
                TargetKind::Key => own.keys.insert(target.hash),
                TargetKind::Prefix => own.prefixes.insert(target.hash),
            };
        }
        own
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    fn include(&self, caches: &HandlerCaches, name: &Name) -> bool {
        if name.handler != caches.identity {
            return false;
        }
        let is_key =
            !self.keys.is_empty() && self.keys.contains(&cache::key_hash(&name.handler, &name.key));
        is_key || self.include_prefix(caches, name)
    }

    fn include_prefix(&self, caches: &HandlerCaches, name: &Name) -> bool {
        !self.prefixes.is_empty()
            && name.handler == caches.identity
            && prefixes_of(&name.key)
                .any(|prefix| self.prefixes.contains(&cache::key_hash(&name.handler, prefix)))
    }

    fn remove(&self, caches: &HandlerCaches) -> io::Result<()> {
        let mut result = Ok(());
        for key_hash in &self.keys {
            result = result.and(caches.remove_key_hash(*key_hash).map(drop));
        }
        if !self.prefixes.is_empty() {
            // One walk for all prefixes.
            let removed = caches.remove_matching(&|name| self.include_prefix(caches, name));
            result = result.and(removed.map(drop));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_journal::handler_hash;

    #[test]
    fn targets_include_their_keys_and_everything_below_their_prefixes() {
        let caches = HandlerCaches {
            identity: "h".into(),
            hash: handler_hash("h"),
            variants: None,
            originals: None,
        };
        let targets = [
            Target::new("h", "a/1", TargetKind::Key),
            Target::new("h", "b/", TargetKind::Prefix),
            Target::new("h", "c/d/", TargetKind::Prefix),
        ];
        let targets = Targets::of(targets.iter());
        let included = |handler: &str, key: &str| {
            let name = Name { handler: handler.into(), key: key.into(), options: "w=1".into() };
            targets.include(&caches, &name)
        };
        for key in ["a/1", "b/", "b/1", "b/c/d/e", "c/d/1"] {
            assert!(included("h", key), "{key}");
            assert!(!included("i", key), "{key}");
        }
        for key in ["a/", "a/2", "a/1/", "b", "bb/1", "c/1", "c/d", ""] {
            assert!(!included("h", key), "{key}");
        }
        let all = Targets::of([Target::new("h", "", TargetKind::Prefix)].iter());
        let name = Name { handler: "h".into(), key: "x/y".into(), options: String::new() };
        assert!(all.include(&caches, &name) && Targets::default().is_empty());
    }
}
