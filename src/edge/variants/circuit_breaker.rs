//! Whether a handler's origin answers: when it does not, what is cached is served without waiting for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Code;

/// An origin that has failed is taken to be down for so long after its last failure, or after it was last tried.
const MEMORY: Duration = Duration::from_secs(10);
/// And is tried again behind what is served so often.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// What is known of one handler's origin.
#[derive(Debug, Default)]
pub struct CircuitBreaker(Mutex<Option<Down>>);

#[derive(Clone, Copy, Debug)]
struct Down {
    failed: Instant,
    tried: Instant,
}

impl CircuitBreaker {
    /// The origin was asked and answered, or did not.
    pub fn note(&self, failure: Option<Code>, now: Instant) {
        let is_down = match failure {
            None | Some(Code::NotFound) => false,
            Some(
                Code::OriginUnreachable
                | Code::OriginTimeout
                | Code::OriginError
                | Code::NoCredentials,
            ) => true,
            // It says nothing about the next key.
            Some(_) => return,
        };
        let mut down = self.lock();
        *down = is_down
            .then(|| Down { failed: now, tried: down.map_or(now, |down| down.tried.max(now)) });
    }

    /// The origin did not answer in time, or nobody was free to ask it.
    pub fn note_late(&self, now: Instant) {
        let mut down = self.lock();
        *down = Some(Down { failed: now, tried: down.map_or(now, |down| down.tried.max(now)) });
    }

    /// Whether it is down as far as is known.
    pub fn is_known(&self, now: Instant) -> bool {
        // A try takes its time to fail.
        self.lock()
            .is_some_and(|down| now.saturating_duration_since(down.failed.max(down.tried)) < MEMORY)
    }

    /// Whether the origin may be asked behind what is served. Of an origin that is down, only one in a while may.
    pub fn may_try(&self, now: Instant) -> bool {
        match &mut *self.lock() {
            None => true,
            Some(down) if now.saturating_duration_since(down.tried) < BETWEEN_TRIES => false,
            Some(down) => {
                down.tried = now;
                true
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Down>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_down_until_it_answers_or_enough_time_has_gone_by() {
        let (circuit_breaker, start) = (CircuitBreaker::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(
            !circuit_breaker.is_known(at(0))
                && circuit_breaker.may_try(at(0))
                && circuit_breaker.may_try(at(0))
        );
        circuit_breaker.note(Some(Code::OriginTimeout), at(0));
        assert!(circuit_breaker.is_known(at(9_000)) && !circuit_breaker.is_known(at(10_000)));
        assert!(!circuit_breaker.may_try(at(500)));
        assert!(
            circuit_breaker.may_try(at(1000)) && !circuit_breaker.may_try(at(1000)),
            "one of them"
        );
        circuit_breaker.note(Some(Code::OriginUnreachable), at(1200));
        assert!(
            circuit_breaker.is_known(at(11_000))
                && !circuit_breaker.may_try(at(2100))
                && circuit_breaker.may_try(at(2200))
        );
        assert!(
            circuit_breaker.may_try(at(12_000))
                && circuit_breaker.is_known(at(21_900))
                && !circuit_breaker.is_known(at(22_000))
        );
        for answer in [None, Some(Code::NotFound)] {
            circuit_breaker.note(Some(Code::OriginError), at(3000));
            circuit_breaker.note(answer, at(3000));
            assert!(!circuit_breaker.is_known(at(3000)) && circuit_breaker.may_try(at(3000)));
        }
    }

    #[test]
    fn what_is_wrong_with_one_image_says_nothing_about_the_origin() {
        let (circuit_breaker, now) = (CircuitBreaker::default(), Instant::now());
        for code in [
            Code::CorruptImage,
            Code::RenderTimeout,
            Code::NotShown,
            Code::TooLarge,
            Code::TooManyPixels,
        ] {
            circuit_breaker.note(Some(code), now);
            assert!(!circuit_breaker.is_known(now));
        }
        circuit_breaker.note(Some(Code::OriginError), now);
        circuit_breaker.note(Some(Code::CorruptImage), now);
        assert!(circuit_breaker.is_known(now));
    }
}
