//! Writes decode events to the standard output, so that the edge knows which requests were decoding at a crash.

use std::io::{self, Write};

use crate::wire::DecodeEvent;

/// Held while an image is inspected or rendered for a request.
#[derive(Debug)]
pub struct DecodeGuard(Option<u64>);

impl DecodeGuard {
    /// Requests without an id, sent by hand, have no events.
    pub fn start(id: Option<u64>) -> DecodeGuard {
        if let Some(id) = id {
            write(DecodeEvent::Start(id));
        }
        DecodeGuard(id)
    }
}

impl Drop for DecodeGuard {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            write(DecodeEvent::End(id));
        }
    }
}

/// Writes the event at once: up to PIPE_BUF bytes are atomic (pipe(7)). An error means that the edge has closed the
/// pipe and this process is about to exit.
fn write(event: DecodeEvent) {
    let _ = io::stdout().lock().write_all(format!("{event}\n").as_bytes());
}
