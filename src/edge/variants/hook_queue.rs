//! The purges of one handler that wait for its purge hook.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::cache_tag::PurgeScope;

/// Purges that wait for one hook. When there are more, the purge of the whole handler takes their place.
const MAX_WAITING: usize = 4096;

/// A queue without duplicates.
#[derive(Debug, Default)]
pub struct HookQueue {
    waiting: VecDeque<PurgeScope>,
    /// The elements of `waiting`.
    known: HashSet<PurgeScope>,
    /// Purges that were sent and are sent once more, in the order of their times. Those whose time is not the one in
    /// `repeats` were replaced by a later one.
    later: VecDeque<(Instant, PurgeScope)>,
    repeats: HashMap<PurgeScope, Instant>,
    /// The purges of the attempt that is being made.
    sending: Vec<PurgeScope>,
    /// The failed attempts in a row.
    failures: u32,
    /// When the next attempt is due; `None`: at once.
    not_before: Option<Instant>,
}

impl HookQueue {
    /// Adds a purge, unless the same one waits already, to be sent once more at `repeat_at`. Returns whether too many were
    /// waiting.
    pub fn push(&mut self, scope: PurgeScope, repeat_at: Option<Instant>) -> bool {
        let is_full = self.waiting.len() >= MAX_WAITING && !self.known.contains(&scope);
        let whole_handler = || PurgeScope::Prefix(String::new());
        if let Some(at) = repeat_at {
            if self.later.len() >= MAX_WAITING {
                let HookQueue { later, repeats, .. } = self;
                later.retain(|(at, scope)| repeats.get(scope) == Some(at));
            }
            let scope = if self.later.len() >= MAX_WAITING {
                self.later.clear();
                self.repeats.clear();
                whole_handler()
            } else {
                scope.clone()
            };
            self.repeats.insert(scope.clone(), at);
            self.later.push_back((at, scope));
        }
        if is_full {
            self.waiting.clear();
            self.known.clear();
        }
        self.add(if is_full { whole_handler() } else { scope });
        is_full
    }

    fn add(&mut self, scope: PurgeScope) {
        if self.known.insert(scope.clone()) {
            self.waiting.push_back(scope);
        }
    }

    /// The purges that wait or are being sent.
    pub fn length(&self) -> usize {
        self.waiting.len() + self.repeats.len() + self.sending.len()
    }

    /// When the next attempt is due. `None` if there is nothing to send.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let is_current = |(at, scope): &&(Instant, PurgeScope)| self.repeats.get(scope) == Some(at);
        let later = self.later.iter().find(is_current).map(|(at, _)| *at);
        let next = if self.waiting.is_empty() { later? } else { now };
        Some(self.not_before.map_or(next, |not_before| not_before.max(next)))
    }

    /// Takes up to `max` purges for an attempt, which ends with [`HookQueue::finish`] or [`HookQueue::retry`].
    pub fn take(&mut self, max: usize, now: Instant) -> Vec<PurgeScope> {
        while let Some((at, _)) = self.later.front()
            && *at <= now
            && let Some((at, scope)) = self.later.pop_front()
        {
            if self.repeats.get(&scope) == Some(&at) {
                self.repeats.remove(&scope);
                self.add(scope);
            }
        }
        let count = max.min(self.waiting.len());
        self.sending = self.waiting.drain(..count).collect();
        for scope in &self.sending {
            self.known.remove(scope);
        }
        self.sending.clone()
    }

    /// The failed attempts in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The attempt has succeeded, or is given up. Returns the number of its purges.
    pub fn finish(&mut self) -> usize {
        self.failures = 0;
        self.not_before = None;
        std::mem::take(&mut self.sending).len()
    }

    /// The attempt has failed. Its purges go back to the front; those that have come again meanwhile stay where they are.
    /// The next one is due after the delay for this number of failures.
    pub fn retry(&mut self, now: Instant, delay: impl FnOnce(u32) -> Duration) {
        for scope in std::mem::take(&mut self.sending).into_iter().rev() {
            if self.known.insert(scope.clone()) {
                self.waiting.push_front(scope);
            }
        }
        self.failures += 1;
        self.not_before = Some(now + delay(self.failures));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: impl ToString) -> PurgeScope {
        PurgeScope::Key(key.to_string())
    }

    #[test]
    fn equal_purges_wait_once_until_they_are_taken() {
        let now = Instant::now();
        let mut queue = HookQueue::default();
        for name in ["a", "b", "a", "c"] {
            assert!(!queue.push(key(name), None));
        }
        assert_eq!(queue.take(2, now), [key("a"), key("b")]);
        queue.push(key("a"), None);
        assert_eq!(queue.length(), 4);
        assert_eq!(queue.finish(), 2);
        assert_eq!(queue.take(9, now), [key("c"), key("a")]);
        queue.finish();
        assert_eq!((queue.length(), queue.due(now)), (0, None));
    }

    #[test]
    fn a_failed_attempt_is_made_again_with_what_has_come_since() {
        let mut queue = HookQueue::default();
        let now = Instant::now();
        queue.push(key("a"), None);
        queue.push(key("b"), None);
        queue.take(2, now);
        queue.push(key("b"), None);
        queue.push(key("c"), None);
        let delay = |failures: u32| Duration::from_secs(u64::from(failures));
        queue.retry(now, delay);
        assert_eq!(queue.failures(), 1);
        assert_eq!(queue.due(now), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.take(9, now), [key("a"), key("b"), key("c")]);
        queue.retry(now, delay);
        assert_eq!(queue.failures(), 2);
        queue.take(9, now);
        queue.finish();
        queue.push(key("d"), None);
        assert_eq!(queue.due(now), Some(now), "a success ends the delay");
    }

    #[test]
    fn a_repeated_purge_is_sent_at_once_and_later() {
        let mut queue = HookQueue::default();
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        queue.push(key("a"), Some(after(3)));
        queue.push(key("b"), Some(after(3)));
        assert_eq!((queue.length(), queue.due(now)), (4, Some(now)));
        assert_eq!(queue.take(9, now), [key("a"), key("b")]);
        queue.finish();
        assert_eq!((queue.length(), queue.due(now)), (2, Some(after(3))));
        // Purged again: the last repetition counts.
        queue.push(key("a"), Some(after(5)));
        assert_eq!(queue.take(9, after(2)), [key("a")]);
        queue.finish();
        assert_eq!(queue.take(9, after(4)), [key("b")]);
        queue.finish();
        assert_eq!(queue.due(after(4)), Some(after(5)));
        assert_eq!(queue.take(9, after(5)), [key("a")]);
        queue.finish();
        assert_eq!((queue.length(), queue.due(after(5))), (0, None));
    }

    #[test]
    fn too_many_purges_become_one_of_the_whole_handler() {
        let mut queue = HookQueue::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        for number in 0..MAX_WAITING {
            assert!(!queue.push(key(number), Some(later)));
        }
        assert!(!queue.push(key(0), None), "a known one needs no room");
        assert!(queue.push(key("more"), Some(later)));
        assert!(!queue.push(key("another"), Some(later)));
        let expected = [PurgeScope::Prefix(String::new()), key("another")];
        assert_eq!(queue.take(9, now), expected);
        queue.finish();
        assert_eq!(queue.take(9, later), expected);
        queue.finish();
        assert_eq!(queue.length(), 0);
    }
}
