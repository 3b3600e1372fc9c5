//! Follows the shared journals of the configuration: applies the purges of other servers.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::check_interval::check_interval;
use crate::edge::net::shared::Shared;
use crate::edge::serve::running_config::RunningConfig;
use crate::edge::variants::HandlerState;
use crate::edge::variants::shared_purges::Follower;
use crate::log::warn;
use crate::time::milliseconds;

/// How long a start waits until the purges that were missed are in force.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts a thread that reads the journals each `limits.purge_poll`, until every other reference to `shared` is dropped.
/// Waits until the first reading is in force, so that nothing is served that was purged while this server was down; but
/// not for long, because without the results bucket a server can still serve.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let running = shared.responder.running.get();
    let journals = journals(&running).len();
    drop(running);
    let weak = Arc::downgrade(shared);
    let (in_force, first) = channel();
    thread::Builder::new().name("purges".into()).spawn(move || watch(&weak, &in_force))?;
    wait(journals, &first);
    Ok(())
}

fn wait(journals: usize, in_force: &Receiver<()>) {
    let deadline = Instant::now() + START_TIMEOUT;
    for _ in 0..journals {
        if in_force.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            let seconds = START_TIMEOUT.as_secs();
            warn!(
                "purges_not_read",
                "the purges of other servers could not be read for {seconds} seconds: images that were purged meanwhile \
                 may be served"
            );
            return;
        }
    }
}

/// The handlers that share each journal.
type Journals = BTreeMap<String, Vec<Arc<HandlerState>>>;

fn journals(running: &RunningConfig) -> Journals {
    let mut journals = Journals::new();
    for handler in running.images.handlers() {
        if let Some(journal) = handler.config.journal() {
            journals.entry(journal).or_default().push(Arc::clone(handler));
        }
    }
    journals
}

fn watch(shared: &Weak<Shared>, in_force: &Sender<()>) {
    let current = || Some(shared.upgrade()?.responder.running.get());
    let mut followers: HashMap<String, Follower> = HashMap::new();
    while let Some(running) = current() {
        let started = Instant::now();
        let interval = poll(&running, &mut followers, in_force);
        // Nothing else is held meanwhile.
        let polled = Arc::downgrade(&running);
        drop(running);
        while let left @ 1.. = milliseconds(interval.saturating_sub(started.elapsed())) {
            thread::sleep(Duration::from_millis(left).min(check_interval()));
            // A reload may bring handlers that have missed purges, or another interval.
            let is_same = |running: Arc<_>| Weak::ptr_eq(&polled, &Arc::downgrade(&running));
            if !current().is_some_and(is_same) {
                break;
            }
        }
    }
}

/// Reads each journal once, all at the same time. Returns the interval to the next reading.
fn poll(
    running: &RunningConfig,
    followers: &mut HashMap<String, Follower>,
    in_force: &Sender<()>,
) -> Duration {
    let journals = journals(running);
    followers.retain(|journal, _| journals.contains_key(journal));
    if journals.is_empty() {
        // A reload may bring one.
        return check_interval();
    }
    for journal in journals.keys() {
        followers.entry(journal.clone()).or_default();
    }
    thread::scope(|scope| {
        for (journal, follower) in followers.iter_mut() {
            let Some(handlers) = journals.get(journal) else { continue };
            let in_force = in_force.clone();
            let mut poll = move || {
                // Nobody waits for a journal that a reload brings.
                follower.poll(journal, handlers, &running.purger, || {
                    let _ = in_force.send(());
                });
            };
            if journals.len() == 1 {
                poll();
            } else {
                // If no thread can be started, the next reading tries again.
                let _ = thread::Builder::new().name("purges".into()).spawn_scoped(scope, poll);
            }
        }
    });
    running.limits.purge_poll
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn wait_at_the_start_is_as_documented() {
        let seconds = START_TIMEOUT.as_secs();
        let sentence = format!("If it can't read the bucket for {seconds} seconds at its start");
        assert_says("docs/cache.md", &sentence);
    }

    #[test]
    fn a_start_waits_for_each_journal_once() {
        let (in_force, first) = channel();
        in_force.send(()).unwrap();
        in_force.send(()).unwrap();
        let started = Instant::now();
        wait(2, &first);
        wait(0, &first);
        assert!(started.elapsed() < START_TIMEOUT);
    }
}
