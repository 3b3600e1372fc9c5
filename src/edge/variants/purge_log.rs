//! The purge log: the times of recent purges. Answers of the origin from before a purge are not served.
//!
//! Removing the cached entries is not enough: a request in flight may store an answer from before the purge. Each purge
//! is therefore kept for longer than a request can be in flight, and every lookup asks the log. While the log is empty,
//! that costs one atomic load.
//!
//! Targets are hashes, because those of other servers' purges are known by their hashes only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::cache::{self, Name};
use crate::shared_journal::{Target, TargetKind, prefixes_of};
use crate::sync::RwLock;
use crate::time::unix_milliseconds;

/// How much longer a purge is kept than the longest request to the renderer.
const RETENTION_MARGIN: Duration = Duration::from_secs(60);
/// Maximum wait for the clock to pass a purge's time; only a clock that was set back would take longer.
const MAX_CLOCK_WAIT: Duration = Duration::from_millis(100);
/// The value of [`PurgeLog::expires`] while entries are being removed.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub struct PurgeLog {
    started: Instant,
    /// When the last purge expires, in [`PurgeLog::now`]'s milliseconds; 0 if the log is empty.
    expires: AtomicU64,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    purges: Purges,
    /// In order of expiry.
    expiries: VecDeque<Expiry>,
    /// Number of [`PurgesInProgress`].
    in_progress: usize,
    /// The latest time of a purge.
    latest: u64,
    /// How long a purge is kept.
    retention: Duration,
}

/// The latest purge of each target, by its hash.
#[derive(Debug, Default)]
struct Purges {
    keys: HashMap<[u8; 16], Latest>,
    /// Each prefix ends with a slash, or is empty and stands for all keys of a handler.
    prefixes: HashMap<[u8; 16], Latest>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    /// In milliseconds since 1970 by the clock of this machine.
    time: u64,
    /// Its time in the shared journal; 0 for a purge of this server.
    shared: u64,
}

impl Latest {
    fn max(self, other: Latest) -> Latest {
        if other.time > self.time { other } else { self }
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
        PurgeLog { started: Instant::now(), expires: AtomicU64::new(0), state: RwLock::default() }
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
        let time = unix_milliseconds(SystemTime::now()).max(state.latest + 1);
        for (target, shared) in &purges {
            state.record(target, Latest { time, shared: *shared });
        }
        let targets = purges.into_iter().map(|(target, _)| target).collect();
        state.in_progress += 1;
        self.expires.store(NEVER, Ordering::Relaxed);
        drop(state);
        wait_until_past(time);
        PurgesInProgress { log: Arc::clone(self), time, targets }
    }

    /// Records a purge from before this server was started.
    pub fn restore(&self, target: Target, time: u64) {
        let mut state = self.state.write();
        state.record(&target, Latest { time, shared: 0 });
        self.expire_later(&mut state, time, vec![target]);
    }

    /// The time of the latest purge of `name`, in milliseconds since 1970; 0 if there was none lately. Answers of the
    /// origin at this time or before must not be served.
    pub fn not_before(&self, name: &Name) -> u64 {
        self.latest(name).time
    }

    /// The time of a purge of `name` in the shared journal, if [`PurgeLog::not_before`] is still `not_before` because of
    /// it; else 0.
    pub fn shared_purge(&self, name: &Name, not_before: u64) -> u64 {
        let latest = self.latest(name);
        if latest.time == not_before { latest.shared } else { 0 }
    }

    fn latest(&self, name: &Name) -> Latest {
        let expires = self.expires.load(Ordering::Relaxed);
        if expires == 0 {
            return Latest::default();
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
                let times = state.purges.times(target.kind);
                // The same target may have been purged again since.
                if times.get(&target.hash).is_some_and(|latest| latest.time == time) {
                    times.remove(&target.hash);
                }
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

impl State {
    fn record(&mut self, target: &Target, purge: Latest) {
        let latest = self.purges.times(target.kind).entry(target.hash).or_default();
        *latest = latest.max(purge);
        self.latest = purge.time.max(self.latest);
    }
}

impl Purges {
    fn times(&mut self, kind: TargetKind) -> &mut HashMap<[u8; 16], Latest> {
        match kind {
            TargetKind::Key => &mut self.keys,
            TargetKind::Prefix => &mut self.prefixes,
        }
    }

    /// The latest purge that has removed this key.
    fn latest(&self, name: &Name) -> Latest {
        let purge_of = |times: &HashMap<[u8; 16], Latest>, target| {
            times.get(&cache::key_hash(&name.handler, target)).copied().unwrap_or_default()
        };
        let mut latest = Latest::default();
        if !self.keys.is_empty() {
            latest = latest.max(purge_of(&self.keys, &name.key));
        }
        if !self.prefixes.is_empty() {
            for prefix in prefixes_of(&name.key) {
                latest = latest.max(purge_of(&self.prefixes, prefix));
            }
        }
        latest
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
        purge_log.state.write().latest = ahead;
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
        let Purges { keys, prefixes } = &state.purges;
        assert!(keys.is_empty() && prefixes.is_empty() && state.expiries.is_empty());
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
