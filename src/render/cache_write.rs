//! What becomes of writing to a cache that may have been deleted or may be full.

use std::io;

use super::sandbox::Sandbox;
use crate::log::RateLimited;

/// Tells the operator, but not too often, why nothing is stored.
#[derive(Debug, Default)]
pub struct Storing {
    sandbox: Sandbox,
    warning: RateLimited,
}

impl Storing {
    /// In a process that is confined like this.
    pub fn new(sandbox: Sandbox) -> Storing {
        Storing { sandbox, warning: RateLimited::default() }
    }

    /// Whether this process can't get at what the configuration names any more, and the next one could.
    pub fn is_outdated(&self) -> bool {
        self.sandbox.is_outdated()
    }

    /// How many bytes of the disk an entry takes, if it was written.
    pub fn outcome(&self, written: io::Result<u64>) -> Option<u64> {
        match written {
            Ok(bytes) => Some(bytes),
            // A cache that was deleted, which empties it, is the next renderer's to make.
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
