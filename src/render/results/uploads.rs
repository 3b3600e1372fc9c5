//! Uploads of results behind the answers: a bounded queue for all handlers, and threads of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Results;
use crate::cache::{Name, SharedEntry};
use crate::render::pool::Pool;

/// Uploads at the same time.
pub const THREADS: usize = 4;
/// Uploads that wait.
pub const QUEUE: usize = 256;
/// The bytes of all images that wait or are being uploaded.
pub const MAX_BYTES: u64 = 64 << 20;

/// The queue. Dropped uploads are lost: the variants are made again where they are needed.
pub struct Uploads {
    pool: Pool<Job>,
    pending: Arc<Pending>,
}

/// The uploads that wait or are in flight.
#[derive(Debug, Default)]
struct Pending {
    jobs: AtomicU64,
    bytes: AtomicU64,
}

struct Job {
    results: Arc<Results>,
    name: Name,
    entry: SharedEntry,
    _reserved: Reserved,
}

/// A place in the queue, which ends when this is dropped.
struct Reserved {
    pending: Arc<Pending>,
    bytes: u64,
}

impl Reserved {
    fn new(pending: &Arc<Pending>, bytes: u64) -> Option<Reserved> {
        let reserved = pending.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= MAX_BYTES)
        });
        reserved.ok()?;
        pending.jobs.fetch_add(1, Ordering::Relaxed);
        Some(Reserved { pending: Arc::clone(pending), bytes })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.pending.jobs.fetch_sub(1, Ordering::Relaxed);
        self.pending.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Uploads {
    pub fn start() -> io::Result<Uploads> {
        let pool = Pool::start("upload", THREADS, QUEUE, |job: Job| {
            job.results.upload(&job.name, &job.entry);
        })?;
        Ok(Uploads { pool, pending: Arc::default() })
    }

    /// Queues an upload. `false` if the queue is full; then nothing is copied.
    pub fn submit(&self, results: &Arc<Results>, name: &Name, entry: &SharedEntry) -> bool {
        let bytes = entry.image.bytes.len() as u64;
        let Some(reserved) = Reserved::new(&self.pending, bytes) else { return false };
        let job = Job {
            results: Arc::clone(results),
            name: name.clone(),
            entry: entry.clone(),
            _reserved: reserved,
        };
        self.pool.submit(job).is_ok()
    }

    /// The number of uploads that wait or are in flight, and the bytes of their images.
    pub fn pending(&self) -> (u64, u64) {
        let Pending { jobs, bytes } = &*self.pending;
        (jobs.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_by_bytes_and_given_back() {
        let pending = Arc::new(Pending::default());
        let half = MAX_BYTES / 2;
        let one = Reserved::new(&pending, half).unwrap();
        let other = Reserved::new(&pending, half).unwrap();
        assert!(
            Reserved::new(&pending, 1).is_none() && Reserved::new(&pending, u64::MAX).is_none()
        );
        assert_eq!(pending.jobs.load(Ordering::Relaxed), 2);
        drop(one);
        assert!(Reserved::new(&pending, half).is_some());
        drop(other);
        let Pending { jobs, bytes } = &*pending;
        assert_eq!((jobs.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
