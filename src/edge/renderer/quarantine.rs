//! Suspects are decoded one at a time, so that the next crash identifies the culprit.

use std::sync::Condvar;
use std::time::Instant;

use crate::sync::{self, Mutex};

/// A lock with a deadline and a bounded number of waiters.
#[derive(Debug)]
pub struct Quarantine {
    state: Mutex<State>,
    released: Condvar,
    max_waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    waiting: usize,
}

/// Held while a suspect is decoded.
#[derive(Debug)]
pub struct Pass<'q>(&'q Quarantine);

impl Quarantine {
    pub fn new(max_waiting: usize) -> Quarantine {
        Quarantine { state: Mutex::default(), released: Condvar::new(), max_waiting }
    }

    /// Waits for the pass. `None` when `max_waiting` others wait already or the deadline has passed.
    pub fn enter(&self, deadline: Instant) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        if state.is_taken {
            if state.waiting >= self.max_waiting {
                return None;
            }
            state.waiting += 1;
            let timeout = deadline.saturating_duration_since(Instant::now());
            let is_taken = |state: &mut State| state.is_taken;
            state = sync::wait_timeout_while(&self.released, state, timeout, is_taken);
            state.waiting -= 1;
        }
        if state.is_taken {
            return None;
        }
        state.is_taken = true;
        Some(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_taken = false;
        self.0.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn quarantine_admits_every_waiter_one_at_a_time() {
        let quarantine = Quarantine::new(8);
        let inside = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
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
    fn quarantine_wait_ends_at_the_deadline_and_waiters_are_bounded() {
        let quarantine = Quarantine::new(1);
        let pass = quarantine.enter(Instant::now()).unwrap();
        assert!(quarantine.enter(Instant::now() + Duration::from_millis(1)).is_none());
        thread::scope(|scope| {
            let waiting = scope
                .spawn(|| quarantine.enter(Instant::now() + Duration::from_secs(20)).is_some());
            while quarantine.state.lock().waiting == 0 {
                thread::yield_now();
            }
            assert!(quarantine.enter(Instant::now() + Duration::from_secs(20)).is_none());
            drop(pass);
            assert!(waiting.join().unwrap());
        });
        assert!(quarantine.enter(Instant::now()).is_some());
    }
}
