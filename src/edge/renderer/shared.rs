//! State shared by request threads and the supervisor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::connection::Connection;
use super::crash_tracker::CrashTracker;
use super::quarantine::Quarantine;
use super::queue::Queue;
use super::worker::Worker;
use crate::config::JournalConnections;
use crate::renderer_status::RendererStatus;
use crate::sync::Mutex;

/// Calls about shared journals that may wait for a connection.
const MAX_WAITING_CALLS: usize = 256;

#[derive(Debug)]
pub struct Shared {
    pub queue: Queue,
    /// The connections for reading shared journals.
    pub readings: Queue,
    /// The connections for recording purges in them.
    pub purges: Queue,
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
            readings: Queue::new(MAX_WAITING_CALLS),
            purges: Queue::new(MAX_WAITING_CALLS),
            crash_tracker: Arc::default(),
            quarantine: Quarantine::new(queue_length),
            status: Mutex::default(),
            worker: Mutex::default(),
            heartbeats: AtomicU64::new(0),
        }
    }

    /// Makes this worker the current one. `connections` are those for images, followed by the reserved ones.
    pub fn install(
        &self,
        worker: &Arc<Worker>,
        mut connections: Vec<Connection>,
        reserved: JournalConnections,
    ) {
        for (queue, count) in [(&self.readings, reserved.readings), (&self.purges, reserved.purges)]
        {
            let rest = connections.len().saturating_sub(count);
            queue.install(worker, connections.split_off(rest));
        }
        self.queue.install(worker, connections);
    }

    /// Sends no more requests to this worker.
    pub fn uninstall(&self, number: u64) {
        for queue in [&self.queue, &self.readings, &self.purges] {
            queue.uninstall(number);
        }
    }

    pub fn count_heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }
}
