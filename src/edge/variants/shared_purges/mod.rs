//! The purges of other servers that share a results bucket. They are read from its journal at short intervals and applied
//! to the caches of this server.

mod apply;
mod position;
mod reader;
mod removal;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::position::{Position, PositionFile};
use self::reader::{News, Reader};
use self::removal::Removals;
use super::HandlerState;
use super::handler_caches::HandlerCaches;
use super::node::node;
use super::purge::Purger;
use crate::log::{info, warn, warn_ratelimited};
use crate::metrics::{METRICS, Purge};
use crate::shared_journal::{PURGES, PurgeName, RETENTION, Target, TargetKind};
use crate::time::{milliseconds, unix_milliseconds};

/// How often positions are written while nothing is purged.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// Follows one shared journal, for the life of the process.
#[derive(Debug, Default)]
pub struct Follower {
    reader: Reader,
    /// The identities of the handlers whose caches are as the reader knows.
    joined: HashSet<String>,
    removals: Removals,
    /// When the positions were written. `None` if they have to be.
    written: Option<Instant>,
}

impl Follower {
    /// Reads the journal and applies what is new. `handlers` are those that share it. The first time, `in_force` is called
    /// as soon as nothing is served that was purged before, which may be long before the entries are removed.
    pub fn poll(
        &mut self,
        journal: &str,
        handlers: &[Arc<HandlerState>],
        purger: &Purger,
        in_force: impl FnOnce(),
    ) {
        match self.try_poll(journal, handlers, purger, in_force) {
            Ok(()) => handlers.iter().for_each(|handler| handler.journal.succeeded()),
            Err(error) => {
                warn_ratelimited!("purges_not_read", "{}: {error}", routes(handlers));
                handlers.iter().for_each(|handler| handler.journal.failed(&error));
            }
        }
    }

    fn try_poll(
        &mut self,
        journal: &str,
        handlers: &[Arc<HandlerState>],
        purger: &Purger,
        in_force: impl FnOnce(),
    ) -> Result<(), String> {
        let Some(first) = handlers.first() else { return Ok(()) };
        let route = &first.config.route;
        let joined: Vec<(&Arc<HandlerState>, Position)> = handlers
            .iter()
            .filter(|handler| !self.joined.contains(&handler.caches.identity))
            .map(|handler| (handler, position(&handler.caches, journal)))
            .collect();
        let positions: Vec<Position> = joined.iter().map(|(_, position)| *position).collect();
        let read = |after: &str| {
            purger.renderer().read_journal(route, after).map_err(|failure| failure.to_string())
        };
        let started = Instant::now();
        let news = self.reader.read(&positions, unix_milliseconds(SystemTime::now()), &read)?;
        report_ignored(&news, handlers);
        let outdated: Vec<&HandlerState> = if news.is_incomplete {
            handlers.iter().map(Arc::as_ref).collect()
        } else {
            let is_old = |position: &Position| is_outdated(*position, news.now);
            let old = joined.iter().filter(|(_, position)| is_old(position));
            old.map(|(handler, _)| Arc::as_ref(handler)).collect()
        };
        // Handlers that follow already have the purges that only others need.
        let first_new = self.reader.first_new();
        let mut targets = new_targets(&news, |purge| {
            handlers.iter().any(|handler| {
                handler.caches.hash == purge.target.handler
                    && (purge.time >= first_new || !self.joined.contains(&handler.caches.identity))
            })
        });
        if !targets.is_empty() {
            let (count, routes) = (targets.len(), routes(handlers));
            info!("purges_applied", "{routes}: {count} purges of other servers are applied");
        }
        for handler in outdated {
            warn!(
                "cache_outdated",
                "{}: too many purges of other servers were missed: its cached images are removed",
                handler.config.route
            );
            targets.insert(Target::new(&handler.caches.identity, "", TargetKind::Prefix), news.now);
        }
        if !targets.is_empty() || !joined.is_empty() {
            self.written = None;
        }
        let applied = (!targets.is_empty()).then(|| purger.apply(targets.into_iter().collect()));
        if self.joined.is_empty() {
            in_force();
        }
        if let Some(applied) = applied {
            let removed = self.removals.add(applied);
            removed.map_err(|error| format!("not everything could be removed: {error}"))?;
        }
        self.joined = handlers.iter().map(|handler| handler.caches.identity.clone()).collect();
        let read_to = self.reader.commit(&news, started);
        // A server that is killed before everything is removed must begin again.
        let is_removed = self.removals.go_on();
        let is_due = self.written.is_none_or(|written| written.elapsed() >= WRITE_INTERVAL);
        if is_removed && is_due {
            self.written = Some(started);
            write_positions(journal, handlers, read_to);
        }
        Ok(())
    }
}

/// The targets of other servers' purges that concern handlers of this one, with the latest time of each.
fn new_targets(news: &News, concerns: impl Fn(&PurgeName) -> bool) -> HashMap<Target, u64> {
    let mut targets = HashMap::new();
    for purge in news.purges.iter().filter(|purge| purge.node != node() && concerns(purge)) {
        let kind = match purge.target.kind {
            TargetKind::Key => Purge::Key,
            TargetKind::Prefix => Purge::Prefix,
        };
        METRICS.caches.applied_purges.get(kind).add(1);
        let latest = targets.entry(purge.target).or_default();
        *latest = purge.time.max(*latest);
    }
    targets
}

/// The oldest position of a handler's directories.
fn position(caches: &HandlerCaches, journal: &str) -> Position {
    let files = caches
        .directories()
        .map(|directory| PositionFile::new(&directory.path, journal, &caches.identity).read());
    files.min().unwrap_or(Position::Empty)
}

/// Whether the journal does not go back as far.
fn is_outdated(position: Position, now: u64) -> bool {
    match position {
        Position::Damaged => true,
        Position::At(time) => now.saturating_sub(time) > milliseconds(RETENTION),
        Position::Unknown | Position::Empty => false,
    }
}

fn write_positions(journal: &str, handlers: &[Arc<HandlerState>], time: u64) {
    for handler in handlers {
        let caches = &handler.caches;
        for directory in caches.directories() {
            let file = PositionFile::new(&directory.path, journal, &caches.identity);
            if let Err(error) = file.write(time) {
                let path = directory.path.display();
                warn_ratelimited!(
                    "purge_position_not_written",
                    "{path}: can't record how far the purges of other servers are applied: {error}"
                );
            }
        }
    }
}

fn report_ignored(news: &News, handlers: &[Arc<HandlerState>]) {
    let (count, names) = &news.ignored;
    if *count > 0 {
        warn_ratelimited!(
            "journal_object_ignored",
            "{}: {count} objects in {} of the results bucket are not purges and are ignored, such as {names:?}",
            routes(handlers),
            PURGES
        );
    }
}

fn routes(handlers: &[Arc<HandlerState>]) -> String {
    let mut routes: Vec<&str> = handlers.iter().map(|h| h.config.route.as_str()).collect();
    routes.sort_unstable();
    routes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_outdated_if_the_journal_does_not_go_back_to_its_position() {
        let now = 1_795_361_381_000;
        let retention = milliseconds(RETENTION);
        assert!(!is_outdated(Position::At(now - retention), now));
        assert!(is_outdated(Position::At(now - retention - 1), now));
        assert!(!is_outdated(Position::At(now + 60_000), now));
        assert!(is_outdated(Position::Damaged, now));
        assert!(!is_outdated(Position::Unknown, now) && !is_outdated(Position::Empty, now));
    }
}
