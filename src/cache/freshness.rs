//! Freshness of entries (RFC 9111 §4.2, RFC 5861).

use std::time::{Duration, SystemTime};

use super::EntryId;
use crate::time::{milliseconds, unix_milliseconds};

/// An entry expires early by up to this fraction of `cache_time`, depending on its name, so that entries written
/// together do not expire together.
const JITTER: u64 = 10;

/// `cache_time`: how long a variant stays fresh, on disk and at clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheTime {
    /// Seconds since the origin was asked.
    Seconds(u64),
    /// `0`: never expires.
    Forever,
    /// `-1`: nothing is cached.
    Never,
}

/// The freshness settings of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// `cache_time`
    pub time: CacheTime,
    /// `stale_while_revalidate`
    pub stale_while_revalidate: Duration,
    /// `stale_if_error`
    pub stale_if_error: Duration,
}

/// How an entry may be used at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Served.
    Fresh,
    /// Served, and revalidated in the background.
    StaleWhileRevalidate,
    /// Served if revalidation fails.
    StaleIfError,
    /// Served only after successful revalidation.
    MustRevalidate,
}

impl From<CacheTime> for Lifetime {
    fn from(time: CacheTime) -> Lifetime {
        Lifetime { time, stale_while_revalidate: Duration::ZERO, stale_if_error: Duration::ZERO }
    }
}

impl Lifetime {
    /// The freshness of an entry; `validated_at` is in milliseconds since 1970.
    pub fn freshness(&self, id: EntryId, validated_at: u64, now: SystemTime) -> Freshness {
        let seconds = match self.time {
            CacheTime::Never => return Freshness::MustRevalidate,
            CacheTime::Forever => return Freshness::Fresh,
            CacheTime::Seconds(seconds) => seconds,
        };
        let time = subtract_jitter(id, seconds.saturating_mul(1000));
        let within = |more: Duration, age: u64| age < time.saturating_add(milliseconds(more));
        match unix_milliseconds(now).checked_sub(validated_at) {
            // The clock was set back since, so the age is unknown.
            None if self.stale_if_error.is_zero() => Freshness::MustRevalidate,
            None => Freshness::StaleIfError,
            Some(age) if age < time => Freshness::Fresh,
            Some(age) if within(self.stale_while_revalidate, age) => {
                Freshness::StaleWhileRevalidate
            }
            Some(age) if within(self.stale_if_error, age) => Freshness::StaleIfError,
            Some(_) => Freshness::MustRevalidate,
        }
    }

    /// Whether an entry validated at this time is fresh for every name, that is with the largest jitter.
    pub fn is_surely_fresh(&self, validated_at: u64, now: SystemTime) -> bool {
        match self.time {
            CacheTime::Never => false,
            CacheTime::Forever => true,
            CacheTime::Seconds(seconds) => {
                let time = seconds.saturating_mul(1000);
                let age = unix_milliseconds(now).checked_sub(validated_at);
                age.is_some_and(|age| age < time - time / JITTER)
            }
        }
    }

    /// How long after validation an entry can still be served; `None` is forever.
    pub fn retention(&self) -> Option<Duration> {
        match self.time {
            CacheTime::Never => Some(Duration::ZERO),
            CacheTime::Forever => None,
            CacheTime::Seconds(seconds) => {
                let stale = self.stale_while_revalidate.max(self.stale_if_error);
                Some(Duration::from_secs(seconds).saturating_add(stale))
            }
        }
    }
}

/// The `Age` of a response validated at this time, in seconds (RFC 9111 §4.2.3).
pub fn age(validated_at: u64, now: SystemTime) -> u64 {
    unix_milliseconds(now).saturating_sub(validated_at) / 1000
}

/// The hashes of the name serve as random numbers that are the same in every process.
fn subtract_jitter(id: EntryId, time: u64) -> u64 {
    let random = (u64::from(id.key_hash[15] ^ id.options_hash[15]) << 8)
        | u64::from(id.key_hash[14] ^ id.options_hash[14]);
    time - u64::try_from((u128::from(time / JITTER) * u128::from(random)) >> 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Name;
    use std::time::UNIX_EPOCH;

    fn id(number: usize) -> EntryId {
        EntryId::of(&Name { handler: "h".into(), key: number.to_string(), options: String::new() })
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn entries_pass_through_every_freshness() {
        let lifetime = Lifetime {
            time: CacheTime::Seconds(100),
            stale_while_revalidate: Duration::from_secs(20),
            stale_if_error: Duration::from_secs(60),
        };
        for (now, expected) in [
            (1000, Freshness::Fresh),
            (1089, Freshness::Fresh),
            (1101, Freshness::StaleWhileRevalidate),
            (1109, Freshness::StaleWhileRevalidate),
            (1121, Freshness::StaleIfError),
            (1149, Freshness::StaleIfError),
            (1161, Freshness::MustRevalidate),
            (999, Freshness::StaleIfError),
        ] {
            assert_eq!(lifetime.freshness(id(1), 1_000_000, at(now)), expected, "{now}");
        }
        assert_eq!(lifetime.retention(), Some(Duration::from_secs(160)));
        let of = |time| Lifetime::from(time).freshness(id(1), 1_000_000, at(2_000_000));
        assert_eq!(of(CacheTime::Forever), Freshness::Fresh);
        assert_eq!(of(CacheTime::Never), Freshness::MustRevalidate);
        assert_eq!(of(CacheTime::Seconds(100)), Freshness::MustRevalidate);
    }

    #[test]
    fn jitter_spreads_the_expiry_of_entries_written_together() {
        let week = CacheTime::Seconds(604_800);
        let expired = |after: u64| {
            let is_expired = |n: &usize| {
                Lifetime::from(week).freshness(id(*n), 0, at(after)) != Freshness::Fresh
            };
            (0..1000).filter(is_expired).count()
        };
        assert_eq!((expired(604_800 * 9 / 10), expired(604_800)), (0, 1000));
        for tenth in 1..10 {
            let count = expired(604_800 * 9 / 10 + 60_480 * tenth / 10);
            assert!((count as u64).abs_diff(100 * tenth) < 60, "{tenth}: {count}");
        }
    }

    #[test]
    fn surely_fresh_holds_for_every_name() {
        let hour = Lifetime::from(CacheTime::Seconds(3600));
        let surely = |now| hour.is_surely_fresh(1_000_000, at(now));
        assert!(surely(1000) && surely(1000 + 3239) && !surely(1000 + 3240) && !surely(999));
        for n in 0..1000 {
            assert_eq!(hour.freshness(id(n), 1_000_000, at(1000 + 3239)), Freshness::Fresh, "{n}");
        }
        let of = |time| Lifetime::from(time).is_surely_fresh(1_000_000, at(1000));
        assert!(of(CacheTime::Forever) && of(CacheTime::Seconds(1)) && !of(CacheTime::Never));
    }

    #[test]
    fn the_largest_durations_do_not_overflow() {
        let time = CacheTime::Seconds(u64::from(u32::MAX));
        let longest =
            Lifetime { time, stale_while_revalidate: Duration::MAX, stale_if_error: Duration::MAX };
        assert_eq!(longest.freshness(id(1), 0, at(1 << 40)), Freshness::StaleWhileRevalidate);
        assert!((u64::MAX / 10 * 9..=u64::MAX).contains(&subtract_jitter(id(1), u64::MAX)));
        assert_eq!((age(5_000, at(3)), age(5_000, at(9))), (0, 4));
    }
}
