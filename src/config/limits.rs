//! `"limits"`: the timeouts and sizes that keep one request from hurting the others.

use std::thread::available_parallelism;
use std::time::Duration;

use super::error::Result;
use super::fields::Fields;
use super::schema::{Table, integer, seconds, seconds_or_zero};

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

limits! {
    /// Clients connected at once. For one more, the connection that is idle longest is closed; where none is idle, the
    /// new client is sent 503 (on HTTPS: closed).
    connections: usize = integer(1, 1_000_000).default(1024);
    /// Connections of one IPv4 address or one IPv6 /64; one more is sent 503. `trusted_proxies` are not counted, nor
    /// the clients that they name.
    connections_per_address: usize = integer(1, 1_000_000).default(64);
    /// From a request's first byte to the end of its head, and for the TLS handshake.
    head_timeout: Duration = seconds().default(10);
    /// How long a kept-alive connection may be idle.
    idle_timeout: Duration = seconds().default(60);
    /// How long a client may read nothing of a response. The whole response may take this long and as long as its
    /// length takes at `min_write_rate`.
    write_timeout: Duration = seconds().default(30);
    /// A client that reads more slowly is disconnected with a reset. It and `write_timeout` apply to all responses of a
    /// connection together.
    min_write_rate: u64 = integer(1, 1 << 40).unit("bytes a second").default(16 << 10);
    /// Requests that may wait for the renderer; one more is sent 503.
    queue_length: usize = integer(0, 1_000_000).default(256);
    /// How long a request may wait for the renderer before it is sent 503.
    queue_timeout: Duration = seconds().default(10);
    /// From sending a request to the renderer to its response.
    render_timeout: Duration = seconds().default(60);
    /// A renderer with more resident memory is replaced, at most every 5 seconds; 0: never.
    renderer_max_rss: u64 = integer(0, 1 << 40).unit("bytes").default(512 << 20);
    /// A renderer is replaced after this many responses; 0: never.
    renderer_max_renders: u64 = integer(0, 1 << 40).default(0);
    /// Images decoded and encoded at the same moment.
    renders_at_once: usize = integer(1, 1024).computed(processors, "the number of processors");
    /// The memory that all images in work may take together, estimated from their headers; the next one waits. A
    /// quarter of it, and one of `renders_at_once`, are reserved for images that take no more than that quarter, so
    /// that large images do not delay small ones.
    memory_budget: u64 = integer(1 << 20, 1 << 50).unit("bytes").default(256 << 20);
    /// How long decoding, resizing and encoding one image may take; waiting for other images does not count.
    decode_timeout: Duration = seconds().default(20);
    /// Requests that the renderer works on at the same moment, including those that wait for the origin.
    fetches_at_once: usize =
        integer(1, 1024).computed(default_fetches, "8 × processors, at least 16, at most 64");
    /// To resolve the origin's name, and to connect to it, including TLS.
    origin_connect_timeout: Duration = seconds().default(2);
    /// From the request to the head of the origin's response.
    origin_first_byte_timeout: Duration = seconds().default(5);
    /// For the whole original.
    origin_timeout: Duration = seconds().default(15);
    /// The largest original that is read.
    origin_max_bytes: u64 = integer(1, 4 << 30).unit("bytes").default(64 << 20);
    /// Width × height of one frame of an original; of an AVIF, of all tiles of its colours or of its alpha.
    source_max_pixels: u64 = integer(1, MAX_PIXELS).unit("pixels").default(50_000_000);
    /// Width or height of an original. The maximum is that of libvips, the default that of libjpeg.
    source_max_side: u32 = integer(1, 10_000_000).unit("pixels").default(65_500);
    /// Frames of an original, where more than the first are decoded.
    source_max_frames: u32 = integer(1, 100_000).default(1000);
    /// Width × height × frames of an original, where more than the first are decoded.
    source_max_total_pixels: u64 = integer(1, MAX_PIXELS).unit("pixels").default(50_000_000);
    /// Colour profile, EXIF, XMP, comments and text of an original; also the profile when it is unpacked.
    source_max_metadata: u64 = integer(0, 4 << 30).unit("bytes").default(4 << 20);
    /// Scans of a progressive JPEG. Encoders write about ten.
    source_max_scans: u32 = integer(1, 1_000_000).default(100);
    /// Width × height × frames of the resized image before it is cropped: what `e=true` may make of a small image, and
    /// of each frame of an animation.
    result_max_pixels: u64 = integer(1, MAX_PIXELS).unit("pixels").default(50_000_000);
    /// How long the server goes on serving after SIGTERM while `/-/health` already responds 503.
    stop_delay: Duration = seconds_or_zero().default(0);
    /// How long requests in flight may take after that.
    stop_timeout: Duration = seconds().default(30);
}

fn processors() -> usize {
    available_parallelism().map_or(1, |count| count.get())
}

fn default_fetches() -> usize {
    (processors() * 8).clamp(16, 64)
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn limits(written: &str) -> Result<super::Limits, String> {
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
