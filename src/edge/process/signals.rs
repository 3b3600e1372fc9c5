//! The signals of an operator: SIGTERM and SIGINT stop, SIGHUP reloads.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Forwards SIGTERM, SIGINT and SIGHUP to a channel.
pub fn forward() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The next signal, within `timeout` if there is one.
pub fn receive(
    signals: &Receiver<i32>,
    timeout: Option<Duration>,
) -> Result<i32, RecvTimeoutError> {
    match timeout {
        Some(timeout) => signals.recv_timeout(timeout),
        None => signals.recv().map_err(RecvTimeoutError::from),
    }
}

/// Whether SIGTERM or SIGINT arrives within `timeout`.
pub fn receives_stop(signals: &Receiver<i32>, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match signals.recv_timeout(left) {
            Ok(SIGHUP) => {}
            other => return other.is_ok(),
        }
    }
}
