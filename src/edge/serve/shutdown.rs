//! Whether the server is stopping, and what is still in flight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Shared by every connection.
#[derive(Debug, Default)]
pub struct Shutdown {
    stopping: AtomicBool,
    in_flight: AtomicUsize,
    waiting: Mutex<()>,
    landed: Condvar,
}

/// Held from the moment a request's head is read until its answer is written.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Shutdown>);

impl Shutdown {
    /// Counts a request.
    pub fn begin(self: &Arc<Shutdown>) -> ActiveRequest {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        ActiveRequest(Arc::clone(self))
    }

    /// From now on health is 503 and connections are not kept.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether [`Shutdown::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until nothing is in flight. The number of requests that are still, if timeout ends first.
    pub fn wait_until_idle(&self, timeout: Duration) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_busy = |(): &mut ()| self.in_flight.load(Ordering::SeqCst) > 0;
        let waited = self.landed.wait_timeout_while(waiting, timeout, is_busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let was_last = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.0.is_stopping() {
            // The lock makes sure that whoever looked before the count fell waits by now.
            drop(self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.landed.notify_all();
        }
    }
}
