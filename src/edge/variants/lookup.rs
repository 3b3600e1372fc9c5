//! Lookups: never wait for the renderer.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::handler_caches::CacheDirectory;
use super::memory_cache::CachedResponse;
use super::variant::{CacheStatus, Content, Variant, VariantError};
use super::{VariantRequest, Variants};
use crate::cache::{self, EncodedImage, Entry, Freshness, Need};
use crate::edge::renderer::RenderError;

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup<'h> {
    /// A cached variant that may be served, or an error that needs no request to the origin.
    Ready(Result<Variant<Content<'h>>, VariantError>),
    Miss(Miss),
}

/// A variant that has to be [made](Variants::make).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It is not cached, or must not be served without revalidation.
    Missing,
    /// It is cached, and may be served if its revalidation fails (RFC 5861 §4).
    StaleIfError {
        /// The time of the latest purge before the lookup, in milliseconds since 1970.
        not_before: u64,
    },
}

/// A cached variant of any freshness.
pub(super) struct Cached<'h> {
    pub(super) content: Content<'h>,
    pub(super) freshness: Freshness,
    /// When the origin was asked, in milliseconds since 1970.
    pub(super) validated_at: u64,
}

impl<'h> Cached<'h> {
    fn into_variant(self, cache_status: CacheStatus, now: SystemTime) -> Variant<Content<'h>> {
        let age = cache::age(self.validated_at, now);
        Variant { content: self.content, cache_status, age, now }
    }
}

impl Variants {
    pub fn lookup<'h>(self: &Arc<Variants>, request: VariantRequest<'h>) -> Lookup<'h> {
        let now = SystemTime::now();
        if let Some(cached) = self.find(request, 0, now) {
            match cached.freshness {
                Freshness::Fresh => {
                    return Lookup::Ready(Ok(cached.into_variant(CacheStatus::Hit, now)));
                }
                Freshness::StaleWhileRevalidate => {
                    drop(self.start_revalidation(request, self.not_before(request.name)));
                    return Lookup::Ready(Ok(cached.into_variant(CacheStatus::Stale, now)));
                }
                Freshness::StaleIfError => {
                    let stale = cached.into_variant(CacheStatus::Stale, now);
                    return self.lookup_stale(request, self.not_before(request.name), stale);
                }
                Freshness::MustRevalidate => {}
            }
        }
        match self.check_missing(request, self.not_before(request.name)) {
            Ok(miss) => Lookup::Miss(miss),
            Err(error) => Lookup::Ready(Err(error)),
        }
    }

    /// The lookup of a variant whose cached copy turned out to be damaged.
    pub fn lookup_uncached(&self, request: VariantRequest) -> Result<Miss, VariantError> {
        self.check_missing(request, self.not_before(request.name))
    }

    /// The lookup of a variant whose stale copy may be served only if the origin fails.
    fn lookup_stale<'h>(
        self: &Arc<Variants>,
        request: VariantRequest<'h>,
        not_before: u64,
        stale: Variant<Content<'h>>,
    ) -> Lookup<'h> {
        if let Some(failure) = self.negative.find(request.name, request.handler.epoch(not_before)) {
            let error = VariantError::cached(failure);
            return Lookup::Ready(if error.allows_stale() { Ok(stale) } else { Err(error) });
        }
        if request.handler.circuit_breaker.is_open(Instant::now()) || self.renderer.is_full() {
            drop(self.start_revalidation(request, not_before));
            return Lookup::Ready(Ok(stale));
        }
        Lookup::Miss(Miss::StaleIfError { not_before })
    }

    fn check_missing(
        &self,
        request: VariantRequest,
        not_before: u64,
    ) -> Result<Miss, VariantError> {
        let epoch = request.handler.epoch(not_before);
        if let Some(failure) = self.negative.find(request.name, epoch) {
            return Err(VariantError::cached(failure));
        }
        // Under overload, refuse here instead of starting a thread that would refuse.
        if self.renderer.is_full()
            && !self.singleflight.is_in_flight(&(request.name.clone(), epoch))
        {
            return Err(RenderError::Overloaded.into());
        }
        Ok(Miss::Missing)
    }

    /// Finds a variant in memory or on disk, of any freshness, unless it is from before a purge or not from after
    /// `not_before`, or a file of a type that the handler no longer passes through.
    pub(super) fn find<'h>(
        &self,
        request: VariantRequest<'h>,
        not_before: u64,
        now: SystemTime,
    ) -> Option<Cached<'h>> {
        let VariantRequest { handler, name, need } = request;
        let CacheDirectory { disk, manager, .. } = handler.caches.variants.as_ref()?;
        let manager = manager.as_deref();
        if let Some((response, freshness)) = self.memory.find(name, disk, manager, now) {
            let validated_at = response.stamp.validated_at();
            let is_removed =
                self.purge_log.has_removed_cached(name, validated_at, &response.compared);
            if validated_at > not_before && !is_removed {
                handler.metrics.memory_hits.add(1);
                let content = Content::Memory(response);
                let freshness = handler.freshness_after_switch(freshness, validated_at);
                return Some(Cached { content, freshness, validated_at });
            }
            self.memory.remove(name);
        }
        let entry = disk.find(name, need)?;
        let validated_at = entry.validated_at();
        if validated_at <= not_before || self.purge_log.has_removed(name, validated_at) {
            // A request from before a purge has stored it. It must go before the purge log forgets the purge.
            self.remove(handler, name);
            return None;
        }
        // From before a change of the configuration. What is in memory was read under this one.
        if !handler.config.as_is.allows(entry.media_type()) {
            return None;
        }
        let freshness = handler.freshness_after_switch(entry.freshness(now), validated_at);
        if let Some(manager) = manager {
            manager.touch(entry.id());
        }
        let fits = usize::try_from(entry.length()).is_ok_and(|length| self.memory.fits(length));
        let content = if !fits || freshness == Freshness::MustRevalidate {
            Content::Disk(Box::new(entry))
        } else {
            Content::Memory(self.load(request, entry)?)
        };
        Some(Cached { content, freshness, validated_at })
    }

    /// The entry on disk of an image that was just made, if it was stored.
    pub fn stored<'h>(
        &self,
        request: VariantRequest<'h>,
        image: &EncodedImage,
    ) -> Option<Content<'h>> {
        let directory = request.handler.caches.variants.as_ref()?;
        let entry = directory.disk.find(request.name, Need::Header)?;
        (entry.sha256() == image.sha256).then(|| Content::Disk(Box::new(entry)))
    }

    /// Reads an entry from disk into the memory cache. `None` if it is damaged.
    fn load(&self, request: VariantRequest, entry: Entry) -> Option<Arc<CachedResponse>> {
        let stamp = entry.stamp();
        let field_bytes = request.handler.config.cdn.field_bytes();
        let image = Arc::new(entry.read()?);
        let response = Arc::new(CachedResponse::new(image, stamp, field_bytes));
        self.memory.insert(request.name.clone(), Arc::clone(&response));
        Some(response)
    }
}
