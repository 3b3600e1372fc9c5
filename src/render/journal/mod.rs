//! The shared journal in a results bucket: the purges of all servers that share it ([`crate::shared_journal`]).
//!
//! The edge decides when it is read and what is written; this module talks to the bucket, and knows which results there
//! are from before a purge. Names carry the time of the bucket, which every response tells (RFC 9110 §6.6.1), so that the
//! clocks of servers may differ.

mod call;
mod clock;
mod known;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use serde_json::json;

pub use self::call::JournalCall;
use self::clock::Clock;
use self::known::Known;
use self::upkeep::Upkeep;
use super::result_object;
use super::s3::{Bucket, Deadline, Listing, Role};
use crate::cache::Name;
use crate::config::{Handler, Limits, S3};
use crate::error::Failure;
use crate::shared_journal::{
    self, MAX_AHEAD, MAX_NAMES, MarkName, PREFIXES, PURGES, Page, PurgeName, Target, TargetKind,
};
use crate::sync::Mutex;
use crate::time::{milliseconds, unix_milliseconds};

/// For reading one page. Like the next ones, shorter than the edge waits.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// For what a new renderer has to read first.
const LOAD_TIMEOUT: Duration = Duration::from_secs(20);
/// For recording one purge, with the removal of its results.
const RECORD_TIMEOUT: Duration = Duration::from_secs(20);
/// What is said about these times in a failure.
const FIXED: &str = "fixed";
/// How far purges of keys are known. Results from before an older purge have been removed.
const KNOWN_AGE: Duration = Duration::from_secs(600);
/// Pages of purges or marks that a new renderer reads.
const MAX_PAGES: usize = 100;
/// How much later than two intervals the latest reading may be for results to be exchanged.
const MAX_LATE_READING: Duration = Duration::from_secs(10);

/// The journal of one results bucket.
pub struct Journal {
    /// A `ca_file` may have become unusable.
    bucket: Result<Bucket, Failure>,
    clock: Clock,
    known: Mutex<Known>,
    upkeep: Upkeep,
    /// The longest time since the latest reading for results to be exchanged.
    max_age: Duration,
}

/// The journals of a configuration.
#[derive(Default)]
pub struct Journals(HashMap<String, Arc<Journal>>);

impl Journals {
    /// That of a handler, which may share it with others; `None` without a results bucket.
    pub fn open(&mut self, handler: &Handler, limits: &Limits) -> io::Result<Option<Arc<Journal>>> {
        let (Some(name), Some(results)) = (handler.journal(), &handler.results) else {
            return Ok(None);
        };
        if let Some(journal) = self.0.get(&name) {
            return Ok(Some(Arc::clone(journal)));
        }
        let journal = Journal::open(&results.bucket, limits)?;
        self.0.insert(name, Arc::clone(&journal));
        Ok(Some(journal))
    }
}

impl Journal {
    /// Opens the journal and starts the thread that removes old objects from it.
    pub fn open(config: &S3, limits: &Limits) -> io::Result<Arc<Journal>> {
        let journal = Arc::new(Journal {
            bucket: Bucket::open(config, Role::Results, limits),
            clock: Clock::default(),
            known: Mutex::default(),
            upkeep: Upkeep::default(),
            max_age: limits.purge_poll * 2 + MAX_LATE_READING,
        });
        let weak = Arc::downgrade(&journal);
        thread::Builder::new().name("journal".into()).spawn(move || upkeep::run(&weak))?;
        Ok(journal)
    }

    fn bucket(&self) -> Result<&Bucket, Failure> {
        self.bucket.as_ref().map_err(Failure::clone)
    }

    /// The page after a name.
    pub fn read(&self, after: &str) -> Result<Page, Failure> {
        if !self.known.lock().is_loaded() {
            self.load(Deadline::after(LOAD_TIMEOUT, FIXED))?;
        }
        let Listing { keys, is_truncated, .. } =
            self.list(PURGES, after, Deadline::after(READ_TIMEOUT, FIXED))?;
        let now = self.now();
        let names = names_in(PURGES, &keys);
        let mut known = self.known.lock();
        names.iter().for_each(|name| self.learn(name, &mut known));
        known.forget_before(now.saturating_sub(milliseconds(KNOWN_AGE)));
        known.read(Instant::now());
        Ok(Page { now, names, is_truncated })
    }

    /// Reads what results must not be older than: the prefix marks, and the purges of the last minutes, which the edge may
    /// have read from another renderer.
    fn load(&self, deadline: Deadline) -> Result<(), Failure> {
        let mut known = Known::default();
        let all_marks = self.each(PREFIXES, "", deadline, |name| {
            if let Some(mark) = MarkName::parse(name).filter(|mark| self.is_past(mark.time)) {
                known.add(TargetKind::Prefix, mark.hash, mark.time, local_now());
            }
        })?;
        let recent = shared_journal::at(self.now().saturating_sub(milliseconds(KNOWN_AGE)));
        let all_purges =
            self.each(PURGES, &recent, deadline, |name| self.learn(name, &mut known))?;
        if !all_marks || !all_purges {
            known.add_all(self.now(), local_now());
        }
        self.known.lock().load(known);
        Ok(())
    }

    fn learn(&self, name: &str, known: &mut Known) {
        if let Some(purge) = PurgeName::parse(name).filter(|purge| self.is_past(purge.time)) {
            known.add(purge.target.kind, purge.target.hash, purge.time, local_now());
        }
    }

    /// Whether a name is not from further in the future than any clock can be.
    fn is_past(&self, time: u64) -> bool {
        time <= self.now().saturating_add(milliseconds(MAX_AHEAD))
    }

    /// Calls `visit` with the names in a directory of the journal, after `after`. Returns whether these are all.
    fn each(
        &self,
        directory: &str,
        after: &str,
        deadline: Deadline,
        mut visit: impl FnMut(&str),
    ) -> Result<bool, Failure> {
        let mut after = after.to_owned();
        for _ in 0..MAX_PAGES {
            let listing = self.list(directory, &after, deadline)?;
            let names = names_in(directory, &listing.keys);
            names.iter().for_each(|name| visit(name));
            match names.last() {
                Some(last) if listing.is_truncated && *last > after => after.clone_from(last),
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    fn list(&self, directory: &str, after: &str, deadline: Deadline) -> Result<Listing, Failure> {
        let after = (!after.is_empty()).then(|| format!("{directory}{after}"));
        let listing = self.bucket()?.list(directory, after.as_deref(), MAX_NAMES, deadline)?;
        self.clock.set(listing.date, SystemTime::now());
        Ok(listing)
    }

    /// The time of the bucket, in milliseconds since 1970; that of this machine before the first response.
    fn now(&self) -> u64 {
        self.clock.to_bucket(local_now())
    }

    /// Records a purge of a handler, and removes the results that it concerns. The others learn of it from now on.
    pub fn record(
        &self,
        (route, identity): (&str, &str),
        purged: &str,
        kind: TargetKind,
        node: u64,
    ) -> Result<(), Failure> {
        let deadline = Deadline::after(RECORD_TIMEOUT, FIXED);
        if !self.clock.is_set() {
            self.bucket()?.list(PURGES, None, 1, deadline).map(|listing| {
                self.clock.set(listing.date, SystemTime::now());
            })?;
        }
        let target = Target::new(identity, purged, kind);
        let learned = local_now();
        let name = PurgeName { time: self.clock.to_bucket(learned), node, target };
        // Older results that wait to be uploaded are not any more.
        self.known.lock().add(kind, target.hash, name.time, learned);
        let about = json!({"handler": route, kind.name(): purged}).to_string() + "\n";
        let put = |key: String| {
            self.bucket()?.put(&key, "application/json", &[], about.as_bytes(), deadline)
        };
        if kind == TargetKind::Prefix {
            let mark = MarkName { hash: target.hash, time: name.time };
            put(format!("{PREFIXES}{mark}"))?;
        }
        put(format!("{PURGES}{name}"))?;
        if kind == TargetKind::Key {
            for key in self.results_of(target.hash, deadline)? {
                self.bucket()?.delete(&key, deadline)?;
            }
            self.upkeep.sweep_later(target.hash, name.time);
        }
        Ok(())
    }

    /// The keys of all results of an original.
    fn results_of(&self, key_hash: [u8; 16], deadline: Deadline) -> Result<Vec<String>, Failure> {
        let prefix = result_object::directory_of(key_hash);
        let mut keys: Vec<String> = Vec::new();
        loop {
            let page = self.bucket()?.list(
                &prefix,
                keys.last().map(String::as_str),
                MAX_NAMES,
                deadline,
            )?;
            let has_more = page.is_truncated && page.keys.last() > keys.last();
            keys.extend(page.keys);
            if !has_more {
                return Ok(keys);
            }
        }
    }

    /// The mark of a result that is about to be uploaded: the time of the latest purge of its key, 0 if none is known.
    ///
    /// # Errors
    ///
    /// Why it must not be uploaded: it is older, or the latest purges are not known.
    pub fn mark(&self, name: &Name, validated_at: u64) -> Result<u64, &'static str> {
        self.known.lock().mark(name, validated_at, self.max_age)
    }

    /// Whether a result with this mark is from after every purge of its key. The answer is no while the latest purges are
    /// not known.
    pub fn allows(&self, name: &Name, mark: u64) -> bool {
        self.known.lock().allows(name, mark, self.max_age)
    }
}

/// Milliseconds since 1970 by the clock of this machine.
fn local_now() -> u64 {
    unix_milliseconds(SystemTime::now())
}

/// The rest of the keys in a directory of the journal. Some tools create an object for the directory itself.
fn names_in(directory: &str, keys: &[String]) -> Vec<String> {
    let names = keys.iter().filter_map(|key| key.strip_prefix(directory));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
