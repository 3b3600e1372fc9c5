//! A worker: one renderer process, from start to exit.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::in_flight::InFlight;
use super::process::Process;
use crate::renderer_command::renderer_command;
use crate::wire::{self, Setup};

/// A renderer is ready within milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(10);

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
        let mut child = renderer_command()
            .env(wire::SOCKET_VARIABLE, &socket)
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
