//! The directives of a response's `Cache-Control` (RFC 9111 §5.2.2, RFC 5861, RFC 8246) that this server knows.

use std::fmt;

/// Maximum bytes of a value that is parsed.
const MAX_BYTES: usize = 1 << 10;
/// Larger numbers of seconds mean this one (RFC 9111 §1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

/// A value of `Cache-Control`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    pub public: bool,
    pub private: bool,
    pub no_store: bool,
    pub no_cache: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub no_transform: bool,
    pub immutable: bool,
    pub max_age: Option<u64>,
    pub s_maxage: Option<u64>,
    pub stale_while_revalidate: Option<u64>,
    pub stale_if_error: Option<u64>,
}

/// Where a directive is.
#[derive(Clone, Copy)]
enum Place {
    Flag(fn(&mut CacheControl) -> &mut bool),
    Seconds(fn(&mut CacheControl) -> &mut Option<u64>),
}

/// The directives in the order in which they are written.
const DIRECTIVES: [(&str, Place); 12] = [
    ("public", Place::Flag(|value| &mut value.public)),
    ("private", Place::Flag(|value| &mut value.private)),
    ("no-store", Place::Flag(|value| &mut value.no_store)),
    ("no-cache", Place::Flag(|value| &mut value.no_cache)),
    ("max-age", Place::Seconds(|value| &mut value.max_age)),
    ("s-maxage", Place::Seconds(|value| &mut value.s_maxage)),
    ("must-revalidate", Place::Flag(|value| &mut value.must_revalidate)),
    ("proxy-revalidate", Place::Flag(|value| &mut value.proxy_revalidate)),
    ("no-transform", Place::Flag(|value| &mut value.no_transform)),
    ("immutable", Place::Flag(|value| &mut value.immutable)),
    ("stale-while-revalidate", Place::Seconds(|value| &mut value.stale_while_revalidate)),
    ("stale-if-error", Place::Seconds(|value| &mut value.stale_if_error)),
];

impl CacheControl {
    pub fn no_store() -> CacheControl {
        CacheControl { no_store: true, ..CacheControl::default() }
    }

    /// Parses a value from outside. Unknown directives are dropped, and a `no-cache` or `private` for certain fields is
    /// one for all of them. `None` if there is no known directive, or the value is too long.
    pub fn parse(text: &str) -> Option<CacheControl> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let mut value = CacheControl::default();
        for directive in split(text) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            let known = DIRECTIVES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            match known {
                Some((_, Place::Flag(place))) => *place(&mut value) = true,
                Some((name, Place::Seconds(place))) => {
                    // A response with an invalid lifetime is stale (RFC 9111 §4.2.1).
                    let is_lifetime = matches!(*name, "max-age" | "s-maxage");
                    let seconds = seconds(argument).or(is_lifetime.then_some(0));
                    let place = place(&mut value);
                    // The most restrictive of several.
                    *place = [*place, seconds].into_iter().flatten().min();
                }
                None => {}
            }
        }
        (value != CacheControl::default()).then_some(value)
    }

    /// Limits every lifetime to this many seconds, and forbids stale responses afterwards.
    pub fn expire_within(&mut self, seconds: u64) {
        // Without `max-age`, a cache may choose a lifetime itself (RFC 9111 §4.2.2).
        self.max_age = Some(self.max_age.map_or(seconds, |max_age| max_age.min(seconds)));
        self.s_maxage = self.s_maxage.map(|s_maxage| s_maxage.min(seconds));
        self.stale_while_revalidate = None;
        self.stale_if_error = None;
    }

    /// Forbids storing in shared caches.
    pub fn make_private(&mut self) {
        self.public = false;
        self.private = true;
        self.s_maxage = None;
    }
}

impl fmt::Display for CacheControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = *self;
        let mut separator = "";
        for (name, place) in DIRECTIVES {
            match place {
                Place::Flag(place) if *place(&mut value) => write!(f, "{separator}{name}")?,
                Place::Flag(_) => continue,
                Place::Seconds(place) => match *place(&mut value) {
                    Some(seconds) => write!(f, "{separator}{name}={seconds}")?,
                    None => continue,
                },
            }
            separator = ", ";
        }
        Ok(())
    }
}

/// The directives. A comma in a quoted string separates none.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        if c == '"' {
            is_quoted = !is_quoted;
        }
        c == ',' && !is_quoted
    })
}

/// A number of seconds, also as a quoted string (RFC 9111 §5.2).
fn seconds(argument: &str) -> Option<u64> {
    let argument = argument.trim();
    let digits =
        argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(argument);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<u64>().map_or(MAX_SECONDS, |seconds| seconds.min(MAX_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        CacheControl::parse(text).map(|value| value.to_string())
    }

    #[test]
    fn known_directives_are_kept_in_a_fixed_order() {
        for (text, expected) in [
            ("max-age=60", "max-age=60"),
            ("IMMUTABLE ,\tMax-Age=\"60\", Public", "public, max-age=60, immutable"),
            ("no-cache=\"Set-Cookie, X\", max-age=1", "no-cache, max-age=1"),
            ("private=\"X\"", "private"),
            (
                "public, max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4",
                "public, max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4",
            ),
            (
                "must-revalidate,proxy-revalidate,no-transform",
                "must-revalidate, proxy-revalidate, no-transform",
            ),
            ("no-store", "no-store"),
            ("max-age=99999999999999999999999", "max-age=2147483648"),
            ("max-age=60, max-age=30", "max-age=30"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(expected), "{text}");
            assert_eq!(parsed(expected).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_hostile_value_gives_known_directives_only() {
        for (text, expected) in [
            ("max-age=-1", Some("max-age=0")),
            ("max-age=60; public", Some("max-age=0")),
            ("max-age", Some("max-age=0")),
            ("stale-if-error=x, public", Some("public")),
            ("public\r\nSet-Cookie: a=b", None),
            ("public, x\r\nSet-Cookie: a=b", Some("public")),
            ("foo=\"public, max-age=1\"", None),
            ("\"public, max-age=60", None),
            ("", None),
            (",,,", None),
            ("x-other", None),
        ] {
            assert_eq!(parsed(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(parsed(&format!("public, {}", "x".repeat(MAX_BYTES))), None);
    }

    #[test]
    fn expiry_limits_every_lifetime() {
        let mut value = CacheControl::parse(
            "public, max-age=10, s-maxage=100, stale-while-revalidate=3, stale-if-error=4, immutable",
        )
        .unwrap();
        value.expire_within(50);
        assert_eq!(value.to_string(), "public, max-age=10, s-maxage=50, immutable");
        value.make_private();
        assert_eq!(value.to_string(), "private, max-age=10, immutable");
        let mut value = CacheControl::parse("public").unwrap();
        value.expire_within(5);
        assert_eq!(value.to_string(), "public, max-age=5");
    }
}
