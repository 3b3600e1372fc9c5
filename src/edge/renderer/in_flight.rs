//! The in-flight table: the requests of one worker, which of them are being decoded, and the crash report once the
//! worker has exited.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Condvar;
use std::time::Duration;

use crate::sync::{self, Mutex};
use crate::wire::DecodeEvent;

#[derive(Debug, Default)]
pub struct InFlight {
    state: Mutex<State>,
    reported: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By request id.
    requests: HashMap<u64, InFlightRequest>,
    last_id: u64,
    crash_report: Option<CrashReport>,
}

#[derive(Debug)]
struct InFlightRequest {
    path: String,
    /// libvips is working for it.
    is_decoding: bool,
    /// The client has stopped waiting, and the worker may not have stopped working.
    is_abandoned: bool,
}

/// Why a worker exited, and which requests caused it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// The exit status as the log shows it.
    pub how: String,
    /// The ids of the requests that must not be retried.
    pub culprits: HashSet<u64>,
}

impl InFlight {
    /// Adds a request that is about to be sent. Returns its id.
    pub fn insert(&self, path: &str) -> u64 {
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        let path = path.to_owned();
        state
            .requests
            .insert(id, InFlightRequest { path, is_decoding: false, is_abandoned: false });
        id
    }

    pub fn remove(&self, id: u64) {
        self.state.lock().requests.remove(&id);
    }

    /// Keeps a request without a client until its decoding ends. Returns whether it is being decoded.
    pub fn abandon(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let Some(request) = state.requests.get_mut(&id) else { return false };
        request.is_abandoned = true;
        request.is_decoding
    }

    /// Records a decode event. Events with an unknown id are ignored.
    pub fn record(&self, event: DecodeEvent) {
        let mut state = self.state.lock();
        match event {
            DecodeEvent::Start(id) => {
                if let Some(request) = state.requests.get_mut(&id) {
                    request.is_decoding = true;
                }
            }
            DecodeEvent::End(id) => {
                if let Some(request) = state.requests.get_mut(&id) {
                    request.is_decoding = false;
                    if request.is_abandoned {
                        state.requests.remove(&id);
                    }
                }
            }
        }
    }

    /// Writes the crash report. `attribute` gets the paths being decoded and returns the culprits among them.
    pub fn report_exit(
        &self,
        how: String,
        attribute: impl for<'p> FnOnce(&BTreeSet<&'p str>) -> Vec<&'p str>,
    ) {
        let mut state = self.state.lock();
        let decoding = || state.requests.iter().filter(|(_, request)| request.is_decoding);
        let paths = decoding().map(|(_, request)| request.path.as_str()).collect();
        let culprits = attribute(&paths);
        let culprits = decoding().filter(|(_, request)| culprits.contains(&request.path.as_str()));
        let culprits = culprits.map(|(id, _)| *id).collect();
        state.crash_report = Some(CrashReport { how, culprits });
        drop(state);
        self.reported.notify_all();
    }

    /// Waits for the crash report.
    pub fn wait_for_report(&self, timeout: Duration) -> Option<CrashReport> {
        let is_missing = |state: &mut State| state.crash_report.is_none();
        let state =
            sync::wait_timeout_while(&self.reported, self.state.lock(), timeout, is_missing);
        state.crash_report.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoding(in_flight: &InFlight) -> Vec<String> {
        let mut decoding = Vec::new();
        in_flight.report_exit(String::new(), |paths| {
            decoding = paths.iter().map(|path| (*path).to_owned()).collect();
            Vec::new()
        });
        decoding
    }

    #[test]
    fn in_flight_requests_are_decoding_between_start_and_end() {
        let in_flight = InFlight::default();
        let [one, two, three] = ["/h/1", "/h/2", "/h/3"].map(|path| in_flight.insert(path));
        for event in [
            DecodeEvent::Start(one),
            DecodeEvent::Start(two),
            DecodeEvent::Start(three),
            DecodeEvent::End(two),
        ] {
            in_flight.record(event);
        }
        in_flight.remove(three);
        in_flight.insert("/h/4");
        assert_eq!(decoding(&in_flight), ["/h/1"]);
    }

    #[test]
    fn in_flight_table_ignores_unknown_ids() {
        let in_flight = InFlight::default();
        let id = in_flight.insert("/h/1");
        for unknown in 100..10_000 {
            in_flight.record(DecodeEvent::Start(unknown));
        }
        in_flight.record(DecodeEvent::End(id));
        assert_eq!(in_flight.state.lock().requests.len(), 1);
        assert!(decoding(&in_flight).is_empty());
    }

    #[test]
    fn in_flight_abandoned_requests_stay_until_their_decoding_ends() {
        let in_flight = InFlight::default();
        let [one, two] = ["/h/1", "/h/2"].map(|path| in_flight.insert(path));
        in_flight.record(DecodeEvent::Start(one));
        assert!(in_flight.abandon(one));
        assert!(!in_flight.abandon(two), "it is not being decoded yet");
        assert_eq!(decoding(&in_flight), ["/h/1"]);
        in_flight.record(DecodeEvent::Start(two));
        assert_eq!(decoding(&in_flight), ["/h/1", "/h/2"]);
        in_flight.record(DecodeEvent::End(one));
        in_flight.record(DecodeEvent::End(two));
        assert!(in_flight.state.lock().requests.is_empty());
    }

    #[test]
    fn crash_report_names_the_decoding_requests_of_culprit_paths() {
        let in_flight = InFlight::default();
        assert_eq!(in_flight.wait_for_report(Duration::from_millis(1)), None);
        let ids = ["/h/1", "/h/1", "/h/2"].map(|path| in_flight.insert(path));
        in_flight.record(DecodeEvent::Start(ids[0]));
        in_flight.record(DecodeEvent::Start(ids[2]));
        in_flight.report_exit("killed".into(), |_| vec!["/h/1"]);
        let report = in_flight.wait_for_report(Duration::ZERO).unwrap();
        assert_eq!(report, CrashReport { how: "killed".into(), culprits: [ids[0]].into() });
    }
}
