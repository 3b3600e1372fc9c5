//! What a journal needs from time to time: old objects are removed by whoever comes by, and results that another server
//! uploaded around the time of a purge.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Weak;
use std::thread;
use std::time::{Duration, Instant};

use super::{FIXED, Journal};
use crate::check_interval::check_interval;
use crate::error::{Code, Failure};
use crate::log::warn_ratelimited;
use crate::render::result_object;
use crate::render::s3::Deadline;
use crate::shared_journal::{self, MarkName, PREFIXES, PURGES, PurgeName, RETENTION};
use crate::sync::Mutex;
use crate::time::milliseconds;

/// Checks between the purge of a key and the second look at its results. By then, every other server knows of the purge, or
/// does not upload any more.
const SWEEP_CHECKS: u32 = 60;
/// The largest result that is looked at.
const MAX_RESULT: u64 = 64 << 20;
/// Keys that wait for it; further ones are left out.
const MAX_SWEEPS: usize = 10_000;
/// The checks between two removals of old objects, at random up to this number.
const CLEAN_CHECKS: u64 = 3600;
/// The checks before the first one: a renderer may be replaced soon.
const FIRST_CLEAN_CHECKS: u64 = 600;
/// How much longer an object stays than it counts, so that a server that is reading finds it.
const CLEAN_MARGIN: Duration = Duration::from_secs(3600);
/// Objects that are removed at once.
const MAX_REMOVED: usize = 1000;
const CLEAN_TIMEOUT: Duration = Duration::from_secs(120);
const SWEEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Keys whose results are looked at a second time.
#[derive(Debug, Default)]
pub struct Upkeep(Mutex<VecDeque<Sweep>>);

#[derive(Debug)]
struct Sweep {
    due: Instant,
    key_hash: [u8; 16],
    /// The time of the purge.
    time: u64,
}

impl Upkeep {
    pub fn sweep_later(&self, key_hash: [u8; 16], time: u64) {
        let mut sweeps = self.0.lock();
        if sweeps.len() < MAX_SWEEPS {
            let due = Instant::now() + check_interval() * SWEEP_CHECKS;
            sweeps.push_back(Sweep { due, key_hash, time });
        }
    }

    fn next(&self) -> Option<Sweep> {
        let mut sweeps = self.0.lock();
        let is_due = sweeps.front().is_some_and(|sweep| sweep.due <= Instant::now());
        if is_due { sweeps.pop_front() } else { None }
    }
}

/// Runs until the journal is dropped.
pub fn run(journal: &Weak<Journal>) {
    let mut clean_after = random_below(FIRST_CLEAN_CHECKS);
    loop {
        thread::sleep(check_interval());
        let Some(journal) = journal.upgrade() else { return };
        while let Some(sweep) = journal.upkeep.next() {
            if let Err(failure) = journal.sweep(&sweep) {
                warn_ratelimited!("results_not_removed", "a purge is incomplete: {failure}");
            }
        }
        match clean_after.checked_sub(1) {
            Some(left) => clean_after = left,
            None => {
                clean_after = random_below(CLEAN_CHECKS);
                if let Err(failure) = journal.clean() {
                    warn_ratelimited!(
                        "journal_not_cleaned",
                        "old purges are not removed: {failure}"
                    );
                }
            }
        }
    }
}

/// So that servers don't all come by at the same time.
fn random_below(limit: u64) -> u64 {
    RandomState::new().build_hasher().finish() % limit
}

impl Journal {
    /// Removes results of a purged key that are from before the purge. A server may have uploaded one before it knew.
    fn sweep(&self, sweep: &Sweep) -> Result<(), Failure> {
        let deadline = Deadline::after(SWEEP_TIMEOUT, FIXED);
        for key in self.results_of(sweep.key_hash, deadline)? {
            let object = match self.bucket()?.get_stored(&key, MAX_RESULT, deadline) {
                Err(failure) if failure.code == Code::NotFound => continue,
                object => object?,
            };
            // An object that is no result is never used.
            if result_object::mark(&object).is_some_and(|mark| mark < sweep.time) {
                self.bucket()?.delete(&key, deadline)?;
            }
        }
        Ok(())
    }

    /// Removes purges that no server needs any more, and prefix marks that a later one has replaced.
    fn clean(&self) -> Result<(), Failure> {
        let deadline = Deadline::after(CLEAN_TIMEOUT, FIXED);
        let mut old = Vec::new();
        let limit = self.now().saturating_sub(milliseconds(RETENTION + CLEAN_MARGIN));
        let limit = shared_journal::at(limit);
        // The oldest are the first. Other objects among them stay.
        let mut after = String::new();
        loop {
            let listing = self.list(PURGES, &after, deadline)?;
            let names = super::names_in(PURGES, &listing.keys);
            let is_old = |name: &&String| **name < limit && PurgeName::parse(name).is_some();
            old.extend(names.iter().filter(is_old).map(|name| format!("{PURGES}{name}")));
            match names.last() {
                Some(last)
                    if listing.is_truncated
                        && *last < limit
                        && *last > after
                        && old.len() < MAX_REMOVED =>
                {
                    after.clone_from(last);
                }
                _ => break,
            }
        }
        let mut marks = Vec::new();
        self.each(PREFIXES, "", deadline, |name| marks.extend(MarkName::parse(name)))?;
        old.extend(replaced(&marks).into_iter().map(|mark| format!("{PREFIXES}{mark}")));
        for key in old.iter().take(MAX_REMOVED) {
            self.bucket()?.delete(key, deadline)?;
        }
        Ok(())
    }
}

/// The marks of prefixes that have a later one.
fn replaced(marks: &[MarkName]) -> Vec<MarkName> {
    let mut latest: HashMap<[u8; 16], u64> = HashMap::new();
    for mark in marks {
        let time = latest.entry(mark.hash).or_default();
        *time = mark.time.max(*time);
    }
    let is_replaced =
        |mark: &&MarkName| latest.get(&mark.hash).is_some_and(|time| mark.time < *time);
    marks.iter().filter(is_replaced).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_mark_of_each_prefix_stays() {
        let mark = |hash, time| MarkName { hash: [hash; 16], time };
        let marks = [mark(1, 5), mark(1, 7), mark(2, 6), mark(1, 6)];
        assert_eq!(replaced(&marks), [mark(1, 5), mark(1, 6)]);
        assert_eq!(replaced(&[]), []);
    }

    #[test]
    fn sweeps_are_bounded_and_come_later() {
        let upkeep = Upkeep::default();
        (0..MAX_SWEEPS + 5).for_each(|_| upkeep.sweep_later([1; 16], 1));
        assert_eq!(upkeep.0.lock().len(), MAX_SWEEPS);
        assert!(upkeep.next().is_none());
        upkeep.0.lock().iter_mut().for_each(|sweep| sweep.due = Instant::now());
        assert!(upkeep.next().is_some());
    }
}
