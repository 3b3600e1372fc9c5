//! A bounded pool of worker threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use crate::sync;

/// Workers that take jobs from one bounded queue.
pub struct Pool<J> {
    jobs: SyncSender<J>,
}

impl<J: Send + 'static> Pool<J> {
    /// Starts `workers` threads that call `work` for each job. A job that panics costs itself only.
    pub fn start(workers: usize, work: impl Fn(J) + Send + Sync + 'static) -> io::Result<Pool<J>> {
        let (jobs, queue) = sync_channel(workers);
        let queue = Arc::new(Mutex::new(queue));
        let work = Arc::new(work);
        for number in 0..workers {
            let (queue, work) = (Arc::clone(&queue), Arc::clone(&work));
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                while let Some(job) = next(&queue) {
                    // The panic's message is on stderr; the job was dropped, which ends its request.
                    let _ = catch_unwind(AssertUnwindSafe(|| work(job)));
                }
            })?;
        }
        Ok(Pool { jobs })
    }

    /// Queues a job, or gives it back when the queue is full.
    pub fn submit(&self, job: J) -> Result<(), J> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

fn next<J>(queue: &Mutex<Receiver<J>>) -> Option<J> {
    sync::lock(queue).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn jobs_are_done_and_a_panic_costs_one_job_only() {
        let (done, results) = channel();
        let pool = Pool::start(1, move |job: u32| {
            assert!(job != 1, "this job panics");
            done.send(job).unwrap();
        })
        .unwrap();
        for mut job in 0..4 {
            while let Err(back) = pool.submit(job) {
                job = back;
                thread::yield_now();
            }
        }
        assert_eq!(results.iter().take(3).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let (hold, held) = channel::<()>();
        let held = Mutex::new(held);
        let pool =
            Pool::start(1, move |_job: u32| assert!(held.lock().unwrap().recv().is_err())).unwrap();
        // One job at the worker and one in the queue at the most; the third can't find a place.
        let refused = (0..3).filter(|job| pool.submit(*job).is_err()).count();
        assert!(refused >= 1);
        drop(hold);
    }
}
