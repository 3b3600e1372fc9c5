//! The deadline of each piece of work: one thread that stops what is over it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::vips::{Stop, Work};
use crate::sync;

/// libvips forgets a stop that comes just before it begins, so it is told again and again.
const BETWEEN_STOPS: Duration = Duration::from_millis(20);

/// Stops what takes too long.
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
    watched: HashMap<u64, (Instant, Stop)>,
    is_over: bool,
}

/// Some work under its deadline, on the thread that does it.
#[derive(Debug)]
pub struct Watched<'w> {
    watchdog: &'w Watchdog,
    number: u64,
    work: Work,
}

impl Watchdog {
    /// Allows so much time for each piece of work.
    pub fn start(timeout: Duration) -> io::Result<Watchdog> {
        let shared = Arc::<Shared>::default();
        let watched = Arc::clone(&shared);
        thread::Builder::new().name("watchdog".into()).spawn(move || watched.watch())?;
        Ok(Watchdog { shared, timeout })
    }

    /// Start the work of this thread on an image.
    pub fn begin(&self) -> Watched<'_> {
        let work = Work::begin();
        let mut state = self.shared.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.watched.insert(number, (Instant::now() + self.timeout, work.stop()));
        // Every piece of work has the same time, so only the first one can be over before what is waited for.
        if state.watched.len() == 1 {
            self.shared.changed.notify_one();
        }
        drop(state);
        Watched { watchdog: self, number, work }
    }
}

impl Watched<'_> {
    /// Whether its time was over, so that what came of it need not be right.
    pub fn was_stopped(&self) -> bool {
        self.work.was_stopped()
    }
}

impl Shared {
    fn watch(&self) {
        let mut state = self.lock();
        while !state.is_over {
            let now = Instant::now();
            let mut next: Option<Duration> = None;
            for (deadline, stop) in state.watched.values() {
                let left = deadline.saturating_duration_since(now);
                if left.is_zero() {
                    stop.stop();
                }
                let pause = left.max(BETWEEN_STOPS);
                next = Some(next.map_or(pause, |next| next.min(pause)));
            }
            state = match next {
                None => sync::wait(&self.changed, state),
                Some(pause) => sync::wait_timeout(&self.changed, state, pause),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watchdog.shared.lock().watched.remove(&self.number);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_its_deadline_is_stopped_and_the_next_is_not() {
        let watchdog = Watchdog::start(Duration::from_millis(150)).unwrap();
        drop(watchdog.begin());
        let slow = watchdog.begin();
        assert!(!slow.was_stopped());
        let begun = Instant::now();
        while !slow.was_stopped() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(5));
        }
        assert!(begun.elapsed() >= Duration::from_millis(100));
        drop(slow);
        assert!(!watchdog.begin().was_stopped());
        assert!(watchdog.shared.lock().watched.is_empty());
    }

    #[test]
    fn its_thread_ends_with_it() {
        let watchdog = Watchdog::start(Duration::from_secs(60)).unwrap();
        let shared = Arc::downgrade(&watchdog.shared);
        drop(watchdog.begin());
        drop(watchdog);
        let begun = Instant::now();
        while shared.strong_count() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(5));
        }
    }
}
