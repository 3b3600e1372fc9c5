//! The resources that the system gives to the renderer and no more (getrlimit(2)).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Limits};
use crate::log::warn;

/// Bounds this process, once and for all: it can't raise the limits again.
pub fn bound(config: &Config) {
    // A core would hold the secrets of the origins and what clients are not to see.
    lower(Resource::Core, 0, "can't disable core files of the renderer");
    lower(Resource::Data, memory(&config.limits), "can't limit the memory of the renderer");
    lower(Resource::Nofile, open_files(config), "can't limit the open files of the renderer");
}

/// What the other limits add up to. Where an image takes more than its container says, an allocation fails, or at
/// worst this process ends, and not the machine's memory.
fn memory(limits: &Limits) -> u64 {
    /// For code and results.
    const BASE: u64 = 512 << 20;
    /// Each worker's thread and that of its connection.
    const STACKS: u64 = 8 << 20;
    /// The decoders' working memory; AV1 with its reference frames needs the most.
    const BYTES_PER_PIXEL: u64 = 16;
    let originals = limits
        .origin_max_bytes
        .saturating_add(STACKS)
        .saturating_mul(limits.fetches_at_once as u64);
    // One image at a time may take more than the budget; and address space is taken before it is used.
    let pixels =
        limits.source_max_pixels.max(limits.source_max_total_pixels).max(limits.result_max_pixels);
    let largest = pixels.saturating_mul(BYTES_PER_PIXEL);
    BASE.saturating_add(originals).saturating_add(limits.memory_budget).saturating_add(largest)
}

fn open_files(config: &Config) -> u64 {
    /// Pipes, the socket, lookups of names.
    const BASE: u64 = 256;
    /// A worker's connection with its copies, its file of the origin and its file of the cache.
    const WORKER: u64 = 16;
    // A pool of connections for each `ca_file`, of which each handler may have its own.
    let kept = config.handlers.len() as u64;
    BASE.saturating_add(
        WORKER.saturating_add(kept).saturating_mul(config.limits.fetches_at_once as u64),
    )
}

/// Where the limit is lower already it stays.
fn lower(resource: Resource, bound: u64, otherwise: &str) {
    let Rlimit { current, maximum } = getrlimit(resource);
    let least = |limit: Option<u64>| Some(limit.map_or(bound, |limit| limit.min(bound)));
    let lowered = Rlimit { current: least(current), maximum: least(maximum) };
    if let Err(error) = setrlimit(resource, lowered) {
        warn!("rlimit_unchanged", "{otherwise}: {error}");
    }
}
