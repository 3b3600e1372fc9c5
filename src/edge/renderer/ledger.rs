//! What one renderer is asked for, what of it is being decoded, and, when it has ended, who is guilty.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wire::Mark;

/// The tickets of one renderer's requests.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
    concluded: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// No more than there are connections to the renderer.
    asked: HashMap<u64, Asked>,
    tickets: u64,
    verdict: Option<Verdict>,
}

#[derive(Debug)]
struct Asked {
    path: String,
    /// The renderer says that libvips works for it.
    decoding: bool,
    /// Nobody waits for it any more.
    abandoned: bool,
}

/// What a renderer's end means for those who asked it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How the process ended, as the log says it.
    pub how: String,
    /// The tickets that are not to be tried again.
    pub guilty: HashSet<u64>,
}

impl Ledger {
    /// A number for a request that is about to be sent.
    pub fn open(&self, path: &str) -> u64 {
        let mut state = self.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        state.asked.insert(ticket, Asked { path: path.to_owned(), decoding: false, abandoned: false });
        ticket
    }

    /// The request is over.
    pub fn close(&self, ticket: u64) {
        self.lock().asked.remove(&ticket);
    }

    /// Nobody waits for the request any more, but the renderer may still work on it. Returns whether it is being
    /// decoded.
    pub fn abandon(&self, ticket: u64) -> bool {
        let mut state = self.lock();
        let Some(asked) = state.asked.get_mut(&ticket) else { return false };
        asked.abandoned = true;
        asked.decoding
    }

    /// The renderer says something about a ticket. What it says of others than those we gave it means nothing.
    pub fn mark(&self, mark: Mark) {
        let mut state = self.lock();
        match mark {
            Mark::Begins(ticket) => {
                if let Some(asked) = state.asked.get_mut(&ticket) {
                    asked.decoding = true;
                }
            }
            Mark::Ends(ticket) => {
                if let Some(asked) = state.asked.get_mut(&ticket) {
                    asked.decoding = false;
                    if asked.abandoned {
                        state.asked.remove(&ticket);
                    }
                }
            }
        }
    }

    /// Ends the case: `judge` is given the paths being decoded and returns those that are guilty.
    pub fn conclude(&self, how: String, judge: impl for<'p> FnOnce(&BTreeSet<&'p str>) -> Vec<&'p str>) {
        let mut state = self.lock();
        let decoding = || state.asked.iter().filter(|(_, asked)| asked.decoding);
        let paths = decoding().map(|(_, asked)| asked.path.as_str()).collect();
        let guilty = judge(&paths);
        let guilty = decoding().filter(|(_, asked)| guilty.contains(&asked.path.as_str()));
        let guilty = guilty.map(|(ticket, _)| *ticket).collect();
        state.verdict = Some(Verdict { how, guilty });
        drop(state);
        self.concluded.notify_all();
    }

    /// The verdict, waited for this long.
    pub fn verdict(&self, patience: Duration) -> Option<Verdict> {
        let waited =
            self.concluded.wait_timeout_while(self.lock(), patience, |state| state.verdict.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.verdict.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoding(ledger: &Ledger) -> Vec<String> {
        let mut seen = Vec::new();
        ledger.conclude(String::new(), |paths| {
            seen = paths.iter().map(|path| (*path).to_owned()).collect();
            Vec::new()
        });
        seen
    }

    #[test]
    fn what_has_begun_and_not_ended_is_suspected() {
        let ledger = Ledger::default();
        let [one, two, three] = ["/h/1", "/h/2", "/h/3"].map(|path| ledger.open(path));
        for mark in [Mark::Begins(one), Mark::Begins(two), Mark::Begins(three), Mark::Ends(two)] {
            ledger.mark(mark);
        }
        ledger.close(three);
        ledger.open("/h/4");
        assert_eq!(decoding(&ledger), ["/h/1"]);
    }

    #[test]
    fn a_renderer_that_talks_of_strangers_fills_no_memory() {
        let ledger = Ledger::default();
        let ticket = ledger.open("/h/1");
        for stranger in 100..10_000 {
            ledger.mark(Mark::Begins(stranger));
        }
        ledger.mark(Mark::Ends(ticket));
        assert_eq!(ledger.lock().asked.len(), 1);
        assert!(decoding(&ledger).is_empty());
    }

    #[test]
    fn what_nobody_waits_for_is_suspected_for_as_long_as_it_is_decoded() {
        let ledger = Ledger::default();
        let [one, two] = ["/h/1", "/h/2"].map(|path| ledger.open(path));
        ledger.mark(Mark::Begins(one));
        assert!(ledger.abandon(one));
        assert!(!ledger.abandon(two), "it is not being decoded yet");
        assert_eq!(decoding(&ledger), ["/h/1"]);
        ledger.mark(Mark::Begins(two));
        assert_eq!(decoding(&ledger), ["/h/1", "/h/2"]);
        ledger.mark(Mark::Ends(one));
        ledger.mark(Mark::Ends(two));
        assert!(ledger.lock().asked.is_empty());
    }

    #[test]
    fn the_verdict_is_about_tickets_of_guilty_paths_that_were_decoded() {
        let ledger = Ledger::default();
        assert_eq!(ledger.verdict(Duration::from_millis(1)), None);
        let tickets = ["/h/1", "/h/1", "/h/2"].map(|path| ledger.open(path));
        ledger.mark(Mark::Begins(tickets[0]));
        ledger.mark(Mark::Begins(tickets[2]));
        ledger.conclude("killed".into(), |_| vec!["/h/1"]);
        let verdict = ledger.verdict(Duration::ZERO).unwrap();
        assert_eq!(verdict, Verdict { how: "killed".into(), guilty: [tickets[0]].into() });
    }
}
