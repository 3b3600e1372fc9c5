//! The last failures of images, for the operator's page.
//!
//! A missing key or a refused token is the client's mistake; it is in the access log, and would only displace the
//! others here.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::log::timestamp;
use crate::sync::Mutex;

const MAX_FAILURES: usize = 50;
/// In bytes, of a key and of a reason.
const MAX_TEXT: usize = 1024;

/// An image that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub route: String,
    pub key: String,
    /// The value of `X-Error`.
    pub code: &'static str,
    pub reason: String,
}

#[derive(Debug)]
struct Entry {
    failure: Failure,
    /// The last time, and the request then.
    time: SystemTime,
    request_id: Option<String>,
    count: u64,
}

/// A ring buffer, for the life of the process.
#[derive(Debug, Default)]
pub struct Failures(Mutex<VecDeque<Entry>>);

impl Failures {
    /// Adds a failure; one that repeats an entry replaces it and is counted.
    pub fn add(&self, mut failure: Failure, request_id: Option<String>, time: SystemTime) {
        truncate(&mut failure.key);
        truncate(&mut failure.reason);
        let mut entries = self.0.lock();
        let same = entries.iter().position(|entry| entry.failure == failure);
        let earlier = same.and_then(|index| entries.remove(index)).map_or(0, |entry| entry.count);
        entries.truncate(MAX_FAILURES - 1);
        entries.push_front(Entry { failure, time, request_id, count: earlier.saturating_add(1) });
    }

    /// The newest first.
    pub fn to_json(&self) -> Value {
        self.0.lock().iter().map(Entry::to_json).collect()
    }
}

impl Entry {
    fn to_json(&self) -> Value {
        let Failure { route, key, code, reason } = &self.failure;
        let mut time = String::new();
        timestamp::push(&mut time, self.time);
        json!({
            "time": time, "handler": route, "key": key, "code": code, "reason": reason,
            "request_id": self.request_id, "count": self.count,
        })
    }
}

fn truncate(text: &mut String) {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn add(failures: &Failures, key: &str, second: u64) {
        let failure = Failure {
            route: "h".into(),
            key: key.into(),
            code: "corrupt_image",
            reason: "é".repeat(MAX_TEXT),
        };
        let id = Some(second.to_string());
        failures.add(failure, id, UNIX_EPOCH + Duration::from_secs(second));
    }

    #[test]
    fn failures_are_bounded_and_the_newest_comes_first() {
        let failures = Failures::default();
        for number in 0..2 * MAX_FAILURES as u64 {
            add(&failures, &format!("{number}.jpg"), number);
        }
        let value = failures.to_json();
        let entries = value.as_array().unwrap();
        assert_eq!(entries.len(), MAX_FAILURES);
        assert_eq!(entries[0]["key"], "99.jpg");
        assert_eq!(entries[0]["time"], "1970-01-01T00:01:39.000Z");
        assert_eq!(entries[MAX_FAILURES - 1]["key"], "50.jpg");
        assert_eq!(entries[0]["reason"].as_str().unwrap().chars().count(), MAX_TEXT / 2 + 1);
    }

    #[test]
    fn a_repeated_failure_is_counted() {
        let failures = Failures::default();
        for (second, key) in ["a", "b", "a"].into_iter().enumerate() {
            add(&failures, key, second as u64);
        }
        let value = failures.to_json();
        let entry = |index: usize| (&value[index]["key"], &value[index]["count"]);
        assert_eq!(entry(0), (&json!("a"), &json!(2)));
        assert_eq!(entry(1), (&json!("b"), &json!(1)));
        assert_eq!(value[0]["request_id"], "2");
        assert_eq!(value.as_array().unwrap().len(), 2);
    }
}
