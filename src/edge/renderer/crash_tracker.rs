//! Crashes by path, and the paths that are blocked because of them.
//!
//! An image that crashes a renderer would crash the next one as well. When one image was being decoded at the crash, it
//! is the culprit and its request fails. When there were several, each of their paths becomes a suspect, and their
//! requests are retried one at a time (`quarantine`), so that the next crash identifies the culprit. A path with
//! [`MAX_CRASHES`] is blocked.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// How long a crash counts, and so how long a path is blocked.
pub const CRASH_MEMORY: Duration = Duration::from_secs(600);
/// A path with this many crashes or timeouts is blocked.
const MAX_CRASHES: u8 = 2;
/// Maximum tracked paths. A further one replaces the path whose last crash is oldest.
const MAX_PATHS: usize = 1024;

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
    /// Not decoded at all.
    Blocked,
}

/// Keyed by request path: handler and key, without options.
#[derive(Debug, Default)]
pub struct CrashTracker {
    paths: Mutex<HashMap<String, Crashes>>,
}

/// A path that crashed a renderer recently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedPath {
    pub path: String,
    pub is_blocked: bool,
    /// Until it is forgotten.
    pub left: Duration,
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
    pub fn suspicion(&self, path: &str, now: Instant) -> Suspicion {
        match self.paths.lock().get(path).map_or(0, |crashes| crashes.count_at(now)) {
            0 => Suspicion::Clear,
            MAX_CRASHES.. => Suspicion::Blocked,
            _ => Suspicion::Suspect,
        }
    }

    /// The paths that are not forgotten, the newest first.
    pub fn paths(&self, now: Instant) -> Vec<TrackedPath> {
        let paths = self.paths.lock();
        let tracked = paths.iter().filter(|(_, crashes)| crashes.count_at(now) > 0);
        let mut tracked: Vec<_> = tracked
            .map(|(path, crashes)| TrackedPath {
                path: path.clone(),
                is_blocked: crashes.count >= MAX_CRASHES,
                left: CRASH_MEMORY.saturating_sub(now.saturating_duration_since(crashes.last)),
            })
            .collect();
        drop(paths);
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
        let mut paths = self.paths.lock();
        let is_suspect =
            |path: &&str| paths.get(*path).is_some_and(|crashes| crashes.count_at(now) > 0);
        let suspects: BTreeSet<&str> = decoding.iter().copied().filter(is_suspect).collect();
        let is_proven = decoding.len() == 1 && cause == ExitCause::Crash;
        let attributed = if suspects.is_empty() { decoding } else { &suspects };
        let blocked: Vec<&str> =
            attributed.iter().copied().filter(|path| record(&mut paths, path, now)).collect();
        let culprits = if is_proven { decoding.iter().copied().collect() } else { blocked.clone() };
        Attribution { culprits, blocked }
    }

    /// Records that the work on this path took too long, whether or not the renderer could stop it. Returns whether
    /// this blocked the path.
    pub fn record_timeout(&self, path: &str, now: Instant) -> bool {
        record(&mut self.paths.lock(), path, now)
    }

    /// The number of suspects and that of blocked paths.
    pub fn count(&self, now: Instant) -> (usize, usize) {
        let paths = self.paths.lock();
        let count = |is_counted: fn(u8) -> bool| {
            paths.values().filter(|crashes| is_counted(crashes.count_at(now))).count()
        };
        (
            count(|crashes| (1..MAX_CRASHES).contains(&crashes)),
            count(|crashes| crashes >= MAX_CRASHES),
        )
    }

    /// Clears a suspect from which an image was made. A blocked path stays blocked: the request was sent before that.
    pub fn clear(&self, path: &str) {
        let mut paths = self.paths.lock();
        if paths.get(path).is_some_and(|crashes| crashes.count < MAX_CRASHES) {
            paths.remove(path);
        }
    }
}

/// Returns whether this blocked the path.
fn record(paths: &mut HashMap<String, Crashes>, path: &str, now: Instant) -> bool {
    let before = paths.get(path).map_or(0, |crashes| crashes.count_at(now));
    if !paths.contains_key(path) && paths.len() >= MAX_PATHS {
        let oldest =
            paths.iter().min_by_key(|(_, crashes)| crashes.last).map(|(path, _)| path.clone());
        if let Some(oldest) = oldest {
            paths.remove(&oldest);
        }
    }
    let count = before.saturating_add(1).min(MAX_CRASHES);
    paths.insert(path.to_owned(), Crashes { count, last: now });
    before < MAX_CRASHES && count == MAX_CRASHES
}

#[cfg(test)]
mod tests {
    use super::Suspicion::{Blocked, Clear, Suspect};
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
        tracker.record_timeout(B, now);
        let killed = tracker.record_exit(&[A, B].into(), ExitCause::KilledByEdge, now);
        assert_eq!(killed, Attribution::default());
        let idle = tracker.record_exit(&BTreeSet::new(), ExitCause::Crash, now);
        assert_eq!(idle, Attribution::default());
        assert_eq!(suspicions(&tracker, now), [Clear, Suspect, Clear]);
    }

    #[test]
    fn crash_tracker_blocks_a_path_after_two_timeouts() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        assert!(!tracker.record_timeout(A, now));
        assert!(tracker.record_timeout(A, now));
        assert!(!tracker.record_timeout(A, now), "it was blocked before");
        assert_eq!(suspicions(&tracker, now), [Blocked, Clear, Clear]);
    }

    #[test]
    fn crash_tracker_clears_a_suspect_but_not_a_blocked_path() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        tracker.record_timeout(A, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        tracker.clear(A);
        tracker.clear(B);
        assert_eq!(suspicions(&tracker, now), [Clear, Blocked, Clear]);
    }

    #[test]
    fn crash_tracker_forgets_suspects_and_blocked_paths_after_crash_memory() {
        let tracker = CrashTracker::default();
        let now = Instant::now();
        tracker.record_timeout(A, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        tracker.record_exit(&[B].into(), ExitCause::Crash, now);
        let almost = now + CRASH_MEMORY - Duration::from_millis(1);
        assert_eq!(suspicions(&tracker, almost), [Suspect, Blocked, Clear]);
        let left = Duration::from_millis(1);
        let tracked = |path: &str, is_blocked| TrackedPath { path: path.into(), is_blocked, left };
        assert_eq!(tracker.paths(almost), [tracked(A, false), tracked(B, true)]);
        assert_eq!(tracker.paths(now + CRASH_MEMORY), []);
        assert_eq!(suspicions(&tracker, now + CRASH_MEMORY), [Clear; 3]);
        assert!(!tracker.record_timeout(A, now + CRASH_MEMORY), "an old crash does not count");
    }

    #[test]
    fn crash_tracker_drops_the_oldest_path_when_it_is_full() {
        let tracker = CrashTracker::default();
        let start = Instant::now();
        let at = |n: usize| start + Duration::from_millis(n as u64);
        for n in 0..MAX_PATHS + 10 {
            tracker.record_timeout(&format!("/h/{n}"), at(n));
        }
        assert_eq!(tracker.paths.lock().len(), MAX_PATHS);
        let now = at(MAX_PATHS + 10);
        assert_eq!(tracker.suspicion("/h/9", now), Clear);
        assert_eq!(tracker.suspicion("/h/10", now), Suspect);
        let paths = tracker.paths(now);
        assert_eq!((paths.len(), paths[0].path.as_str()), (MAX_PATHS, "/h/1033"));
    }

    #[test]
    fn crash_memory_is_as_documented() {
        let minutes = format!("refused for {} minutes", CRASH_MEMORY.as_secs() / 60);
        let meaning = Code::CrashesRenderer.meaning();
        assert!(meaning.contains(&minutes), "not {minutes:?} in src/error.rs: {meaning}");
        for sentence in [
            format!("is {minutes} before anything is fetched"),
            format!("a key crashed or hung the renderer twice and is {minutes}"),
        ] {
            assert_says("docs/http.md", &sentence);
        }
        let sentence = format!("blocked for {} minutes", CRASH_MEMORY.as_secs() / 60);
        assert_says("ARCHITECTURE.md", &sentence);
        assert_says("README.md", &minutes);
    }
}
