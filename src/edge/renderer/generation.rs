//! One renderer process, from its start to its end.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::{self, Setup};

/// What `ps` shows.
const PROCESS_NAME: &str = "s3imageserver-renderer";

/// A renderer is ready within milliseconds; one that takes this long hangs.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// A running renderer. It ends when the last connection to it is dropped, or on its own.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    socket: PathBuf,
    process: Arc<Mutex<Child>>,
    /// The renderer ends when this closes, also when it is our death that closes it.
    _lifeline: ChildStdin,
}

impl Generation {
    /// Starts the renderer and waits until it accepts connections. The pipe that is returned with it closes when
    /// the process ends.
    pub fn start(number: u64, socket: PathBuf, setup: &Setup) -> io::Result<(Generation, ChildStdout)> {
        let mut process = Command::new(executable())
            .arg0(PROCESS_NAME)
            .env(wire::SOCKET_VARIABLE, &socket)
            // libvips' warnings are about clients' pictures; what matters comes back as an error.
            .env("VIPS_WARNING", "0")
            // A large WebP would be decoded into a temporary file, for which the renderer has no place. Its memory
            // is bounded.
            .env("VIPS_DISC_THRESHOLD", "1000g")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C at a terminal goes to the edge, which lets the renderer finish.
            .process_group(0)
            .spawn()?;
        let (Some(mut lifeline), Some(mut output)) = (process.stdin.take(), process.stdout.take()) else {
            let _ = process.kill();
            return Err(io::Error::other("the renderer was started without pipes"));
        };
        let process = Arc::new(Mutex::new(process));
        let ready = start_deadline(&process).and_then(|_deadline| {
            wire::send_setup(&mut lifeline, setup)?;
            wait_until_ready(&mut output)
        });
        let generation = Generation { number, socket, process, _lifeline: lifeline };
        // On an error the generation is dropped, and the process with it.
        ready.map(|()| (generation, output))
    }

    /// Counts up from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Whether the process ends by itself within this time.
    pub fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.process.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
            match ended {
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                Ok(None) => return false,
                Ok(Some(_)) | Err(_) => return true,
            }
        }
    }

    /// Ends the process if it has not ended, and tells how it ended.
    pub fn end(&self) -> io::Result<ExitStatus> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.kill()?;
        process.wait()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let _ = self.end();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Our own program. `/proc/self/exe` is right even when the file was replaced by a newer version meanwhile.
fn executable() -> PathBuf {
    const SELF: &str = "/proc/self/exe";
    if Path::new(SELF).exists() { SELF.into() } else { std::env::args_os().next().unwrap_or_default().into() }
}

/// Kills a process that is not ready in time, so that nobody waits for it. The deadline is lifted by dropping what
/// is returned.
fn start_deadline(process: &Arc<Mutex<Child>>) -> io::Result<Sender<()>> {
    let (lifted, deadline) = channel::<()>();
    let process = Arc::clone(process);
    thread::Builder::new().name("renderer-start".into()).spawn(move || {
        if deadline.recv_timeout(START_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = process.lock().unwrap_or_else(PoisonError::into_inner).kill();
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
