//! Removes the entries of purges that take long, on a thread of its own: the next purges must not wait for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::apply::Applied;
use crate::check_interval::check_interval;
use crate::log::error_ratelimited;
use crate::sync::Mutex;

/// Checks after a failure before it is tried again.
const RETRY_CHECKS: u32 = 60;

/// The removals of one follower. Purges that come during one are removed together after it.
#[derive(Debug, Default)]
pub struct Removals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    is_running: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    applied: Applied,
    /// After a failure.
    not_before: Option<Instant>,
}

impl Removals {
    /// Removes the entries of purges: now, unless that takes long.
    ///
    /// # Errors
    ///
    /// If something can't be removed now. What takes long is tried again by itself.
    pub fn add(&self, applied: Applied) -> io::Result<()> {
        if !applied.takes_long() {
            return applied.remove();
        }
        self.0.waiting.lock().applied.merge(applied);
        Ok(())
    }

    /// Starts what waits. Returns whether nothing does, and nothing is being removed.
    pub fn go_on(&self) -> bool {
        if self.0.is_running.load(Ordering::Acquire) {
            return false;
        }
        let applied = {
            let mut waiting = self.0.waiting.lock();
            if waiting.applied.is_empty() {
                return true;
            }
            if waiting.not_before.is_some_and(|time| Instant::now() < time) {
                return false;
            }
            std::mem::take(&mut waiting.applied)
        };
        self.0.is_running.store(true, Ordering::Release);
        let shared = Arc::clone(&self.0);
        // If no thread can be started, the purges stay in force for as long as others, and the position where it is.
        if thread::Builder::new().name("purge".into()).spawn(move || shared.run(applied)).is_err() {
            self.0.is_running.store(false, Ordering::Release);
        }
        false
    }
}

impl Shared {
    fn run(&self, applied: Applied) {
        let result = applied.remove();
        {
            let mut waiting = self.waiting.lock();
            waiting.not_before = None;
            if let Err(error) = result {
                error_ratelimited!(
                    "purge_incomplete",
                    "not everything could be removed, trying again: {error}"
                );
                waiting.applied.merge(applied);
                waiting.not_before = Some(Instant::now() + check_interval() * RETRY_CHECKS);
            }
        }
        self.is_running.store(false, Ordering::Release);
    }
}
