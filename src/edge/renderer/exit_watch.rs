//! Reads what a renderer says on its standard output, and when that closes finds out why it has ended.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use super::crash_tracker::{CRASH_MEMORY, CrashTracker};
use super::in_flight::InFlight;
use super::process::Process;
use crate::log::warn;
use crate::wire::DecodeEvent;

/// How long a process may take from closing its files to being gone.
const CRASH_TIMEOUT: Duration = Duration::from_millis(100);

/// Follows one renderer to its end, on a thread of its own.
#[derive(Debug)]
pub struct ExitWatch {
    /// The process whose end the pipe tells of.
    pub process: Arc<Process>,
    /// Where its marks are written to.
    pub in_flight: Arc<InFlight>,
    /// Where its end is.
    pub crash_tracker: Arc<CrashTracker>,
}

impl ExitWatch {
    /// Start; `ended` is called once the crash_report is there. The pipe of a process's standard output closes with its
    /// end, which is seen within a millisecond.
    pub fn start(
        self,
        output: impl Read + Send + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        thread::Builder::new().name("renderer-watch".into()).spawn(move || {
            follow(output, |mark| self.in_flight.mark(mark));
            self.report();
            ended();
        })?;
        Ok(())
    }

    fn report(&self) {
        // One that closes its output and goes on is broken.
        self.process.ends_within(CRASH_TIMEOUT);
        let (how, end) = match self.process.end() {
            Ok(status) => (status.to_string(), Some(self.process.classify(status))),
            Err(error) => (error.to_string(), None),
        };
        self.in_flight.report(how, |decoding| {
            let sentence = end
                .map(|end| self.crash_tracker.crash(decoding, end, Instant::now()))
                .unwrap_or_default();
            sentence.refused.iter().for_each(|path| report_refusal(path));
            sentence.culprits
        });
    }
}

/// Tells the operator, once, why a key is not served for a while.
pub fn report_refusal(path: &str) {
    warn!(
        "key_blocked",
        "{path} crashed or hung the renderer twice; refusing it for {} minutes",
        CRASH_MEMORY.as_secs() / 60
    );
}

/// Calls `told` for each line that is a mark, until the pipe closes. Whatever a renderer that went mad writes, no
/// more than one mark is kept of it.
fn follow(mut output: impl Read, mut told: impl FnMut(DecodeEvent)) {
    let mut line = Vec::with_capacity(DecodeEvent::LONGEST + 1);
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
                if let Some(mark) = DecodeEvent::parse(&line) {
                    told(mark);
                }
                line.clear();
            } else if line.len() <= DecodeEvent::LONGEST {
                // One byte too many is kept, with which the line is no mark.
                line.push(*byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(said: &[u8]) -> Vec<DecodeEvent> {
        let mut marks = Vec::new();
        follow(said, |mark| marks.push(mark));
        marks
    }

    #[test]
    fn marks_are_read_and_everything_else_is_passed_over() {
        let said =
            b"+1\n\nhello\n-1\n+18446744073709551615\n+184467440737095516150\n\xff\xff\n+2\n+3";
        let expected = [
            DecodeEvent::Start(1),
            DecodeEvent::End(1),
            DecodeEvent::Start(u64::MAX),
            DecodeEvent::Start(2),
        ];
        assert_eq!(marks(said), expected);
    }

    #[test]
    fn an_endless_line_is_no_mark_and_the_next_one_is_read() {
        let mut said = vec![b'1'; 1 << 20];
        said[0] = b'+';
        said.extend(b"\n-7\n");
        assert_eq!(marks(&said), [DecodeEvent::End(7)]);
    }

    #[test]
    fn marks_may_come_in_pieces() {
        struct Slowly<'s>(&'s [u8]);
        impl Read for Slowly<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let most = buffer.len().min(1);
                self.0.read(&mut buffer[..most])
            }
        }
        let mut seen = Vec::new();
        follow(Slowly(b"+12\n-12\n"), |mark| seen.push(mark));
        assert_eq!(seen, [DecodeEvent::Start(12), DecodeEvent::End(12)]);
    }
}
