//! State shared by request threads and the supervisor.

use std::sync::Arc;

use super::crash_tracker::CrashTracker;
use super::quarantine::Quarantine;
use super::queue::Queue;

#[derive(Debug)]
pub struct Shared {
    pub queue: Queue,
    pub crash_tracker: Arc<CrashTracker>,
    pub quarantine: Quarantine,
}

impl Shared {
    pub fn new(queue_length: usize) -> Shared {
        Shared {
            queue: Queue::new(queue_length),
            crash_tracker: Arc::default(),
            quarantine: Quarantine::new(queue_length),
        }
    }
}
