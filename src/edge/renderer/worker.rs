//! A worker: one renderer process, from start to exit.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::in_flight::InFlight;
use super::process::Process;
use crate::wire::{self, Setup};

/// The name that `ps` shows.
const PROCESS_NAME: &str = "s3imageserver-renderer";

/// The variables with which a service manager talks to the edge alone (sd_notify(3), sd_listen_fds(3)).
const EDGE_ONLY: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A renderer is ready within milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Memory blocks of this many bytes, such as an original, are returned to the system when they are freed. It is glibc's
/// default, which glibc would raise to the size of the largest block that was freed, and so keep such blocks
/// (mallopt(3)). An image takes some hundred page faults more, below a millisecond.
const MMAP_THRESHOLD: usize = 128 << 10;

/// A renderer process with its pipes and requests. Dropping the last reference kills it.
#[derive(Debug)]
pub struct Worker {
    /// From 1.
    pub number: u64,
    pub socket: PathBuf,
    pub process: Arc<Process>,
    pub in_flight: Arc<InFlight>,
    answers: AtomicU64,
    /// The renderer exits when its standard input closes, so it exits with the edge.
    _stdin: ChildStdin,
}

impl Worker {
    /// Starts a renderer and waits until it accepts connections. The returned pipe carries its decode events and
    /// closes when the process exits.
    ///
    /// The process is killed when the calling thread ends (PR_SET_PDEATHSIG).
    pub fn start(number: u64, socket: PathBuf, setup: &Setup) -> io::Result<(Worker, ChildStdout)> {
        let mut command = Command::new(executable());
        for name in EDGE_ONLY {
            command.env_remove(name);
        }
        let mut child = command
            .arg0(PROCESS_NAME)
            .env(wire::SOCKET_VARIABLE, &socket)
            .env(wire::EDGE_VARIABLE, std::process::id().to_string())
            // libvips warns about clients' images; errors that matter are returned to the edge.
            .env("VIPS_WARNING", "0")
            // libvips would decode a large WebP into a temporary file, which the sandbox does not allow. Memory is
            // limited by other means.
            .env("VIPS_DISC_THRESHOLD", "1000g")
            .env("MALLOC_ARENA_MAX", malloc_arenas().to_string())
            .env("MALLOC_MMAP_THRESHOLD_", MMAP_THRESHOLD.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal must reach only the edge, which lets the renderer finish its requests.
            .process_group(0)
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let process = Arc::new(Process::new(child));
        let (Some(mut stdin), Some(mut stdout)) = pipes else {
            let _ = process.kill_and_wait();
            return Err(io::Error::other("the renderer was started without pipes"));
        };
        let ready = set_start_deadline(&process).and_then(|_deadline| {
            wire::send_setup(&mut stdin, setup)?;
            wait_until_ready(&mut stdout)
        });
        let worker = Worker {
            number,
            socket,
            process,
            in_flight: Arc::default(),
            answers: AtomicU64::new(0),
            _stdin: stdin,
        };
        // On an error the worker is dropped, which kills the process.
        ready.map(|()| (worker, stdout))
    }

    /// The number of requests that it has answered.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Counts one more answer and returns the new number.
    pub fn count_answer(&self) -> u64 {
        self.answers.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill_and_wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Half the number of processors. glibc's default is eight arenas per processor, and each keeps the memory of its
/// largest image: with fewer, the renderer takes a third of the memory at the same speed. A single arena would be
/// contended.
fn malloc_arenas() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

/// The binary that `cargo build` writes: the test executable can't be started as a renderer.
#[cfg(test)]
fn executable() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name(env!("CARGO_PKG_NAME"));
    assert!(program.exists(), "{} is missing: run cargo build", program.display());
    program
}

/// The running binary. `/proc/self/exe` still refers to it after its file was replaced by an upgrade.
#[cfg(not(test))]
fn executable() -> PathBuf {
    const SELF: &str = "/proc/self/exe";
    if std::path::Path::new(SELF).exists() {
        SELF.into()
    } else {
        std::env::args_os().next().unwrap_or_default().into()
    }
}

/// Kills the process after `START_TIMEOUT`, unless the returned sender is dropped before.
fn set_start_deadline(process: &Arc<Process>) -> io::Result<Sender<()>> {
    let (cancel, cancelled) = channel::<()>();
    let process = Arc::clone(process);
    thread::Builder::new().name("renderer-start".into()).spawn(move || {
        if cancelled.recv_timeout(START_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            process.kill();
        }
    })?;
    Ok(cancel)
}

fn wait_until_ready(stdout: &mut ChildStdout) -> io::Result<()> {
    let mut line = String::new();
    BufReader::with_capacity(1, stdout.by_ref()).take(64).read_line(&mut line)?;
    if line.trim_end() == wire::READY {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::UnexpectedEof, "the renderer exited before it was ready"))
}
