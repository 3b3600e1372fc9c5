//! A thread that stops work which exceeds `decode_timeout`, or a shorter time.

use std::collections::HashMap;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::vips::{Stop, Work};
use crate::sync::{self, Mutex};

/// libvips clears the kill flag of an image when it starts to compute it, so the stop is repeated.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next_number: u64,
    /// The deadline of each piece of work, and how to stop it.
    work: HashMap<u64, (Instant, Stop)>,
    is_done: bool,
}

/// The work of the current thread on one image, with a deadline.
#[derive(Debug)]
pub struct WatchedWork<'w> {
    watchdog: &'w Watchdog,
    number: u64,
    work: Work,
}

impl Watchdog {
    pub fn start(timeout: Duration) -> io::Result<Watchdog> {
        let shared = Arc::<Shared>::default();
        let thread = Arc::clone(&shared);
        thread::Builder::new().name("watchdog".into()).spawn(move || thread.watch())?;
        Ok(Watchdog { shared, timeout })
    }

    /// Sets the deadline for the work that this thread now starts: after the timeout, or this time if that is less.
    pub fn begin(&self, most: Duration) -> WatchedWork<'_> {
        let work = Work::begin();
        let mut state = self.shared.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        let timeout = self.timeout.min(most);
        state.work.insert(number, (Instant::now() + timeout, work.stop_handle()));
        // With the same timeout, only the first deadline can be earlier than the one being waited for.
        if state.work.len() == 1 || timeout < self.timeout {
            self.shared.changed.notify_one();
        }
        drop(state);
        WatchedWork { watchdog: self, number, work }
    }
}

impl WatchedWork<'_> {
    /// Whether the deadline has passed, in which case the result is not valid.
    pub fn was_stopped(&self) -> bool {
        self.work.was_stopped()
    }
}

impl Shared {
    fn watch(&self) {
        let mut state = self.state.lock();
        while !state.is_done {
            let now = Instant::now();
            let mut next: Option<Duration> = None;
            for (deadline, stop) in state.work.values() {
                let left = deadline.saturating_duration_since(now);
                if left.is_zero() {
                    stop.stop();
                }
                let pause = left.max(STOP_INTERVAL);
                next = Some(next.map_or(pause, |next| next.min(pause)));
            }
            state = match next {
                None => sync::wait(&self.changed, state),
                Some(pause) => sync::wait_timeout(&self.changed, state, pause),
            };
        }
    }
}

impl Drop for WatchedWork<'_> {
    fn drop(&mut self) {
        self.watchdog.shared.state.lock().work.remove(&self.number);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.state.lock().is_done = true;
        self.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_stops_work_after_its_deadline_and_not_the_next_work() {
        let watchdog = Watchdog::start(Duration::from_millis(150)).unwrap();
        drop(watchdog.begin(Duration::MAX));
        let slow = watchdog.begin(Duration::MAX);
        assert!(!slow.was_stopped());
        let started = Instant::now();
        while !slow.was_stopped() {
            assert!(started.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(5));
        }
        assert!(started.elapsed() >= Duration::from_millis(100));
        drop(slow);
        assert!(!watchdog.begin(Duration::MAX).was_stopped());
        assert!(watchdog.shared.state.lock().work.is_empty());
    }

    #[test]
    fn watchdog_stops_work_after_a_shorter_time_than_that_of_other_work() {
        let watchdog = Watchdog::start(Duration::from_secs(600)).unwrap();
        let started = Instant::now();
        thread::scope(|scope| {
            // The thread waits for the deadline of this work when the other begins.
            let long = scope.spawn(|| {
                let long = watchdog.begin(Duration::MAX);
                while watchdog.shared.state.lock().next_number < 2 {
                    thread::sleep(Duration::from_millis(5));
                }
                long.was_stopped()
            });
            while watchdog.shared.state.lock().next_number < 1 {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(Duration::from_millis(50));
            let short = watchdog.begin(Duration::from_millis(1));
            while !short.was_stopped() {
                assert!(started.elapsed() < Duration::from_secs(20));
                thread::sleep(Duration::from_millis(5));
            }
            assert!(!long.join().unwrap());
        });
    }

    #[test]
    fn watchdog_thread_ends_when_it_is_dropped() {
        let watchdog = Watchdog::start(Duration::from_secs(60)).unwrap();
        let shared = Arc::downgrade(&watchdog.shared);
        drop(watchdog.begin(Duration::MAX));
        drop(watchdog);
        let started = Instant::now();
        while shared.strong_count() > 0 {
            assert!(started.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(5));
        }
    }
}
