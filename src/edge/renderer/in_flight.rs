//! What one renderer is asked for, what of it is being decoded, and, when it has ended, who is culprits.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::sync;
use crate::wire::DecodeEvent;

/// The ids of one renderer's requests.
#[derive(Debug, Default)]
pub struct InFlight {
    state: Mutex<State>,
    reported: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// No more than there are connections to the renderer.
    asked: HashMap<u64, Asked>,
    ids: u64,
    crash_report: Option<CrashReport>,
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
pub struct CrashReport {
    /// How the process ended, as the log says it.
    pub how: String,
    /// The ids that are not to be tried again.
    pub culprits: HashSet<u64>,
}

impl InFlight {
    /// A number for a request that is about to be sent.
    pub fn open(&self, path: &str) -> u64 {
        let mut state = self.lock();
        state.ids += 1;
        let id = state.ids;
        state.asked.insert(id, Asked { path: path.to_owned(), decoding: false, abandoned: false });
        id
    }

    /// The request is over.
    pub fn close(&self, id: u64) {
        self.lock().asked.remove(&id);
    }

    /// Nobody waits for the request any more, but the renderer may still work on it. Returns whether it is being
    /// decoded.
    pub fn abandon(&self, id: u64) -> bool {
        let mut state = self.lock();
        let Some(asked) = state.asked.get_mut(&id) else { return false };
        asked.abandoned = true;
        asked.decoding
    }

    /// The renderer says something about a id. What it says of others than those we gave it means nothing.
    pub fn mark(&self, mark: DecodeEvent) {
        let mut state = self.lock();
        match mark {
            DecodeEvent::Start(id) => {
                if let Some(asked) = state.asked.get_mut(&id) {
                    asked.decoding = true;
                }
            }
            DecodeEvent::End(id) => {
                if let Some(asked) = state.asked.get_mut(&id) {
                    asked.decoding = false;
                    if asked.abandoned {
                        state.asked.remove(&id);
                    }
                }
            }
        }
    }

    /// End the case: `classify` is given the paths being decoded and returns those that are culprits.
    pub fn report(
        &self,
        how: String,
        classify: impl for<'p> FnOnce(&BTreeSet<&'p str>) -> Vec<&'p str>,
    ) {
        let mut state = self.lock();
        let decoding = || state.asked.iter().filter(|(_, asked)| asked.decoding);
        let paths = decoding().map(|(_, asked)| asked.path.as_str()).collect();
        let culprits = classify(&paths);
        let culprits = decoding().filter(|(_, asked)| culprits.contains(&asked.path.as_str()));
        let culprits = culprits.map(|(id, _)| *id).collect();
        state.crash_report = Some(CrashReport { how, culprits });
        drop(state);
        self.reported.notify_all();
    }

    /// The crash_report, waited for this long.
    pub fn crash_report(&self, timeout: Duration) -> Option<CrashReport> {
        let is_missing = |state: &mut State| state.crash_report.is_none();
        let state = sync::wait_timeout_while(&self.reported, self.lock(), timeout, is_missing);
        state.crash_report.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoding(in_flight: &InFlight) -> Vec<String> {
        let mut seen = Vec::new();
        in_flight.report(String::new(), |paths| {
            seen = paths.iter().map(|path| (*path).to_owned()).collect();
            Vec::new()
        });
        seen
    }

    #[test]
    fn what_has_begun_and_not_ended_is_suspected() {
        let in_flight = InFlight::default();
        let [one, two, three] = ["/h/1", "/h/2", "/h/3"].map(|path| in_flight.open(path));
        for mark in [
            DecodeEvent::Start(one),
            DecodeEvent::Start(two),
            DecodeEvent::Start(three),
            DecodeEvent::End(two),
        ] {
            in_flight.mark(mark);
        }
        in_flight.close(three);
        in_flight.open("/h/4");
        assert_eq!(decoding(&in_flight), ["/h/1"]);
    }

    #[test]
    fn a_renderer_that_talks_of_strangers_fills_no_memory() {
        let in_flight = InFlight::default();
        let id = in_flight.open("/h/1");
        for stranger in 100..10_000 {
            in_flight.mark(DecodeEvent::Start(stranger));
        }
        in_flight.mark(DecodeEvent::End(id));
        assert_eq!(in_flight.lock().asked.len(), 1);
        assert!(decoding(&in_flight).is_empty());
    }

    #[test]
    fn what_nobody_waits_for_is_suspected_for_as_long_as_it_is_decoded() {
        let in_flight = InFlight::default();
        let [one, two] = ["/h/1", "/h/2"].map(|path| in_flight.open(path));
        in_flight.mark(DecodeEvent::Start(one));
        assert!(in_flight.abandon(one));
        assert!(!in_flight.abandon(two), "it is not being decoded yet");
        assert_eq!(decoding(&in_flight), ["/h/1"]);
        in_flight.mark(DecodeEvent::Start(two));
        assert_eq!(decoding(&in_flight), ["/h/1", "/h/2"]);
        in_flight.mark(DecodeEvent::End(one));
        in_flight.mark(DecodeEvent::End(two));
        assert!(in_flight.lock().asked.is_empty());
    }

    #[test]
    fn the_verdict_is_about_tickets_of_guilty_paths_that_were_decoded() {
        let in_flight = InFlight::default();
        assert_eq!(in_flight.crash_report(Duration::from_millis(1)), None);
        let ids = ["/h/1", "/h/1", "/h/2"].map(|path| in_flight.open(path));
        in_flight.mark(DecodeEvent::Start(ids[0]));
        in_flight.mark(DecodeEvent::Start(ids[2]));
        in_flight.report("killed".into(), |_| vec!["/h/1"]);
        let crash_report = in_flight.crash_report(Duration::ZERO).unwrap();
        assert_eq!(crash_report, CrashReport { how: "killed".into(), culprits: [ids[0]].into() });
    }
}
