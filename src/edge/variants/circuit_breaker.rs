//! The circuit breaker of a handler's origin: while it is open, stale variants are served without waiting for the
//! origin.

use std::time::{Duration, Instant};

use crate::error::Code;
use crate::sync::Mutex;

/// How long the breaker stays open after the last failure or the last attempt.
const OPEN_TIME: Duration = Duration::from_secs(10);
/// Minimum time between two attempts in the background while the breaker is open.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct CircuitBreaker(Mutex<Option<Open>>);

#[derive(Clone, Copy, Debug)]
struct Open {
    failed_at: Instant,
    tried_at: Instant,
}

impl CircuitBreaker {
    /// Records the result of a request to the origin: opens or closes the breaker.
    pub fn record(&self, failure: Option<Code>, now: Instant) {
        match failure {
            None | Some(Code::NotFound) => *self.0.lock() = None,
            Some(
                Code::OriginUnreachable
                | Code::OriginTimeout
                | Code::OriginError
                | Code::NoCredentials,
            ) => self.open(now),
            // Other failures are about one key and say nothing about the origin.
            Some(_) => {}
        }
    }

    /// Opens the breaker: the origin failed, did not answer in time, or the renderer was too busy to ask it.
    pub fn open(&self, now: Instant) {
        let mut state = self.0.lock();
        let tried_at = state.map_or(now, |open| open.tried_at.max(now));
        *state = Some(Open { failed_at: now, tried_at });
    }

    pub fn is_open(&self, now: Instant) -> bool {
        // An attempt may take long to fail, so it prolongs the time too.
        self.0.lock().is_some_and(|open| {
            now.saturating_duration_since(open.failed_at.max(open.tried_at)) < OPEN_TIME
        })
    }

    /// Whether a revalidation in the background may ask the origin now. While the breaker is open, one attempt per
    /// [`RETRY_INTERVAL`] is allowed.
    pub fn allow_attempt(&self, now: Instant) -> bool {
        match &mut *self.0.lock() {
            None => true,
            Some(open) if now.saturating_duration_since(open.tried_at) < RETRY_INTERVAL => false,
            Some(open) => {
                open.tried_at = now;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn circuit_breaker_is_open_until_the_origin_answers_or_the_open_time_is_over() {
        let breaker = CircuitBreaker::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(!breaker.is_open(at(0)));
        assert!(breaker.allow_attempt(at(0)) && breaker.allow_attempt(at(0)));
        breaker.record(Some(Code::OriginTimeout), at(0));
        assert!(breaker.is_open(at(9_000)) && !breaker.is_open(at(10_000)));
        assert!(!breaker.allow_attempt(at(500)));
        assert!(breaker.allow_attempt(at(1000)));
        assert!(!breaker.allow_attempt(at(1000)), "one attempt per interval");
        breaker.record(Some(Code::OriginUnreachable), at(1200));
        assert!(breaker.is_open(at(11_000)));
        assert!(!breaker.allow_attempt(at(2100)) && breaker.allow_attempt(at(2200)));
        assert!(breaker.allow_attempt(at(12_000)));
        assert!(breaker.is_open(at(21_900)) && !breaker.is_open(at(22_000)));
        for answer in [None, Some(Code::NotFound)] {
            breaker.record(Some(Code::OriginError), at(3000));
            breaker.record(answer, at(3000));
            assert!(!breaker.is_open(at(3000)) && breaker.allow_attempt(at(3000)));
        }
    }

    #[test]
    fn circuit_breaker_ignores_failures_of_one_image() {
        let breaker = CircuitBreaker::default();
        let now = Instant::now();
        for code in [
            Code::CorruptImage,
            Code::RenderTimeout,
            Code::NotShown,
            Code::TooLarge,
            Code::TooManyPixels,
        ] {
            breaker.record(Some(code), now);
            assert!(!breaker.is_open(now));
        }
        breaker.record(Some(Code::OriginError), now);
        breaker.record(Some(Code::CorruptImage), now);
        assert!(breaker.is_open(now));
    }

    #[test]
    fn circuit_breaker_open_time_is_as_documented() {
        let sentence = format!("For {} seconds after such a failure", OPEN_TIME.as_secs());
        assert_says("docs/cache.md", &sentence);
    }
}
