//! A bounded pool of worker threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::{io, thread};

use crate::sync::Mutex;

/// Threads that take jobs from one bounded queue.
pub struct Pool<J> {
    jobs: SyncSender<J>,
}

impl<J: Send + 'static> Pool<J> {
    /// Starts `threads` threads with this name that call `work` for each job; `length` jobs may wait. A panic ends only
    /// its job.
    pub fn start(
        name: &str,
        threads: usize,
        length: usize,
        work: impl Fn(J) + Send + Sync + 'static,
    ) -> io::Result<Pool<J>> {
        let (jobs, queue) = sync_channel(length);
        let queue = Arc::new(Mutex::new(queue));
        let work = Arc::new(work);
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            let work = Arc::clone(&work);
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || {
                while let Some(job) = next(&queue) {
                    // The panic hook has written the message, and unwinding has dropped the job, which closes its
                    // request.
                    let _ = catch_unwind(AssertUnwindSafe(|| work(job)));
                }
            })?;
        }
        Ok(Pool { jobs })
    }

    /// Queues a job, or returns it when the queue is full.
    pub fn submit(&self, job: J) -> Result<(), J> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

fn next<J>(queue: &Mutex<Receiver<J>>) -> Option<J> {
    queue.lock().recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn pool_runs_every_job_after_one_panics() {
        let (done, results) = channel();
        let pool = Pool::start("test", 1, 1, move |job: u32| {
            assert!(job != 1, "this job panics");
            done.send(job).unwrap();
        })
        .unwrap();
        for mut job in 0..4 {
            while let Err(returned) = pool.submit(job) {
                job = returned;
                thread::yield_now();
            }
        }
        assert_eq!(results.iter().take(3).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn pool_returns_a_job_when_its_queue_is_full() {
        let (hold, held) = channel::<()>();
        let held = Mutex::new(held);
        let pool = Pool::start("test", 1, 1, move |_job: u32| assert!(held.lock().recv().is_err()))
            .unwrap();
        // At most one job is running and one queued.
        let returned = (0..3).filter(|job| pool.submit(*job).is_err()).count();
        assert!(returned >= 1);
        drop(hold);
    }
}
