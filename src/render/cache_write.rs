//! The results of writes to a cache, which may be full or may have been deleted.

use std::io;

use super::sandbox::Sandbox;
use crate::log::RateLimited;

/// Logs failed writes at a limited rate.
#[derive(Debug, Default)]
pub struct CacheWrites {
    sandbox: Sandbox,
    warning: RateLimited,
}

impl CacheWrites {
    pub fn new(sandbox: Sandbox) -> CacheWrites {
        CacheWrites { sandbox, warning: RateLimited::default() }
    }

    /// See [`Sandbox::is_outdated`].
    pub fn is_outdated(&self) -> bool {
        self.sandbox.is_outdated()
    }

    /// The size of the entry on disk in bytes; `None` if the write failed.
    pub fn check(&self, written: io::Result<u64>) -> Option<u64> {
        match written {
            Ok(bytes) => Some(bytes),
            // The cache was deleted, or replaced, and the next renderer will create it again.
            Err(_) if self.is_outdated() => None,
            Err(error) => {
                let sentence =
                    format_args!("can't write to the cache, serving without it: {error}");
                self.warning.warn("cache_write_failed", sentence);
                None
            }
        }
    }
}
