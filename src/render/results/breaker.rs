//! The circuit breaker of a results bucket: after a few failures in a row, nothing is asked of it for a while, and then
//! one request decides.

use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// Failures in a row after which it opens.
pub const MAX_FAILURES: u32 = 3;
/// How long it stays open before one request is tried.
pub const OPEN_TIME: Duration = Duration::from_secs(2);
/// How long after the last attempt it still counts as open.
const FORGET_TIME: Duration = Duration::from_secs(30);

/// Counts the failures of one kind of request.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When the next request is tried; `None` while it is closed.
    retry_at: Option<Instant>,
}

impl Breaker {
    /// Whether a request may be sent now. While it is open, one may each [`OPEN_TIME`].
    pub fn allows(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        match state.retry_at {
            None => true,
            Some(retry_at) if now < retry_at => false,
            Some(_) => {
                state.retry_at = Some(now + OPEN_TIME);
                true
            }
        }
    }

    /// Whether requests are left out. Without requests, nothing is known of the bucket after a while.
    pub fn is_open(&self, now: Instant) -> bool {
        self.0.lock().retry_at.is_some_and(|retry_at| now < retry_at + FORGET_TIME)
    }

    /// Records the end of a request that was sent.
    pub fn record(&self, is_ok: bool, now: Instant) {
        let mut state = self.0.lock();
        if is_ok {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= MAX_FAILURES {
            state.retry_at = Some(now + OPEN_TIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_opens_after_failures_in_a_row_and_closes_after_one_success() {
        let breaker = Breaker::default();
        let start = Instant::now();
        let fail = |times: u32, now| (0..times).for_each(|_| breaker.record(false, now));
        for _ in 0..2 {
            fail(MAX_FAILURES - 1, start);
            assert!(breaker.allows(start) && !breaker.is_open(start));
            breaker.record(true, start);
        }
        fail(MAX_FAILURES, start);
        assert!(breaker.is_open(start) && !breaker.allows(start));
        assert!(!breaker.is_open(start + OPEN_TIME + FORGET_TIME));
        let later = start + OPEN_TIME;
        assert!(breaker.allows(later) && !breaker.allows(later), "one request is tried");
        fail(1, later);
        assert!(!breaker.allows(later + OPEN_TIME / 2) && breaker.allows(later + OPEN_TIME));
        breaker.record(true, later + OPEN_TIME);
        assert!(!breaker.is_open(later) && breaker.allows(later + OPEN_TIME));
    }

    #[test]
    fn a_request_that_never_ends_does_not_keep_it_open() {
        let breaker = Breaker::default();
        let start = Instant::now();
        (0..MAX_FAILURES).for_each(|_| breaker.record(false, start));
        assert!(breaker.allows(start + OPEN_TIME));
        assert!(breaker.allows(start + OPEN_TIME * 2), "the first one has not been recorded");
    }
}
