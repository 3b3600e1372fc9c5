//! State shared by request threads and the supervisor.

use std::sync::Arc;

use super::crash_tracker::CrashTracker;
use super::quarantine::Quarantine;
use super::queue::Queue;
use crate::renderer_status::RendererStatus;
use crate::sync::Mutex;

#[derive(Debug)]
pub struct Shared {
    pub queue: Queue,
    pub crash_tracker: Arc<CrashTracker>,
    pub quarantine: Quarantine,
    /// The current worker's latest answer to a ping, or its predecessor's until there is one. `None` before the first,
    /// and while there is no worker.
    pub status: Mutex<Option<Arc<RendererStatus>>>,
}

impl Shared {
    pub fn new(queue_length: usize) -> Shared {
        Shared {
            queue: Queue::new(queue_length),
            crash_tracker: Arc::default(),
            quarantine: Quarantine::new(queue_length),
            status: Mutex::default(),
        }
    }
}
