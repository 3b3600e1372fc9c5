//! The identity of this process among the servers that share a journal.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// A random number that tells the purges of this process from those of others.
pub fn node() -> u64 {
    static NODE: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    *NODE
}
