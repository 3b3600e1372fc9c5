//! A variant that was found or made, and the error in place of one.

use std::sync::Arc;

use super::memory_cache::CachedResponse;
use crate::cache::{EncodedImage, Entry};
use crate::edge::renderer::RenderError;

/// How the caches took part in a response: the value of `X-Cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    Hit,
    /// From the cache, although it is stale.
    Stale,
    /// From the cache, after the origin has answered that it has not changed.
    Revalidated,
    /// Rendered for this request or for a concurrent one.
    Miss,
}

impl CacheStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Stale => "stale",
            CacheStatus::Revalidated => "revalidated",
            CacheStatus::Miss => "miss",
        }
    }
}

#[derive(Debug)]
pub struct Variant<'h> {
    pub content: Content<'h>,
    pub cache_status: CacheStatus,
    /// The value of `Age`: seconds since the origin last validated it.
    pub age: u64,
}

#[derive(Debug)]
pub enum Content<'h> {
    /// In the memory cache, with header fields.
    Memory(Arc<CachedResponse>),
    /// On disk, too large for the memory cache.
    Disk(Box<Entry<'h>>),
    /// From the renderer.
    Image(Arc<EncodedImage>),
}

#[derive(Debug)]
pub struct VariantError {
    pub error: RenderError,
    /// From the negative cache: the origin was not asked.
    pub is_cached: bool,
}
