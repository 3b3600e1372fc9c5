//! Standard error, in such a way that nobody who has something to say waits for whoever reads it.
//!
//! Once [`start`] was called, lines are gathered in memory and written by a thread of its own a few milliseconds later,
//! many at once: a request pays no system call for its line, and a standard error that takes nothing (a pipe that
//! nobody reads) costs lines and no request. Lost lines are counted, and told of when it takes some again.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(10);
/// More bytes than this are not kept for a standard error that takes nothing.
const MOST_BYTES: usize = 1 << 20;
/// What sentences have besides, so that they are not lost among requests.
const FOR_SENTENCES: usize = 64 << 10;
/// How long a process that ends waits for its last lines to be taken.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// How long a line is waited for where there is no thread for that, in nanoseconds.
const DIRECT_PATIENCE: i64 = 100_000_000;

static OUTLET: Outlet = Outlet::new();
static IS_STARTED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Outlet {
    gathered: Mutex<Gathered>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Debug)]
struct Gathered {
    lines: Vec<u8>,
    lost: u64,
    writer_waits: bool,
    is_writing: bool,
}

/// From now on lines are written by a thread.
pub fn start() -> io::Result<()> {
    thread::Builder::new().name("stderr".into()).spawn(|| OUTLET.write_for_ever())?;
    IS_STARTED.store(true, Ordering::Release);
    Ok(())
}

/// Writes one line of many, with its line feed.
pub fn line(bytes: &[u8]) {
    put(bytes, MOST_BYTES);
}

/// Writes one line that is worth more than most, with its line feed.
pub fn sentence(bytes: &[u8]) {
    put(bytes, MOST_BYTES + FOR_SENTENCES);
}

fn put(bytes: &[u8], most: usize) {
    if IS_STARTED.load(Ordering::Acquire) {
        OUTLET.push(bytes, most);
    } else {
        write_direct(bytes);
    }
}

/// For a process that is about to end: waits a moment for every line to be written.
pub fn flush() {
    if IS_STARTED.load(Ordering::Acquire) {
        OUTLET.wait_until_written(LAST_PATIENCE);
    }
}

impl Outlet {
    const fn new() -> Outlet {
        let gathered = Gathered { lines: Vec::new(), lost: 0, writer_waits: false, is_writing: false };
        Outlet { gathered: Mutex::new(gathered), filled: Condvar::new(), written: Condvar::new() }
    }

    fn push(&self, bytes: &[u8], most: usize) {
        let mut gathered = self.lock();
        if gathered.lines.len() + bytes.len() > most {
            gathered.lost += 1;
            return;
        }
        gathered.lines.extend_from_slice(bytes);
        if std::mem::take(&mut gathered.writer_waits) {
            drop(gathered);
            self.filled.notify_one();
        }
    }

    fn write_for_ever(&self) {
        let mut batch = Vec::new();
        loop {
            let mut gathered = self.lock();
            gathered.writer_waits = true;
            let is_empty = |gathered: &mut Gathered| gathered.lines.is_empty();
            drop(self.filled.wait_while(gathered, is_empty).unwrap_or_else(PoisonError::into_inner));
            thread::sleep(GATHER);
            self.take(&mut batch);
            write_patiently(&batch);
            batch.clear();
            self.lock().is_writing = false;
            self.written.notify_all();
        }
    }

    fn take(&self, batch: &mut Vec<u8>) {
        let mut gathered = self.lock();
        gathered.writer_waits = false;
        gathered.is_writing = true;
        std::mem::swap(&mut gathered.lines, batch);
        let lost = std::mem::take(&mut gathered.lost);
        if lost > 0 {
            // Writing to a Vec can't fail.
            let _ = writeln!(batch, "standard error: {lost} lines were lost, it takes them too slowly");
        }
    }

    fn wait_until_written(&self, patience: Duration) {
        let is_pending = |gathered: &mut Gathered| gathered.is_writing || !gathered.lines.is_empty();
        drop(self.written.wait_timeout_while(self.lock(), patience, is_pending));
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines that can't be written (a closed pipe, a full disk) must not cost a request.
fn write_patiently(mut bytes: &[u8]) {
    let mut stderr = io::stderr();
    while !bytes.is_empty() {
        match stderr.write(bytes) {
            Ok(0) => return,
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares it with us has made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(GATHER),
            Err(_) => return,
        }
    }
}

/// A pipe that says it takes something takes a line of the usual length whole.
fn write_direct(bytes: &[u8]) {
    let stderr = io::stderr();
    let timeout = Timespec { tv_sec: 0, tv_nsec: DIRECT_PATIENCE };
    if poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&timeout)) != Ok(0) {
        let _ = stderr.lock().write_all(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_bounded_and_what_is_lost_is_said() {
        let outlet = Outlet::new();
        let line = [b'x'; 1000];
        (0..2000).for_each(|_| outlet.push(&line, MOST_BYTES));
        let kept = outlet.lock().lines.len();
        assert!(kept <= MOST_BYTES && kept > MOST_BYTES - 1000);
        assert_eq!(outlet.lock().lost as usize, 2000 - kept / 1000);
        outlet.push(b"a sentence\n", MOST_BYTES + FOR_SENTENCES);
        let mut batch = Vec::new();
        outlet.take(&mut batch);
        let end = String::from_utf8_lossy(&batch[kept..]).into_owned();
        let lost = 2000 - kept / 1000;
        let expected =
            format!("a sentence\nstandard error: {lost} lines were lost, it takes them too slowly\n");
        assert_eq!(end, expected);
        let gathered = outlet.lock();
        assert_eq!((gathered.lines.len(), gathered.lost), (0, 0));
    }

    #[test]
    fn the_last_lines_are_not_waited_for_for_ever() {
        let outlet = Outlet::new();
        outlet.wait_until_written(Duration::from_secs(3600));
        outlet.push(b"x\n", MOST_BYTES);
        outlet.wait_until_written(Duration::from_millis(10));
        assert_eq!(outlet.lock().lines, b"x\n");
    }
}
