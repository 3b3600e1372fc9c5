//! Singleflight: concurrent calls with the same key share one execution (Go's `x/sync/singleflight`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Condvar};
use std::thread;
use std::time::Duration;

use crate::sync::{self, Mutex};

/// The calls in flight, by key.
#[derive(Debug)]
pub struct SingleFlight<K, R> {
    calls: Mutex<HashMap<K, Arc<Call<R>>>>,
}

#[derive(Debug)]
struct Call<R> {
    result: Mutex<Option<R>>,
    done: Condvar,
}

impl<K: Clone + Eq + Hash, R: Clone> SingleFlight<K, R> {
    pub fn new() -> SingleFlight<K, R> {
        SingleFlight { calls: Mutex::new(HashMap::new()) }
    }

    /// Returns the result for `key`. The first caller is the leader and runs `make`; concurrent callers wait for its
    /// result, and get `None` if it is not there within `timeout`.
    ///
    /// `make` runs on the leader's thread even if the leader's client has disconnected, so that waiters do not depend
    /// on that client. If `make` panics, the waiters get `on_panic`.
    pub fn run(
        &self,
        key: &K,
        timeout: Duration,
        on_panic: R,
        make: impl FnOnce() -> R,
    ) -> Option<R> {
        match self.enter(key) {
            (call, true) => {
                let mut leader = Leader { singleflight: self, key, call, result: Some(on_panic) };
                let result = make();
                leader.result = Some(result.clone());
                Some(result)
            }
            (call, false) => call.wait(timeout),
        }
    }

    /// [`SingleFlight::run`] with `make` on a thread of its own: the first caller, too, gets `None` after `timeout`, and
    /// `make` goes on. Without a thread, the result is `on_panic`.
    pub fn run_detached(
        self: &Arc<Self>,
        key: &K,
        timeout: Duration,
        on_panic: R,
        make: impl FnOnce() -> R + Send + 'static,
    ) -> Option<R>
    where
        K: Send + 'static,
        R: Send + 'static,
    {
        let (call, is_first) = self.enter(key);
        if is_first {
            let leading = (Arc::clone(self), key.clone(), Arc::clone(&call), on_panic.clone());
            let lead = move || {
                let (singleflight, key, call, on_panic) = leading;
                let result = Some(on_panic);
                let mut leader = Leader { singleflight: &singleflight, key: &key, call, result };
                leader.result = Some(make());
            };
            if thread::Builder::new().name("singleflight".into()).spawn(lead).is_err() {
                let call = Arc::clone(&call);
                drop(Leader { singleflight: self, key, call, result: Some(on_panic) });
            }
        }
        call.wait(timeout)
    }

    /// The call in flight for this key, and whether it begins now.
    fn enter(&self, key: &K) -> (Arc<Call<R>>, bool) {
        match self.calls.lock().entry(key.clone()) {
            Entry::Occupied(entry) => (Arc::clone(entry.get()), false),
            Entry::Vacant(entry) => {
                let call = Arc::new(Call { result: Mutex::new(None), done: Condvar::new() });
                (Arc::clone(entry.insert(call)), true)
            }
        }
    }

    /// Waits for the result of a call in flight. `None` if there is no such call, or after `timeout`.
    pub fn join(&self, key: &K, timeout: Duration) -> Option<R> {
        let call = Arc::clone(self.calls.lock().get(key)?);
        call.wait(timeout)
    }

    pub fn is_in_flight(&self, key: &K) -> bool {
        self.calls.lock().contains_key(key)
    }

    /// The number of threads in calls, leaders included.
    #[cfg(test)]
    pub fn waiters(&self) -> usize {
        // The map holds one reference itself.
        self.calls.lock().values().map(|call| Arc::strong_count(call) - 1).sum()
    }
}

impl<R: Clone> Call<R> {
    fn wait(&self, timeout: Duration) -> Option<R> {
        let result = self.result.lock();
        sync::wait_timeout_while(&self.done, result, timeout, |result| result.is_none()).clone()
    }
}

/// Publishes the result when dropped, also during a panic.
struct Leader<'f, K: Clone + Eq + Hash, R: Clone> {
    singleflight: &'f SingleFlight<K, R>,
    key: &'f K,
    call: Arc<Call<R>>,
    result: Option<R>,
}

impl<K: Clone + Eq + Hash, R: Clone> Drop for Leader<'_, K, R> {
    fn drop(&mut self) {
        self.singleflight.calls.lock().remove(self.key);
        *self.call.result.lock() = self.result.take();
        self.call.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn singleflight_runs_concurrent_calls_once() {
        const CLIENTS: usize = 32;
        let singleflight = SingleFlight::new();
        let made = AtomicUsize::new(0);
        let started = Barrier::new(CLIENTS);
        let callers = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    started.wait();
                    callers.fetch_add(1, Ordering::SeqCst);
                    let result = singleflight.run(&"k", LONG, 0, || {
                        // Every thread must be about to call before the leader returns.
                        while callers.load(Ordering::SeqCst) < CLIENTS {
                            thread::yield_now();
                        }
                        thread::sleep(Duration::from_millis(50));
                        made.fetch_add(1, Ordering::SeqCst);
                        7
                    });
                    assert_eq!(result, Some(7));
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        assert_eq!(singleflight.run(&"k", LONG, 0, || 8), Some(8), "a finished call is forgotten");
    }

    #[test]
    fn singleflight_leader_that_panics_fails_its_waiters() {
        let singleflight: SingleFlight<&str, u32> = SingleFlight::new();
        let in_flight = Barrier::new(2);
        thread::scope(|scope| {
            let leader = scope.spawn(|| {
                let run = || {
                    singleflight.run(&"k", LONG, 5, || {
                        in_flight.wait();
                        thread::sleep(Duration::from_millis(50));
                        panic!("the leader fails")
                    })
                };
                catch_unwind(AssertUnwindSafe(run)).is_err()
            });
            in_flight.wait();
            assert_eq!(singleflight.run(&"k", LONG, 0, || 6), Some(5));
            assert!(leader.join().unwrap());
        });
    }

    #[test]
    fn singleflight_leader_on_a_thread_of_its_own_goes_on_after_the_timeout() {
        let singleflight = Arc::new(SingleFlight::new());
        let (go_on, gate) = std::sync::mpsc::channel::<()>();
        let short = Duration::from_millis(1);
        let first =
            singleflight.run_detached(&"k", short, 0, move || gate.recv().map_or(1, |()| 7));
        assert_eq!(first, None);
        assert_eq!(singleflight.run_detached(&"k", short, 0, || 8), None, "it shares the call");
        go_on.send(()).unwrap();
        assert!(matches!(singleflight.join(&"k", LONG), Some(7) | None));
        while singleflight.is_in_flight(&"k") {
            thread::yield_now();
        }
        assert_eq!(singleflight.run_detached(&"k", LONG, 0, || 9), Some(9));
        let panicked = singleflight.run_detached(&"p", LONG, 5, || panic!("the leader fails"));
        assert_eq!(panicked, Some(5));
    }

    #[test]
    fn singleflight_waiters_time_out() {
        let singleflight: SingleFlight<&str, u32> = SingleFlight::new();
        assert_eq!(singleflight.join(&"k", LONG), None, "no call is in flight");
        let result = singleflight.run(&"k", LONG, 0, || {
            assert_eq!(singleflight.run(&"k", Duration::from_millis(1), 0, || 2), None);
            assert_eq!(singleflight.join(&"k", Duration::from_millis(1)), None);
            1
        });
        assert_eq!(result, Some(1));
    }
}
