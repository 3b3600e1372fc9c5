//! Keeps a renderer running: starts the next one when one ends, hangs, no longer answers or has had its time.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::Shared;
use super::connection::Connection;
use super::exit_watch::ExitWatch;
use super::heartbeat::{Health, Heartbeat, resident_bytes};
use super::socket_directory::SocketDirectory;
use super::worker::Worker;
use crate::config::Limits;
use crate::log::{error, info, warn};
use crate::wire::Setup;

/// A renderer that worked for this long, or that answered, is started again at once.
const LONG_LIFE: Duration = Duration::from_secs(10);
/// The first pause before a renderer that keeps ending is started again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A new renderer answers a ping within this.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a process may take from closing its connections to being gone.
const CRASH_TIMEOUT: Duration = Duration::from_millis(100);
/// How often the renderers are looked at.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);
/// How often it is seen whether a draining renderer has given its last answer.
const BETWEEN_GLANCES: Duration = Duration::from_millis(50);
/// How long a draining renderer may take beyond `render_timeout` to give its last answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A renderer that grows fast is not replaced more often than this.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(5);
/// While so many draining ones still work, none is replaced that could go on.
const MAX_DRAINING: usize = 4;

/// What the supervisor is told.
#[derive(Debug)]
pub enum Event {
    /// This worker's process has ended, and there is a crash_report.
    Ended(u64),
    /// This worker has failed to answer.
    ConnectionLost(u64),
    /// This worker can't get at what the configuration names any more, and the next one could.
    Outdated(u64),
    /// A limit may have been reached.
    Look,
    /// Nobody will ask any more.
    Stop,
}

/// Starts workers and ends them, all from its own thread.
#[derive(Debug)]
pub struct Supervisor {
    directory: Arc<SocketDirectory>,
    setup: Setup,
    limits: Limits,
    shared: Arc<Shared>,
    events: Sender<Event>,
    current: Option<Running>,
    draining: Vec<Draining>,
    count: u64,
    pause: Duration,
    /// When the next one is to be started while there is none.
    start_at: Instant,
    checked: Instant,
    is_outdated: bool,
    /// No replacement of one that could go on before this.
    replace_after: Instant,
    /// None for its memory before this.
    shrink_after: Instant,
}

/// Why a renderer that works is replaced.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Outdated,
    Answers(u64),
    Memory(u64),
}

#[derive(Debug)]
struct Running {
    worker: Arc<Worker>,
    heartbeat: Heartbeat,
    started: Instant,
    resident: u64,
}

/// A renderer that gets no more requests and finishes those it has.
#[derive(Debug)]
struct Draining {
    worker: Arc<Worker>,
    heartbeat: Heartbeat,
    deadline: Instant,
    /// It has ended or was killed, and the log says so.
    settled: bool,
}

impl Supervisor {
    /// A supervisor without a renderer yet.
    pub fn new(
        directory: Arc<SocketDirectory>,
        setup: Setup,
        limits: &Limits,
        shared: Arc<Shared>,
        events: Sender<Event>,
    ) -> Supervisor {
        let now = Instant::now();
        Supervisor {
            directory,
            setup,
            limits: limits.clone(),
            shared,
            events,
            current: None,
            draining: Vec::new(),
            count: 0,
            pause: Duration::ZERO,
            start_at: now,
            checked: now,
            is_outdated: false,
            replace_after: now,
            shrink_after: now,
        }
    }

    /// Starts the first renderer, tells whether that went well, and if it did keeps one running until it is told to
    /// stop.
    pub fn run(mut self, events: &Receiver<Event>, started: impl FnOnce(io::Result<()>)) {
        let first = self.start_worker();
        let has_failed = first.is_err();
        started(first);
        if has_failed {
            return;
        }
        loop {
            match events.recv_timeout(self.timeout()) {
                Ok(Event::Ended(number)) => self.has_ended(number),
                Ok(Event::ConnectionLost(number)) => self.was_lost(number),
                Ok(Event::Outdated(number)) => self.is_outdated |= self.asks(number),
                Ok(Event::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look();
        }
        // The idle connections would keep the last renderer alive. Whoever is started by this thread ends with it.
        if let Some(running) = self.current.take() {
            self.shared.queue.forget(running.worker.number());
        }
        self.directory.remove();
    }

    /// How long nothing happens by itself.
    fn timeout(&self) -> Duration {
        let check = BETWEEN_CHECKS.saturating_sub(self.checked.elapsed());
        let glance = if self.draining.is_empty() { check } else { BETWEEN_GLANCES };
        let start = match self.current {
            Some(_) => check,
            None => self.start_at.saturating_duration_since(Instant::now()),
        };
        check.min(glance).min(start)
    }

    /// Starts the next renderer and sends all further requests to it.
    fn start_worker(&mut self) -> io::Result<()> {
        self.count += 1;
        self.directory.ensure()?;
        let (worker, output) =
            Worker::start(self.count, self.directory.socket(self.count), &self.setup)?;
        let worker = Arc::new(worker);
        let (events, number) = (self.events.clone(), self.count);
        let watch = ExitWatch {
            process: Arc::clone(worker.process()),
            in_flight: Arc::clone(worker.in_flight()),
            crash_tracker: Arc::clone(&self.shared.crash_tracker),
        };
        watch.start(output, move || drop(events.send(Event::Ended(number))))?;
        // One at a time: see `Connection::open`.
        let open = || Connection::open(worker.socket(), &worker, PING_TIMEOUT);
        let heartbeat = Heartbeat::new(open()?.into_stream())?;
        let connections =
            (0..self.limits.fetches_at_once).map(|_| open()).collect::<io::Result<Vec<_>>>()?;
        let (id, workers) = (worker.process().id(), connections.len());
        info!("renderer_ready", "renderer process {id} is ready with {workers} workers");
        self.shared.queue.install(&worker, connections);
        self.is_outdated = false;
        let running = Running { worker, heartbeat, started: Instant::now(), resident: 0 };
        if let Some(old) = self.current.replace(running) {
            self.drain(old, false);
        }
        Ok(())
    }

    /// The requests that it has it may finish.
    fn drain(&mut self, old: Running, settled: bool) {
        self.shared.queue.forget(old.worker.number());
        let deadline = Instant::now() + self.limits.render_timeout + DRAIN_TIMEOUT;
        self.draining.push(Draining {
            worker: old.worker,
            heartbeat: old.heartbeat,
            deadline,
            settled,
        });
    }

    /// There is no renderer to be asked, so the next one is started as soon as that makes sense.
    fn drain_current(&mut self, settled: bool) {
        let Some(running) = self.current.take() else { return };
        let worked = running.worker.answers() > 0 || running.started.elapsed() > LONG_LIFE;
        self.pause = if worked { Duration::ZERO } else { longer(self.pause) };
        self.start_at = Instant::now() + self.pause;
        self.drain(running, settled);
    }

    /// Whether this worker is the one that is asked.
    fn asks(&self, number: u64) -> bool {
        self.current.as_ref().is_some_and(|running| running.worker.number() == number)
    }

    fn has_ended(&mut self, number: u64) {
        if let Some(running) = &self.current
            && running.worker.number() == number
        {
            warn!(
                "renderer_exited",
                "renderer process {}; starting another",
                end_of(&running.worker)
            );
            self.drain_current(true);
        }
    }

    fn was_lost(&mut self, number: u64) {
        if let Some(running) = &self.current
            && running.worker.number() == number
        {
            let process = running.worker.process();
            // A crash is seen on a connection a moment before the process is gone.
            if process.ends_within(CRASH_TIMEOUT) {
                return self.has_ended(number);
            }
            let id = process.id();
            warn!(
                "renderer_unresponsive",
                "renderer process {id} does not answer; starting another and draining it"
            );
            self.drain_current(false);
        }
    }

    fn look(&mut self) {
        if self.checked.elapsed() >= BETWEEN_CHECKS {
            self.checked = Instant::now();
            self.check();
        }
        self.end_draining();
        if self.current.is_none() && Instant::now() >= self.start_at {
            if let Err(error) = self.start_worker() {
                error!("renderer_start_failed", "can't start a renderer, retrying: {error}");
                self.pause = longer(self.pause);
                self.start_at = Instant::now() + self.pause;
            }
        } else if let Some(reason) = self.reason_to_replace() {
            self.replace(reason);
        }
    }

    /// Feels every heartbeat and measures the memory.
    fn check(&mut self) {
        for draining in self.draining.iter_mut().filter(|draining| !draining.settled) {
            if draining.heartbeat.check() == Health::TimedOut {
                draining.settled = true;
                kill_silent(&draining.worker);
            }
        }
        let Some(running) = &mut self.current else { return };
        running.resident = resident_bytes(running.worker.process().id()).unwrap_or(0);
        let number = running.worker.number();
        match running.heartbeat.check() {
            Health::Ok => {}
            Health::TimedOut => {
                kill_silent(&running.worker);
                self.drain_current(true);
            }
            Health::Closed => self.was_lost(number),
        }
    }

    /// A draining renderer whose last connection is closed has done its work.
    fn end_draining(&mut self) {
        self.draining.retain_mut(|draining| {
            let process = draining.worker.process();
            if !draining.settled && process.has_ended() {
                draining.settled = true;
                warn!(
                    "renderer_exited",
                    "draining renderer process {} before its last answer",
                    end_of(&draining.worker)
                );
            }
            if Arc::strong_count(&draining.worker) == 1 {
                draining.settled = true;
                process.kill();
                // Nobody waits for one that the kernel does not let go of.
                return !process.has_ended();
            }
            if Instant::now() > draining.deadline && !draining.settled {
                draining.settled = true;
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

    fn reason_to_replace(&self) -> Option<Reason> {
        let running = self.current.as_ref()?;
        let now = Instant::now();
        if now < self.replace_after {
            return None;
        }
        if self.is_outdated {
            // It may be asked no longer, so this one can't wait for the draining ones.
            return Some(Reason::Outdated);
        }
        if self.draining.len() >= MAX_DRAINING {
            return None;
        }
        let (answers, resident) = (running.worker.answers(), running.resident);
        let is_over = |value: u64, most: u64| most > 0 && value >= most;
        if is_over(answers, self.limits.renderer_max_renders) {
            Some(Reason::Answers(answers))
        } else if is_over(resident, self.limits.renderer_max_rss)
            && answers > 0
            && now >= self.shrink_after
        {
            // One that has answered nothing yet would be followed by one of the same size.
            Some(Reason::Memory(resident))
        } else {
            None
        }
    }

    /// Starts another one first; if that can't be done, this one goes on.
    fn replace(&mut self, reason: Reason) {
        let Some(running) = &self.current else { return };
        let id = running.worker.process().id();
        match reason {
            Reason::Outdated => info!(
                "renderer_replaced",
                "restarting renderer process {id}: a configured file or directory was replaced"
            ),
            Reason::Answers(answers) => {
                let most = self.limits.renderer_max_renders;
                info!(
                    "renderer_replaced",
                    "restarting renderer process {id} after {answers} answers: limits.renderer_max_renders is {most}"
                );
            }
            Reason::Memory(resident) => {
                let most = self.limits.renderer_max_rss;
                info!(
                    "renderer_replaced",
                    "restarting renderer process {id} with {resident} bytes resident: limits.renderer_max_rss is {most}"
                );
                self.shrink_after = Instant::now() + BETWEEN_REPLACEMENTS;
            }
        }
        if let Err(error) = self.start_worker() {
            error!(
                "renderer_start_failed",
                "keeping renderer process {id}: can't start another: {error}"
            );
            self.replace_after = Instant::now() + BETWEEN_REPLACEMENTS;
        }
    }
}

/// `{process id} ended ({how})`
fn end_of(worker: &Worker) -> String {
    let process = worker.process();
    let how = process.end().map_or_else(|error| error.to_string(), |status| status.to_string());
    format!("{} ended ({how})", process.id())
}

fn kill_silent(worker: &Worker) {
    let process = worker.process();
    warn!(
        "renderer_hung",
        "renderer process {} has not answered for ten seconds; killing it",
        process.id()
    );
    process.kill();
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}
