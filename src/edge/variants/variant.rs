//! A variant that was found or made, and the error in place of one.

use std::sync::Arc;
use std::time::SystemTime;

use super::memory_cache::CachedResponse;
use crate::cache::{EncodedImage, Entry};
use crate::edge::renderer::RenderError;
use crate::error::Failure;

/// How the caches took part in a response: the value of `X-Cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    Hit,
    /// From the cache, although it is stale.
    Stale,
    /// From the cache, after the origin has answered that it has not changed.
    Revalidated,
    /// From the results bucket, where another server has put it.
    Shared,
    /// Rendered for this request or for a concurrent one.
    Miss,
}

impl CacheStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Stale => "stale",
            CacheStatus::Revalidated => "revalidated",
            CacheStatus::Shared => "shared",
            CacheStatus::Miss => "miss",
        }
    }
}

/// A variant to be served: its [`Content`] from a cache, or an image from the renderer.
#[derive(Debug)]
pub struct Variant<C> {
    pub content: C,
    pub cache_status: CacheStatus,
    /// The value of `Age`: seconds since the origin last validated it.
    pub age: u64,
    /// The time of this age.
    pub now: SystemTime,
}

/// The content of a cached variant.
#[derive(Debug)]
pub enum Content<'h> {
    /// In the memory cache, with header fields.
    Memory(Arc<CachedResponse>),
    /// On disk, too large for the memory cache.
    Disk(Box<Entry<'h>>),
}

impl Content<'_> {
    /// The image. `None` if its entry on disk is damaged.
    pub fn read(self) -> Option<Arc<EncodedImage>> {
        match self {
            Content::Memory(response) => Some(Arc::clone(&response.image)),
            Content::Disk(entry) => entry.read().map(Arc::new),
        }
    }
}

#[derive(Clone, Debug)]
pub struct VariantError {
    pub error: RenderError,
    /// From the negative cache: the origin was not asked.
    pub is_cached: bool,
}

impl VariantError {
    pub fn cached(failure: Failure) -> VariantError {
        VariantError { error: RenderError::Failure(failure), is_cached: true }
    }

    /// Whether a stale variant may be served in place of this error, within its `stale_if_error` (RFC 5861 §4).
    pub fn allows_stale(&self) -> bool {
        match &self.error {
            RenderError::Failure(failure) => failure.code.allows_stale(),
            RenderError::Overloaded => true,
        }
    }
}

impl From<RenderError> for VariantError {
    fn from(error: RenderError) -> VariantError {
        VariantError { error, is_cached: false }
    }
}
