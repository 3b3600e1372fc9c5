//! The renderer's process: how it is ended, and how it ended.

use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::crash_tracker::End;
use crate::sync;

/// A killed process is gone within milliseconds, unless it waits for a device.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A child that any thread may end or ask about.
#[derive(Debug)]
pub struct Process {
    id: u32,
    child: Mutex<Child>,
    /// It was still running when we killed it.
    killed: AtomicBool,
}

impl Process {
    /// A process that was started.
    pub fn new(child: Child) -> Process {
        Process { id: child.id(), child: Mutex::new(child), killed: AtomicBool::new(false) }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        !matches!(self.lock().try_wait(), Ok(None))
    }

    /// Whether it ends by itself within this time.
    pub fn ends_within(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if self.has_ended() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it, without waiting for its end.
    pub fn kill(&self) {
        let mut child = self.lock();
        if matches!(child.try_wait(), Ok(None)) {
            self.killed.store(true, Ordering::Relaxed);
            let _ = child.kill();
        }
    }

    /// End it if it has not ended, and tells how it ended.
    pub fn end(&self) -> io::Result<ExitStatus> {
        self.kill();
        // Not `wait`, with which others would wait for the lock while the kernel does not let go of the process.
        match self.ends_within(END_TIMEOUT) {
            true => self.lock().wait(),
            false => Err(io::Error::new(ErrorKind::TimedOut, "killed, and still there")),
        }
    }

    /// What this end tells about the images that were being decoded.
    pub fn classify(&self, status: ExitStatus) -> End {
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        let outside = killed || status.signal() == Some(Signal::TERM.as_raw());
        match (killed && self.killed.load(Ordering::Relaxed), outside) {
            (true, _) => End::Ours,
            (false, true) => End::Killed,
            (false, false) => End::Fault,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        sync::lock(&self.child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, kill_process};
    use std::process::Command;

    fn sleeping() -> Process {
        Process::new(Command::new("sleep").arg("60").spawn().unwrap())
    }

    fn ended_by(signal: Signal) -> End {
        let process = sleeping();
        kill_process(Pid::from_raw(process.id() as i32).unwrap(), signal).unwrap();
        assert!(process.ends_within(Duration::from_secs(20)));
        let status = process.end().unwrap();
        process.classify(status)
    }

    #[test]
    fn a_fault_is_told_from_a_kill() {
        for signal in [
            Signal::SEGV,
            Signal::ABORT,
            Signal::BUS,
            Signal::ILL,
            Signal::FPE,
            Signal::TRAP,
            Signal::SYS,
        ] {
            assert_eq!(ended_by(signal), End::Fault, "{signal:?}");
        }
        for signal in [Signal::KILL, Signal::TERM] {
            assert_eq!(ended_by(signal), End::Killed, "{signal:?}");
        }
        let exited = Process::new(Command::new("false").spawn().unwrap());
        assert!(exited.ends_within(Duration::from_secs(20)));
        let status = exited.end().unwrap();
        assert_eq!(exited.classify(status), End::Fault);
    }

    #[test]
    fn what_we_end_is_our_doing() {
        let process = sleeping();
        assert!(!process.ends_within(Duration::from_millis(1)));
        let status = process.end().unwrap();
        assert_eq!(process.classify(status), End::Ours);
    }
}
