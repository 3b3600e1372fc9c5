//! The purge log: the times of recent purges. Answers of the origin from before a purge are not served.
//!
//! Removing the cached entries is not enough: a request in flight may store an answer from before the purge. Each purge
//! is therefore kept for longer than a request can be in flight, and every lookup asks the log. A response in memory
//! remembers which purges it has been compared with, so that a hit costs two atomic loads until the next purge.
//!
//! Targets are hashes, because those of other servers' purges are known by their hashes only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::cache::Name;
use crate::purge_table::{Purge, PurgeTable};
use crate::shared_journal::Target;
use crate::sync::RwLock;
use crate::time::unix_milliseconds;

/// How much longer a purge is kept than the longest request to the renderer.
const RETENTION_MARGIN: Duration = Duration::from_secs(60);
/// Maximum wait for the clock to pass a purge's time; only a clock that was set back would take longer.
const MAX_CLOCK_WAIT: Duration = Duration::from_millis(100);
/// The value of [`PurgeLog::expires`] while entries are being removed.
const NEVER: u64 = u64::MAX;
/// The value of [`Compared`] before the first comparison: no generation. A purge takes a millisecond or longer, so the
/// generation does not get there.
const NOT_COMPARED: u64 = u64::MAX;

#[derive(Debug)]
pub struct PurgeLog {
    started: Instant,
    /// When the last purge expires, in [`PurgeLog::now`]'s milliseconds; 0 if the log is empty.
    expires: AtomicU64,
    /// The latest time of a purge, in milliseconds since 1970. It is written while `state` is locked.
    latest: AtomicU64,
    /// Grows with each call that records purges, after they are in force.
    generation: AtomicU64,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    purges: PurgeTable<Recent>,
    /// In order of expiry.
    expiries: VecDeque<Expiry>,
    /// Number of [`PurgesInProgress`].
    in_progress: usize,
    /// How long a purge is kept.
    retention: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    /// In milliseconds since 1970 by the clock of this machine.
    time: u64,
    /// Its time in the shared journal; 0 for a purge of this server.
    shared: u64,
}

impl Purge for Recent {
    fn time(self) -> u64 {
        self.time
    }
}

/// The generation of the purge log in which no purge had removed a response. It is a part of a cached response, which
/// never changes its name or its time.
#[derive(Debug)]
pub struct Compared(AtomicU64);

impl Default for Compared {
    fn default() -> Compared {
        Compared(AtomicU64::new(NOT_COMPARED))
    }
}

#[derive(Debug)]
struct Expiry {
    /// In [`PurgeLog::now`]'s milliseconds.
    at: u64,
    /// The time of the purges, in milliseconds since 1970.
    time: u64,
    targets: Vec<Target>,
}

/// Purges in force whose entries are being removed. They do not expire before this is dropped.
#[derive(Debug)]
pub struct PurgesInProgress {
    log: Arc<PurgeLog>,
    time: u64,
    targets: Vec<Target>,
}

impl Default for PurgeLog {
    fn default() -> PurgeLog {
        PurgeLog {
            started: Instant::now(),
            expires: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            state: RwLock::default(),
        }
    }
}

impl PurgeLog {
    /// Keeps purges for longer than a request to the renderer can take. The retention never shrinks, because requests
    /// from before a reload may take as long as the previous configuration allowed.
    pub fn extend_retention(&self, longest_request: Duration) {
        let mut state = self.state.write();
        state.retention = state.retention.max(longest_request + RETENTION_MARGIN);
    }

    pub fn retention(&self) -> Duration {
        self.state.read().retention
    }

    /// Records a purge. Its time is later than any time before, and past when this returns.
    pub fn record(self: &Arc<Self>, target: Target) -> PurgesInProgress {
        self.record_shared(vec![(target, 0)])
    }

    /// Records purges of other servers with their times in the shared journal. Here they have one common time.
    pub fn record_shared(self: &Arc<Self>, purges: Vec<(Target, u64)>) -> PurgesInProgress {
        let mut state = self.state.write();
        let time = unix_milliseconds(SystemTime::now()).max(self.latest() + 1);
        for (target, shared) in &purges {
            state.purges.insert(target.kind, target.hash, Recent { time, shared: *shared });
        }
        let targets = purges.into_iter().map(|(target, _)| target).collect();
        state.in_progress += 1;
        self.expires.store(NEVER, Ordering::Relaxed);
        self.begin_generation(time);
        drop(state);
        wait_until_past(time);
        PurgesInProgress { log: Arc::clone(self), time, targets }
    }

    /// Records a purge from before this server was started.
    pub fn restore(&self, target: Target, time: u64) {
        let mut state = self.state.write();
        state.purges.insert(target.kind, target.hash, Recent { time, shared: 0 });
        self.expire_later(&mut state, time, vec![target]);
        self.begin_generation(time);
    }

    /// After purges of this time are in the table and [`PurgeLog::expires`] says so: a thread that sees the generation
    /// also sees these (Release, with Acquire in [`PurgeLog::has_removed_cached`]).
    fn begin_generation(&self, time: u64) {
        self.latest.fetch_max(time, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Whether a purge of `name` has removed an answer of the origin at `validated_at`: it must not be served.
    pub fn has_removed(&self, name: &Name, validated_at: u64) -> bool {
        // What is later than all purges needs no hash.
        validated_at <= self.latest() && validated_at <= self.not_before(name)
    }

    /// The same for a response in memory, which is compared once with each generation of purges.
    pub fn has_removed_cached(&self, name: &Name, validated_at: u64, compared: &Compared) -> bool {
        // Before the comparison: purges during it belong to the next generation.
        let generation = self.generation.load(Ordering::Acquire);
        if compared.0.load(Ordering::Relaxed) == generation {
            return false;
        }
        let is_removed = self.has_removed(name, validated_at);
        if !is_removed {
            compared.0.store(generation, Ordering::Relaxed);
        }
        is_removed
    }

    /// The time of the latest purge of `name`, in milliseconds since 1970; 0 if there was none lately. Answers of the
    /// origin at this time or before must not be served.
    pub fn not_before(&self, name: &Name) -> u64 {
        self.latest_of(name).time
    }

    /// The time of a purge of `name` in the shared journal, if [`PurgeLog::not_before`] is still `not_before` because of
    /// it; else 0.
    pub fn shared_purge(&self, name: &Name, not_before: u64) -> u64 {
        let latest = self.latest_of(name);
        if latest.time == not_before { latest.shared } else { 0 }
    }

    fn latest_of(&self, name: &Name) -> Recent {
        let expires = self.expires.load(Ordering::Relaxed);
        if expires == 0 {
            return Recent::default();
        }
        if self.now() >= expires {
            self.remove_expired(&mut self.state.write());
        }
        self.state.read().purges.latest(name)
    }

    fn expire_later(&self, state: &mut State, time: u64, targets: Vec<Target>) {
        self.remove_expired(state);
        let retention = u64::try_from(state.retention.as_millis()).unwrap_or(u64::MAX / 2);
        // The retention never shrinks, so the queue stays in order.
        let at = self.now().saturating_add(retention);
        state.expiries.push_back(Expiry { at, time, targets });
        self.update_expires(state);
    }

    fn remove_expired(&self, state: &mut State) {
        let now = self.now();
        while state.expiries.front().is_some_and(|expiry| expiry.at <= now)
            && let Some(Expiry { time, targets, .. }) = state.expiries.pop_front()
        {
            for target in targets {
                state.purges.remove(target.kind, target.hash, time);
            }
        }
        self.update_expires(state);
    }

    fn update_expires(&self, state: &State) {
        let last = state.expiries.back().map_or(0, |expiry| expiry.at);
        let expires = if state.in_progress > 0 { NEVER } else { last };
        self.expires.store(expires, Ordering::Relaxed);
    }

    /// Milliseconds since `started`, never 0 and never [`NEVER`].
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }
}

impl PurgesInProgress {
    /// Milliseconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}

impl Drop for PurgesInProgress {
    fn drop(&mut self) {
        let mut state = self.log.state.write();
        state.in_progress -= 1;
        self.log.expire_later(&mut state, self.time, std::mem::take(&mut self.targets));
    }
}

/// Waits until the clock has passed a purge's time, so that an answer of the origin after the purge has a later time.
/// This also keeps the times of many purges from running ahead of the clock.
fn wait_until_past(time: u64) {
    let started = Instant::now();
    while unix_milliseconds(SystemTime::now()) <= time && started.elapsed() < MAX_CLOCK_WAIT {
        thread::sleep(Duration::from_micros(500));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_journal::TargetKind;

    fn name(key: &str) -> Name {
        Name { handler: "h".into(), key: key.into(), options: "w=1".into() }
    }

    impl PurgeLog {
        fn record_key(self: &Arc<Self>, handler: &str, key: &str) -> u64 {
            self.record(Target::new(handler, key, TargetKind::Key)).time()
        }

        fn record_prefix(self: &Arc<Self>, handler: &str, prefix: &str) -> PurgesInProgress {
            self.record(Target::new(handler, prefix, TargetKind::Prefix))
        }
    }

    fn log() -> Arc<PurgeLog> {
        let purge_log = Arc::<PurgeLog>::default();
        purge_log.extend_retention(Duration::ZERO);
        purge_log
    }

    #[test]
    fn purge_of_a_key_includes_all_its_variants_and_no_other_key() {
        let purge_log = log();
        assert_eq!(purge_log.not_before(&name("a")), 0);
        let time = purge_log.record_key("h", "a");
        for options in ["w=1", "", "original"] {
            assert_eq!(purge_log.not_before(&Name { options: options.into(), ..name("a") }), time);
        }
        for other in [name("b"), name("a/"), name(""), Name { handler: "i".into(), ..name("a") }] {
            assert_eq!(purge_log.not_before(&other), 0, "{other:?}");
        }
        let again = purge_log.record_key("h", "a");
        assert!(again > time);
        assert_eq!(purge_log.not_before(&name("a")), again);
    }

    #[test]
    fn purge_of_a_prefix_includes_every_key_below_it_and_no_other() {
        let purge_log = log();
        let time = purge_log.record_prefix("h", "a/b/").time();
        for key in ["a/b/", "a/b/c", "a/b//", "a/b/c/d/e", "a/b/\u{fc}"] {
            assert_eq!(purge_log.not_before(&name(key)), time, "{key}");
        }
        for key in ["a/b", "a/bc/d", "a/", "a/c/b/", "/a/b/c", "A/b/c", ""] {
            assert_eq!(purge_log.not_before(&name(key)), 0, "{key}");
        }
        let of_key = purge_log.record_key("h", "a/b/c");
        assert_eq!(purge_log.not_before(&name("a/b/c")), of_key);
        let everything = purge_log.record_prefix("h", "").time();
        for key in ["a/b/c", "a/b/d", "x", "/", ""] {
            assert_eq!(purge_log.not_before(&name(key)), everything, "{key}");
        }
        assert_eq!(purge_log.not_before(&Name { handler: "i".into(), ..name("x") }), 0);
    }

    #[test]
    fn purge_times_increase_and_are_past_when_returned() {
        let purge_log = log();
        let mut last = 0;
        for _ in 0..20 {
            let time = purge_log.record_key("h", "a");
            assert!(time > last && time < unix_milliseconds(SystemTime::now()));
            last = time;
        }
        // Also if the clock is set back, and without waiting for it.
        let ahead = last + 3_600_000;
        purge_log.latest.store(ahead, Ordering::Relaxed);
        assert_eq!(purge_log.record_key("h", "a"), ahead + 1);
        assert_eq!(purge_log.record_prefix("h", "").time(), ahead + 2);
    }

    #[test]
    fn purge_log_is_empty_after_its_purges_expired() {
        // The retention is zero.
        let purge_log = Arc::<PurgeLog>::default();
        purge_log.record_key("h", "a");
        assert_eq!(purge_log.not_before(&name("a")), 0);
        assert_eq!(purge_log.expires.load(Ordering::Relaxed), 0);
        let state = purge_log.state.write();
        assert!(state.purges.is_empty() && state.expiries.is_empty());
    }

    #[test]
    fn purge_log_keeps_a_target_that_was_purged_again() {
        let purge_log = Arc::<PurgeLog>::default();
        drop(purge_log.record_prefix("h", "c/"));
        for key in ["b", "a"] {
            purge_log.record_key("h", key);
        }
        // The retention is a minute from now on.
        purge_log.extend_retention(Duration::ZERO);
        let again = purge_log.record_key("h", "a");
        let new = purge_log.record_key("h", "new");
        let key = |key| purge_log.not_before(&name(key));
        assert_eq!((key("a"), key("b"), key("c/d"), key("new")), (again, 0, 0, new));
    }

    #[test]
    fn purge_of_a_prefix_does_not_expire_while_it_is_in_progress() {
        let purge_log = Arc::<PurgeLog>::default();
        let first = purge_log.record_prefix("h", "a/");
        let second = purge_log.record_prefix("h", "a/");
        purge_log.record_key("h", "b");
        let time = second.time();
        assert!(first.time() < time);
        drop(first);
        for _ in 0..3 {
            assert_eq!(purge_log.not_before(&name("a/x")), time);
        }
        drop(second);
        assert_eq!(purge_log.not_before(&name("a/x")), 0);
        assert_eq!(purge_log.expires.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn purges_that_are_recorded_together_have_one_time_and_expire_together() {
        let purge_log = Arc::<PurgeLog>::default();
        let targets = vec![
            (Target::new("h", "a", TargetKind::Key), 7),
            (Target::new("h", "b/", TargetKind::Prefix), 8),
            (Target::new("i", "", TargetKind::Prefix), 9),
        ];
        let purges = purge_log.record_shared(targets);
        let other = Name { handler: "i".into(), ..name("x") };
        for name in [&name("a"), &name("b/c"), &other] {
            assert_eq!(purge_log.not_before(name), purges.time(), "{name:?}");
        }
        assert_eq!(purge_log.not_before(&name("b")), 0);
        let time = purges.time();
        let shared =
            |time| [name("a"), name("b/c")].map(|name| purge_log.shared_purge(&name, time));
        assert_eq!((shared(time), shared(time - 1)), ([7, 8], [0, 0]));
        let local = purge_log.record_key("h", "a");
        assert_eq!(shared(time), [0, 8], "a later purge of this server");
        assert_eq!(shared(local), [0, 0]);
        drop(purges);
        for name in [&name("a"), &name("b/c"), &other] {
            assert_eq!(purge_log.not_before(name), 0, "{name:?}");
        }
    }

    #[test]
    fn a_response_is_compared_once_with_each_generation_of_purges() {
        let purge_log = log();
        let compared = Compared::default();
        let validated_at = unix_milliseconds(SystemTime::now());
        let is_removed = |key| {
            let of_cached = purge_log.has_removed_cached(&name(key), validated_at, &compared);
            // A fresh comparison, and one without memory, say the same.
            let fresh = Compared::default();
            assert_eq!(of_cached, purge_log.has_removed_cached(&name(key), validated_at, &fresh));
            assert_eq!(of_cached, purge_log.has_removed(&name(key), validated_at));
            assert_eq!(of_cached, purge_log.not_before(&name(key)) >= validated_at);
            of_cached
        };
        let generation = || {
            let of_response = compared.0.load(Ordering::Relaxed);
            (of_response, purge_log.generation.load(Ordering::Relaxed))
        };
        assert_eq!(generation(), (NOT_COMPARED, 0));
        assert!(!is_removed("a/b"));
        assert_eq!(generation(), (0, 0));
        // Purges of others make it compare again, and each purge between two hits counts.
        for (number, prefix) in (1..).zip(["b/", "a/b/", "A/", "a/b/c/"]) {
            purge_log.record_prefix("h", prefix);
            purge_log.record_key("h", "a");
            assert_eq!(generation(), (2 * number - 2, 2 * number));
            assert!(!is_removed("a/b"), "{prefix}");
            assert_eq!(generation(), (2 * number, 2 * number));
        }
        let other_handler = purge_log.record_key("i", "a/b");
        assert!(!is_removed("a/b") && other_handler >= validated_at);
        let in_progress = purge_log.record_prefix("h", "a/");
        assert!(is_removed("a/b"));
        drop(in_progress);
        // What is removed is not remembered as compared, however often it is asked.
        assert!(is_removed("a/b") && is_removed("a/b"));
        // An answer from after the purge is current; the purge of the next instant removes that as well.
        let (later, compared) = (unix_milliseconds(SystemTime::now()), Compared::default());
        let is_removed = || purge_log.has_removed_cached(&name("a/b"), later, &compared);
        assert!(!is_removed() && !is_removed());
        purge_log.record_prefix("h", "");
        assert!(is_removed());
    }

    #[test]
    fn a_purge_that_is_restored_after_a_later_one_is_compared_as_well() {
        let purge_log = log();
        let (now, compared) = (unix_milliseconds(SystemTime::now()), Compared::default());
        let is_removed =
            |validated_at| purge_log.has_removed_cached(&name("a"), validated_at, &compared);
        purge_log.restore(Target::new("h", "b", TargetKind::Key), now);
        assert!(!is_removed(now - 2000));
        purge_log.restore(Target::new("h", "a", TargetKind::Key), now - 1000);
        assert!(is_removed(now - 2000) && is_removed(now - 1000) && !is_removed(now - 999));
    }

    #[test]
    fn what_is_later_than_all_purges_needs_no_lookup() {
        let purge_log = log();
        let time = purge_log.record_key("h", "a");
        // A lookup would wait for ever.
        let _state = purge_log.state.write();
        assert!(!purge_log.has_removed(&name("a"), time + 1));
        let compared = Compared::default();
        assert!(!purge_log.has_removed_cached(&name("a"), time + 1, &compared));
        // Nor does one that has been compared.
        assert!(!purge_log.has_removed_cached(&name("a"), 0, &compared));
    }

    #[test]
    fn nothing_that_was_purged_is_current_on_any_thread() {
        let purge_log = log();
        let compared = Compared::default();
        let validated_at = unix_milliseconds(SystemTime::now());
        let is_purged = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        let must_be_removed = is_purged.load(Ordering::Acquire);
                        let name = name("a/b");
                        let removed = purge_log.has_removed_cached(&name, validated_at, &compared);
                        assert!(removed || !must_be_removed);
                        if must_be_removed {
                            return;
                        }
                    }
                });
            }
            for _ in 0..50 {
                drop(purge_log.record_prefix("h", "b/"));
            }
            drop(purge_log.record_prefix("h", "a/"));
            is_purged.store(true, Ordering::Release);
        });
    }

    #[test]
    fn purge_retention_exceeds_the_longest_request_of_any_configuration() {
        let purge_log = log();
        purge_log.extend_retention(Duration::from_secs(1000));
        purge_log.extend_retention(Duration::from_secs(10));
        purge_log.record_key("h", "a");
        let expires = Duration::from_millis(purge_log.expires.load(Ordering::Relaxed));
        assert!(
            (Duration::from_secs(1060)..Duration::from_secs(1080)).contains(&expires),
            "{expires:?}"
        );
    }
}
