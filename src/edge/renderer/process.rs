//! The operating system process of a renderer: kill, wait, and the cause of its exit.

use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{crash_tracker::ExitCause, usage};
use crate::sync::Mutex;

/// A killed process exits within milliseconds, unless it is in an uninterruptible sleep.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A child process that any thread may kill or wait for.
#[derive(Debug)]
pub struct Process {
    id: u32,
    child: Mutex<Child>,
    /// The edge killed it while it was running.
    killed: AtomicBool,
}

impl Process {
    pub fn new(child: Child) -> Process {
        usage::add(child.id());
        Process { id: child.id(), child: Mutex::new(child), killed: AtomicBool::new(false) }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn has_exited(&self) -> bool {
        self.check_exited(&mut self.child.lock())
    }

    fn check_exited(&self, child: &mut Child) -> bool {
        let has_exited = !matches!(child.try_wait(), Ok(None));
        if has_exited {
            usage::remove(self.id);
        }
        has_exited
    }

    /// Waits for the process to exit by itself.
    pub fn exits_within(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if self.has_exited() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends SIGKILL without waiting for the exit.
    pub fn kill(&self) {
        let mut child = self.child.lock();
        if !self.check_exited(&mut child) {
            self.killed.store(true, Ordering::Relaxed);
            let _ = child.kill();
        }
    }

    /// Kills the process unless it has exited, and waits for its status.
    pub fn kill_and_wait(&self) -> io::Result<ExitStatus> {
        self.kill();
        // `wait` alone would hold the lock for as long as the kernel does not release the process.
        if self.exits_within(KILL_TIMEOUT) {
            self.child.lock().wait()
        } else {
            Err(io::Error::new(ErrorKind::TimedOut, "killed, but still running"))
        }
    }

    pub fn exit_cause(&self, status: ExitStatus) -> ExitCause {
        let is_killed = status.signal() == Some(Signal::KILL.as_raw());
        let is_terminated = status.signal() == Some(Signal::TERM.as_raw());
        if is_killed && self.killed.load(Ordering::Relaxed) {
            ExitCause::KilledByEdge
        } else if is_killed || is_terminated {
            ExitCause::Killed
        } else {
            ExitCause::Crash
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, kill_process};
    use std::process::Command;

    fn sleep() -> Process {
        Process::new(Command::new("sleep").arg("60").spawn().unwrap())
    }

    fn cause_of_signal(signal: Signal) -> ExitCause {
        let process = sleep();
        kill_process(Pid::from_raw(process.id() as i32).unwrap(), signal).unwrap();
        assert!(process.exits_within(Duration::from_secs(20)));
        let status = process.kill_and_wait().unwrap();
        process.exit_cause(status)
    }

    #[test]
    fn exit_cause_distinguishes_crashes_from_kills() {
        for signal in [
            Signal::SEGV,
            Signal::ABORT,
            Signal::BUS,
            Signal::ILL,
            Signal::FPE,
            Signal::TRAP,
            Signal::SYS,
        ] {
            assert_eq!(cause_of_signal(signal), ExitCause::Crash, "{signal:?}");
        }
        for signal in [Signal::KILL, Signal::TERM] {
            assert_eq!(cause_of_signal(signal), ExitCause::Killed, "{signal:?}");
        }
        let exited = Process::new(Command::new("false").spawn().unwrap());
        assert!(exited.exits_within(Duration::from_secs(20)));
        let status = exited.kill_and_wait().unwrap();
        assert_eq!(exited.exit_cause(status), ExitCause::Crash);
    }

    #[test]
    fn exit_cause_of_a_killed_child_is_the_edge() {
        let process = sleep();
        assert!(!process.exits_within(Duration::from_millis(1)));
        let status = process.kill_and_wait().unwrap();
        assert_eq!(process.exit_cause(status), ExitCause::KilledByEdge);
    }
}
