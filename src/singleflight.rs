//! Coalescing: simultaneous requests for one missing result are one request to the renderer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What is being made right now, by its name.
#[derive(Debug)]
pub struct SingleFlight<N, R> {
    under_way: Mutex<HashMap<N, Arc<Flight<R>>>>,
}

#[derive(Debug)]
struct Flight<R> {
    result: Mutex<Option<R>>,
    landed: Condvar,
}

impl<N: Clone + Eq + Hash, R: Clone> SingleFlight<N, R> {
    /// Nothing under way.
    pub fn new() -> SingleFlight<N, R> {
        SingleFlight { under_way: Mutex::new(HashMap::new()) }
    }

    /// The result of this name: made here, or by whoever is making it already. `None` when that one has not
    /// finished after `timeout`.
    ///
    /// `make` runs on the caller's thread whether or not the caller's client still listens, so followers never
    /// depend on the leader's client. If it panics, `failed` is what the followers get.
    pub fn get(
        &self,
        name: &N,
        timeout: Duration,
        failed: R,
        make: impl FnOnce() -> R,
    ) -> Option<R> {
        let flight = match self.lock().entry(name.clone()) {
            Entry::Occupied(entry) => Err(Arc::clone(entry.get())),
            Entry::Vacant(entry) => {
                let flight = Arc::new(Flight { result: Mutex::new(None), landed: Condvar::new() });
                Ok(Arc::clone(entry.insert(flight)))
            }
        };
        match flight {
            Ok(flight) => {
                let mut leader = Leader { singleflight: self, name, flight, result: Some(failed) };
                let result = make();
                leader.result = Some(result.clone());
                Some(result)
            }
            Err(flight) => flight.wait(timeout),
        }
    }

    /// The result of this name if it is being made right now and finished within `timeout`.
    pub fn join(&self, name: &N, timeout: Duration) -> Option<R> {
        let flight = Arc::clone(self.lock().get(name)?);
        flight.wait(timeout)
    }

    /// Whether this is being made right now, so that a request for it needs no place of its own.
    pub fn is_under_way(&self, name: &N) -> bool {
        self.lock().contains_key(name)
    }

    /// How many wait for the only result that is being made, whoever makes it included.
    #[cfg(test)]
    pub fn waiters(&self) -> usize {
        // The map has one more.
        self.lock().values().map(|flight| Arc::strong_count(flight) - 1).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<N, Arc<Flight<R>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Clone> Flight<R> {
    fn wait(&self, timeout: Duration) -> Option<R> {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.landed.wait_timeout_while(result, timeout, |result| result.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// Lands the flight when it goes out of scope, by whatever way.
struct Leader<'f, N: Clone + Eq + Hash, R: Clone> {
    singleflight: &'f SingleFlight<N, R>,
    name: &'f N,
    flight: Arc<Flight<R>>,
    result: Option<R>,
}

impl<N: Clone + Eq + Hash, R: Clone> Drop for Leader<'_, N, R> {
    fn drop(&mut self) {
        self.singleflight.lock().remove(self.name);
        *self.flight.result.lock().unwrap_or_else(PoisonError::into_inner) = self.result.take();
        self.flight.landed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn simultaneous_requests_make_one_result() {
        const CLIENTS: usize = 32;
        let (singleflight, made) = (SingleFlight::new(), AtomicUsize::new(0));
        let (everyone, leader_may_land) = (Barrier::new(CLIENTS), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    everyone.wait();
                    leader_may_land.fetch_add(1, Ordering::SeqCst);
                    let got = singleflight.get(&"k", LONG, 0, || {
                        // Not before everyone is about to ask.
                        while leader_may_land.load(Ordering::SeqCst) < CLIENTS {
                            thread::yield_now();
                        }
                        thread::sleep(Duration::from_millis(50));
                        made.fetch_add(1, Ordering::SeqCst);
                        7
                    });
                    assert_eq!(got, Some(7));
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        assert_eq!(singleflight.get(&"k", LONG, 0, || 8), Some(8), "a landed flight is forgotten");
    }

    #[test]
    fn a_leader_that_panics_fails_its_followers() {
        let singleflight: SingleFlight<&str, u32> = SingleFlight::new();
        let in_the_air = Barrier::new(2);
        thread::scope(|scope| {
            let leader = scope.spawn(|| {
                let get = || {
                    singleflight.get(&"k", LONG, 5, || {
                        in_the_air.wait();
                        thread::sleep(Duration::from_millis(50));
                        panic!("the leader fails")
                    })
                };
                catch_unwind(AssertUnwindSafe(get)).is_err()
            });
            in_the_air.wait();
            assert_eq!(singleflight.get(&"k", LONG, 0, || 6), Some(5));
            assert!(leader.join().unwrap());
        });
    }

    #[test]
    fn timeout_ends() {
        let singleflight: SingleFlight<&str, u32> = SingleFlight::new();
        assert_eq!(singleflight.join(&"k", LONG), None, "there is nothing to join");
        let got = singleflight.get(&"k", LONG, 0, || {
            assert_eq!(singleflight.get(&"k", Duration::from_millis(1), 0, || 2), None);
            assert_eq!(singleflight.join(&"k", Duration::from_millis(1)), None);
            1
        });
        assert_eq!(got, Some(1));
    }
}
