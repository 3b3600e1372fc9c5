//! Variants: looks them up in memory and on disk, has the renderer make and revalidate them, and decides by their
//! freshness which of these a request needs (RFC 9111 §4, RFC 5861).
//!
//! A lookup never waits for the renderer. If it finds nothing that may be served, it returns a [`Miss`], with which a
//! thread that may wait makes the variant.

pub mod cache_manager;
mod circuit_breaker;
mod handler_caches;
mod handler_state;
mod hook_queue;
mod journal_status;
mod link_stamp;
mod link_switch;
mod lookup;
mod make;
pub mod memory_cache;
mod negative_cache;
mod node;
pub mod purge;
pub mod purge_hooks;
mod purge_journal;
pub mod purge_log;
mod revalidate;
mod revalidations;
pub mod shared_purges;
mod variant;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub use self::handler_state::HandlerState;
pub use self::lookup::{Lookup, Miss};
use self::make::MakeResult;
use self::memory_cache::MemoryCache;
use self::negative_cache::NegativeCache;
use self::purge_log::PurgeLog;
pub use self::variant::{CacheStatus, Content, Variant, VariantError};
use super::renderer::Renderer;
use crate::cache::{EntryId, Name, Need};
use crate::singleflight::SingleFlight;

/// The variants of all handlers.
#[derive(Debug)]
pub struct Variants {
    memory: MemoryCache,
    /// By name and [`HandlerState::epoch`]: a request after a purge must not join a call from before it.
    singleflight: SingleFlight<(Name, u64), MakeResult>,
    renderer: Renderer,
    make_timeout: Duration,
    negative: NegativeCache,
    purge_log: Arc<PurgeLog>,
    counts: Counts,
}

/// Results of requests to the renderer, since the start or the last reload.
#[derive(Debug, Default)]
pub struct Counts {
    pub rendered: AtomicU64,
    pub revalidated: AtomicU64,
    pub failed: AtomicU64,
}

/// A request for a variant.
#[derive(Clone, Copy, Debug)]
pub struct VariantRequest<'j> {
    pub handler: &'j Arc<HandlerState>,
    pub name: &'j Name,
    pub need: Need,
}

impl Variants {
    pub fn new(memory_bytes: u64, renderer: Renderer, purge_log: &Arc<PurgeLog>) -> Variants {
        Variants {
            memory: MemoryCache::new(memory_bytes),
            singleflight: SingleFlight::new(),
            make_timeout: renderer.max_render_time(),
            renderer,
            negative: NegativeCache::default(),
            purge_log: Arc::clone(purge_log),
            counts: Counts::default(),
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn memory(&self) -> &MemoryCache {
        &self.memory
    }

    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Removes a variant and its original from disk and memory.
    fn remove(&self, handler: &HandlerState, name: &Name) {
        let caches = &handler.caches;
        let variant = (&caches.variants, EntryId::of(name));
        let original = (&caches.originals, caches.original(&name.key));
        for (directory, id) in [variant, original] {
            if let Some(Err(error)) = directory.as_ref().map(|directory| directory.remove(id)) {
                let sentence = format_args!("can't remove a stale entry: {error}");
                handler.warning.warn("entry_not_removed", sentence);
            }
        }
        self.memory.remove(name);
    }

    /// Removes the matching names from the memory cache and the negative cache.
    fn remove_matching(&self, matches: &dyn Fn(&Name) -> bool) {
        self.memory.remove_matching(matches);
        self.negative.remove_matching(matches);
    }

    /// The time of the latest purge of this name, in milliseconds since 1970: older answers of the origin must not be
    /// served.
    fn not_before(&self, name: &Name) -> u64 {
        self.purge_log.not_before(name)
    }
}
