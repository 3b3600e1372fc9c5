//! When a request must be over.

use std::time::{Duration, Instant};

/// When a request must be over, its second attempt included.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub at: Instant,
    pub whole: Duration,
    /// The JSON path of the field that sets it.
    pub field: &'static str,
}

impl Deadline {
    /// The deadline of a request that begins now. `field` is the JSON path of the field that sets the time.
    pub fn after(whole: Duration, field: &'static str) -> Deadline {
        Deadline { at: Instant::now() + whole, whole, field }
    }

    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}
