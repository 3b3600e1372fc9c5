//! docs/cdn.md: response fields for a CDN, purge hooks, and nginx as in the document.

mod fields;
mod hooks;
mod nginx;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::directory::Directory;
use crate::support::images::{self, RED};

/// As in docs/cdn.md: `printf %s 'photos/summer/photo.jpg' | sha256sum | cut -c 1-16`
pub fn tag(path: &str) -> String {
    let hash = Sha256::digest(path);
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub fn image() -> Vec<u8> {
    images::png(images::solid(10, 10, RED))
}

/// A handler named `h` with its fields and a cache.
pub fn handler(directory: &Directory, cache: &Directory, fields: Value) -> Value {
    let base = json!({"name": "h", "directory": directory.path(), "cache_path": cache.path()});
    crate::support::merged(base, fields)
}
