//! When the shared journal of a handler was last read.

use std::time::{Duration, Instant, SystemTime};

use crate::sync::Mutex;

#[derive(Debug)]
pub struct JournalStatus(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Before the first reading, when the configuration was loaded.
    since: Instant,
    /// The time of the latest reading.
    read: Option<SystemTime>,
    /// Why the latest attempt has failed.
    error: Option<String>,
}

impl Default for JournalStatus {
    fn default() -> JournalStatus {
        JournalStatus(Mutex::new(State { since: Instant::now(), read: None, error: None }))
    }
}

impl JournalStatus {
    pub fn succeeded(&self) {
        let (since, read) = (Instant::now(), Some(SystemTime::now()));
        *self.0.lock() = State { since, read, error: None };
    }

    pub fn failed(&self, error: &str) {
        self.0.lock().error = Some(error.to_owned());
    }

    /// The time of the latest reading, since the configuration was loaded.
    pub fn read(&self) -> Option<SystemTime> {
        self.0.lock().read
    }

    /// The reason, if the journal has not been read for longer than `max_age`.
    pub fn problem(&self, max_age: Duration) -> Option<String> {
        let state = self.0.lock();
        let error = || state.error.clone().unwrap_or_else(|| "no answer yet".to_owned());
        (state.since.elapsed() > max_age).then(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_a_problem_when_it_was_not_read_for_too_long() {
        let status = JournalStatus::default();
        let long = Duration::from_secs(60);
        assert_eq!(status.problem(long), None);
        assert_eq!(status.problem(Duration::ZERO).as_deref(), Some("no answer yet"));
        status.failed("connection refused");
        assert_eq!(status.problem(long), None, "a single failure is none");
        assert_eq!(status.problem(Duration::ZERO).as_deref(), Some("connection refused"));
        assert_eq!(status.read(), None);
        status.succeeded();
        assert!(status.read().is_some() && status.problem(long).is_none());
    }
}
