//! Whether every part of the server makes progress, for the watchdog of the service manager.
//!
//! A part counts its turns: a poller, an accept loop, the heartbeat of the renderer. Each takes one at least once a
//! second, also when there is nothing to do.

use std::time::{Duration, Instant};

/// Parts take a turn once a second; a disk or the scheduler may delay it.
const MIN_TIMEOUT: Duration = Duration::from_secs(3);

/// The counts that were seen last, and when each has changed.
#[derive(Debug)]
pub struct Liveness {
    timeout: Duration,
    seen: Vec<(u64, Instant)>,
}

impl Liveness {
    /// `timeout` is how long a count may stay the same.
    pub fn new(timeout: Duration) -> Liveness {
        Liveness { timeout: timeout.max(MIN_TIMEOUT), seen: Vec::new() }
    }

    /// Whether no part has stood still for too long. A reload may change their number.
    pub fn check(&mut self, counts: impl Iterator<Item = u64>, now: Instant) -> bool {
        let mut is_alive = true;
        let mut parts = 0;
        for (index, count) in counts.enumerate() {
            parts += 1;
            match self.seen.get_mut(index) {
                Some((seen, since)) if *seen == count => {
                    is_alive &= now.saturating_duration_since(*since) < self.timeout;
                }
                Some(changed) => *changed = (count, now),
                None => self.seen.push((count, now)),
            }
        }
        self.seen.truncate(parts);
        is_alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_ends_when_one_part_stands_still() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut liveness = Liveness::new(Duration::from_secs(10));
        assert!(liveness.check([1, 1].into_iter(), start));
        assert!(liveness.check([2, 1].into_iter(), after(9)));
        assert!(!liveness.check([3, 1].into_iter(), after(10)));
        assert!(liveness.check([3, 2].into_iter(), after(11)), "it goes on");
        assert!(!liveness.check([3, 3].into_iter(), after(20)));
    }

    #[test]
    fn liveness_follows_the_number_of_parts() {
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        let mut liveness = Liveness::new(Duration::ZERO);
        assert!(liveness.check([1, 1, 1].into_iter(), start));
        assert!(liveness.check([1].into_iter(), start + Duration::from_secs(2)));
        assert!(liveness.check([2, 1].into_iter(), later), "a new part");
        assert!(liveness.check(std::iter::empty(), later));
    }
}
