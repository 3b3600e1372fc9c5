//! The supervisor: one thread that keeps a worker running. It starts the next one when the current one exits, hangs or
//! reaches a limit, and lets the old one drain.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::crash_tracker::ExitCause;
use super::exit_watch::ExitWatch;
use super::heartbeat::{Health, Heartbeat};
use super::replacement::Replacement;
use super::shared::Shared;
use super::socket_directory::SocketDirectory;
use super::usage::resident_bytes;
use super::worker::Worker;
use crate::check_interval::check_interval;
use crate::config::{JournalConnections, Limits};
use crate::log::{error, info, warn};
use crate::metrics::{METRICS, Restart};
use crate::wire::Setup;

/// A worker that ran for this long, or that has answered a request, is replaced at once when it exits.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// The delay before the next start when a worker exits earlier; it doubles each time.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Timeout of the ping that opens a connection to a new worker.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a process may take to exit after it closed a connection.
const EXIT_TIMEOUT: Duration = Duration::from_millis(100);
/// Interval of the checks whether a draining worker has answered its last request.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);
/// How long a draining worker may take beyond `render_timeout`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Checks between two replacements because of memory, and after a failed replacement.
const REPLACE_CHECKS: u32 = 5;
/// While this many workers are draining, limits replace no other.
const MAX_DRAINING: usize = 4;

/// Events name a worker by its number.
#[derive(Debug)]
pub enum Event {
    /// The process has exited, and its crash report is written.
    Exited(u64),
    /// A request was not answered.
    ConnectionLost(u64),
    /// The sandbox does not match the file system any more; a new worker's would.
    Outdated(u64),
    /// A worker may have reached a limit.
    LimitReached,
    /// The client was dropped.
    Stop,
}

#[derive(Debug)]
pub struct Supervisor {
    directory: Arc<SocketDirectory>,
    setup: Setup,
    limits: Limits,
    reserved: JournalConnections,
    shared: Arc<Shared>,
    events: Sender<Event>,
    current: Option<Running>,
    draining: Vec<Draining>,
    /// The number of the last worker.
    count: u64,
    backoff: Duration,
    /// When to start a worker while there is none.
    start_at: Instant,
    last_check: Instant,
    is_outdated: bool,
    /// A healthy worker is not replaced before this time.
    replace_after: Instant,
    /// No replacement because of memory before this time.
    replace_for_memory_after: Instant,
}

#[derive(Debug)]
struct Running {
    worker: Arc<Worker>,
    heartbeat: Heartbeat,
    started: Instant,
    resident_bytes: u64,
}

/// A worker that finishes its requests and gets no new ones.
#[derive(Debug)]
struct Draining {
    worker: Arc<Worker>,
    heartbeat: Heartbeat,
    deadline: Instant,
    /// It has exited or was killed, and this has been logged.
    is_done: bool,
}

impl Supervisor {
    pub fn new(
        directory: Arc<SocketDirectory>,
        setup: Setup,
        limits: &Limits,
        reserved: JournalConnections,
        shared: Arc<Shared>,
        events: Sender<Event>,
    ) -> Supervisor {
        let now = Instant::now();
        Supervisor {
            directory,
            setup,
            limits: limits.clone(),
            reserved,
            shared,
            events,
            current: None,
            draining: Vec::new(),
            count: 0,
            backoff: Duration::ZERO,
            start_at: now,
            last_check: now,
            is_outdated: false,
            replace_after: now,
            replace_for_memory_after: now,
        }
    }

    /// Starts the first worker and passes the result to `started`. On success, keeps a worker running until
    /// [`Event::Stop`].
    pub fn run(mut self, events: &Receiver<Event>, started: impl FnOnce(io::Result<()>)) {
        let first = self.start_worker();
        let has_failed = first.is_err();
        started(first);
        if has_failed {
            return;
        }
        loop {
            match events.recv_timeout(self.timeout()) {
                Ok(Event::Exited(number)) => self.handle_exit(number),
                Ok(Event::ConnectionLost(number)) => self.handle_lost_connection(number),
                Ok(Event::Outdated(number)) => self.is_outdated |= self.is_current(number),
                Ok(Event::LimitReached) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.tick();
        }
        // Idle connections would keep the last worker alive. Workers die with this thread.
        if let Some(running) = self.current.take() {
            self.shared.uninstall(running.worker.number);
        }
        self.directory.remove();
    }

    /// The time until the next check, drain check or start.
    fn timeout(&self) -> Duration {
        let check = check_interval().saturating_sub(self.last_check.elapsed());
        let drain = if self.draining.is_empty() { check } else { DRAIN_INTERVAL };
        let start = match self.current {
            Some(_) => check,
            None => self.start_at.saturating_duration_since(Instant::now()),
        };
        check.min(drain).min(start)
    }

    /// Starts a worker, makes it the current one and drains its predecessor.
    fn start_worker(&mut self) -> io::Result<()> {
        self.count += 1;
        self.directory.ensure()?;
        let number = self.count;
        let (worker, stdout) = Worker::start(number, self.directory.socket(number), &self.setup)?;
        let worker = Arc::new(worker);
        let watch = ExitWatch {
            process: Arc::clone(&worker.process),
            in_flight: Arc::clone(&worker.in_flight),
            crash_tracker: Arc::clone(&self.shared.crash_tracker),
        };
        let events = self.events.clone();
        watch.start(stdout, move || drop(events.send(Event::Exited(number))))?;
        // One at a time: see `Connection::open`.
        let open = || Connection::open(&worker.socket, &worker, PING_TIMEOUT);
        let (connection, status) = open()?;
        let heartbeat = Heartbeat::new(connection.into_stream())?;
        let connections = (0..self.limits.fetches_at_once + self.reserved.count())
            .map(|_| open().map(|(connection, _)| connection))
            .collect::<io::Result<Vec<_>>>()?;
        info!(
            "renderer_ready",
            "renderer process {} is ready with {} connections",
            worker.process.id(),
            connections.len()
        );
        *self.shared.status.lock() = Some(Arc::new(status));
        *self.shared.worker.lock() = Arc::downgrade(&worker);
        self.shared.install(&worker, connections, self.reserved);
        self.is_outdated = false;
        let running = Running { worker, heartbeat, started: Instant::now(), resident_bytes: 0 };
        if let Some(old) = self.current.replace(running) {
            self.drain(old, false);
        }
        Ok(())
    }

    fn drain(&mut self, old: Running, is_done: bool) {
        self.shared.uninstall(old.worker.number);
        let deadline = Instant::now() + self.limits.render_timeout + DRAIN_TIMEOUT;
        let Running { worker, heartbeat, .. } = old;
        self.draining.push(Draining { worker, heartbeat, deadline, is_done });
    }

    /// Drains the current worker before there is another one, and schedules the start of that one.
    fn drain_current(&mut self, is_done: bool, cause: Restart) {
        let Some(running) = self.current.take() else { return };
        METRICS.renderer.restarts.get(cause).add(1);
        *self.shared.status.lock() = None;
        let was_stable = running.worker.answers() > 0 || running.started.elapsed() > STABLE_AFTER;
        self.backoff = if was_stable { Duration::ZERO } else { next_backoff(self.backoff) };
        self.start_at = Instant::now() + self.backoff;
        self.drain(running, is_done);
    }

    fn is_current(&self, number: u64) -> bool {
        self.current.as_ref().is_some_and(|running| running.worker.number == number)
    }

    fn handle_exit(&mut self, number: u64) {
        if let Some(running) = &self.current
            && running.worker.number == number
        {
            let (how, cause) = exit_of(&running.worker);
            warn!("renderer_exited", "renderer process {how}; starting another");
            self.drain_current(true, cause);
        }
    }

    fn handle_lost_connection(&mut self, number: u64) {
        if let Some(running) = &self.current
            && running.worker.number == number
        {
            let process = &running.worker.process;
            // A crash closes the connections a moment before the process has exited.
            if process.exits_within(EXIT_TIMEOUT) {
                return self.handle_exit(number);
            }
            let id = process.id();
            warn!(
                "renderer_unresponsive",
                "renderer process {id} does not answer; starting another and draining it"
            );
            self.drain_current(false, Restart::Unresponsive);
        }
    }

    fn tick(&mut self) {
        if self.last_check.elapsed() >= check_interval() {
            self.last_check = Instant::now();
            self.check_health();
        }
        self.end_draining();
        if self.current.is_none() && Instant::now() >= self.start_at {
            if let Err(error) = self.start_worker() {
                error!("renderer_start_failed", "can't start a renderer, retrying: {error}");
                self.backoff = next_backoff(self.backoff);
                self.start_at = Instant::now() + self.backoff;
            }
        } else if let Some(reason) = self.reason_to_replace() {
            self.replace(reason);
        }
    }

    /// Checks every heartbeat, and the memory of the current worker.
    fn check_health(&mut self) {
        for draining in self.draining.iter_mut().filter(|draining| !draining.is_done) {
            if draining.heartbeat.check() == Health::TimedOut {
                draining.is_done = true;
                kill_hung(&draining.worker);
            }
        }
        let Some(running) = &mut self.current else { return };
        running.resident_bytes = resident_bytes(running.worker.process.id()).unwrap_or(0);
        let number = running.worker.number;
        match running.heartbeat.check() {
            Health::Ok => {
                self.shared.count_heartbeat();
                if running.heartbeat.is_late() {
                    *self.shared.status.lock() = None;
                }
            }
            Health::Answered(status) => {
                self.shared.count_heartbeat();
                *self.shared.status.lock() = Some(Arc::new(status));
            }
            Health::TimedOut => {
                kill_hung(&running.worker);
                self.drain_current(true, Restart::Hung);
            }
            Health::Closed => self.handle_lost_connection(number),
        }
    }

    /// Kills draining workers that have no request left or have exceeded their deadline.
    fn end_draining(&mut self) {
        self.draining.retain_mut(|draining| {
            let process = &draining.worker.process;
            if !draining.is_done && process.has_exited() {
                draining.is_done = true;
                warn!(
                    "renderer_exited",
                    "draining renderer process {} before its last answer",
                    exit_of(&draining.worker).0
                );
            }
            // Each connection in use holds a reference.
            if Arc::strong_count(&draining.worker) == 1 {
                draining.is_done = true;
                process.kill();
                // The process stays in the list until the kernel has released it: dropping it would wait for that.
                return !process.has_exited();
            }
            if Instant::now() > draining.deadline && !draining.is_done {
                draining.is_done = true;
                warn!(
                    "renderer_killed",
                    "draining renderer process {} exceeded its deadline; killing it",
                    process.id()
                );
                process.kill();
            }
            true
        });
    }

    fn reason_to_replace(&self) -> Option<Replacement> {
        let running = self.current.as_ref()?;
        let now = Instant::now();
        if now < self.replace_after {
            return None;
        }
        if self.is_outdated {
            // It may have been uninstalled from the queue, so this can't wait for draining workers.
            return Some(Replacement::Outdated);
        }
        if self.draining.len() >= MAX_DRAINING {
            return None;
        }
        let answers = running.worker.answers();
        let resident_bytes = running.resident_bytes;
        let is_reached = |value: u64, limit: u64| limit > 0 && value >= limit;
        if is_reached(answers, self.limits.renderer_max_renders) {
            Some(Replacement::Answers(answers))
        } else if is_reached(resident_bytes, self.limits.renderer_max_rss)
            // A worker that has answered nothing would be replaced by one of the same size.
            && answers > 0
            && now >= self.replace_for_memory_after
        {
            Some(Replacement::Memory(resident_bytes))
        } else {
            None
        }
    }

    /// Starts the next worker; if this fails, the current one stays.
    fn replace(&mut self, reason: Replacement) {
        let Some(running) = &self.current else { return };
        let id = running.worker.process.id();
        let pause_end = Instant::now() + check_interval() * REPLACE_CHECKS;
        if let Replacement::Memory(_) = reason {
            self.replace_for_memory_after = pause_end;
        }
        let why = reason.describe(&self.limits);
        info!("renderer_replaced", "restarting renderer process {id}{why}");
        match self.start_worker() {
            Ok(()) => METRICS.renderer.restarts.get(reason.label()).add(1),
            Err(error) => {
                error!(
                    "renderer_start_failed",
                    "keeping renderer process {id}: can't start another: {error}"
                );
                self.replace_after = Instant::now() + check_interval() * REPLACE_CHECKS;
            }
        }
    }
}

/// `{process id} ended ({exit status})`, and the cause of the next start.
fn exit_of(worker: &Worker) -> (String, Restart) {
    let process = &worker.process;
    let (how, cause) = match process.kill_and_wait() {
        Ok(status) if process.exit_cause(status) == ExitCause::Crash => {
            (status.to_string(), Restart::Crash)
        }
        Ok(status) => (status.to_string(), Restart::Killed),
        Err(error) => (error.to_string(), Restart::Killed),
    };
    (format!("{} ended ({how})", process.id()), cause)
}

fn kill_hung(worker: &Worker) {
    let process = &worker.process;
    warn!(
        "renderer_hung",
        "renderer process {} has not answered for ten seconds; killing it",
        process.id()
    );
    process.kill();
}

fn next_backoff(backoff: Duration) -> Duration {
    (backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn replace_interval_is_as_documented() {
        let interval = crate::check_interval::DEFAULT * REPLACE_CHECKS;
        let sentence = format!("is replaced, at most every {} seconds", interval.as_secs());
        assert_says("docs/configuration.md", &sentence);
    }
}
