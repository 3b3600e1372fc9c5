//! Who may work on an image now: so many at once, and no more memory than there is for all of them.
//!
//! Whoever comes first goes first, unless what he needs is not free and what a later one needs is: a large image
//! does not keep the small ones waiting. It is overtaken a few times and then no more, so it gets its permit.
//!
//! A quarter of the budget and one permit are only for images that take no more than that quarter: while a large one is
//! worked on for many seconds, and others like it wait, the small ones go on. An image larger than the rest of the budget
//! is counted as that rest.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::sync;

/// So often one that waits may be overtaken.
const MOST_OVERTAKEN: u32 = 8;

/// Turns, and the bytes that those who have one may take.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    admitted: Condvar,
    permits: usize,
    budget: u64,
}

#[derive(Debug)]
struct State {
    free_permits: usize,
    /// Bytes, by those who have a permit.
    taken: u64,
    /// Of these, by large ones.
    taken_by_large: u64,
    /// How many large ones have a permit.
    large: usize,
    waiting: VecDeque<Waiter>,
    next_number: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    bytes: u64,
    overtaken: u32,
}

/// Held while an image is worked on.
#[derive(Debug)]
pub struct Permit<'a> {
    admission: &'a Admission,
    bytes: u64,
}

impl Admission {
    /// So many permits at once, and so many bytes.
    pub fn new(permits: usize, budget: u64) -> Admission {
        let state = State {
            free_permits: permits,
            taken: 0,
            taken_by_large: 0,
            large: 0,
            waiting: VecDeque::new(),
            next_number: 0,
        };
        Admission { state: Mutex::new(state), admitted: Condvar::new(), permits, budget }
    }

    /// Waits for a permit with so many bytes, but no longer than that; after it nobody wants to know any more.
    pub fn enter(&self, bytes: u64, timeout: Duration) -> Option<Permit<'_>> {
        let bytes = bytes.min(self.for_large());
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.push_back(Waiter { number, bytes, overtaken: 0 });
        self.admit(&mut state);
        let waits = |state: &mut State| state.waiting.iter().any(|waiter| waiter.number == number);
        let mut state = sync::wait_timeout_while(&self.admitted, state, timeout, waits);
        if waits(&mut state) {
            state.waiting.retain(|waiter| waiter.number != number);
            // It may have been what the others let pass.
            self.admit(&mut state);
            return None;
        }
        drop(state);
        Some(Permit { admission: self, bytes })
    }

    /// Gives what is free to those who wait for it.
    fn admit(&self, state: &mut State) {
        let mut at = 0;
        while state.free_permits > 0
            && let Some(waiter) = state.waiting.get(at)
        {
            // It waits for a large one, whom those who pass do not delay.
            let is_behind_large = self.is_large(waiter.bytes)
                && (state.large >= self.permits.saturating_sub(1).max(1)
                    || state.taken_by_large.saturating_add(waiter.bytes) > self.for_large());
            let fits = !is_behind_large && state.taken.saturating_add(waiter.bytes) <= self.budget;
            let lets_others_pass = is_behind_large || waiter.overtaken < MOST_OVERTAKEN;
            if fits && let Some(next) = state.waiting.remove(at) {
                state.free_permits -= 1;
                state.taken = state.taken.saturating_add(next.bytes);
                if self.is_large(next.bytes) {
                    state.large += 1;
                    state.taken_by_large = state.taken_by_large.saturating_add(next.bytes);
                }
                for overtaken in state.waiting.iter_mut().take(at) {
                    overtaken.overtaken += 1;
                }
            } else if lets_others_pass {
                at += 1;
            } else {
                break;
            }
        }
        self.admitted.notify_all();
    }

    /// The bytes that large ones may have.
    fn for_large(&self) -> u64 {
        self.budget - self.budget / 4
    }

    fn is_large(&self, bytes: u64) -> bool {
        bytes > self.budget / 4
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.free_permits += 1;
        state.taken = state.taken.saturating_sub(self.bytes);
        if self.admission.is_large(self.bytes) {
            state.large -= 1;
            state.taken_by_large = state.taken_by_large.saturating_sub(self.bytes);
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
    fn no_more_than_the_turns_and_the_bytes_are_held_at_once() {
        let admission = Admission::new(3, 100);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (taken, most_taken) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (admission, now, most) = (&admission, &now, &most);
                let (taken, most_taken) = (&taken, &most_taken);
                scope.spawn(move || {
                    for round in 0..50 {
                        // From nothing to all that one can have.
                        let bytes = (thread * 31 + round * 17) % 76;
                        let _turn = admission.enter(bytes, LONG).unwrap();
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        most_taken.fetch_max(
                            taken.fetch_add(bytes, Ordering::SeqCst) + bytes,
                            Ordering::SeqCst,
                        );
                        yield_now();
                        taken.fetch_sub(bytes, Ordering::SeqCst);
                        now.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((2..=3).contains(&most.into_inner()));
        assert!((50..=100).contains(&most_taken.into_inner()));
        let state = admission.lock();
        assert_eq!(
            (state.free_permits, state.taken, state.large, state.taken_by_large),
            (3, 0, 0, 0)
        );
    }

    /// Someone who enters and stays until the receiver that is returned is dropped; he says that he is in.
    fn someone<'s>(scope: &'s Scope<'s, '_>, admission: &'s Admission, bytes: u64) -> Receiver<()> {
        let (said, hears) = channel();
        let before = admission.lock().next_number;
        scope.spawn(move || {
            let _turn = admission.enter(bytes, LONG).unwrap();
            while said.send(()).is_ok() {
                yield_now();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        eventually(|| admission.lock().next_number > before);
        hears
    }

    fn eventually(holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline);
            yield_now();
        }
    }

    fn is_in(someone: &Receiver<()>) -> bool {
        someone.recv_timeout(Duration::from_secs(20)).is_ok()
    }

    #[test]
    fn who_needs_more_than_there_is_works_beside_small_ones_only() {
        let admission = Admission::new(4, 100);
        std::thread::scope(|scope| {
            let small = someone(scope, &admission, 26);
            assert!(is_in(&small));
            let huge = someone(scope, &admission, 1000);
            assert_eq!(admission.lock().waiting.len(), 1, "not beside this one");
            drop(small);
            assert!(is_in(&huge));
            let large = someone(scope, &admission, 26);
            assert_eq!(admission.lock().waiting.len(), 1);
            // Whoever passes has a quarter, and does not delay the one who waits for the huge one.
            for _ in 0..3 * MOST_OVERTAKEN {
                let next = someone(scope, &admission, 25);
                assert!(is_in(&next));
                let no_more = someone(scope, &admission, 1);
                assert_eq!(admission.lock().waiting.len(), 2);
                drop(next);
                assert!(is_in(&no_more));
                drop(no_more);
                eventually(|| admission.lock().taken == 75);
            }
            drop(huge);
            assert!(is_in(&large));
            drop(large);
        });
    }

    #[test]
    fn large_ones_leave_a_turn_to_small_ones() {
        let admission = Admission::new(2, 100);
        std::thread::scope(|scope| {
            let large = someone(scope, &admission, 30);
            assert!(is_in(&large));
            let other = someone(scope, &admission, 30);
            assert_eq!(
                admission.lock().waiting.len(),
                1,
                "there is room, and a permit that is not for it"
            );
            let small = someone(scope, &admission, 25);
            assert!(is_in(&small));
            drop((large, small));
            assert!(is_in(&other));
            drop(other);
        });
        // Where there is but one permit it is for all.
        let admission = Admission::new(1, 100);
        drop(admission.enter(1000, Duration::ZERO).unwrap());
        assert!(admission.enter(1, Duration::ZERO).is_some());
    }

    #[test]
    fn who_has_waited_too_long_leaves_the_queue() {
        let admission = Admission::new(4, 100);
        std::thread::scope(|scope| {
            let first = someone(scope, &admission, 60);
            assert!(is_in(&first));
            assert!(admission.enter(60, Duration::from_millis(20)).is_none());
            assert_eq!(admission.lock().waiting.len(), 0);
            assert!(admission.enter(25, Duration::ZERO).is_some(), "what is free needs no timeout");
            drop(first);
        });
        let state = admission.lock();
        assert_eq!((state.free_permits, state.taken, state.large), (4, 0, 0));
    }

    #[test]
    fn small_ones_overtake_a_large_one_but_not_for_ever() {
        let admission = Admission::new(100, 100);
        std::thread::scope(|scope| {
            let first = [25, 25].map(|bytes| someone(scope, &admission, bytes));
            assert!(first.iter().all(is_in));
            let large = someone(scope, &admission, 75);
            let mut small = Vec::new();
            for _ in 0..MOST_OVERTAKEN {
                let next = someone(scope, &admission, 1);
                assert!(is_in(&next));
                small.push(next);
            }
            let patient = someone(scope, &admission, 1);
            assert_eq!(
                admission.lock().waiting.len(),
                2,
                "there is room for it, but no more overtaking"
            );
            drop(first);
            assert!(is_in(&large) && is_in(&patient));
            drop((large, patient, small));
        });
    }
}
