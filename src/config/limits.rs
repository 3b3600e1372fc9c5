//! `"limits"`: the timeouts and sizes that keep one request from hurting the others.

use std::time::Duration;

use super::error::Result;
use super::fields::Fields;
use super::schema::{Table, integer, seconds, seconds_or_zero};
use crate::machine;

/// Defines [`Limits`] and the table of its fields: a limit is one row.
macro_rules! limits {
    (
        $(
            $(#[doc = $doc:literal])+
            $name:ident: $type:ty =
                $kind:ident($($range:expr),*)$(.$method:ident($($value:expr),*))*;
        )*
    ) => {
        /// Every timeout and size limit. The defaults suit one instance behind a load balancer.
        #[derive(Clone, Debug)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $type,)*
        }

        pub(super) const TABLE: Table = &[$(
            $kind::<$type>(stringify!($name) $(, $range)*)
                $(.$method($($value),*))*
                .doc(concat!($($doc),+))
                .row,
        )*];

        impl Limits {
            pub(super) fn read(fields: &Fields) -> Result<Limits> {
                Ok(Limits {
                    $($name: fields.get(
                        &$kind::<$type>(stringify!($name) $(, $range)*)$(.$method($($value),*))*,
                    )?,)*
                })
            }
        }
    };
}

const MAX_PIXELS: i64 = 10_000_000_000;
const MIN_MEMORY_BUDGET: u64 = 1 << 20;
/// For the default of `fetches_at_once`.
const FETCHES_PER_PROCESSOR: usize = 8;
const MIN_DEFAULT_FETCHES: usize = 16;
const MAX_DEFAULT_FETCHES: usize = 64;

limits! {
    /// Concurrent client connections. For one more, the connection that has been idle longest is closed; if none is
    /// idle, the new one gets 503 (on HTTPS it is closed).
    connections: usize = integer(1, 1_000_000).default(1024);
    /// Concurrent connections of one IPv4 address or one IPv6 /64; one more gets 503. Connections of `trusted_proxies`,
    /// and clients behind them, are not counted.
    connections_per_address: usize = integer(1, 1_000_000).default(64);
    /// From the first byte of a request to the end of its head, and again for the body of an event; also for the TLS
    /// handshake.
    head_timeout: Duration = seconds().default(10);
    /// How long a kept-alive connection may be idle.
    idle_timeout: Duration = seconds().default(60);
    /// How long a client may accept no bytes of a response. The whole response may take this long plus its length
    /// divided by `min_write_rate`.
    write_timeout: Duration = seconds().default(30);
    /// The connection of a slower client is reset. This and `write_timeout` apply to all responses of a connection
    /// together.
    min_write_rate: u64 = integer(1, 1 << 40).unit("bytes a second").default(16 << 10);
    /// Requests that may wait for the renderer; one more gets 503.
    queue_length: usize = integer(0, 1_000_000).default(256);
    /// How long a request may wait for the renderer before it gets 503.
    queue_timeout: Duration = seconds().default(10);
    /// From sending a request to the renderer to its response. A renderer that exceeds it is replaced; its other requests
    /// still get their responses.
    render_timeout: Duration = seconds().default(60);
    /// A renderer with more resident memory is replaced, at most every 5 seconds; 0: never.
    renderer_max_rss: u64 = integer(0, 1 << 40).unit("bytes").computed(
        default_renderer_max_rss,
        "536870912 (512 MiB), or half of the memory limit"
    );
    /// A renderer is replaced after this many responses; 0: never.
    renderer_max_renders: u64 = integer(0, 1 << 40).default(0);
    /// Images that are decoded and encoded concurrently.
    renders_at_once: usize = integer(1, 1024).computed(processors, "the number of processors, at most the CPU limit");
    /// The memory of all images being rendered, estimated from their headers; further images wait. A quarter of it, and
    /// one of `renders_at_once`, are reserved for images that need at most that quarter, so that large images don't
    /// delay small ones. An image that needs more than the rest runs when no other large one does.
    memory_budget: u64 = integer(MIN_MEMORY_BUDGET as i64, 1 << 50).unit("bytes").computed(
        default_memory_budget,
        "268435456 (256 MiB), or a quarter of the memory limit"
    );
    /// For decoding, resizing and encoding one image, without waiting; then the work is stopped. libaom can't be stopped
    /// within an image: encoding an AVIF, which takes longest with `lossless` and for large images, may exceed this, up to
    /// `render_timeout`.
    decode_timeout: Duration = seconds().default(20);
    /// Requests in the renderer, including those that wait for the origin.
    fetches_at_once: usize =
        integer(1, 1024).computed(default_fetches, "8 × processors, at least 16, at most 64");
    /// How often the purges of other servers are read from a `results` bucket; each reading is one LIST request
    /// ([cost](cache.md#purges-on-several-machines)).
    purge_poll: Duration = seconds().default(2);
    /// To resolve the name of the origin's endpoint and to connect, TLS included.
    origin_connect_timeout: Duration = seconds().default(2);
    /// From the request to the head of the origin's response.
    origin_first_byte_timeout: Duration = seconds().default(5);
    /// For the whole original.
    origin_timeout: Duration = seconds().default(15);
    /// The size of an original.
    origin_max_bytes: u64 = integer(1, 4 << 30).unit("bytes").default(64 << 20);
    /// Width × height of one frame of an original; for AVIF, of all tiles of its colour or its alpha image.
    source_max_pixels: u64 = integer(1, MAX_PIXELS).unit("pixels").default(50_000_000);
    /// Width or height of an original. The default is libjpeg's limit, the maximum that of libvips.
    source_max_side: u32 = integer(1, 10_000_000).unit("pixels").default(65_500);
    /// Decoded frames, if more than the first is decoded.
    source_max_frames: u32 = integer(1, 100_000).default(1000);
    /// Width × height × decoded frames, if more than the first is decoded.
    source_max_total_pixels: u64 = integer(1, MAX_PIXELS).unit("pixels").default(50_000_000);
    /// Colour profile, EXIF, XMP, comments and text of an original; also the decompressed profile.
    source_max_metadata: u64 = integer(0, 4 << 30).unit("bytes").default(4 << 20);
    /// Scans of a progressive JPEG. Encoders write about ten.
    source_max_scans: u32 = integer(1, 1_000_000).default(100);
    /// Width × height × frames of the resized image before the crop; limits `e=true` and animations.
    result_max_pixels: u64 = integer(1, MAX_PIXELS).unit("pixels").default(50_000_000);
    /// How long to serve after SIGTERM while `/-/health` already responds 503.
    stop_delay: Duration = seconds_or_zero().default(0);
    /// How long active requests may take after that.
    stop_timeout: Duration = seconds().default(30);
}

fn processors() -> usize {
    machine::current().processors
}

// With a memory limit of 1 GiB, the defaults are those without a limit.

fn default_renderer_max_rss() -> u64 {
    machine::current().memory_part(2, 512 << 20)
}

fn default_memory_budget() -> u64 {
    machine::current().memory_part(4, 256 << 20).max(MIN_MEMORY_BUDGET)
}

pub(super) fn default_memory_cache() -> u64 {
    machine::current().memory_part(16, 64 << 20)
}

fn default_fetches() -> usize {
    (processors() * FETCHES_PER_PROCESSOR).clamp(MIN_DEFAULT_FETCHES, MAX_DEFAULT_FETCHES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::documents::assert_says;

    #[test]
    fn default_of_fetches_at_once_is_as_documented() {
        let default = format!(
            "{FETCHES_PER_PROCESSOR} × processors, at least {MIN_DEFAULT_FETCHES}, at most \
             {MAX_DEFAULT_FETCHES}"
        );
        assert_says("docs/configuration.md", &default);
    }

    fn limits(written: &str) -> std::result::Result<Limits, String> {
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": "/"}}], "limits": {{{written}}}}}"#
        );
        parse(&text, "test")
            .map(|config| config.limits)
            .map_err(|error| format!("{}: {}", error.path, error.message))
    }

    #[test]
    fn limits_are_read_into_their_fields() {
        let limits = limits(
            r#""source_max_pixels": 1, "source_max_side": 2, "source_max_frames": 3, "source_max_total_pixels": 4,
               "source_max_metadata": 0, "source_max_scans": 6, "result_max_pixels": 7, "memory_budget": 2097152,
               "decode_timeout": 0.5"#,
        )
        .unwrap();
        assert_eq!(
            (limits.source_max_pixels, limits.source_max_side, limits.source_max_frames),
            (1, 2, 3)
        );
        assert_eq!((limits.source_max_total_pixels, limits.source_max_metadata), (4, 0));
        assert_eq!((limits.source_max_scans, limits.result_max_pixels), (6, 7));
        assert_eq!((limits.memory_budget, limits.decode_timeout.as_millis()), (2 << 20, 500));
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        for (written, start) in [
            (r#""source_max_side": 0"#, "limits.source_max_side: must be from 1 to"),
            (
                r#""source_max_frames": 100001"#,
                "limits.source_max_frames: must be from 1 to 100000",
            ),
            (r#""source_max_frames": "all""#, "limits.source_max_frames: must be"),
            (r#""source_max_scans": 1.5"#, "limits.source_max_scans: must be"),
            (r#""memory_budget": 1"#, "limits.memory_budget: must be from 1048576 to"),
            (r#""decode_timeout": -1"#, "limits.decode_timeout: must be"),
            (
                r#""source_max_sides": 9"#,
                "limits.source_max_sides: unknown field, did you mean source_max_side?",
            ),
        ] {
            let error = limits(written).unwrap_err();
            assert!(error.starts_with(start), "{written}: {error}");
        }
    }
}
