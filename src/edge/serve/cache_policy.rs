//! `Cache-Control` and `Age` of images.
//!
//! The lifetimes of `cache_time` begin when the origin was asked, so `Age` tells how much of them has passed (RFC 9111
//! §4.2.3). Those of `cache_control` begin with the response, of which this server is then the origin (RFC 9110 §3.7,
//! gateway): such a response has no `Age`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::cache::CacheTime;
use crate::cache_control::CacheControl;
use crate::config::{CachePolicy, Handler, MAX_AGE_FOREVER};
use crate::token::Grant;

/// The age of a variant, and the time of this age.
#[derive(Clone, Copy)]
pub struct Clock {
    pub age: u64,
    pub now: SystemTime,
}

/// What the responses for an image say to caches without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub value: CacheControl,
    counts_from_response: bool,
    never_expires: bool,
}

impl Policy {
    /// `original` is the `Cache-Control` of the image's original.
    pub fn of(handler: &Handler, original: Option<CacheControl>) -> Policy {
        let never_expires = handler.cache_time == CacheTime::Forever;
        let (value, counts_from_response) = match (handler.cdn.cache_policy, original) {
            (CachePolicy::Fixed { value, counts_from_response }, _) => {
                (value, counts_from_response)
            }
            (CachePolicy::Original, Some(original)) => (original, true),
            (CachePolicy::Original | CachePolicy::CacheTime, _) => {
                (by_cache_time(handler.cache_time), false)
            }
        };
        Policy { value, counts_from_response, never_expires }
    }

    /// Of a response for a key that the origins do not have.
    pub fn of_missing(handler: &Handler) -> Policy {
        let seconds = handler.negative_cache_time.as_secs();
        let value = if seconds == 0 {
            CacheControl::no_store()
        } else {
            CacheControl { public: true, max_age: Some(seconds), ..CacheControl::default() }
        };
        Policy { value, counts_from_response: true, never_expires: false }
    }

    /// The value of `Cache-Control` for a request with this token.
    pub fn granted(&self, grant: &Grant, Clock { age, now }: Clock) -> CacheControl {
        let mut value = self.value;
        if value.no_store {
            return value;
        }
        if let Some(expires) = grant.expires {
            let left = expires.saturating_sub(next_second(now));
            // A cache subtracts `Age` from `max-age` (RFC 9111 §4.2.3).
            let age = if self.counts_from_response { 0 } else { age };
            value.expire_within(left.saturating_add(age));
        }
        if grant.is_private {
            value.make_private();
        }
        value
    }

    /// RFC 9111 §5.1. `Age` is left out where it changes nothing: the image never expires, and no token limits it.
    pub fn has_age(&self, grant: &Grant) -> bool {
        !(self.counts_from_response || self.never_expires && is_default(grant))
    }
}

/// Whether the token leaves `Cache-Control` as it is without a token.
pub fn is_default(grant: &Grant) -> bool {
    grant.expires.is_none() && !grant.is_private
}

fn by_cache_time(time: CacheTime) -> CacheControl {
    let max_age = match time {
        CacheTime::Seconds(seconds) => seconds,
        CacheTime::Forever => MAX_AGE_FOREVER,
        CacheTime::Never => return CacheControl::no_store(),
    };
    CacheControl { public: true, max_age: Some(max_age), ..CacheControl::default() }
}

/// `now` in seconds since 1970, rounded up, so that no cached image outlives its token.
fn next_second(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() + u64::from(since.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config;
    use crate::documents::assert_says;

    fn policy(fields: &str, original: Option<&str>) -> Policy {
        let aws = r#""aws": {"bucket_name": "b", "anonymous": true}"#;
        let text = format!(r#"{{"handlers": [{{"name": "h", {aws}, {fields}}}]}}"#);
        let config = config::parse(&text, "test").unwrap();
        Policy::of(&config.handlers[0], original.and_then(CacheControl::parse))
    }

    fn granted(
        fields: &str,
        original: Option<&str>,
        expires: Option<u64>,
        private: bool,
    ) -> String {
        let grant = Grant { expires, is_private: private, ..Grant::default() };
        let clock = Clock { age: 100, now: UNIX_EPOCH + Duration::from_secs(1000) };
        let policy = policy(fields, original);
        let age = if policy.has_age(&grant) { " Age" } else { "" };
        format!("{}{age}", policy.granted(&grant, clock))
    }

    const ALL: &str = r#""cache_time": 500, "cache_control":
        {"max_age": 60, "s_maxage": 9000, "immutable": true, "stale_while_revalidate": 5, "stale_if_error": 6}"#;

    #[test]
    fn max_age_is_rounded_down_to_the_expiry_of_a_token() {
        let at = |nanoseconds| next_second(UNIX_EPOCH + Duration::from_nanos(nanoseconds));
        assert_eq!(
            [at(0), at(1), at(999_999_999), at(1_000_000_000), at(1_000_000_001)],
            [0, 1, 1, 1, 2]
        );
    }

    #[test]
    fn without_cache_control_the_lifetime_is_cache_time_and_age_counts() {
        let time = r#""cache_time": 500"#;
        assert_eq!(granted(time, None, None, false), "public, max-age=500 Age");
        assert_eq!(granted(time, Some("max-age=1"), None, false), "public, max-age=500 Age");
        assert_eq!(granted(time, None, Some(1050), false), "public, max-age=150 Age");
        assert_eq!(granted(time, None, Some(9999), true), "private, max-age=500 Age");
        assert_eq!(granted(r#""cache_time": 0"#, None, None, false), "public, max-age=31536000");
        assert_eq!(
            granted(r#""cache_time": 0"#, None, Some(1050), false),
            "public, max-age=150 Age"
        );
        assert_eq!(granted(r#""cache_time": -1"#, None, Some(1050), true), "no-store Age");
    }

    #[test]
    fn the_expiry_of_a_token_wins_over_cache_control() {
        let all = "public, max-age=60, s-maxage=9000, immutable, stale-while-revalidate=5, stale-if-error=6";
        assert_eq!(granted(ALL, None, None, false), all);
        assert_eq!(
            granted(ALL, None, Some(1050), false),
            "public, max-age=50, s-maxage=50, immutable"
        );
        assert_eq!(granted(ALL, None, Some(900), true), "private, max-age=0, immutable");
        assert_eq!(
            granted(ALL, None, None, true),
            "private, max-age=60, immutable, stale-while-revalidate=5, stale-if-error=6"
        );
        let few = r#""cache_time": 500, "cache_control": {"stale_if_error": 6}"#;
        assert_eq!(granted(few, None, None, false), "public, max-age=500, stale-if-error=6 Age");
        assert_eq!(granted(few, None, Some(1050), false), "public, max-age=150 Age");
    }

    #[test]
    fn the_expiry_of_a_token_wins_over_the_originals_cache_control() {
        let origin = r#""cache_time": 500, "cache_control": "origin""#;
        let own = Some("public, max-age=60, stale-while-revalidate=5, no-transform");
        assert_eq!(
            granted(origin, own, None, false),
            "public, max-age=60, no-transform, stale-while-revalidate=5"
        );
        assert_eq!(granted(origin, own, Some(1050), false), "public, max-age=50, no-transform");
        assert_eq!(granted(origin, Some("public"), Some(1050), false), "public, max-age=50");
        assert_eq!(granted(origin, Some("s-maxage=9"), None, true), "private");
        assert_eq!(granted(origin, Some("no-store"), Some(1050), true), "no-store");
        assert_eq!(granted(origin, None, None, false), "public, max-age=500 Age");
        assert_eq!(granted(origin, None, Some(1050), false), "public, max-age=150 Age");
    }

    #[test]
    fn max_age_of_a_variant_that_never_expires_is_as_documented() {
        assert_eq!(MAX_AGE_FOREVER, 365 * 86_400);
        assert_says("docs/configuration.md", "it never expires (`max-age` is a year)");
    }
}
