//! The state of a shutdown: whether the server is stopping, and how many requests are active.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar};
use std::time::Duration;

use crate::sync::{self, Mutex};

#[derive(Debug, Default)]
pub struct Shutdown {
    is_stopping: AtomicBool,
    active: AtomicUsize,
    idle_lock: Mutex<()>,
    idle: Condvar,
}

/// Held from the end of a request's head until its response is written.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Shutdown>);

impl Shutdown {
    /// Registers a request.
    pub fn begin(self: &Arc<Shutdown>) -> ActiveRequest {
        self.active.fetch_add(1, Ordering::SeqCst);
        ActiveRequest(Arc::clone(self))
    }

    /// From now on the health check fails and connections are closed after their response.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Waits until no request is active. Returns the number of requests that are still active after `timeout`.
    pub fn wait_until_idle(&self, timeout: Duration) -> usize {
        let guard = self.idle_lock.lock();
        let is_busy = |(): &mut ()| self.active.load(Ordering::SeqCst) > 0;
        drop(sync::wait_timeout_while(&self.idle, guard, timeout, is_busy));
        self.active.load(Ordering::SeqCst)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let was_last = self.0.active.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.0.is_stopping() {
            // Taking the lock ensures that a thread that read the old count waits by now and is notified.
            drop(self.0.idle_lock.lock());
            self.0.idle.notify_all();
        }
    }
}
