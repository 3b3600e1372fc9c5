//! The log of recent purge_log: what an origin said before one of them is not served, wherever it comes from.
//!
//! A purge removes what is cached, which is not enough: a request that was in flight brings back what it was asked
//! for before. So each purge is remembered for as long as one can be in flight, and every lookup asks here. That costs
//! one load as long as nothing was purged lately.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::cache::Name;
use crate::time::unix_milliseconds;

/// How long a purge is remembered besides the longest time that the renderer can be asked for.
const LONGER: Duration = Duration::from_secs(60);
/// How long it is waited at the most until the clock is past a purge's time; only one that is set back takes longer.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// What [`PurgeLog::until`] says while a directory is gone through.
const FOR_NOW: u64 = u64::MAX;

/// Every purge that may still matter.
#[derive(Debug)]
pub struct PurgeLog {
    started: Instant,
    /// When the last of them can be forgotten, as [`PurgeLog::now`] tells it; 0 when there are none.
    until: AtomicU64,
    log: RwLock<Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// By the handler's identity.
    handlers: HashMap<Arc<str>, Touched>,
    /// What can be forgotten, the first first.
    ended: VecDeque<Ended>,
    /// How many prefixes' directories are being gone through.
    walks: usize,
    /// The latest time that was given out.
    latest: u64,
    /// How long a purge is remembered.
    keep: Duration,
}

/// What was purged of one handler, each with its latest time.
#[derive(Debug, Default)]
struct Touched {
    keys: HashMap<Arc<str>, u64>,
    /// Each ends with a slash, or is empty and stands for everything.
    prefixes: HashMap<Arc<str>, u64>,
}

/// What is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One key.
    Key,
    /// Every key that starts so.
    Prefix,
}

#[derive(Debug)]
struct Ended {
    /// As [`PurgeLog::now`] tells it.
    at: u64,
    time: u64,
    handler: Arc<str>,
    what: Arc<str>,
    kind: Kind,
}

/// A prefix that is not forgotten before this is dropped: its directory is being gone through.
#[derive(Debug)]
pub struct Walk<'r> {
    purge_log: &'r PurgeLog,
    handler: Arc<str>,
    prefix: Arc<str>,
    time: u64,
}

impl Default for PurgeLog {
    fn default() -> PurgeLog {
        PurgeLog { started: Instant::now(), until: AtomicU64::new(0), log: RwLock::default() }
    }
}

impl PurgeLog {
    /// From now on the renderer can be asked for as long as this. What was in flight before a reload may take as long
    /// as the configuration before it said, so this becomes no shorter.
    pub fn outlast(&self, longest_ask: Duration) {
        let mut log = self.write();
        log.keep = log.keep.max(longest_ask + LONGER);
    }

    /// A key of a handler with this identity is purged. Its time, in milliseconds since 1970: larger than every one
    /// before, and past when this returns.
    pub fn record_key(&self, handler: &str, key: &str) -> u64 {
        let mut log = self.write();
        let (handler, key, time) = log.record(handler, key, Kind::Key);
        self.end(&mut log, Ended { at: 0, time, handler, what: key, kind: Kind::Key });
        drop(log);
        wait_until_past(time);
        time
    }

    /// Something was purged then, before this server was started.
    pub fn restore(&self, handler: &str, what: &str, kind: Kind, time: u64) {
        let mut log = self.write();
        let (handler, what): (Arc<str>, Arc<str>) = (handler.into(), what.into());
        let touched = log.handlers.entry(Arc::clone(&handler)).or_default();
        let times = match kind {
            Kind::Key => &mut touched.keys,
            Kind::Prefix => &mut touched.prefixes,
        };
        let latest = times.entry(Arc::clone(&what)).or_default();
        *latest = time.max(*latest);
        log.latest = log.latest.max(time);
        self.end(&mut log, Ended { at: 0, time, handler, what, kind });
    }

    /// How long a purge is remembered.
    pub fn keep(&self) -> Duration {
        self.log.read().unwrap_or_else(PoisonError::into_inner).keep
    }

    /// Every key that starts with this is purged; it ends with a slash, or is empty. As [`PurgeLog::record_key`],
    /// and remembered while its directory is gone through and after that.
    pub fn record_prefix(&self, handler: &str, prefix: &str) -> Walk<'_> {
        let mut log = self.write();
        let (handler, prefix, time) = log.record(handler, prefix, Kind::Prefix);
        log.walks += 1;
        self.until.store(FOR_NOW, Ordering::Relaxed);
        drop(log);
        wait_until_past(time);
        Walk { purge_log: self, handler, prefix, time }
    }

    /// When what has this name was last purged, in milliseconds since 1970; 0 when it was not lately. What its origin
    /// was asked for then or before must not be served.
    pub fn not_before(&self, name: &Name) -> u64 {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return 0;
        }
        if self.now() >= until {
            self.forget(&mut self.write());
        }
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        log.handlers.get(name.handler.as_str()).map_or(0, |touched| touched.latest(&name.key))
    }

    /// Puts something where it is forgotten in time.
    fn end(&self, log: &mut Log, ended: Ended) {
        self.forget(log);
        let keep = u64::try_from(log.keep.as_millis()).unwrap_or(u64::MAX / 2);
        // `keep` never becomes less, so that they stay in order.
        log.ended.push_back(Ended { at: self.now().saturating_add(keep), ..ended });
        self.set_until(log);
    }

    /// Takes out what is over.
    fn forget(&self, log: &mut Log) {
        let now = self.now();
        while log.ended.front().is_some_and(|ended| ended.at <= now)
            && let Some(ended) = log.ended.pop_front()
        {
            let Some(touched) = log.handlers.get_mut(&ended.handler) else { continue };
            let times = match ended.kind {
                Kind::Key => &mut touched.keys,
                Kind::Prefix => &mut touched.prefixes,
            };
            // It may have been purged again since.
            if times.get(&ended.what) == Some(&ended.time) {
                times.remove(&ended.what);
            }
            if touched.keys.is_empty() && touched.prefixes.is_empty() {
                log.handlers.remove(&ended.handler);
            }
        }
        self.set_until(log);
    }

    fn set_until(&self, log: &Log) {
        let last = log.ended.back().map_or(0, |ended| ended.at);
        self.until.store(if log.walks > 0 { FOR_NOW } else { last }, Ordering::Relaxed);
    }

    /// Milliseconds since `started`. Never 0, and never [`FOR_NOW`].
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }

    fn write(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn record(&mut self, handler: &str, what: &str, kind: Kind) -> (Arc<str>, Arc<str>, u64) {
        let time = unix_milliseconds(SystemTime::now()).max(self.latest + 1);
        self.latest = time;
        let (handler, what): (Arc<str>, Arc<str>) = (handler.into(), what.into());
        let touched = self.handlers.entry(Arc::clone(&handler)).or_default();
        let times = match kind {
            Kind::Key => &mut touched.keys,
            Kind::Prefix => &mut touched.prefixes,
        };
        times.insert(Arc::clone(&what), time);
        (handler, what, time)
    }
}

impl Touched {
    fn latest(&self, key: &str) -> u64 {
        let of =
            |times: &HashMap<Arc<str>, u64>, what| times.get(what).copied().unwrap_or_default();
        let mut latest = of(&self.keys, key);
        if !self.prefixes.is_empty() {
            let ends = key.match_indices('/').map(|(at, _)| at + 1);
            for end in std::iter::once(0).chain(ends) {
                latest = latest.max(of(&self.prefixes, key.get(..end).unwrap_or_default()));
            }
        }
        latest
    }
}

impl Walk<'_> {
    /// The time of the purge, in milliseconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        let (handler, what) = (Arc::clone(&self.handler), Arc::clone(&self.prefix));
        let mut log = self.purge_log.write();
        log.walks -= 1;
        self.purge_log
            .end(&mut log, Ended { at: 0, time: self.time, handler, what, kind: Kind::Prefix });
    }
}

/// What an origin is asked for after a purge must not seem to be of the same millisecond. It also keeps the times
/// that are given out from running ahead of the clock, however many purge_log there are.
fn wait_until_past(time: u64) {
    let started = Instant::now();
    while unix_milliseconds(SystemTime::now()) <= time && started.elapsed() < LONGEST_WAIT {
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
        purge_log.outlast(Duration::ZERO);
        purge_log
    }

    #[test]
    fn a_key_is_purged_on_all_its_options_and_no_other_is() {
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
    fn a_prefix_is_every_key_below_it_and_nothing_beside_it() {
        let purge_log = log();
        let time = purge_log.record_prefix("h", "a/b/").time;
        for key in ["a/b/", "a/b/c", "a/b//", "a/b/c/d/e", "a/b/\u{fc}"] {
            assert_eq!(purge_log.not_before(&name(key)), time, "{key}");
        }
        for key in ["a/b", "a/bc/d", "a/", "a/c/b/", "/a/b/c", "A/b/c", ""] {
            assert_eq!(purge_log.not_before(&name(key)), 0, "{key}");
        }
        let of_key = purge_log.record_key("h", "a/b/c");
        assert_eq!(purge_log.not_before(&name("a/b/c")), of_key);
        let everything = purge_log.record_prefix("h", "").time;
        for key in ["a/b/c", "a/b/d", "x", "/", ""] {
            assert_eq!(purge_log.not_before(&name(key)), everything, "{key}");
        }
        assert_eq!(purge_log.not_before(&Name { handler: "i".into(), ..name("x") }), 0);
    }

    #[test]
    fn times_only_grow_and_are_past_when_they_are_told() {
        let purge_log = log();
        let mut last = 0;
        for _ in 0..20 {
            let time = purge_log.record_key("h", "a");
            assert!(time > last && time < unix_milliseconds(SystemTime::now()));
            last = time;
        }
        // A clock that is set back changes nothing of that, and nobody waits for it.
        let ahead = last + 3_600_000;
        purge_log.write().latest = ahead;
        assert_eq!(purge_log.record_key("h", "a"), ahead + 1);
        assert_eq!(purge_log.record_prefix("h", "").time, ahead + 2);
    }

    #[test]
    fn what_is_over_is_forgotten_and_costs_nothing_any_more() {
        // Nothing is kept for longer than it takes.
        let purge_log = PurgeLog::default();
        purge_log.record_key("h", "a");
        assert_eq!(purge_log.not_before(&name("a")), 0);
        assert_eq!(purge_log.until.load(Ordering::Relaxed), 0);
        let log = purge_log.write();
        assert!(log.handlers.is_empty() && log.ended.is_empty());
    }

    #[test]
    fn what_is_over_takes_nothing_along_that_is_not() {
        let purge_log = PurgeLog::default();
        drop(purge_log.record_prefix("h", "c/"));
        for key in ["b", "a"] {
            purge_log.record_key("h", key);
        }
        // From now on they are kept.
        purge_log.outlast(Duration::ZERO);
        let (again, new) = (purge_log.record_key("h", "a"), purge_log.record_key("h", "new"));
        let key = |key| purge_log.not_before(&name(key));
        assert_eq!((key("a"), key("b"), key("c/d"), key("new")), (again, 0, 0, new));
    }

    #[test]
    fn a_prefix_is_remembered_until_its_last_walk_is_over() {
        let purge_log = PurgeLog::default();
        let first = purge_log.record_prefix("h", "a/");
        let second = purge_log.record_prefix("h", "a/");
        purge_log.record_key("h", "b");
        let time = second.time;
        assert!(first.time < time);
        drop(first);
        for _ in 0..3 {
            assert_eq!(purge_log.not_before(&name("a/x")), time);
        }
        drop(second);
        assert_eq!(purge_log.not_before(&name("a/x")), 0);
        assert_eq!(purge_log.until.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_remembered_outlasts_the_longest_request_of_any_configuration() {
        let purge_log = log();
        purge_log.outlast(Duration::from_secs(1000));
        purge_log.outlast(Duration::from_secs(10));
        purge_log.record_key("h", "a");
        let until = Duration::from_millis(purge_log.until.load(Ordering::Relaxed));
        assert!(
            (Duration::from_secs(1060)..Duration::from_secs(1080)).contains(&until),
            "{until:?}"
        );
    }
}
