//! One renderer process, from its start to its end.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::in_flight::InFlight;
use super::process::Process;
use crate::wire::{self, Setup};

/// What `ps` shows.
const PROCESS_NAME: &str = "s3imageserver-renderer";

/// A renderer is ready within milliseconds; one that takes this long hangs.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running renderer. It is ended when the last reference to it is dropped, or ends on its own.
#[derive(Debug)]
pub struct Worker {
    number: u64,
    socket: PathBuf,
    process: Arc<Process>,
    in_flight: Arc<InFlight>,
    answers: AtomicU64,
    /// The renderer ends when this closes, also when it is our death that closes it.
    _lifeline: ChildStdin,
}

/// How many heaps the renderer's threads share. glibc would give them up to eight a processor, each of which keeps what
/// its largest image took: a third of the memory is as fast. Not one for all, though, which many processors would wait
/// for.
fn heaps() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

impl Worker {
    /// Starts the renderer and waits until it accepts connections. The pipe that is returned with it carries its
    /// marks and closes when the process ends.
    ///
    /// The process ends with the thread that calls this.
    pub fn start(number: u64, socket: PathBuf, setup: &Setup) -> io::Result<(Worker, ChildStdout)> {
        let mut child = Command::new(executable())
            .arg0(PROCESS_NAME)
            .env(wire::SOCKET_VARIABLE, &socket)
            .env(wire::EDGE_VARIABLE, std::process::id().to_string())
            // libvips' warnings are about clients' images; what matters comes back as an error.
            .env("VIPS_WARNING", "0")
            // A large WebP would be decoded into a temporary file, for which the renderer has no place. Its memory
            // is bounded.
            .env("VIPS_DISC_THRESHOLD", "1000g")
            .env("MALLOC_ARENA_MAX", heaps().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C at a terminal goes to the edge, which lets the renderer finish.
            .process_group(0)
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let process = Arc::new(Process::new(child));
        let (Some(mut lifeline), Some(mut output)) = pipes else {
            let _ = process.end();
            return Err(io::Error::other("the renderer was started without pipes"));
        };
        let ready = start_deadline(&process).and_then(|_deadline| {
            wire::send_setup(&mut lifeline, setup)?;
            wait_until_ready(&mut output)
        });
        let (in_flight, answers) = (Arc::default(), AtomicU64::new(0));
        let worker = Worker { number, socket, process, in_flight, answers, _lifeline: lifeline };
        // On an error the worker is dropped, and the process with it.
        ready.map(|()| (worker, output))
    }

    /// Counts up from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// What it is asked for.
    pub fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// How many requests it has answered.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// It has answered one more; returns how many that are.
    pub fn count_answer(&self) -> u64 {
        self.answers.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.end();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The tests are no renderer, but `cargo test` builds one before it runs them.
#[cfg(test)]
fn executable() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name(env!("CARGO_PKG_NAME"));
    assert!(program.exists(), "{} is missing: run cargo build", program.display());
    program
}

/// Our own program. `/proc/self/exe` is right even when the file was replaced by a newer version meanwhile.
#[cfg(not(test))]
fn executable() -> PathBuf {
    const SELF: &str = "/proc/self/exe";
    if Path::new(SELF).exists() {
        SELF.into()
    } else {
        std::env::args_os().next().unwrap_or_default().into()
    }
}

/// Kills a process that is not ready in time, so that nobody waits for it. The deadline is lifted by dropping what
/// is returned.
fn start_deadline(process: &Arc<Process>) -> io::Result<Sender<()>> {
    let (lifted, deadline) = channel::<()>();
    let process = Arc::clone(process);
    thread::Builder::new().name("renderer-start".into()).spawn(move || {
        if deadline.recv_timeout(START_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            process.kill();
        }
    })?;
    Ok(lifted)
}

fn wait_until_ready(output: &mut ChildStdout) -> io::Result<()> {
    let mut line = String::new();
    BufReader::with_capacity(1, output.by_ref()).take(64).read_line(&mut line)?;
    if line.trim_end() == wire::READY {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::UnexpectedEof, "the renderer ended before it was ready"))
}
