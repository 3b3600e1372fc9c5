//! Keeps a renderer running: starts the next one when one ends, hangs, no longer answers or has had its time.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::Shared;
use super::connection::Connection;
use super::folder::PrivateFolder;
use super::generation::Generation;
use super::pulse::{Beat, Pulse, resident_bytes};
use super::watch::Watch;
use crate::config::Limits;
use crate::report::say;
use crate::wire::Setup;

/// A renderer that worked for this long, or that answered, is started again at once.
const LONG_LIFE: Duration = Duration::from_secs(10);
/// The first pause before a renderer that keeps ending is started again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A new renderer answers a ping within this.
const PING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a process may take from closing its connections to being gone.
const CRASH_PATIENCE: Duration = Duration::from_millis(100);
/// How often the renderers are looked at.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);
/// How often it is seen whether a former renderer has given its last answer.
const BETWEEN_GLANCES: Duration = Duration::from_millis(50);
/// How long a former renderer may take beyond `render_timeout` to give its last answer.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// A renderer that grows fast is not replaced more often than this.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(5);
/// While so many former ones still work, none is replaced that could go on.
const MOST_FORMER: usize = 4;

/// What the supervisor is told.
#[derive(Debug)]
pub enum Event {
    /// This generation's process has ended, and there is a verdict.
    Ended(u64),
    /// This generation has failed to answer.
    Lost(u64),
    /// This generation can't get at what the configuration names any more, and the next one could.
    Outdated(u64),
    /// A limit may have been reached.
    Look,
    /// Nobody will ask any more.
    Stop,
}

/// Starts generations and ends them, all from its own thread.
#[derive(Debug)]
pub struct Supervisor {
    folder: Arc<PrivateFolder>,
    setup: Setup,
    limits: Limits,
    shared: Arc<Shared>,
    events: Sender<Event>,
    current: Option<Running>,
    former: Vec<Former>,
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
    generation: Arc<Generation>,
    pulse: Pulse,
    started: Instant,
    resident: u64,
}

/// A renderer that gets no more requests and finishes those it has.
#[derive(Debug)]
struct Former {
    generation: Arc<Generation>,
    pulse: Pulse,
    deadline: Instant,
    /// It has ended or was killed, and the log says so.
    settled: bool,
}

impl Supervisor {
    /// A supervisor without a renderer yet.
    pub fn new(
        folder: Arc<PrivateFolder>,
        setup: Setup,
        limits: &Limits,
        shared: Arc<Shared>,
        events: Sender<Event>,
    ) -> Supervisor {
        let now = Instant::now();
        Supervisor {
            folder,
            setup,
            limits: limits.clone(),
            shared,
            events,
            current: None,
            former: Vec::new(),
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
        let first = self.start_generation();
        let has_failed = first.is_err();
        started(first);
        if has_failed {
            return;
        }
        loop {
            match events.recv_timeout(self.patience()) {
                Ok(Event::Ended(number)) => self.has_ended(number),
                Ok(Event::Lost(number)) => self.was_lost(number),
                Ok(Event::Outdated(number)) => self.is_outdated |= self.asks(number),
                Ok(Event::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look();
        }
        // The idle connections would keep the last renderer alive. Whoever is started by this thread ends with it.
        if let Some(running) = self.current.take() {
            self.shared.queue.forget(running.generation.number());
        }
        self.folder.remove();
    }

    /// How long nothing happens by itself.
    fn patience(&self) -> Duration {
        let check = BETWEEN_CHECKS.saturating_sub(self.checked.elapsed());
        let glance = if self.former.is_empty() { check } else { BETWEEN_GLANCES };
        let start = match self.current {
            Some(_) => check,
            None => self.start_at.saturating_duration_since(Instant::now()),
        };
        check.min(glance).min(start)
    }

    /// Starts the next renderer and sends all further requests to it.
    fn start_generation(&mut self) -> io::Result<()> {
        self.count += 1;
        self.folder.ensure()?;
        let (generation, output) =
            Generation::start(self.count, self.folder.socket(self.count), &self.setup)?;
        let generation = Arc::new(generation);
        let (events, number) = (self.events.clone(), self.count);
        let watch = Watch {
            process: Arc::clone(generation.process()),
            ledger: Arc::clone(generation.ledger()),
            blame: Arc::clone(&self.shared.blame),
        };
        watch.start(output, move || drop(events.send(Event::Ended(number))))?;
        // One at a time: see `Connection::open`.
        let open = || Connection::open(generation.socket(), &generation, PING_PATIENCE);
        let pulse = Pulse::new(open()?.into_stream())?;
        let connections = (0..self.limits.fetches_at_once).map(|_| open()).collect::<io::Result<Vec<_>>>()?;
        let (id, workers) = (generation.process().id(), connections.len());
        say!("renderer: process {id} is ready with {workers} workers");
        self.shared.queue.install(&generation, connections);
        self.is_outdated = false;
        let running = Running { generation, pulse, started: Instant::now(), resident: 0 };
        if let Some(old) = self.current.replace(running) {
            self.dismiss(old, false);
        }
        Ok(())
    }

    /// The requests that it has it may finish.
    fn dismiss(&mut self, old: Running, settled: bool) {
        self.shared.queue.forget(old.generation.number());
        let deadline = Instant::now() + self.limits.render_timeout + DRAIN_PATIENCE;
        self.former.push(Former { generation: old.generation, pulse: old.pulse, deadline, settled });
    }

    /// There is no renderer to be asked, so the next one is started as soon as that makes sense.
    fn dismiss_current(&mut self, settled: bool) {
        let Some(running) = self.current.take() else { return };
        let worked = running.generation.answers() > 0 || running.started.elapsed() > LONG_LIFE;
        self.pause = if worked { Duration::ZERO } else { longer(self.pause) };
        self.start_at = Instant::now() + self.pause;
        self.dismiss(running, settled);
    }

    /// Whether this generation is the one that is asked.
    fn asks(&self, number: u64) -> bool {
        self.current.as_ref().is_some_and(|running| running.generation.number() == number)
    }

    fn has_ended(&mut self, number: u64) {
        if let Some(running) = &self.current
            && running.generation.number() == number
        {
            say!("renderer: process {}; starting another", end_of(&running.generation));
            self.dismiss_current(true);
        }
    }

    fn was_lost(&mut self, number: u64) {
        if let Some(running) = &self.current
            && running.generation.number() == number
        {
            let process = running.generation.process();
            // A crash is seen on a connection a moment before the process is gone.
            if process.ends_within(CRASH_PATIENCE) {
                return self.has_ended(number);
            }
            let id = process.id();
            say!("renderer: process {id} did not answer; starting another, this one may finish");
            self.dismiss_current(false);
        }
    }

    fn look(&mut self) {
        if self.checked.elapsed() >= BETWEEN_CHECKS {
            self.checked = Instant::now();
            self.check();
        }
        self.end_former();
        if self.current.is_none() && Instant::now() >= self.start_at {
            if let Err(error) = self.start_generation() {
                say!("renderer: can't be started, trying again: {error}");
                self.pause = longer(self.pause);
                self.start_at = Instant::now() + self.pause;
            }
        } else if let Some(reason) = self.reason_to_replace() {
            self.replace(reason);
        }
    }

    /// Feels every pulse and measures the memory.
    fn check(&mut self) {
        for former in self.former.iter_mut().filter(|former| !former.settled) {
            if former.pulse.check() == Beat::Silent {
                former.settled = true;
                kill_silent(&former.generation);
            }
        }
        let Some(running) = &mut self.current else { return };
        running.resident = resident_bytes(running.generation.process().id()).unwrap_or(0);
        let number = running.generation.number();
        match running.pulse.check() {
            Beat::Steady => {}
            Beat::Silent => {
                kill_silent(&running.generation);
                self.dismiss_current(true);
            }
            Beat::Gone => self.was_lost(number),
        }
    }

    /// A former renderer whose last connection is closed has done its work.
    fn end_former(&mut self) {
        self.former.retain_mut(|former| {
            let process = former.generation.process();
            if !former.settled && process.has_ended() {
                former.settled = true;
                say!("renderer: process {} before its last answer", end_of(&former.generation));
            }
            if Arc::strong_count(&former.generation) == 1 {
                former.settled = true;
                process.kill();
                // Nobody waits for one that the kernel does not let go of.
                return !process.has_ended();
            }
            if Instant::now() > former.deadline && !former.settled {
                former.settled = true;
                say!("renderer: process {} does not finish what it was asked for; killing it", process.id());
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
            // It may be asked no longer, so this one can't wait for the former ones.
            return Some(Reason::Outdated);
        }
        if self.former.len() >= MOST_FORMER {
            return None;
        }
        let (answers, resident) = (running.generation.answers(), running.resident);
        let is_over = |value: u64, most: u64| most > 0 && value >= most;
        if is_over(answers, self.limits.renderer_max_renders) {
            Some(Reason::Answers(answers))
        } else if is_over(resident, self.limits.renderer_max_rss) && answers > 0 && now >= self.shrink_after {
            // One that has answered nothing yet would be followed by one of the same size.
            Some(Reason::Memory(resident))
        } else {
            None
        }
    }

    /// Starts another one first; if that can't be done, this one goes on.
    fn replace(&mut self, reason: Reason) {
        let Some(running) = &self.current else { return };
        let id = running.generation.process().id();
        match reason {
            Reason::Outdated => say!(
                "renderer: process {id} is replaced: a folder or a file of the configuration is another one now"
            ),
            Reason::Answers(answers) => {
                let most = self.limits.renderer_max_renders;
                say!(
                    "renderer: process {id} is replaced after {answers} answers: renderer_max_renders is {most}"
                );
            }
            Reason::Memory(resident) => {
                let most = self.limits.renderer_max_rss;
                say!(
                    "renderer: process {id} is replaced with {resident} bytes resident: renderer_max_rss is {most}"
                );
                self.shrink_after = Instant::now() + BETWEEN_REPLACEMENTS;
            }
        }
        if let Err(error) = self.start_generation() {
            say!("renderer: no other can be started, process {id} goes on: {error}");
            self.replace_after = Instant::now() + BETWEEN_REPLACEMENTS;
        }
    }
}

/// `{process id} ended ({how})`
fn end_of(generation: &Generation) -> String {
    let process = generation.process();
    let how = process.end().map_or_else(|error| error.to_string(), |status| status.to_string());
    format!("{} ended ({how})", process.id())
}

fn kill_silent(generation: &Generation) {
    let process = generation.process();
    say!("renderer: process {} hangs, it has not answered for ten seconds; killing it", process.id());
    process.kill();
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}
