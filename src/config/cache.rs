//! The cache settings of a handler: what is cached, where and for how long.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Result;
use super::fields::Fields;
use super::origin::Origins;
use super::schema::{Defaulted, Optional, boolean, integer, object, table, text, whole_seconds};
use crate::cache::CacheTime;

/// The largest cache that can be configured: a pebibyte.
const MAX_CACHE: i64 = 1 << 50;

table! {
    pub TABLE;
    /// Cache variants on disk.
    CACHE_ENABLED: Optional<bool> =
        boolean("cache_enabled").absent("`true` with a `cache_path`");
    /// The directory for variants: writable, created if missing. Required with `cache_enabled: true`.
    CACHE_PATH: Optional<&'static str> = text("cache_path").absent("none");
    /// How long a variant is fresh, on disk and in `Cache-Control`. 0: it never expires (`max-age` is a year). −1:
    /// nothing is cached, and clients get `no-store`.
    CACHE_TIME: Defaulted<i64> =
        integer::<i64>("cache_time", -1, u32::MAX as i64).unit("seconds").default(604_800);
    /// The disk space of `cache_path`; the least recently used entries are evicted first. Handlers that share a
    /// directory must agree.
    CACHE_MAX_BYTES: Optional<u64> = integer::<u64>("cache_max_bytes", 1, MAX_CACHE)
        .unit("bytes")
        .absent("unlimited");
    /// The free disk space, and 1 % of the inodes, below which entries are evicted and none are written. Handlers that
    /// share a directory must agree.
    CACHE_MIN_FREE: Optional<u64> = integer::<u64>("cache_min_free", 0, MAX_CACHE)
        .unit("bytes")
        .absent("5 % of the disk, at most 1 GiB");
    /// How long after `cache_time` a variant is served at once and revalidated in the background (RFC 5861 §3).
    STALE_WHILE_REVALIDATE: Defaulted<Duration> =
        whole_seconds("stale_while_revalidate").default(0);
    /// How long after `cache_time` a variant is served if the origin can't be asked (RFC 5861 §4).
    STALE_IF_ERROR: Defaulted<Duration> = whole_seconds("stale_if_error").default(86_400);
    /// How long a `not_found` of the origin is remembered, also that of one of several origins; other errors are not.
    NEGATIVE_CACHE_TIME: Defaulted<Duration> = whole_seconds("negative_cache_time").default(5);
    /// Cache the originals of buckets and web servers, so that another size takes no GET; not with a `directory`.
    ORIGINALS_CACHE: Optional<Fields<'static>> =
        object("originals_cache", ORIGINALS_TABLE).absent("none");
}

table! {
    pub ORIGINALS_TABLE;
    /// The directory for originals: writable, created if missing, not a `cache_path`.
    PATH: Optional<&'static str> = text("path");
    /// The disk space of the directory. Handlers that share it must agree.
    MAX_BYTES: Optional<u64> =
        integer::<u64>("max_bytes", 1, MAX_CACHE).unit("bytes").absent("limited by free space only");
}

/// A directory that a handler stores in: its variants or its originals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub path: PathBuf,
    /// The JSON path of its field below the handler.
    pub field: &'static str,
    /// Maximum disk space of the directory in bytes; `None`: limited only by the free space.
    pub max_bytes: Option<u64>,
    /// The JSON path of that field below the handler.
    pub(super) max_bytes_field: &'static str,
    /// Bytes that stay free on its disk; `None`: a twentieth of the disk, at most a gibibyte.
    pub min_free: Option<u64>,
}

/// The cache settings of a handler.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    pub variants: Option<Store>,
    pub originals: Option<Store>,
    pub time: CacheTime,
    pub stale_while_revalidate: Duration,
    pub stale_if_error: Duration,
    pub negative_time: Duration,
}

impl CacheSettings {
    pub fn read(fields: &Fields, origins: &Origins) -> Result<CacheSettings> {
        let time = match fields.get(&CACHE_TIME)? {
            0 => CacheTime::Forever,
            seconds => u64::try_from(seconds).map_or(CacheTime::Never, CacheTime::Seconds),
        };
        let negative_time = fields.get(&NEGATIVE_CACHE_TIME)?;
        Ok(CacheSettings {
            variants: variants(fields, time)?,
            originals: originals(fields, time, origins)?,
            time,
            stale_while_revalidate: fields.get(&STALE_WHILE_REVALIDATE)?,
            stale_if_error: fields.get(&STALE_IF_ERROR)?,
            negative_time: if time == CacheTime::Never { Duration::ZERO } else { negative_time },
        })
    }
}

fn variants(fields: &Fields, time: CacheTime) -> Result<Option<Store>> {
    let enabled = fields.optional(&CACHE_ENABLED)?;
    let path = fields.optional(&CACHE_PATH)?;
    let max_bytes = fields.optional(&CACHE_MAX_BYTES)?;
    let min_free = fields.optional(&CACHE_MIN_FREE)?;
    if enabled == Some(false) || time == CacheTime::Never {
        return Ok(None);
    }
    match path {
        Some(path) => Ok(Some(Store {
            path: PathBuf::from(path),
            field: CACHE_PATH.name(),
            max_bytes,
            max_bytes_field: CACHE_MAX_BYTES.name(),
            min_free,
        })),
        None if enabled == Some(true) => {
            Err(fields.error(CACHE_PATH.name(), "required when cache_enabled is true"))
        }
        None => Ok(None),
    }
}

fn originals(fields: &Fields, time: CacheTime, origins: &Origins) -> Result<Option<Store>> {
    let Some(written) = fields.optional(&ORIGINALS_CACHE)? else { return Ok(None) };
    let path = written.required(&PATH)?;
    let max_bytes = written.optional(&MAX_BYTES)?;
    if origins.local_directories().next().is_some() {
        let message = "is for buckets and web servers; the files of a directory are local already";
        return Err(fields.error(ORIGINALS_CACHE.name(), message));
    }
    if time == CacheTime::Never {
        return Ok(None);
    }
    Ok(Some(Store {
        path: PathBuf::from(path),
        field: "originals_cache.path",
        max_bytes,
        max_bytes_field: "originals_cache.max_bytes",
        min_free: None,
    }))
}
