//! Suspects are worked on one at a time, so that the next crash names its culprit.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::sync;

/// A lock that is waited for with a deadline, and by so many at the most.
#[derive(Debug)]
pub struct Quarantine {
    state: Mutex<State>,
    left: Condvar,
    most_waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    waiting: usize,
}

/// Held by whoever is in.
#[derive(Debug)]
pub struct Pass<'q>(&'q Quarantine);

impl Quarantine {
    /// Nobody is in; so many may wait.
    pub fn new(most_waiting: usize) -> Quarantine {
        Quarantine { state: Mutex::default(), left: Condvar::new(), most_waiting }
    }

    /// Waits until nobody else is in. `None` when too many wait already or the deadline passes.
    pub fn enter(&self, deadline: Instant) -> Option<Pass<'_>> {
        let mut state = self.lock();
        if state.taken {
            if state.waiting >= self.most_waiting {
                return None;
            }
            state.waiting += 1;
            let timeout = deadline.saturating_duration_since(Instant::now());
            state = sync::wait_timeout_while(&self.left, state, timeout, |state| state.taken);
            state.waiting -= 1;
        }
        if state.taken {
            return None;
        }
        state.taken = true;
        Some(Pass(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.lock().taken = false;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn one_is_in_at_a_time_and_everybody_comes_in() {
        let (quarantine, inside, done) =
            (Quarantine::new(8), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _pass = quarantine.enter(Instant::now() + Duration::from_secs(20)).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::sleep(Duration::from_millis(2));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(done.into_inner(), 8);
    }

    #[test]
    fn nobody_waits_beyond_the_deadline_or_behind_too_many() {
        let quarantine = Quarantine::new(1);
        let pass = quarantine.enter(Instant::now()).unwrap();
        assert!(quarantine.enter(Instant::now() + Duration::from_millis(1)).is_none());
        thread::scope(|scope| {
            let waiting = scope
                .spawn(|| quarantine.enter(Instant::now() + Duration::from_secs(20)).is_some());
            while quarantine.lock().waiting == 0 {
                thread::yield_now();
            }
            assert!(quarantine.enter(Instant::now() + Duration::from_secs(20)).is_none());
            drop(pass);
            assert!(waiting.join().unwrap());
        });
        assert!(quarantine.enter(Instant::now()).is_some());
    }
}
