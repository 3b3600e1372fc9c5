//! Makes variants: asks the renderer, once for all concurrent requests, and records the result.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::lookup::{Cached, Miss};
use super::variant::{CacheStatus, Variant, VariantError};
use super::{HandlerState, VariantRequest, Variants};
use crate::cache::{self, EncodedImage, EntryId, Freshness, Name, Need};
use crate::edge::renderer::{RenderError, RenderRequest};
use crate::error::{Code, Failure};
use crate::metrics::VariantResult;
use crate::phases::Phases;
use crate::time::unix_milliseconds;
use crate::wire::NotBefore;

/// Maximum number of times that an image is made for one request because its key was purged meanwhile.
const MAX_ATTEMPTS: usize = 4;

/// The result of a singleflight call.
pub(super) type MakeResult = Result<Made, VariantError>;

#[derive(Clone, Debug)]
pub(super) struct Made {
    image: Arc<EncodedImage>,
    /// The image was in the cache and is still valid.
    pub(super) was_cached: bool,
    /// It is a shared result.
    pub(super) is_shared: bool,
    /// When the origin was asked, in milliseconds since 1970.
    validated_at: u64,
}

impl Made {
    /// The variant for a request that began at `begun`.
    pub(super) fn into_variant(self, begun: SystemTime) -> Variant<Arc<EncodedImage>> {
        let cache_status = if self.is_shared {
            CacheStatus::Shared
        } else if !self.was_cached {
            CacheStatus::Miss
        } else if self.validated_at >= unix_milliseconds(begun) {
            CacheStatus::Revalidated
        } else {
            // Revalidated for an earlier request.
            CacheStatus::Hit
        };
        let now = SystemTime::now();
        let age = cache::age(self.validated_at, now);
        Variant { content: self.image, cache_status, age, now }
    }
}

impl Variants {
    /// Makes a variant that a lookup has not found. Waits for the renderer. `phases` gets the renderer's work for this
    /// request; a request that shares the work of another one has none.
    pub fn make(
        self: &Arc<Variants>,
        request: VariantRequest,
        miss: Miss,
        phases: &mut Phases,
    ) -> Result<Variant<Arc<EncodedImage>>, VariantError> {
        match miss {
            Miss::Missing => self.make_missing(request, phases),
            Miss::StaleIfError { not_before } => self.revalidate(request, not_before, phases),
        }
    }

    pub(super) fn make_missing(
        &self,
        request: VariantRequest,
        phases: &mut Phases,
    ) -> Result<Variant<Arc<EncodedImage>>, VariantError> {
        let begun = SystemTime::now();
        match self.make_current(request.handler, request.name, phases) {
            Ok(made) => Ok(made.into_variant(begun)),
            Err(error) => {
                if let RenderError::Failure(failure) = &error.error {
                    request.handler.log_failure(request.name, failure);
                }
                Err(error)
            }
        }
    }

    /// Makes a variant, and makes it again if its key is purged meanwhile.
    fn make_current(
        &self,
        handler: &Arc<HandlerState>,
        name: &Name,
        phases: &mut Phases,
    ) -> MakeResult {
        let mut not_before = self.not_before(name);
        for _ in 0..MAX_ATTEMPTS {
            let result = self.make_once(handler, name, not_before, phases);
            let latest_purge = self.not_before(name);
            let is_outdated = match &result {
                Ok(made) => made.validated_at <= latest_purge,
                Err(VariantError { error: RenderError::Failure(failure), .. }) => {
                    latest_purge > not_before
                        && matches!(failure.code, Code::NotFound | Code::NotShown)
                }
                Err(VariantError { error: RenderError::Overloaded, .. }) => false,
            };
            if !is_outdated {
                return result;
            }
            not_before = latest_purge;
        }
        Err(RenderError::Overloaded.into())
    }

    /// Makes or revalidates a variant, together with the concurrent requests for it.
    pub(super) fn make_once(
        &self,
        handler: &Arc<HandlerState>,
        name: &Name,
        not_before: u64,
        phases: &mut Phases,
    ) -> MakeResult {
        const PANICKED: &str = "the request that made this image for all waiters failed";
        let on_panic = RenderError::Failure(Failure::new(Code::RendererFailed, PANICKED));
        let call = (name.clone(), handler.epoch(not_before));
        let mut is_leader = false;
        let result = self.singleflight.run(&call, self.make_timeout, Err(on_panic.into()), || {
            is_leader = true;
            match self.find_made(handler, name, not_before) {
                Some(result) => result,
                None => self.render(handler, name, not_before, phases).map_err(VariantError::from),
            }
        });
        if !is_leader {
            handler.metrics.coalesced.add(1);
        }
        result.unwrap_or_else(|| Err(RenderError::Overloaded.into()))
    }

    /// The result of a call that ended between the lookup and this call.
    fn find_made(
        &self,
        handler: &Arc<HandlerState>,
        name: &Name,
        not_before: u64,
    ) -> Option<MakeResult> {
        let request = VariantRequest { handler, name, need: Need::Image };
        match self.find(request, not_before, SystemTime::now()) {
            Some(Cached { content, freshness: Freshness::Fresh, validated_at }) => {
                let image = content.read()?;
                Some(Ok(Made { image, was_cached: true, is_shared: false, validated_at }))
            }
            // To be revalidated, although another variant of the key may have failed.
            Some(_) => None,
            None => {
                let failure = self.negative.find(name, handler.epoch(not_before))?;
                Some(Err(VariantError::cached(failure)))
            }
        }
    }

    /// Asks the renderer, and records the result in the caches, the circuit breaker and the counts.
    fn render(
        &self,
        handler: &HandlerState,
        name: &Name,
        not_before: u64,
        phases: &mut Phases,
    ) -> Result<Made, RenderError> {
        let target = handler.render_target(name);
        let begun = unix_milliseconds(SystemTime::now());
        let epoch = handler.epoch(not_before);
        let purge = self.purge_log.shared_purge(name, not_before);
        let request =
            RenderRequest { target: &target, not_before: NotBefore { time: not_before, purge } };
        // Not those of an earlier attempt.
        *phases = Phases::default();
        let result = self.renderer.render(request, phases);
        if let Some(fetch) = &phases.fetch {
            handler.metrics.count_fetch(fetch);
        }
        if let Some(lookup) = &phases.shared {
            handler.metrics.count_shared_lookup(lookup);
        }
        let rendered = match result {
            Ok(rendered) => rendered,
            Err(RenderError::Overloaded) => return Err(RenderError::Overloaded),
            Err(RenderError::Failure(failure)) => {
                self.record_failure(handler, name, not_before, epoch, &failure);
                return Err(RenderError::Failure(failure));
            }
        };
        // An image that was cached, or fetched for another request, says nothing about the origin now. Nor does a shared
        // one: its time is that of another server's clock.
        let was_origin_asked = rendered.validated_at >= begun && !rendered.shared;
        if was_origin_asked {
            handler.circuit_breaker.record(None, Instant::now());
        }
        if rendered.shared {
            handler.metrics.variants.get(VariantResult::Shared).add(1);
        } else if !rendered.revalidated {
            self.counts.rendered.fetch_add(1, Ordering::Relaxed);
            handler.metrics.variants.get(VariantResult::Rendered).add(1);
        } else if was_origin_asked {
            self.counts.revalidated.fetch_add(1, Ordering::Relaxed);
            handler.metrics.variants.get(VariantResult::Revalidated).add(1);
        }
        handler.caches.record_original(&name.key, rendered.original);
        if let Some(directory) = &handler.caches.variants
            && let (Some(manager), Some(bytes)) = (&directory.manager, rendered.disk_bytes)
        {
            manager.insert(EntryId::of(name), bytes);
        }
        // The copy in memory is older.
        self.memory.remove(name);
        if rendered.validated_at <= self.not_before(name) {
            self.remove(handler, name);
        }
        Ok(Made {
            image: Arc::new(rendered.image),
            was_cached: rendered.revalidated,
            is_shared: rendered.shared,
            validated_at: rendered.validated_at,
        })
    }

    fn record_failure(
        &self,
        handler: &HandlerState,
        name: &Name,
        not_before: u64,
        epoch: u64,
        failure: &Failure,
    ) {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        handler.metrics.variants.get(VariantResult::Failed).add(1);
        handler.circuit_breaker.record(Some(failure.code), Instant::now());
        // After a purge meanwhile, the origin must be asked again.
        if self.not_before(name) == not_before {
            let ttl = handler.config.negative_cache_time;
            self.negative.insert(name, epoch, failure, ttl);
        }
        if failure.code == Code::NotFound || self.not_before(name) > not_before {
            self.remove(handler, name);
        }
    }

    /// Makes a purged variant again. `false` if that failed.
    pub fn rerender(&self, handler: &Arc<HandlerState>, name: &Name) -> bool {
        match self.make_current(handler, name, &mut Phases::default()) {
            Ok(_) => true,
            Err(error) => {
                handler.warn_stale(name, &error.error);
                false
            }
        }
    }
}
