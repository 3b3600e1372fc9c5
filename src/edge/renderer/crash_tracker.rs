//! Which keys end renderers: crashes, and the refusal of who has two.
//!
//! An image that ends its renderer would end the next one as well. One that was decoded alone when that happened is
//! culprits, and its request fails; of several, each gets a record and is tried again on its own (see
//! [`super::quarantine`]), so that the next crash has a name.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync;

/// How long a record counts, and so how long a key is refused.
pub const CRASH_MEMORY: Duration = Duration::from_secs(600);
/// So many crashes are refused.
const REFUSED: u8 = 2;
/// How many paths are remembered; for one more, the one struck longest ago is forgotten.
const MOST_PATHS: usize = 1024;

/// How a renderer's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By a fault of its own: a signal like SIGSEGV, an abort, an exit.
    Fault,
    /// Somebody else killed it. When that was the kernel for want of memory, an image may still be the cause.
    Killed,
    /// We did, for a reason of ours.
    Ours,
}

/// What an end means for those who were being decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects<'p> {
    /// They caused it; their requests fail.
    pub culprits: Vec<&'p str>,
    /// They did it twice and are refused from now on.
    pub refused: Vec<&'p str>,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Nothing.
    Clear,
    /// It may be what ended a renderer.
    Suspect,
    /// It is.
    Refused,
}

/// The crashes of every path (handler and key, as they are asked for, without the options).
#[derive(Debug, Default)]
pub struct CrashTracker {
    paths: Mutex<HashMap<String, Crashes>>,
}

#[derive(Debug)]
struct Crashes {
    count: u8,
    last: Instant,
}

impl Crashes {
    fn count_at(&self, now: Instant) -> u8 {
        if now.saturating_duration_since(self.last) < CRASH_MEMORY { self.count } else { 0 }
    }
}

impl CrashTracker {
    /// What to do with a request for this path.
    pub fn suspicion(&self, path: &str, now: Instant) -> Suspicion {
        match self.lock().get(path).map_or(0, |crashes| crashes.count_at(now)) {
            0 => Suspicion::Clear,
            REFUSED.. => Suspicion::Refused,
            _ => Suspicion::Suspect,
        }
    }

    /// A renderer has ended while it decoded these.
    pub fn crash<'p>(&self, decoding: &BTreeSet<&'p str>, end: End, now: Instant) -> Suspects<'p> {
        if end == End::Ours {
            return Suspects::default();
        }
        let mut paths = self.lock();
        let is_known =
            |path: &&str| paths.get(*path).is_some_and(|crashes| crashes.count_at(now) > 0);
        let known: BTreeSet<&str> = decoding.iter().copied().filter(is_known).collect();
        let proven = decoding.len() == 1 && end == End::Fault;
        let blamed = if known.is_empty() { decoding } else { &known };
        let refused: Vec<&str> =
            blamed.iter().copied().filter(|path| record(&mut paths, path, now)).collect();
        let culprits = if proven { decoding.iter().copied().collect() } else { refused.clone() };
        Suspects { culprits, refused }
    }

    /// The work on this path took too long, whether or not the renderer could stop it. Returns whether it is refused from now on.
    pub fn overdue(&self, path: &str, now: Instant) -> bool {
        record(&mut self.lock(), path, now)
    }

    /// An image was made of this path, so it is no suspect any more. What is refused was asked for before it was.
    pub fn clear(&self, path: &str) {
        let mut paths = self.lock();
        if paths.get(path).is_some_and(|crashes| crashes.count < REFUSED) {
            paths.remove(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Crashes>> {
        sync::lock(&self.paths)
    }
}

/// Returns whether this made the path one that is refused.
fn record(paths: &mut HashMap<String, Crashes>, path: &str, now: Instant) -> bool {
    let before = paths.get(path).map_or(0, |crashes| crashes.count_at(now));
    if !paths.contains_key(path) && paths.len() >= MOST_PATHS {
        let oldest =
            paths.iter().min_by_key(|(_, crashes)| crashes.last).map(|(path, _)| path.clone());
        if let Some(oldest) = oldest {
            paths.remove(&oldest);
        }
    }
    let count = before.saturating_add(1).min(REFUSED);
    paths.insert(path.to_owned(), Crashes { count, last: now });
    before < REFUSED && count == REFUSED
}

#[cfg(test)]
mod tests {
    use super::Suspicion::{Clear, Refused, Suspect};
    use super::*;

    fn sentence(culprits: &[&'static str], refused: &[&'static str]) -> Suspects<'static> {
        Suspects { culprits: culprits.to_vec(), refused: refused.to_vec() }
    }

    fn standings(crash_tracker: &CrashTracker, now: Instant) -> [Suspicion; 3] {
        ["/h/a", "/h/b", "/h/c"].map(|path| crash_tracker.suspicion(path, now))
    }

    #[test]
    fn who_was_decoded_alone_is_guilty_at_once_and_refused_the_second_time() {
        let (crash_tracker, now) = (CrashTracker::default(), Instant::now());
        assert_eq!(
            crash_tracker.crash(&["/h/a"].into(), End::Fault, now),
            sentence(&["/h/a"], &[])
        );
        assert_eq!(standings(&crash_tracker, now), [Suspect, Clear, Clear]);
        assert_eq!(
            crash_tracker.crash(&["/h/a"].into(), End::Fault, now),
            sentence(&["/h/a"], &["/h/a"])
        );
        assert_eq!(standings(&crash_tracker, now), [Refused, Clear, Clear]);
    }

    #[test]
    fn of_several_each_is_a_suspect_and_the_next_crash_has_a_name() {
        let (crash_tracker, now) = (CrashTracker::default(), Instant::now());
        assert_eq!(
            crash_tracker.crash(&["/h/a", "/h/b"].into(), End::Fault, now),
            Suspects::default()
        );
        assert_eq!(standings(&crash_tracker, now), [Suspect, Suspect, Clear]);
        crash_tracker.clear("/h/b");
        // Whoever has no record is a bystander, although it was decoded as well.
        let second = crash_tracker.crash(&["/h/a", "/h/b", "/h/c"].into(), End::Fault, now);
        assert_eq!(second, sentence(&["/h/a"], &["/h/a"]));
        assert_eq!(standings(&crash_tracker, now), [Refused, Clear, Clear]);
    }

    #[test]
    fn who_was_killed_from_outside_is_a_suspect_only_but_not_for_ever() {
        let (crash_tracker, now) = (CrashTracker::default(), Instant::now());
        assert_eq!(crash_tracker.crash(&["/h/a"].into(), End::Killed, now), Suspects::default());
        assert_eq!(standings(&crash_tracker, now), [Suspect, Clear, Clear]);
        assert_eq!(
            crash_tracker.crash(&["/h/a"].into(), End::Killed, now),
            sentence(&["/h/a"], &["/h/a"])
        );
        assert_eq!(standings(&crash_tracker, now), [Refused, Clear, Clear]);
    }

    #[test]
    fn nobody_is_blamed_for_what_we_did_or_for_a_crash_without_an_image() {
        let (crash_tracker, now) = (CrashTracker::default(), Instant::now());
        crash_tracker.overdue("/h/b", now);
        assert_eq!(
            crash_tracker.crash(&["/h/a", "/h/b"].into(), End::Ours, now),
            Suspects::default()
        );
        assert_eq!(crash_tracker.crash(&BTreeSet::new(), End::Fault, now), Suspects::default());
        assert_eq!(standings(&crash_tracker, now), [Clear, Suspect, Clear]);
    }

    #[test]
    fn two_deadlines_missed_are_refused() {
        let (crash_tracker, now) = (CrashTracker::default(), Instant::now());
        assert!(!crash_tracker.overdue("/h/a", now));
        assert!(crash_tracker.overdue("/h/a", now));
        // It is news once.
        assert!(!crash_tracker.overdue("/h/a", now));
        assert_eq!(standings(&crash_tracker, now), [Refused, Clear, Clear]);
    }

    #[test]
    fn a_success_clears_strikes_but_not_a_refusal() {
        let (crash_tracker, now) = (CrashTracker::default(), Instant::now());
        crash_tracker.overdue("/h/a", now);
        crash_tracker.crash(&["/h/b"].into(), End::Fault, now);
        crash_tracker.crash(&["/h/b"].into(), End::Fault, now);
        crash_tracker.clear("/h/a");
        crash_tracker.clear("/h/b");
        assert_eq!(standings(&crash_tracker, now), [Clear, Refused, Clear]);
    }

    #[test]
    fn strikes_and_refusals_are_forgotten_after_a_while() {
        let (crash_tracker, now) = (CrashTracker::default(), Instant::now());
        crash_tracker.overdue("/h/a", now);
        crash_tracker.crash(&["/h/b"].into(), End::Fault, now);
        crash_tracker.crash(&["/h/b"].into(), End::Fault, now);
        let almost = now + CRASH_MEMORY - Duration::from_millis(1);
        assert_eq!(standings(&crash_tracker, almost), [Suspect, Refused, Clear]);
        assert_eq!(standings(&crash_tracker, now + CRASH_MEMORY), [Clear; 3]);
        assert!(
            !crash_tracker.overdue("/h/a", now + CRASH_MEMORY),
            "an old record counts for nothing"
        );
    }

    #[test]
    fn the_paths_struck_longest_ago_are_forgotten_first() {
        let (crash_tracker, start) = (CrashTracker::default(), Instant::now());
        let at = |n: usize| start + Duration::from_millis(n as u64);
        for n in 0..MOST_PATHS + 10 {
            crash_tracker.overdue(&format!("/h/{n}"), at(n));
        }
        assert_eq!(crash_tracker.lock().len(), MOST_PATHS);
        let now = at(MOST_PATHS + 10);
        assert_eq!(crash_tracker.suspicion("/h/9", now), Clear);
        assert_eq!(crash_tracker.suspicion("/h/10", now), Suspect);
    }
}
