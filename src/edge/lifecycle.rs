//! Whether the server is stopping, and what is still in flight.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shared by every connection.
#[derive(Debug, Default)]
pub struct Lifecycle {
    stopping: AtomicBool,
    in_flight: Mutex<usize>,
    landed: Condvar,
}

/// Held from the moment a request's head is read until its answer is written.
#[derive(Debug)]
pub struct InFlight<'l>(&'l Lifecycle);

impl Lifecycle {
    /// Counts a request.
    pub fn begin(&self) -> InFlight<'_> {
        *self.count() += 1;
        InFlight(self)
    }

    /// From now on health is 503 and connections are not kept.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether [`Lifecycle::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits until nothing is in flight. The number of requests that are still, if patience ends first.
    pub fn wait_until_idle(&self, patience: Duration) -> usize {
        let waited = self.landed.wait_timeout_while(self.count(), patience, |count| *count > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        if self.0.is_stopping() {
            self.0.landed.notify_all();
        }
    }
}
