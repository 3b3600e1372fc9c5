//! State shared by request threads and the supervisor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::crash_tracker::CrashTracker;
use super::quarantine::Quarantine;
use super::queue::Queue;
use super::worker::Worker;
use crate::renderer_status::RendererStatus;
use crate::sync::Mutex;

#[derive(Debug)]
pub struct Shared {
    pub queue: Queue,
    pub crash_tracker: Arc<CrashTracker>,
    pub quarantine: Quarantine,
    /// The current worker's latest answer to a ping. `None` while there is no worker or it does not answer.
    pub status: Mutex<Option<Arc<RendererStatus>>>,
    /// The current worker, for requests with a connection of their own.
    pub worker: Mutex<Weak<Worker>>,
    /// The checks that found the current worker healthy.
    pub heartbeats: AtomicU64,
}

impl Shared {
    pub fn new(queue_length: usize) -> Shared {
        Shared {
            queue: Queue::new(queue_length),
            crash_tracker: Arc::default(),
            quarantine: Quarantine::new(queue_length),
            status: Mutex::default(),
            worker: Mutex::default(),
            heartbeats: AtomicU64::new(0),
        }
    }

    pub fn count_heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }
}
