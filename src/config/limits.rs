//! `"limits"`: the deadlines and sizes that keep one request from hurting the others.

use std::time::Duration;

use super::fields::{Fields, Known, Result};

pub(super) const KNOWN: Known = Known {
    fields: &[
        "connections",
        "connections_per_address",
        "head_timeout",
        "idle_timeout",
        "write_timeout",
        "min_write_rate",
        "queue_length",
        "queue_timeout",
        "render_timeout",
        "renderer_max_rss",
        "renderer_max_renders",
        "stop_timeout",
        "stop_delay",
        "renders_at_once",
        "memory_budget",
        "decode_timeout",
        "fetches_at_once",
        "origin_connect_timeout",
        "origin_first_byte_timeout",
        "origin_timeout",
        "origin_max_bytes",
        "source_max_pixels",
        "source_max_side",
        "source_max_frames",
        "source_max_total_pixels",
        "source_max_metadata",
        "source_max_scans",
        "result_max_pixels",
    ],
};

/// Every deadline and size limit. The defaults suit one instance behind a load balancer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `connections`: clients connected at once. For one more, the one idle longest is closed; where none is idle
    /// the new one is answered 503.
    pub connections: usize,
    /// `connections_per_address`: of one IPv4 address or one IPv6 /64; trusted proxies are not counted.
    pub connections_per_address: usize,
    /// `head_timeout`: from a request's first byte to the end of its head, and for the TLS handshake.
    pub head_timeout: Duration,
    /// `idle_timeout`: how long a kept-alive connection may be quiet.
    pub idle_timeout: Duration,
    /// `write_timeout`: how long a client may take nothing of an answer. All of it may take this long and as long as
    /// its length takes at `min_write_rate`.
    pub write_timeout: Duration,
    /// `min_write_rate`: bytes a second that a client must take.
    pub min_write_rate: u64,
    /// `queue_length`: requests that may wait for the renderer; one more is answered 503.
    pub queue_length: usize,
    /// `queue_timeout`: how long a request may wait for the renderer before it is answered 503.
    pub queue_timeout: Duration,
    /// `render_timeout`: from handing a request to the renderer to its answer.
    pub render_timeout: Duration,
    /// `renderer_max_rss`: bytes of resident memory at which the renderer is replaced; 0 never.
    pub renderer_max_rss: u64,
    /// `renderer_max_renders`: answers after which the renderer is replaced; 0 never.
    pub renderer_max_renders: u64,
    /// `stop_timeout`: how long requests in flight may take after SIGTERM.
    pub stop_timeout: Duration,
    /// `stop_delay`: how long to go on serving after SIGTERM while `/-/health` already answers 503.
    pub stop_delay: Duration,
    /// `renders_at_once`: images decoded and encoded at the same moment.
    pub renders_at_once: usize,
    /// `memory_budget`: bytes that all images in work may take by what their headers say; one that takes more is
    /// worked on while no other large one is.
    pub memory_budget: u64,
    /// `decode_timeout`: how long the work on one image may take; waiting for others does not count.
    pub decode_timeout: Duration,
    /// `fetches_at_once`: requests that the renderer works on at the same moment, waits for the origin included.
    pub fetches_at_once: usize,
    /// `origin_connect_timeout`: to resolve the origin's name, and to connect to it, TLS included.
    pub origin_connect_timeout: Duration,
    /// `origin_first_byte_timeout`: from the request sent to the head of the origin's answer.
    pub origin_first_byte_timeout: Duration,
    /// `origin_timeout`: for the whole object.
    pub origin_timeout: Duration,
    /// `origin_max_bytes`: the largest original that is read.
    pub origin_max_bytes: u64,
    /// `source_max_pixels`: width × height of one frame of the largest original that is decoded.
    pub source_max_pixels: u64,
    /// `source_max_side`: its width, or its height.
    pub source_max_side: u32,
    /// `source_max_frames`: how many frames it may have where more than the first is kept.
    pub source_max_frames: u32,
    /// `source_max_total_pixels`: width × height × frames, where more than the first is kept.
    pub source_max_total_pixels: u64,
    /// `source_max_metadata`: its bytes of colour profile, EXIF, XMP, comments and text, and of the profile unpacked.
    pub source_max_metadata: u64,
    /// `source_max_scans`: how often a progressive JPEG may go over its pixels.
    pub source_max_scans: u32,
    /// `result_max_pixels`: width × height × frames of the resized image, before it is cropped.
    pub result_max_pixels: u64,
}

impl Limits {
    pub(super) fn read(fields: Option<Fields>) -> Result<Limits> {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        let mut limits = Limits {
            connections: 1024,
            connections_per_address: 64,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            min_write_rate: 16 << 10,
            queue_length: 256,
            queue_timeout: Duration::from_secs(10),
            render_timeout: Duration::from_secs(60),
            renderer_max_rss: 512 << 20,
            renderer_max_renders: 0,
            stop_timeout: Duration::from_secs(30),
            stop_delay: Duration::ZERO,
            renders_at_once: processors,
            memory_budget: 256 << 20,
            decode_timeout: Duration::from_secs(20),
            fetches_at_once: (processors * 8).clamp(16, 64),
            origin_connect_timeout: Duration::from_secs(2),
            origin_first_byte_timeout: Duration::from_secs(5),
            origin_timeout: Duration::from_secs(15),
            origin_max_bytes: 64 << 20,
            source_max_pixels: 50_000_000,
            // The longest that libjpeg writes and reads.
            source_max_side: 65_500,
            source_max_frames: 1000,
            source_max_total_pixels: 50_000_000,
            source_max_metadata: 4 << 20,
            // Encoders write about ten.
            source_max_scans: 100,
            result_max_pixels: 50_000_000,
        };
        let Some(fields) = fields else { return Ok(limits) };
        {
            let seconds = |name, field: &mut Duration| -> Result<()> {
                *field = fields.seconds(name)?.unwrap_or(*field);
                Ok(())
            };
            seconds("head_timeout", &mut limits.head_timeout)?;
            seconds("idle_timeout", &mut limits.idle_timeout)?;
            seconds("write_timeout", &mut limits.write_timeout)?;
            seconds("queue_timeout", &mut limits.queue_timeout)?;
            seconds("render_timeout", &mut limits.render_timeout)?;
            seconds("decode_timeout", &mut limits.decode_timeout)?;
            seconds("stop_timeout", &mut limits.stop_timeout)?;
            seconds("origin_connect_timeout", &mut limits.origin_connect_timeout)?;
            seconds("origin_first_byte_timeout", &mut limits.origin_first_byte_timeout)?;
            seconds("origin_timeout", &mut limits.origin_timeout)?;
        }
        limits.stop_delay = fields.seconds_or_none("stop_delay")?.unwrap_or_default();
        let count = |name, field: &mut usize, least: i64, most: i64| -> Result<()> {
            if let Some(written) = fields.integer(name, least..=most)? {
                *field = usize::try_from(written).unwrap_or(usize::MAX);
            }
            Ok(())
        };
        count("connections", &mut limits.connections, 1, 1_000_000)?;
        count("connections_per_address", &mut limits.connections_per_address, 1, 1_000_000)?;
        count("queue_length", &mut limits.queue_length, 0, 1_000_000)?;
        count("renders_at_once", &mut limits.renders_at_once, 1, 1024)?;
        count("fetches_at_once", &mut limits.fetches_at_once, 1, 1024)?;
        let size = |name, field: &mut u64, least: i64, most: i64| -> Result<()> {
            if let Some(written) = fields.integer(name, least..=most)? {
                *field = written.unsigned_abs();
            }
            Ok(())
        };
        size("min_write_rate", &mut limits.min_write_rate, 1, 1 << 40)?;
        size("renderer_max_rss", &mut limits.renderer_max_rss, 0, 1 << 40)?;
        size("renderer_max_renders", &mut limits.renderer_max_renders, 0, 1 << 40)?;
        size("origin_max_bytes", &mut limits.origin_max_bytes, 1, 4 << 30)?;
        size("source_max_pixels", &mut limits.source_max_pixels, 1, 10_000_000_000)?;
        size("source_max_total_pixels", &mut limits.source_max_total_pixels, 1, 10_000_000_000)?;
        size("source_max_metadata", &mut limits.source_max_metadata, 0, 4 << 30)?;
        size("memory_budget", &mut limits.memory_budget, 1 << 20, 1 << 50)?;
        let number = |name, field: &mut u32, most: i64| -> Result<()> {
            if let Some(written) = fields.integer(name, 1..=most)? {
                *field = u32::try_from(written).unwrap_or(u32::MAX);
            }
            Ok(())
        };
        // libvips' own limit on a side.
        number("source_max_side", &mut limits.source_max_side, 10_000_000)?;
        // What its loaders count to.
        number("source_max_frames", &mut limits.source_max_frames, 100_000)?;
        number("source_max_scans", &mut limits.source_max_scans, 1_000_000)?;
        size("result_max_pixels", &mut limits.result_max_pixels, 1, 10_000_000_000)?;
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn limits(written: &str) -> Result<super::Limits, String> {
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": "/"}}], "limits": {{{written}}}}}"#
        );
        parse(&text, "test").map(|config| config.limits).map_err(|error| error.to_string())
    }

    #[test]
    fn what_an_image_may_be_is_configured_field_by_field() {
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
    fn what_makes_no_sense_is_refused_by_its_name() {
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
            assert!(error.starts_with(start), "{error}");
        }
    }
}
