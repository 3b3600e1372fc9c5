//! Crashes by path, timeouts by request target, and what is blocked because of them.
//!
//! An image that crashes a renderer would crash the next one as well. When one image was being decoded at the crash, it
//! is the culprit and its request fails. When there were several, each of their paths becomes a suspect, and their
//! requests are retried one at a time (`quarantine`), so that the next crash identifies the culprit. A path with
//! [`MAX_FAILURES`] is blocked.
//!
//! How long the work takes depends on the options, which the client chooses. So a timeout counts for the same options of
//! the same key only: others could be asked for what takes too long, until nobody gets any image of the key. Error
//! images are not tracked: their file is the operator's, and everyone gets them.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crate::wire;

/// How long a crash or a timeout counts, and so how long a path or a target is blocked.
pub const CRASH_MEMORY: Duration = Duration::from_secs(600);
/// A path with this many crashes, or a target with this many timeouts, is blocked.
const MAX_FAILURES: u8 = 2;
/// Maximum tracked paths, and maximum tracked targets. A further one replaces the one whose last failure is oldest.
const MAX_TRACKED: usize = 1024;

/// Why a renderer process exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// A signal like SIGSEGV, an abort, an exit status.
    Crash,
    /// SIGKILL or SIGTERM from elsewhere. From the kernel's OOM killer, an image may still be the cause.
    Killed,
    /// SIGKILL from the edge.
    KilledByEdge,
}

/// Which of the decoded paths a crash is attributed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution<'p> {
    /// Their requests fail.
    pub culprits: Vec<&'p str>,
    /// Blocked by this crash.
    pub blocked: Vec<&'p str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    Clear,
    /// Decoded alone.
    Suspect,
    /// Not decoded at all, because of crashes.
    Blocked,
    /// Not decoded with these options, because of timeouts.
    TooSlow,
}

#[derive(Debug, Default)]
pub struct CrashTracker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By request path: handler and key, without options.
    crashes: Failures,
    /// By request target: handler, key and canonical options.
    timeouts: Failures,
}

/// What crashed a renderer or took too long recently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// A path after crashes, a target after timeouts.
    pub path: String,
    pub is_timeout: bool,
    pub is_blocked: bool,
    /// Until it is forgotten.
    pub left: Duration,
}

#[derive(Debug, Default)]
struct Failures(HashMap<String, Count>);

#[derive(Debug)]
struct Count {
    count: u8,
    last: Instant,
}

impl Count {
    fn at(&self, now: Instant) -> u8 {
        if now.saturating_duration_since(self.last) < CRASH_MEMORY { self.count } else { 0 }
    }
}

impl CrashTracker {
    pub fn suspicion(&self, target: &str, now: Instant) -> Suspicion {
        let state = self.state.lock();
        match (state.crashes.count(path_of(target), now), state.timeouts.count(target, now)) {
            (MAX_FAILURES.., _) => Suspicion::Blocked,
            (_, MAX_FAILURES..) => Suspicion::TooSlow,
            (0, _) => Suspicion::Clear,
            _ => Suspicion::Suspect,
        }
    }

    /// What is not forgotten, the newest first.
    pub fn tracked(&self, now: Instant) -> Vec<Tracked> {
        let state = self.state.lock();
        let of = |failures: &Failures, is_timeout| -> Vec<Tracked> {
            let failures = failures.0.iter().filter(|(_, count)| count.at(now) > 0);
            let tracked = failures.map(|(path, count)| Tracked {
                path: path.clone(),
                is_timeout,
                is_blocked: count.count >= MAX_FAILURES,
                left: CRASH_MEMORY.saturating_sub(now.saturating_duration_since(count.last)),
            });
            tracked.collect()
        };
        let mut tracked = of(&state.crashes, false);
        tracked.extend(of(&state.timeouts, true));
        drop(state);
        tracked.sort_unstable_by(|a, b| b.left.cmp(&a.left).then_with(|| a.path.cmp(&b.path)));
        tracked
    }

    /// Records the exit of a renderer that was decoding these paths.
    pub fn record_exit<'p>(
        &self,
        decoding: &BTreeSet<&'p str>,
        cause: ExitCause,
        now: Instant,
    ) -> Attribution<'p> {
        if cause == ExitCause::KilledByEdge {
            return Attribution::default();
        }
        let crashes = &mut self.state.lock().crashes;
        let is_suspect = |path: &&str| crashes.count(path, now) > 0;
        let suspects: BTreeSet<&str> = decoding.iter().copied().filter(is_suspect).collect();
        let is_proven = decoding.len() == 1 && cause == ExitCause::Crash;
        let attributed = if suspects.is_empty() { decoding } else { &suspects };
        let blocked: Vec<&str> =
            attributed.iter().copied().filter(|path| crashes.record(path, now)).collect();
        let culprits = if is_proven { decoding.iter().copied().collect() } else { blocked.clone() };
        Attribution { culprits, blocked }
    }

    /// Records that the work on this target took too long, whether or not the renderer could stop it. Returns whether
    /// this blocked the target.
    pub fn record_timeout(&self, target: &str, now: Instant) -> bool {
        self.state.lock().timeouts.record(target, now)
    }

    /// The number of paths and targets with one failure, and that of blocked ones.
    pub fn count(&self, now: Instant) -> (usize, usize) {
        let state = self.state.lock();
        let all = || state.crashes.0.values().chain(state.timeouts.0.values());
        let count =
            |is_counted: fn(u8) -> bool| all().filter(|one| is_counted(one.at(now))).count();
        (
            count(|failures| (1..MAX_FAILURES).contains(&failures)),
            count(|failures| failures >= MAX_FAILURES),
        )
    }

    /// Forgets the failures of a target from which an image was made. What is blocked stays blocked: the request was sent
    /// before that.
    pub fn clear(&self, target: &str) {
        let state = &mut *self.state.lock();
        state.crashes.clear(path_of(target));
        state.timeouts.clear(target);
    }
}

/// The path of a target, which has no query.
pub fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

impl Failures {
    fn count(&self, name: &str, now: Instant) -> u8 {
        self.0.get(name).map_or(0, |count| count.at(now))
    }

    /// Returns whether this blocked it.
    fn record(&mut self, name: &str, now: Instant) -> bool {
        if name.starts_with(wire::ERROR_IMAGE_PATH) {
            return false;
        }
        let before = self.count(name, now);
        if !self.0.contains_key(name) && self.0.len() >= MAX_TRACKED {
            let oldest = self.0.iter().min_by_key(|(_, count)| count.last);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.0.remove(&oldest);
            }
        }
        let count = before.saturating_add(1).min(MAX_FAILURES);
        self.0.insert(name.to_owned(), Count { count, last: now });
        before < MAX_FAILURES && count == MAX_FAILURES
    }

    fn clear(&mut self, name: &str) {
        if self.0.get(name).is_some_and(|count| count.count < MAX_FAILURES) {
            self.0.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Suspicion::{Blocked, Clear, Suspect, TooSlow};
    use super::*;
    use crate::documents::assert_says;
    use crate::error::Code;

    const A: &str = "/h/a";
    const B: &str = "/h/b";
    const C: &str = "/h/c";

    fn attribution(culprits: &[&'static str], blocked: &[&'static str]) -> Attribution<'static> {
        Attribution { culprits: culprits.to_vec(), blocked: blocked.to_vec() }
    }

    fn suspicions(tracker: &CrashTracker, now: Instant) -> [Suspicion; 3] {
        [A, B, C].map(|path| tracker.suspicion(path, now))
    }

    #[test]
    fn crash_tracker_fails_a_path_decoded_alone_and_blocks_it_after_two_crashes() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        let first = tracker.record_exit(&[A].into(), ExitCause::Crash, now);
        assert_eq!(first, attribution(&[A], &[]));
        assert_eq!(suspicions(&tracker, now), [Suspect, Clear, Clear]);
        let second = tracker.record_exit(&[A].into(), ExitCause::Crash, now);
        assert_eq!(second, attribution(&[A], &[A]));
        assert_eq!(suspicions(&tracker, now), [Blocked, Clear, Clear]);
    }

    #[test]
    fn crash_tracker_suspects_several_paths_and_attributes_the_next_crash() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        let first = tracker.record_exit(&[A, B].into(), ExitCause::Crash, now);
        assert_eq!(first, Attribution::default());
        assert_eq!(suspicions(&tracker, now), [Suspect, Suspect, Clear]);
        tracker.clear(B);
        // A path without an earlier crash is a bystander, although it was being decoded as well.
        let second = tracker.record_exit(&[A, B, C].into(), ExitCause::Crash, now);
        assert_eq!(second, attribution(&[A], &[A]));
        assert_eq!(suspicions(&tracker, now), [Blocked, Clear, Clear]);
    }

    #[test]
    fn crash_tracker_blocks_a_path_after_two_kills_from_outside() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        let first = tracker.record_exit(&[A].into(), ExitCause::Killed, now);
        assert_eq!(first, Attribution::default());
        assert_eq!(suspicions(&tracker, now), [Suspect, Clear, Clear]);
        let second = tracker.record_exit(&[A].into(), ExitCause::Killed, now);
        assert_eq!(second, attribution(&[A], &[A]));
        assert_eq!(suspicions(&tracker, now), [Blocked, Clear, Clear]);
    }

    #[test]
    fn crash_tracker_ignores_kills_by_the_edge_and_crashes_without_an_image() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        tracker.record_exit(&[B].into(), ExitCause::Killed, now);
        let killed = tracker.record_exit(&[A, B].into(), ExitCause::KilledByEdge, now);
        assert_eq!(killed, Attribution::default());
        let idle = tracker.record_exit(&BTreeSet::new(), ExitCause::Crash, now);
        assert_eq!(idle, Attribution::default());
        assert_eq!(suspicions(&tracker, now), [Clear, Suspect, Clear]);
    }

    #[test]
    fn crash_tracker_blocks_the_options_of_two_timeouts_and_no_others() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        let (slow, fast) = ("/h/a?w=1000", "/h/a?w=10");
        assert!(!tracker.record_timeout(slow, now));
        // The other failures of a path do not count for it, and it need not be decoded alone.
        assert!(!tracker.record_timeout("/h/a?w=1001", now));
        assert_eq!(tracker.suspicion(slow, now), Clear);
        assert!(tracker.record_timeout(slow, now));
        assert!(!tracker.record_timeout(slow, now), "it was blocked before");
        assert_eq!(
            [slow, fast, A].map(|target| tracker.suspicion(target, now)),
            [TooSlow, Clear, Clear]
        );
        assert_eq!(tracker.count(now), (1, 1));
        // A crash is one of the path, whatever the options.
        tracker.record_exit(&[A].into(), ExitCause::Crash, now);
        assert_eq!([slow, fast].map(|target| tracker.suspicion(target, now)), [TooSlow, Suspect]);
        tracker.record_exit(&[A].into(), ExitCause::Crash, now);
        assert_eq!([slow, fast].map(|target| tracker.suspicion(target, now)), [Blocked; 2]);
    }

    #[test]
    fn crash_tracker_tracks_no_error_image() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        let (path, target) = ("/-/error/h", "/-/error/h?w=10");
        for _ in 0..3 {
            assert!(!tracker.record_timeout(target, now));
            let alone = tracker.record_exit(&[path].into(), ExitCause::Crash, now);
            assert_eq!(alone, attribution(&[path], &[]), "its request is not retried");
        }
        assert_eq!(tracker.suspicion(target, now), Clear);
        // An image that was decoded at the same time may be the cause.
        tracker.record_exit(&[A, path].into(), ExitCause::Crash, now);
        assert_eq!((tracker.suspicion(A, now), tracker.count(now)), (Suspect, (1, 0)));
    }

    #[test]
    fn crash_tracker_clears_a_suspect_but_not_a_blocked_path() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        let [one, other] = ["/h/a?w=1", "/h/a?w=2"];
        for target in [one, other] {
            tracker.record_timeout(target, now);
        }
        tracker.record_exit(&[A].into(), ExitCause::Crash, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        tracker.clear(one);
        tracker.clear("/h/b?w=1");
        assert_eq!(suspicions(&tracker, now), [Clear, Blocked, Clear]);
        assert!(!tracker.record_timeout(one, now), "a timeout and a success");
        assert!(tracker.record_timeout(other, now), "the success was one of other options");
        tracker.clear(other);
        assert_eq!(tracker.suspicion(other, now), TooSlow);
    }

    #[test]
    fn crash_tracker_forgets_suspects_and_blocked_paths_after_crash_memory() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        let slow = "/h/a?w=9";
        tracker.record_exit(&[A].into(), ExitCause::Crash, now);
        tracker.record_timeout(slow, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        let almost = now + CRASH_MEMORY - Duration::from_millis(1);
        assert_eq!(suspicions(&tracker, almost), [Suspect, Blocked, Clear]);
        let left = Duration::from_millis(1);
        let tracked = |path: &str, is_timeout, is_blocked| Tracked {
            path: path.into(),
            is_timeout,
            is_blocked,
            left,
        };
        let expected =
            [tracked(A, false, false), tracked(slow, true, false), tracked(B, false, true)];
        assert_eq!(tracker.tracked(almost), expected);
        assert_eq!(tracker.tracked(now + CRASH_MEMORY), []);
        assert_eq!(suspicions(&tracker, now + CRASH_MEMORY), [Clear; 3]);
        assert!(!tracker.record_timeout(slow, now + CRASH_MEMORY), "an old one does not count");
    }

    #[test]
    fn crash_tracker_drops_the_oldest_path_when_it_is_full() {
        let tracker = CrashTracker::default();
        let start = Instant::now();
        let at = |n: usize| start + Duration::from_millis(n as u64);
        for n in 0..MAX_TRACKED + 10 {
            tracker.record_exit(&[format!("/h/{n}").as_str()].into(), ExitCause::Crash, at(n));
        }
        // Clients choose the targets: they replace no path.
        for n in 0..MAX_TRACKED + 10 {
            tracker.record_timeout(&format!("/h/{n}?w=1"), at(MAX_TRACKED + 10 + n));
        }
        let now = at(2 * (MAX_TRACKED + 10));
        assert_eq!(tracker.suspicion("/h/9", now), Clear);
        assert_eq!(tracker.suspicion("/h/10", now), Suspect);
        let tracked = tracker.tracked(now);
        assert_eq!((tracked.len(), tracked[0].path.as_str()), (2 * MAX_TRACKED, "/h/1033?w=1"));
        assert_eq!(tracked[MAX_TRACKED].path, "/h/1033");
        assert_eq!(tracker.count(now), (2 * MAX_TRACKED, 0));
    }

    #[test]
    fn crash_memory_is_as_documented() {
        let minutes = format!("refused for {} minutes", CRASH_MEMORY.as_secs() / 60);
        let meaning = Code::CrashesRenderer.meaning();
        assert!(meaning.contains(&minutes), "not {minutes:?} in src/error.rs: {meaning}");
        for sentence in [
            format!("is {minutes} before anything is fetched"),
            format!("is {minutes} with these options"),
            format!("exceeded a timeout twice with the same options, and is {minutes}"),
        ] {
            assert_says("docs/http.md", &sentence);
        }
        let sentence = format!("blocked for {} minutes", CRASH_MEMORY.as_secs() / 60);
        assert_says("ARCHITECTURE.md", &sentence);
        assert_says("README.md", &minutes);
    }
}
