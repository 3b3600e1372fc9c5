//! Permits to decode an image: at most `renders_at_once`, and within `memory_budget`.
//!
//! First come, first served, but a small job may overtake a large one that does not fit yet, at most [`MAX_OVERTAKEN`]
//! times, so the large one is not starved.
//!
//! A quarter of the budget and one permit are reserved for small jobs, which take no more than that quarter: they go on
//! while a large job runs for many seconds and others like it wait. A job larger than the rest of the budget counts as
//! that rest.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::time::Duration;

use crate::renderer_status::RendererStatus;
use crate::sync::{self, Mutex};

const MAX_OVERTAKEN: u32 = 8;

#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    admitted: Condvar,
    permits: usize,
    /// In bytes.
    budget: u64,
}

#[derive(Debug)]
struct State {
    free_permits: usize,
    /// The bytes of all permits in use.
    bytes: u64,
    /// The bytes of large jobs.
    large_bytes: u64,
    /// The number of large jobs with a permit.
    large_jobs: usize,
    waiting: VecDeque<Waiter>,
    next_number: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    bytes: u64,
    overtaken: u32,
}

/// Held while an image is decoded and rendered.
#[derive(Debug)]
pub struct Permit<'a> {
    admission: &'a Admission,
    bytes: u64,
}

impl Admission {
    pub fn new(permits: usize, budget: u64) -> Admission {
        let state = State {
            free_permits: permits,
            bytes: 0,
            large_bytes: 0,
            large_jobs: 0,
            waiting: VecDeque::new(),
            next_number: 0,
        };
        Admission { state: Mutex::new(state), admitted: Condvar::new(), permits, budget }
    }

    /// Waits for a permit for a job that takes this many bytes. `None` after the timeout.
    pub fn acquire(&self, bytes: u64, timeout: Duration) -> Option<Permit<'_>> {
        let bytes = bytes.min(self.large_budget());
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.push_back(Waiter { number, bytes, overtaken: 0 });
        self.admit(&mut state);
        let is_waiting =
            |state: &mut State| state.waiting.iter().any(|waiter| waiter.number == number);
        let mut state = sync::wait_timeout_while(&self.admitted, state, timeout, is_waiting);
        if is_waiting(&mut state) {
            state.waiting.retain(|waiter| waiter.number != number);
            // Jobs behind this one may have waited for it.
            self.admit(&mut state);
            return None;
        }
        drop(state);
        Some(Permit { admission: self, bytes })
    }

    /// What is in use, without the fields of other modules.
    pub fn status(&self) -> RendererStatus {
        let state = self.state.lock();
        let waiting = state.waiting.iter();
        RendererStatus {
            permits: self.permits as u64,
            permits_used: self.permits.saturating_sub(state.free_permits) as u64,
            renders_waiting: state.waiting.len() as u64,
            memory_budget: self.budget,
            memory_used: state.bytes,
            memory_waiting: waiting.map(|waiter| waiter.bytes).fold(0, u64::saturating_add),
            ..RendererStatus::default()
        }
    }

    /// Hands out free permits.
    fn admit(&self, state: &mut State) {
        let mut at = 0;
        while state.free_permits > 0
            && let Some(waiter) = state.waiting.get(at)
        {
            // Small jobs that overtake it do not delay the large one that it waits for.
            let waits_for_large = self.is_large(waiter.bytes)
                && (state.large_jobs >= self.permits.saturating_sub(1).max(1)
                    || state.large_bytes.saturating_add(waiter.bytes) > self.large_budget());
            let fits = !waits_for_large && state.bytes.saturating_add(waiter.bytes) <= self.budget;
            let may_be_overtaken = waits_for_large || waiter.overtaken < MAX_OVERTAKEN;
            if fits && let Some(next) = state.waiting.remove(at) {
                state.free_permits -= 1;
                state.bytes = state.bytes.saturating_add(next.bytes);
                if self.is_large(next.bytes) {
                    state.large_jobs += 1;
                    state.large_bytes = state.large_bytes.saturating_add(next.bytes);
                }
                for overtaken in state.waiting.iter_mut().take(at) {
                    overtaken.overtaken += 1;
                }
            } else if may_be_overtaken {
                at += 1;
            } else {
                break;
            }
        }
        self.admitted.notify_all();
    }

    /// The bytes that large jobs may take together.
    fn large_budget(&self) -> u64 {
        self.budget - self.budget / 4
    }

    fn is_large(&self, bytes: u64) -> bool {
        bytes > self.budget / 4
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        state.free_permits += 1;
        state.bytes = state.bytes.saturating_sub(self.bytes);
        if self.admission.is_large(self.bytes) {
            state.large_jobs -= 1;
            state.large_bytes = state.large_bytes.saturating_sub(self.bytes);
        }
        self.admission.admit(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread::{Scope, yield_now};
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn admission_never_exceeds_permits_or_budget() {
        let admission = Admission::new(3, 100);
        let permits = AtomicUsize::new(0);
        let max_permits = AtomicUsize::new(0);
        let bytes = AtomicU64::new(0);
        let max_bytes = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let admission = &admission;
                let (permits, max_permits) = (&permits, &max_permits);
                let (bytes, max_bytes) = (&bytes, &max_bytes);
                scope.spawn(move || {
                    for round in 0..50 {
                        // From nothing to the largest possible job.
                        let size = (thread * 31 + round * 17) % 76;
                        let _permit = admission.acquire(size, LONG).unwrap();
                        let now = permits.fetch_add(1, Ordering::SeqCst) + 1;
                        max_permits.fetch_max(now, Ordering::SeqCst);
                        let now = bytes.fetch_add(size, Ordering::SeqCst) + size;
                        max_bytes.fetch_max(now, Ordering::SeqCst);
                        yield_now();
                        bytes.fetch_sub(size, Ordering::SeqCst);
                        permits.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((2..=3).contains(&max_permits.into_inner()));
        assert!((50..=100).contains(&max_bytes.into_inner()));
        let state = admission.state.lock();
        assert_eq!(
            (state.free_permits, state.bytes, state.large_jobs, state.large_bytes),
            (3, 0, 0, 0)
        );
    }

    /// A job that keeps its permit until the returned receiver is dropped. It sends while it has the permit.
    fn job<'s>(scope: &'s Scope<'s, '_>, admission: &'s Admission, bytes: u64) -> Receiver<()> {
        let (admitted, receiver) = channel();
        let before = admission.state.lock().next_number;
        scope.spawn(move || {
            let _permit = admission.acquire(bytes, LONG).unwrap();
            while admitted.send(()).is_ok() {
                yield_now();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        eventually(|| admission.state.lock().next_number > before);
        receiver
    }

    fn eventually(holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline);
            yield_now();
        }
    }

    fn is_admitted(job: &Receiver<()>) -> bool {
        job.recv_timeout(Duration::from_secs(20)).is_ok()
    }

    #[test]
    fn admission_runs_a_job_larger_than_the_budget_beside_small_jobs_only() {
        let admission = Admission::new(4, 100);
        std::thread::scope(|scope| {
            let first = job(scope, &admission, 26);
            assert!(is_admitted(&first));
            let huge = job(scope, &admission, 1000);
            assert_eq!(admission.state.lock().waiting.len(), 1, "not beside the first");
            drop(first);
            assert!(is_admitted(&huge));
            let large = job(scope, &admission, 26);
            assert_eq!(admission.state.lock().waiting.len(), 1);
            // Small jobs use the reserved quarter, which does not delay the large one.
            for _ in 0..3 * MAX_OVERTAKEN {
                let small = job(scope, &admission, 25);
                assert!(is_admitted(&small));
                let next = job(scope, &admission, 1);
                assert_eq!(admission.state.lock().waiting.len(), 2);
                drop(small);
                assert!(is_admitted(&next));
                drop(next);
                eventually(|| admission.state.lock().bytes == 75);
            }
            drop(huge);
            assert!(is_admitted(&large));
            drop(large);
        });
    }

    #[test]
    fn admission_reserves_a_permit_for_small_jobs() {
        let admission = Admission::new(2, 100);
        std::thread::scope(|scope| {
            let large = job(scope, &admission, 30);
            assert!(is_admitted(&large));
            let other = job(scope, &admission, 30);
            assert_eq!(
                admission.state.lock().waiting.len(),
                1,
                "the budget allows it, but the free permit is reserved"
            );
            let small = job(scope, &admission, 25);
            assert!(is_admitted(&small));
            drop((large, small));
            assert!(is_admitted(&other));
            drop(other);
        });
        // A single permit is for every job.
        let admission = Admission::new(1, 100);
        drop(admission.acquire(1000, Duration::ZERO).unwrap());
        assert!(admission.acquire(1, Duration::ZERO).is_some());
    }

    #[test]
    fn admission_timeout_removes_the_job_from_the_queue() {
        let admission = Admission::new(4, 100);
        std::thread::scope(|scope| {
            let first = job(scope, &admission, 60);
            assert!(is_admitted(&first));
            assert!(admission.acquire(60, Duration::from_millis(20)).is_none());
            assert_eq!(admission.state.lock().waiting.len(), 0);
            assert!(admission.acquire(25, Duration::ZERO).is_some(), "a free permit needs no wait");
            drop(first);
        });
        let state = admission.state.lock();
        assert_eq!((state.free_permits, state.bytes, state.large_jobs), (4, 0, 0));
    }

    #[test]
    fn admission_lets_a_large_job_be_overtaken_max_overtaken_times() {
        let admission = Admission::new(100, 100);
        std::thread::scope(|scope| {
            let first = [25, 25].map(|bytes| job(scope, &admission, bytes));
            assert!(first.iter().all(is_admitted));
            let large = job(scope, &admission, 75);
            let mut overtaking = Vec::new();
            for _ in 0..MAX_OVERTAKEN {
                let small = job(scope, &admission, 1);
                assert!(is_admitted(&small));
                overtaking.push(small);
            }
            let last = job(scope, &admission, 1);
            assert_eq!(
                admission.state.lock().waiting.len(),
                2,
                "it would fit, but must not overtake any more"
            );
            drop(first);
            assert!(is_admitted(&large) && is_admitted(&last));
            drop((large, last, overtaking));
        });
    }
}
