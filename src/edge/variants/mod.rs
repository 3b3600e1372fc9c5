//! Variants: looks them up in memory and on disk, has the renderer make and revalidate them, and decides by their
//! freshness which of these a request needs (RFC 9111 §4, RFC 5861). `make` is the part that waits for the renderer.

pub mod cache_manager;
mod circuit_breaker;
mod handler_state;
mod make;
pub mod memory_cache;
mod negative_cache;
pub mod purge;
mod purge_journal;
pub mod purge_log;
mod revalidations;
mod variant;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub use self::handler_state::HandlerState;
use self::make::MakeResult;
use self::memory_cache::{CachedResponse, MemoryCache};
use self::negative_cache::NegativeCache;
use self::purge_log::PurgeLog;
pub use self::variant::{CacheStatus, Content, Variant, VariantError};
use super::renderer::{RenderError, Renderer};
use super::serve::image_response;
use crate::cache::{self, Entry, EntryId, Freshness, Name, Need};
use crate::singleflight::SingleFlight;

/// Maximum wait for a revalidation when a stale variant can be served instead.
const REVALIDATION_TIMEOUT: Duration = Duration::from_secs(1);

/// The variants of all handlers.
#[derive(Debug)]
pub struct Variants {
    memory: MemoryCache,
    /// By name and time of the latest purge: a request after a purge must not join a call from before it.
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

/// What a lookup has found.
struct Cached<'h> {
    content: Content<'h>,
    freshness: Freshness,
    /// When the origin was asked, in milliseconds since 1970.
    validated_at: u64,
}

/// Whether a stale variant may be served in place of this error, within its `stale_if_error` (RFC 5861 §4).
fn allows_stale(error: &RenderError) -> bool {
    match error {
        RenderError::Failure(failure) => failure.code.allows_stale(),
        RenderError::Overloaded => true,
    }
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

    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// The variant `name`, from a cache or from the renderer. `None` if this would wait for the renderer and `may_wait`
    /// is false.
    pub fn get<'h>(
        self: &Arc<Variants>,
        handler: &'h Arc<HandlerState>,
        name: &Name,
        need: Need,
        may_wait: bool,
    ) -> Option<Result<Variant<'h>, VariantError>> {
        let now = SystemTime::now();
        let not_before = self.not_before(name);
        if let Some(cached) = self.lookup(handler, name, need, not_before, now) {
            let age = cache::age(cached.validated_at, now);
            let variant = |cache_status| Variant { content: cached.content, cache_status, age };
            match cached.freshness {
                Freshness::Fresh => return Some(Ok(variant(CacheStatus::Hit))),
                Freshness::StaleWhileRevalidate => {
                    drop(self.start_revalidation(handler, name, not_before));
                    return Some(Ok(variant(CacheStatus::Stale)));
                }
                Freshness::StaleIfError => {
                    let stale = variant(CacheStatus::Stale);
                    return self.revalidate(handler, name, not_before, may_wait, stale);
                }
                Freshness::MustRevalidate => {}
            }
        }
        self.get_missing(handler, name, not_before, may_wait)
    }

    /// The variant `name` from the renderer, because the cached one turned out to be damaged.
    pub fn get_uncached<'h>(
        &self,
        handler: &'h Arc<HandlerState>,
        name: &Name,
        may_wait: bool,
    ) -> Option<Result<Variant<'h>, VariantError>> {
        self.get_missing(handler, name, self.not_before(name), may_wait)
    }

    /// Revalidates a variant whose stale copy may be served only if the origin fails.
    fn revalidate<'h>(
        self: &Arc<Variants>,
        handler: &Arc<HandlerState>,
        name: &Name,
        not_before: u64,
        may_wait: bool,
        stale: Variant<'h>,
    ) -> Option<Result<Variant<'h>, VariantError>> {
        if let Some(failure) = self.negative.find(name, not_before) {
            let error = RenderError::Failure(failure);
            return Some(if allows_stale(&error) {
                Ok(stale)
            } else {
                Err(VariantError { error, is_cached: true })
            });
        }
        if handler.circuit_breaker.is_open(Instant::now()) || self.renderer.is_full() {
            drop(self.start_revalidation(handler, name, not_before));
            return Some(Ok(stale));
        }
        if !may_wait {
            return None;
        }
        let begun = SystemTime::now();
        let result = match self.start_revalidation(handler, name, not_before) {
            Some(revalidation) => revalidation.recv_timeout(REVALIDATION_TIMEOUT).ok(),
            None => self.singleflight.join(&(name.clone(), not_before), REVALIDATION_TIMEOUT),
        };
        let latest_purge = self.not_before(name);
        if latest_purge > not_before {
            // Purged meanwhile: neither the stale variant nor the result may be served.
            return self.get_missing(handler, name, latest_purge, may_wait);
        }
        Some(match result {
            Some(Ok(made)) => Ok(made.into_variant(begun)),
            Some(Err(error)) if !allows_stale(&error) => {
                Err(VariantError { error, is_cached: false })
            }
            // The failure has been recorded already.
            Some(Err(RenderError::Failure(_))) => Ok(stale),
            None | Some(Err(RenderError::Overloaded)) => {
                handler.circuit_breaker.open(Instant::now());
                Ok(stale)
            }
        })
    }

    /// The variant `name`, which is not cached or must not be served without revalidation.
    fn get_missing<'h>(
        &self,
        handler: &HandlerState,
        name: &Name,
        not_before: u64,
        may_wait: bool,
    ) -> Option<Result<Variant<'h>, VariantError>> {
        if let Some(failure) = self.negative.find(name, not_before) {
            let error = RenderError::Failure(failure);
            return Some(Err(VariantError { error, is_cached: true }));
        }
        if !may_wait {
            // Under overload, refuse here: a thread that only refuses is one too many.
            let is_in_flight = self.singleflight.is_in_flight(&(name.clone(), not_before));
            if self.renderer.is_full() && !is_in_flight {
                let error = RenderError::Overloaded;
                return Some(Err(VariantError { error, is_cached: false }));
            }
            return None;
        }
        let begun = SystemTime::now();
        Some(match self.make_current(handler, name, not_before) {
            Ok(made) => Ok(made.into_variant(begun)),
            Err(error) => {
                if let RenderError::Failure(failure) = &error {
                    handler.log_failure(name, failure);
                }
                Err(VariantError { error, is_cached: false })
            }
        })
    }

    /// Looks up a variant in memory and on disk, whatever its freshness.
    fn lookup<'h>(
        &self,
        handler: &'h HandlerState,
        name: &Name,
        need: Need,
        not_before: u64,
        now: SystemTime,
    ) -> Option<Cached<'h>> {
        let disk = handler.disk.as_ref()?;
        let manager = handler.manager.as_deref();
        if let Some((response, freshness)) = self.memory.find(name, disk, manager, now) {
            let validated_at = response.stamp().validated_at();
            if validated_at > not_before {
                return Some(Cached {
                    content: Content::Memory(response),
                    freshness,
                    validated_at,
                });
            }
            self.memory.remove(name);
        }
        let entry = disk.find(name, need)?;
        let validated_at = entry.validated_at();
        if validated_at <= not_before {
            // A request from before a purge has stored it. It must go before the purge log forgets the purge.
            self.remove(handler, name);
            return None;
        }
        let freshness = entry.freshness(now);
        if let Some(manager) = manager {
            manager.touch(entry.id());
        }
        let fits = usize::try_from(entry.length()).is_ok_and(|length| self.memory.fits(length));
        if !fits || freshness == Freshness::MustRevalidate {
            let content = Content::Disk(Box::new(entry));
            return Some(Cached { content, freshness, validated_at });
        }
        let response = self.load(handler, name, entry)?;
        Some(Cached { content: Content::Memory(response), freshness, validated_at })
    }

    /// Reads an entry from disk into the memory cache. `None` if it is damaged.
    fn load(
        &self,
        handler: &HandlerState,
        name: &Name,
        entry: Entry,
    ) -> Option<Arc<CachedResponse>> {
        let stamp = entry.stamp();
        let image = Arc::new(entry.read()?);
        let response = image_response::prepare(&handler.config, image, stamp);
        self.memory.insert(name.clone(), Arc::clone(&response));
        Some(response)
    }

    /// Revalidates a variant on a thread of its own; the result may be received. `None` if that is not possible now.
    fn start_revalidation(
        self: &Arc<Variants>,
        handler: &Arc<HandlerState>,
        name: &Name,
        not_before: u64,
    ) -> Option<Receiver<MakeResult>> {
        if self.renderer.is_full() {
            return None;
        }
        let guard = handler.revalidations.begin(name)?;
        if !handler.circuit_breaker.allow_attempt(Instant::now()) {
            return None;
        }
        let variants = Arc::clone(self);
        let handler = Arc::clone(handler);
        let name = name.clone();
        let (sender, receiver) = channel();
        let revalidate = move || {
            let _guard = guard;
            let result = variants.make(&handler, &name, not_before);
            if let Err(error) = &result {
                handler.warn_stale(&name, error);
            }
            // The receiver is usually gone.
            let _ = sender.send(result);
        };
        // If no thread can be started, the next request tries again.
        thread::Builder::new()
            .name("revalidation".into())
            .stack_size(super::STACK_BYTES)
            .spawn(revalidate)
            .ok()?;
        Some(receiver)
    }

    /// Removes a variant and its original from disk and memory.
    fn remove(&self, handler: &HandlerState, name: &Name) {
        let id = EntryId::of(name);
        if let Some(disk) = &handler.disk
            && let Err(error) = disk.remove(id)
        {
            handler
                .warning
                .warn("entry_not_removed", format_args!("can't remove a stale variant: {error}"));
        }
        if let Err(error) = handler.originals.remove(&name.key) {
            handler
                .warning
                .warn("entry_not_removed", format_args!("can't remove a stale original: {error}"));
        }
        if let Some(manager) = &handler.manager {
            manager.remove(id);
        }
        self.memory.remove(name);
    }

    /// Removes the matching names from memory, for a purge: from the memory cache and the negative cache.
    pub fn remove_matching(&self, matches: &dyn Fn(&Name) -> bool) {
        self.memory.remove_matching(matches);
        self.negative.remove_matching(matches);
    }

    /// The time of the latest purge of this name, in milliseconds since 1970: what the origin answered before it must
    /// not be served.
    fn not_before(&self, name: &Name) -> u64 {
        self.purge_log.not_before(name)
    }
}
