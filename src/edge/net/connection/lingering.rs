//! The lingering close (nginx `lingering_close`): keeps reading after the last response, so that the client gets it.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::{Connection, Served};

/// How long a lingering close waits for the client to close its side.
const LINGERING_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum bytes that a lingering close discards.
const MAX_LINGERING_BYTES: usize = 256 << 10;

impl Connection {
    /// Answers no further request, and gives the client time to read the last response (nginx `lingering_close`).
    pub fn start_lingering_close(&mut self) {
        let is_open = self.stream.shutdown_write().is_ok();
        self.lingering = Some(if is_open { MAX_LINGERING_BYTES } else { 0 });
        let now = Instant::now();
        // Its response is sent, so it may be closed when connections are scarce.
        self.registration.set_idle(now);
        self.deadline = now + LINGERING_TIMEOUT;
    }

    /// Discards what the client has sent meanwhile.
    pub(super) fn discard(&mut self) -> io::Result<Served> {
        let mut bytes = [0; 4096];
        while let Some(left) = self.lingering
            && left > 0
        {
            match self.stream.discard(&mut bytes) {
                Ok(0) => return Ok(Served::Closed),
                Ok(length) => self.lingering = Some(left.saturating_sub(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Served::Idle),
                Err(error) => return Err(error),
            }
        }
        Ok(Served::Closed)
    }
}
