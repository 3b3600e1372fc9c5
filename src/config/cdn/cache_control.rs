//! `"cache_control"` of a handler: what its responses say to caches.

use super::super::error::Result;
use super::super::fields::{Fields, TextOrFields};
use super::super::schema::{Defaulted, Optional, boolean, integer, table};
use crate::cache::CacheTime;
use crate::cache_control::CacheControl;

/// The `max-age` of an image that never expires: RFC 9111 has no value for that, so a year.
pub const MAX_AGE_FOREVER: u64 = 31_536_000;
/// Ten years, in seconds.
const MAX_SECONDS: i64 = 315_360_000;
/// In place of the object: the `Cache-Control` of the original.
const ORIGIN: &str = "origin";

table! {
    pub TABLE;
    /// How long a client may keep an image (`max-age`), from the response on.
    MAX_AGE: Optional<u64> =
        integer::<u64>("max_age", 0, MAX_SECONDS).unit("seconds").absent("`cache_time`");
    /// How long a shared cache may keep it instead (`s-maxage`), from the response on.
    S_MAXAGE: Optional<u64> =
        integer::<u64>("s_maxage", 0, MAX_SECONDS).unit("seconds").absent("none");
    /// A browser need not ask again on a reload (RFC 8246).
    IMMUTABLE: Defaulted<bool> = boolean("immutable").default(false);
    /// How long after that a cache may serve an image while it asks again (RFC 5861 §3).
    STALE_WHILE_REVALIDATE: Optional<u64> =
        integer::<u64>("stale_while_revalidate", 0, MAX_SECONDS).unit("seconds").absent("none");
    /// How long after that a cache may serve it if this server can't be asked (RFC 5861 §4).
    STALE_IF_ERROR: Optional<u64> =
        integer::<u64>("stale_if_error", 0, MAX_SECONDS).unit("seconds").absent("none");
}

/// What `Cache-Control` says without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// `public` with `cache_time` as `max-age`.
    #[default]
    CacheTime,
    Fixed {
        value: CacheControl,
        /// The lifetimes begin with the response, not when the origin was asked: there is no `Age`.
        counts_from_response: bool,
    },
    /// The original's own, or the first if it has none.
    Original,
}

impl CachePolicy {
    pub(super) fn read(
        fields: &Fields,
        row: &Optional<TextOrFields<'static>>,
        cache_time: CacheTime,
    ) -> Result<CachePolicy> {
        let Some(written) = fields.optional(row)? else { return Ok(CachePolicy::CacheTime) };
        let default = match cache_time {
            CacheTime::Seconds(seconds) => seconds,
            CacheTime::Forever => MAX_AGE_FOREVER,
            CacheTime::Never => {
                let message = "has no effect: cache_time is -1, so clients get no-store";
                return Err(fields.error(row.name(), message));
            }
        };
        let own = match written {
            TextOrFields::Text(ORIGIN) => return Ok(CachePolicy::Original),
            TextOrFields::Text(other) => {
                let message = format!("must be {ORIGIN:?} or an object, not {other:?}");
                return Err(fields.error(row.name(), message));
            }
            TextOrFields::Fields(own) => own,
        };
        let max_age = own.optional(&MAX_AGE)?;
        let s_maxage = own.optional(&S_MAXAGE)?;
        let value = CacheControl {
            public: true,
            immutable: own.get(&IMMUTABLE)?,
            max_age: Some(max_age.unwrap_or(default)),
            s_maxage,
            stale_while_revalidate: own.optional(&STALE_WHILE_REVALIDATE)?,
            stale_if_error: own.optional(&STALE_IF_ERROR)?,
            ..CacheControl::default()
        };
        let counts_from_response = max_age.is_some() || s_maxage.is_some();
        Ok(CachePolicy::Fixed { value, counts_from_response })
    }
}
