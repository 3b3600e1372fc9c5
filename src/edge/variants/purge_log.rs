//! The purge log: the times of recent purges. Answers of the origin from before a purge are not served.
//!
//! Removing the cached entries is not enough: a request in flight may store an answer from before the purge. Each purge
//! is therefore kept for longer than a request can be in flight, and every lookup asks the log. While the log is empty,
//! that costs one atomic load.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::cache::Name;
use crate::sync::RwLock;
use crate::time::unix_milliseconds;

/// How much longer a purge is kept than the longest request to the renderer.
const RETENTION_MARGIN: Duration = Duration::from_secs(60);
/// Maximum wait for the clock to pass a purge's time; only a clock that was set back would take longer.
const MAX_CLOCK_WAIT: Duration = Duration::from_millis(100);
/// The value of [`PurgeLog::expires`] while a prefix is being purged.
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
    /// By the handler's identity.
    handlers: HashMap<Arc<str>, Purges>,
    /// In order of expiry.
    expiries: VecDeque<Expiry>,
    /// Number of [`PrefixPurge`]s in progress.
    prefix_purges: usize,
    /// The latest time of a purge.
    latest: u64,
    /// How long a purge is kept.
    retention: Duration,
}

/// The purges of one handler: the latest time of each target.
#[derive(Debug, Default)]
struct Purges {
    keys: HashMap<Arc<str>, u64>,
    /// Each prefix ends with a slash, or is empty and stands for all keys.
    prefixes: HashMap<Arc<str>, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    Key,
    Prefix,
}

/// One purge, of a key or a prefix.
#[derive(Clone, Debug)]
struct Purge {
    /// Milliseconds since 1970.
    time: u64,
    handler: Arc<str>,
    target: Arc<str>,
    kind: TargetKind,
}

#[derive(Debug)]
struct Expiry {
    /// In [`PurgeLog::now`]'s milliseconds.
    at: u64,
    purge: Purge,
}

/// A purge of a prefix in progress. It does not expire before this is dropped.
#[derive(Debug)]
pub struct PrefixPurge<'l> {
    log: &'l PurgeLog,
    purge: Purge,
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

    /// Records the purge of a key. Returns its time in milliseconds since 1970, which is later than any time before,
    /// and past when this returns.
    pub fn record_key(&self, handler: &str, key: &str) -> u64 {
        let mut state = self.state.write();
        let purge = state.record_now(handler, key, TargetKind::Key);
        let time = purge.time;
        self.expire_later(&mut state, purge);
        drop(state);
        wait_until_past(time);
        time
    }

    /// Records the purge of every key that starts with `prefix`, as [`PurgeLog::record_key`] does for one key.
    pub fn record_prefix(&self, handler: &str, prefix: &str) -> PrefixPurge<'_> {
        let mut state = self.state.write();
        let purge = state.record_now(handler, prefix, TargetKind::Prefix);
        state.prefix_purges += 1;
        self.expires.store(NEVER, Ordering::Relaxed);
        drop(state);
        wait_until_past(purge.time);
        PrefixPurge { log: self, purge }
    }

    /// Records a purge from before this server was started.
    pub fn restore(&self, handler: &str, target: &str, kind: TargetKind, time: u64) {
        let mut state = self.state.write();
        let purge = state.record(handler, target, kind, time);
        self.expire_later(&mut state, purge);
    }

    /// The time of the latest purge of `name`, in milliseconds since 1970; 0 if there was none lately. Answers of the
    /// origin at this time or before must not be served.
    pub fn not_before(&self, name: &Name) -> u64 {
        let expires = self.expires.load(Ordering::Relaxed);
        if expires == 0 {
            return 0;
        }
        if self.now() >= expires {
            self.remove_expired(&mut self.state.write());
        }
        let state = self.state.read();
        state.handlers.get(name.handler.as_str()).map_or(0, |purges| purges.latest(&name.key))
    }

    fn expire_later(&self, state: &mut State, purge: Purge) {
        self.remove_expired(state);
        let retention = u64::try_from(state.retention.as_millis()).unwrap_or(u64::MAX / 2);
        // The retention never shrinks, so the queue stays in order.
        let at = self.now().saturating_add(retention);
        state.expiries.push_back(Expiry { at, purge });
        self.update_expires(state);
    }

    fn remove_expired(&self, state: &mut State) {
        let now = self.now();
        while state.expiries.front().is_some_and(|expiry| expiry.at <= now)
            && let Some(Expiry { purge, .. }) = state.expiries.pop_front()
        {
            let Some(purges) = state.handlers.get_mut(&purge.handler) else { continue };
            let times = purges.times(purge.kind);
            // The same target may have been purged again since.
            if times.get(&purge.target) == Some(&purge.time) {
                times.remove(&purge.target);
            }
            if purges.keys.is_empty() && purges.prefixes.is_empty() {
                state.handlers.remove(&purge.handler);
            }
        }
        self.update_expires(state);
    }

    fn update_expires(&self, state: &State) {
        let last = state.expiries.back().map_or(0, |expiry| expiry.at);
        let expires = if state.prefix_purges > 0 { NEVER } else { last };
        self.expires.store(expires, Ordering::Relaxed);
    }

    /// Milliseconds since `started`, never 0 and never [`NEVER`].
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }
}

impl State {
    fn record_now(&mut self, handler: &str, target: &str, kind: TargetKind) -> Purge {
        let time = unix_milliseconds(SystemTime::now()).max(self.latest + 1);
        self.record(handler, target, kind, time)
    }

    fn record(&mut self, handler: &str, target: &str, kind: TargetKind, time: u64) -> Purge {
        let purge = Purge { time, handler: handler.into(), target: target.into(), kind };
        let purges = self.handlers.entry(Arc::clone(&purge.handler)).or_default();
        let latest = purges.times(kind).entry(Arc::clone(&purge.target)).or_default();
        *latest = time.max(*latest);
        self.latest = time.max(self.latest);
        purge
    }
}

impl Purges {
    fn times(&mut self, kind: TargetKind) -> &mut HashMap<Arc<str>, u64> {
        match kind {
            TargetKind::Key => &mut self.keys,
            TargetKind::Prefix => &mut self.prefixes,
        }
    }

    /// The time of the latest purge that has removed this key.
    fn latest(&self, key: &str) -> u64 {
        let time_of =
            |times: &HashMap<Arc<str>, u64>, target| times.get(target).copied().unwrap_or_default();
        let mut latest = time_of(&self.keys, key);
        if !self.prefixes.is_empty() {
            let ends = key.match_indices('/').map(|(at, _)| at + 1);
            for end in std::iter::once(0).chain(ends) {
                latest = latest.max(time_of(&self.prefixes, key.get(..end).unwrap_or_default()));
            }
        }
        latest
    }
}

impl PrefixPurge<'_> {
    /// Milliseconds since 1970.
    pub fn time(&self) -> u64 {
        self.purge.time
    }
}

impl Drop for PrefixPurge<'_> {
    fn drop(&mut self) {
        let mut state = self.log.state.write();
        state.prefix_purges -= 1;
        self.log.expire_later(&mut state, self.purge.clone());
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

    fn log() -> PurgeLog {
        let purge_log = PurgeLog::default();
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
        let purge_log = PurgeLog::default();
        purge_log.record_key("h", "a");
        assert_eq!(purge_log.not_before(&name("a")), 0);
        assert_eq!(purge_log.expires.load(Ordering::Relaxed), 0);
        let state = purge_log.state.write();
        assert!(state.handlers.is_empty() && state.expiries.is_empty());
    }

    #[test]
    fn purge_log_keeps_a_target_that_was_purged_again() {
        let purge_log = PurgeLog::default();
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
        let purge_log = PurgeLog::default();
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
