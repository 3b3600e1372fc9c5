//! A gate that holds an origin's response until the test opens it.

use std::sync::{Arc, Condvar, Mutex};

use super::TIMEOUT;

#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Returns once the gate is open, or after the test must have failed.
    pub fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, TIMEOUT * 2, |open| !*open).unwrap());
    }
}
