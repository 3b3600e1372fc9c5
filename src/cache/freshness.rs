//! How long an entry is of use, and for what (RFC 9111 §4.2, RFC 5861).

use std::time::{Duration, SystemTime};

use super::{EntryId, unix_milliseconds};

/// Up to this part of its time an entry expires early, by its name: what was written together does not expire together.
const JITTER: u64 = 10;

/// `cache_time`: how long a variant stays fresh, on disk and at clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheTime {
    /// Seconds since its origin was asked.
    Seconds(u64),
    /// `0`: never expires.
    Forever,
    /// `-1`: nothing is cached.
    Never,
}

/// What a handler's configuration says about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// `cache_time`
    pub time: CacheTime,
    /// `stale_while_revalidate`
    pub stale_while_revalidate: Duration,
    /// `stale_if_error`
    pub stale_if_error: Duration,
}

/// What an entry may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is served.
    Fresh,
    /// It is served, and revalidated behind that.
    StaleWhileRevalidate,
    /// It is served if its origin can't tell whether it has changed.
    StaleIfError,
    /// It is not served before its origin has said that it has not changed.
    MustRevalidate,
}

impl From<CacheTime> for Lifetime {
    fn from(time: CacheTime) -> Lifetime {
        Lifetime { time, stale_while_revalidate: Duration::ZERO, stale_if_error: Duration::ZERO }
    }
}

impl Lifetime {
    /// What an entry is good for that is what its origin said at this time, in milliseconds since 1970.
    pub fn freshness(&self, id: EntryId, stored: u64, now: SystemTime) -> Freshness {
        let seconds = match self.time {
            CacheTime::Never => return Freshness::MustRevalidate,
            CacheTime::Forever => return Freshness::Fresh,
            CacheTime::Seconds(seconds) => seconds,
        };
        let time = early(id, seconds.saturating_mul(1000));
        let within = |more: Duration, age: u64| age < time.saturating_add(milliseconds(more));
        match unix_milliseconds(now).checked_sub(stored) {
            // From before the clock was set back: it has no honest age, so its origin is asked.
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

    /// Whether everything that is what its origin said at this time is fresh, whatever its name.
    pub fn is_surely_fresh(&self, stored: u64, now: SystemTime) -> bool {
        match self.time {
            CacheTime::Never => false,
            CacheTime::Forever => true,
            CacheTime::Seconds(seconds) => {
                let time = seconds.saturating_mul(1000);
                let age = unix_milliseconds(now).checked_sub(stored);
                age.is_some_and(|age| age < time - time / JITTER)
            }
        }
    }

    /// How long after it was written an entry can still be served; `None` is for ever.
    pub fn useful(&self) -> Option<Duration> {
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

/// The `Age` of what its origin said at this time, in seconds (RFC 9111 §4.2.3).
pub fn age(stored: u64, now: SystemTime) -> u64 {
    unix_milliseconds(now).saturating_sub(stored) / 1000
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The hashes of a name are as good as dice, and fall the same way in every process.
fn early(id: EntryId, time: u64) -> u64 {
    let dice = (u64::from(id.source[15] ^ id.options[15]) << 8)
        | u64::from(id.source[14] ^ id.options[14]);
    time - u64::try_from((u128::from(time / JITTER) * u128::from(dice)) >> 16).unwrap_or_default()
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
    fn an_entry_goes_through_every_stage() {
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
        assert_eq!(lifetime.useful(), Some(Duration::from_secs(160)));
        let of = |time| Lifetime::from(time).freshness(id(1), 1_000_000, at(2_000_000));
        assert_eq!(of(CacheTime::Forever), Freshness::Fresh);
        assert_eq!(of(CacheTime::Never), Freshness::MustRevalidate);
        assert_eq!(of(CacheTime::Seconds(100)), Freshness::MustRevalidate);
    }

    #[test]
    fn what_was_written_together_does_not_expire_together() {
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
    fn what_is_surely_fresh_is_fresh_under_every_name() {
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
    fn the_longest_times_are_still_times() {
        let time = CacheTime::Seconds(u64::from(u32::MAX));
        let longest =
            Lifetime { time, stale_while_revalidate: Duration::MAX, stale_if_error: Duration::MAX };
        assert_eq!(longest.freshness(id(1), 0, at(1 << 40)), Freshness::StaleWhileRevalidate);
        assert!((u64::MAX / 10 * 9..=u64::MAX).contains(&early(id(1), u64::MAX)));
        assert_eq!((age(5_000, at(3)), age(5_000, at(9))), (0, 4));
    }
}
