//! The difference between the clock of this machine and that of a bucket.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::SystemTime;

use crate::time::unix_milliseconds;

/// `Date` is in whole seconds: on average, this many milliseconds have passed since.
const PART_OF_SECOND: i64 = 500;

#[derive(Debug, Default)]
pub struct Clock {
    /// How many milliseconds the bucket's clock is ahead.
    ahead: AtomicI64,
    is_set: AtomicBool,
}

impl Clock {
    /// Sets it from the `Date` of a response that has just been received. Without one, the clocks are taken to agree.
    pub fn set(&self, date: Option<SystemTime>, now: SystemTime) {
        let ahead = date.map_or(0, |date| {
            let [date, now] = [date, now].map(|time| signed(unix_milliseconds(time)));
            let ahead = date.saturating_add(PART_OF_SECOND).saturating_sub(now);
            // Within the precision of `Date`, they agree.
            if ahead.abs() <= PART_OF_SECOND { 0 } else { ahead }
        });
        self.ahead.store(ahead, Ordering::Relaxed);
        self.is_set.store(true, Ordering::Relaxed);
    }

    /// Whether there was a response.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// The same instant, in milliseconds since 1970, by the clock of the bucket.
    pub fn to_bucket(&self, local: u64) -> u64 {
        local.saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }
}

fn signed(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_converted_between_clocks_that_differ() {
        let at = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        let clock = Clock::default();
        assert!(!clock.is_set() && clock.to_bucket(5000) == 5000);
        clock.set(Some(at(900_000)), at(300_000));
        assert!(clock.is_set());
        assert_eq!(clock.to_bucket(5000), 605_500);
        clock.set(Some(at(300_000)), at(900_000));
        assert_eq!((clock.to_bucket(605_500), clock.to_bucket(5000)), (6000, 0));
        for agree in [300_000, 300_500, 300_999] {
            clock.set(Some(at(300_000)), at(agree));
            assert_eq!(clock.to_bucket(5000), 5000, "{agree}");
        }
        clock.set(None, at(900_000));
        assert_eq!(clock.to_bucket(5000), 5000);
    }
}
