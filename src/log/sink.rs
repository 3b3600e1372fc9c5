//! The log sink: standard error, written without ever making a request wait.
//!
//! After [`start`], lines are buffered in memory; a writer thread writes them in batches a few milliseconds later. A
//! request pays no system call for its line, and a standard error that is not read (a full pipe) costs lines, not
//! requests. Dropped lines are counted and reported once standard error can be written again.

use std::io::{self, ErrorKind, Write};
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Level, push_event};
use crate::sync::{self, Mutex};

/// How long lines are buffered before they are written.
const BATCH_DELAY: Duration = Duration::from_millis(10);
/// The most bytes that are buffered while standard error can't be written.
const BUFFER_BYTES: usize = 1 << 20;
/// Extra room for events, so that access log lines can't crowd them out.
const PRIORITY_BYTES: usize = 64 << 10;
/// How long an exiting process waits for its last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest write to a pipe that is atomic, on Linux.
const PIPE_BUF: usize = 4096;
/// How long a line waits for standard error before [`start`], in nanoseconds.
const DIRECT_TIMEOUT: i64 = 100_000_000;

static SINK: Sink = Sink::new();
static IS_STARTED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Sink {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Debug)]
struct Buffer {
    lines: Vec<u8>,
    dropped: u64,
    writer_waits: bool,
    is_writing: bool,
}

/// Starts the writer thread.
pub fn start() -> io::Result<()> {
    thread::Builder::new().name("stderr".into()).spawn(|| SINK.write_forever())?;
    IS_STARTED.store(true, Ordering::Release);
    Ok(())
}

/// Writes one line, which ends with a line feed.
pub fn line(bytes: &[u8]) {
    put(bytes, BUFFER_BYTES);
}

/// Writes one line that may use the room reserved for events.
pub fn priority_line(bytes: &[u8]) {
    put(bytes, BUFFER_BYTES + PRIORITY_BYTES);
}

fn put(bytes: &[u8], max_bytes: usize) {
    if IS_STARTED.load(Ordering::Acquire) {
        SINK.push(bytes, max_bytes);
    } else {
        write_direct(bytes);
    }
}

/// Waits a moment for every line to be written, before the process exits.
pub fn flush() {
    if IS_STARTED.load(Ordering::Acquire) {
        SINK.wait_until_written(FLUSH_TIMEOUT);
    }
}

impl Sink {
    const fn new() -> Sink {
        let buffer =
            Buffer { lines: Vec::new(), dropped: 0, writer_waits: false, is_writing: false };
        Sink { buffer: Mutex::new(buffer), filled: Condvar::new(), written: Condvar::new() }
    }

    fn push(&self, bytes: &[u8], max_bytes: usize) {
        let mut buffer = self.buffer.lock();
        if buffer.lines.len() + bytes.len() > max_bytes {
            buffer.dropped += 1;
            return;
        }
        buffer.lines.extend_from_slice(bytes);
        if std::mem::take(&mut buffer.writer_waits) {
            drop(buffer);
            self.filled.notify_one();
        }
    }

    fn write_forever(&self) {
        let mut batch = Vec::new();
        loop {
            let mut buffer = self.buffer.lock();
            buffer.writer_waits = true;
            let is_empty = |buffer: &mut Buffer| buffer.lines.is_empty();
            drop(sync::wait_while(&self.filled, buffer, is_empty));
            thread::sleep(BATCH_DELAY);
            self.take(&mut batch);
            write_all(&batch);
            batch.clear();
            self.buffer.lock().is_writing = false;
            self.written.notify_all();
        }
    }

    fn take(&self, batch: &mut Vec<u8>) {
        let mut buffer = self.buffer.lock();
        buffer.writer_waits = false;
        buffer.is_writing = true;
        std::mem::swap(&mut buffer.lines, batch);
        let dropped = std::mem::take(&mut buffer.dropped);
        if dropped > 0 {
            let mut line = String::new();
            let sentence = format!("dropped {dropped} log lines: stderr is not read fast enough");
            push_event(&mut line, super::format(), Level::Warn, "log_lines_dropped", &sentence);
            batch.extend_from_slice(line.as_bytes());
        }
    }

    fn wait_until_written(&self, timeout: Duration) {
        let is_pending = |buffer: &mut Buffer| buffer.is_writing || !buffer.lines.is_empty();
        drop(self.written.wait_timeout_while(self.buffer.lock(), timeout, is_pending));
    }
}

/// Writes as much as possible. An error (a closed pipe, a full disk) loses lines, never a request.
fn write_all(mut bytes: &[u8]) {
    let mut stderr = io::stderr();
    let mut piece = 0;
    while !bytes.is_empty() {
        if piece == 0 {
            piece = whole_lines(bytes);
        }
        match stderr.write(bytes.get(..piece).unwrap_or(bytes)) {
            Ok(0) => return,
            Ok(length) => {
                bytes = bytes.get(length..).unwrap_or_default();
                piece = piece.saturating_sub(length);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares the file description has made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BATCH_DELAY),
            Err(_) => return,
        }
    }
}

/// The length of as many whole lines as a pipe takes in one piece, or of one longer line. The renderers write to the same
/// pipe, and a larger write could be interleaved with theirs (pipe(7), `PIPE_BUF`).
fn whole_lines(bytes: &[u8]) -> usize {
    let end_of_line = |byte: &u8| *byte == b'\n';
    let first = bytes.get(..PIPE_BUF).unwrap_or(bytes);
    let last_end = first.iter().rposition(end_of_line);
    last_end.or_else(|| bytes.iter().position(end_of_line)).map_or(bytes.len(), |end| end + 1)
}

/// Writes without the thread. A pipe that polls writable takes a line of the usual length whole (pipe(7), `PIPE_BUF`).
fn write_direct(bytes: &[u8]) {
    let stderr = io::stderr();
    let timeout = Timespec { tv_sec: 0, tv_nsec: DIRECT_TIMEOUT };
    if poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&timeout)) != Ok(0) {
        let _ = stderr.lock().write_all(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn the_buffer_is_bounded_and_dropped_lines_are_counted() {
        let sink = Sink::new();
        let line = [b'x'; 1000];
        (0..2000).for_each(|_| sink.push(&line, BUFFER_BYTES));
        let kept = sink.buffer.lock().lines.len();
        assert!(kept <= BUFFER_BYTES && kept > BUFFER_BYTES - 1000);
        assert_eq!(sink.buffer.lock().dropped as usize, 2000 - kept / 1000);
        sink.push(b"an event\n", BUFFER_BYTES + PRIORITY_BYTES);
        let mut batch = Vec::new();
        sink.take(&mut batch);
        let end = String::from_utf8_lossy(&batch[kept..]).into_owned();
        let dropped = 2000 - kept / 1000;
        let report = format!(" warn event=log_lines_dropped dropped {dropped} log lines");
        assert!(end.starts_with("an event\n") && end.contains(&report), "{end}");
        let buffer = sink.buffer.lock();
        assert_eq!((buffer.lines.len(), buffer.dropped), (0, 0));
    }

    #[test]
    fn batches_are_written_in_whole_lines() {
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        for (lengths, first) in [
            (&[10][..], 10),
            (&[10, 20], 30),
            (&[4000, 96], 4096),
            (&[4000, 97], 4000),
            (&[4096, 1], 4096),
            (&[5000, 10], 5000),
        ] {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| line(*length)).collect();
            assert_eq!(whole_lines(&bytes), first, "{lengths:?}");
        }
        assert_eq!(whole_lines(&[b'x'; 5000]), 5000);
    }

    #[test]
    fn flush_does_not_wait_forever() {
        let sink = Sink::new();
        sink.wait_until_written(Duration::from_secs(3600));
        sink.push(b"x\n", BUFFER_BYTES);
        sink.wait_until_written(Duration::from_millis(10));
        assert_eq!(sink.buffer.lock().lines, b"x\n");
    }

    #[test]
    fn size_of_the_buffer_is_as_documented() {
        let sentence = format!("beyond {} MiB, lines are dropped", BUFFER_BYTES >> 20);
        assert_says("docs/http.md", &sentence);
    }
}
