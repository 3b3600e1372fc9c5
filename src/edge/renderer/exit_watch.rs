//! Reads the decode events that a renderer writes to its standard output, and its exit status when the pipe closes.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use super::crash_tracker::{Attribution, CRASH_MEMORY, CrashTracker};
use super::in_flight::InFlight;
use super::process::Process;
use crate::log::warn;
use crate::wire::DecodeEvent;

/// How long a process may take to exit after it closed its files.
const EXIT_TIMEOUT: Duration = Duration::from_millis(100);

/// Watches one renderer process until it exits, on a thread of its own.
#[derive(Debug)]
pub struct ExitWatch {
    pub process: Arc<Process>,
    pub in_flight: Arc<InFlight>,
    pub crash_tracker: Arc<CrashTracker>,
}

impl ExitWatch {
    /// Calls `exited` once the crash report is in the in-flight table. `output` is the standard output of the process,
    /// which the kernel closes within a millisecond of the exit.
    pub fn start(
        self,
        output: impl Read + Send + 'static,
        exited: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        thread::Builder::new().name("renderer-watch".into()).spawn(move || {
            read_events(output, |event| self.in_flight.record(event));
            self.report_exit();
            exited();
        })?;
        Ok(())
    }

    fn report_exit(&self) {
        // A process that closes its output and does not exit is broken, and killed below.
        self.process.exits_within(EXIT_TIMEOUT);
        let (how, cause) = match self.process.kill_and_wait() {
            Ok(status) => (status.to_string(), Some(self.process.exit_cause(status))),
            Err(error) => (error.to_string(), None),
        };
        self.in_flight.report_exit(how, |decoding| {
            let Attribution { culprits, blocked } = cause
                .map(|cause| self.crash_tracker.record_exit(decoding, cause, Instant::now()))
                .unwrap_or_default();
            blocked.iter().for_each(|path| log_blocked(path));
            culprits
        });
    }
}

pub fn log_blocked(path: &str) {
    warn!(
        "key_blocked",
        "{path} crashed the renderer twice; refusing it for {} minutes",
        CRASH_MEMORY.as_secs() / 60
    );
}

pub fn log_too_slow(target: &str) {
    warn!(
        "key_blocked",
        "{target} exceeded a timeout twice; refusing it with these options for {} minutes",
        CRASH_MEMORY.as_secs() / 60
    );
}

/// Calls `record` for each line that is a decode event, until the pipe closes, and skips every other line. The buffer
/// never grows beyond one event.
fn read_events(mut output: impl Read, mut record: impl FnMut(DecodeEvent)) {
    let mut line = Vec::with_capacity(DecodeEvent::MAX_BYTES + 1);
    let mut bytes = [0; 512];
    loop {
        let read = match output.read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => bytes.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        for byte in read {
            if *byte == b'\n' {
                if let Some(event) = DecodeEvent::parse(&line) {
                    record(event);
                }
                line.clear();
            } else if line.len() <= DecodeEvent::MAX_BYTES {
                // A line that is too long keeps one byte beyond the maximum, so that it does not parse.
                line.push(*byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(output: &[u8]) -> Vec<DecodeEvent> {
        let mut events = Vec::new();
        read_events(output, |event| events.push(event));
        events
    }

    #[test]
    fn decode_events_are_read_and_other_lines_skipped() {
        let output =
            b"+1\n\nhello\n-1\n+18446744073709551615\n+184467440737095516150\n\xff\xff\n+2\n+3";
        let expected = [
            DecodeEvent::Start(1),
            DecodeEvent::End(1),
            DecodeEvent::Start(u64::MAX),
            DecodeEvent::Start(2),
        ];
        assert_eq!(events(output), expected);
    }

    #[test]
    fn decode_event_after_a_very_long_line_is_read() {
        let mut output = vec![b'1'; 1 << 20];
        output[0] = b'+';
        output.extend(b"\n-7\n");
        assert_eq!(events(&output), [DecodeEvent::End(7)]);
    }

    #[test]
    fn decode_events_may_arrive_byte_by_byte() {
        struct OneByte<'o>(&'o [u8]);
        impl Read for OneByte<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(1);
                self.0.read(&mut buffer[..length])
            }
        }
        let mut events = Vec::new();
        read_events(OneByte(b"+12\n-12\n"), |event| events.push(event));
        assert_eq!(events, [DecodeEvent::Start(12), DecodeEvent::End(12)]);
    }
}
