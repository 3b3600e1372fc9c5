//! Resource limits of the renderer (getrlimit(2)).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Limits};
use crate::log::warn;

/// Sets soft and hard limits, so that this process can't raise them again.
pub fn set(config: &Config) {
    // A core file would contain the secrets of the origins and private images.
    lower(Resource::Core, 0, "can't disable core files of the renderer");
    lower(Resource::Data, data_bytes(&config.limits), "can't limit the memory of the renderer");
    lower(Resource::Nofile, open_files(config), "can't limit the open files of the renderer");
}

/// The sum of the memory that the other limits allow. If an image takes more memory than its container announces, an
/// allocation fails, which at worst aborts this process instead of exhausting the machine.
fn data_bytes(limits: &Limits) -> u64 {
    /// Code, libraries, and encoded images.
    const BASE: u64 = 512 << 20;
    /// Two per connection: the worker thread and the thread of tiny_http.
    const STACKS: u64 = 8 << 20;
    /// Working memory of a decoder; AV1 with its reference frames needs the most.
    const BYTES_PER_PIXEL: u64 = 16;
    // As it was sent, and without its `Content-Encoding`.
    let original = limits.origin_max_bytes.saturating_mul(2);
    let originals = original.saturating_add(STACKS).saturating_mul(limits.fetches_at_once as u64);
    // One image at a time may exceed the budget, and RLIMIT_DATA also counts memory that is not used yet.
    let pixels =
        limits.source_max_pixels.max(limits.source_max_total_pixels).max(limits.result_max_pixels);
    let largest = pixels.saturating_mul(BYTES_PER_PIXEL);
    BASE.saturating_add(originals).saturating_add(limits.memory_budget).saturating_add(largest)
}

fn open_files(config: &Config) -> u64 {
    /// Pipes, the socket, name resolution.
    const BASE: u64 = 256;
    /// The connection to the edge with its duplicates, a file of the origin and a file of the cache.
    const PER_CONNECTION: u64 = 16;
    // Idle connections to origins: each handler may have its own `ca_file`, and so its own connection pool.
    let idle = config.handlers.len() as u64;
    BASE.saturating_add(
        PER_CONNECTION.saturating_add(idle).saturating_mul(config.limits.fetches_at_once as u64),
    )
}

/// Does not raise a limit that is lower already.
fn lower(resource: Resource, value: u64, message: &str) {
    let Rlimit { current, maximum } = getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(value, |limit| limit.min(value)));
    let limits = Rlimit { current: lower(current), maximum: lower(maximum) };
    if let Err(error) = setrlimit(resource, limits) {
        warn!("rlimit_unchanged", "{message}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::documents::assert_says;

    #[test]
    fn default_limit_of_the_data_segment_is_as_documented() {
        // The default of `fetches_at_once` on two processors.
        let text =
            r#"{"handlers": [{"name": "h", "directory": "/"}], "limits": {"fetches_at_once": 16}}"#;
        let limits = config::parse(text, "test").unwrap().limits;
        let gigabytes = data_bytes(&limits) as f64 / 1e9;
        let sentence = format!("{gigabytes:.1} GB with the defaults on two processors");
        assert_says("docs/configuration.md", &sentence);
    }
}
