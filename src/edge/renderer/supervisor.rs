//! Keeps a renderer running: starts the next one when one ends or no longer answers.

use std::io::{self, Read};
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::Shared;
use super::connection::Connection;
use super::folder::PrivateFolder;
use super::generation::Generation;
use crate::report::say;
use crate::wire::Setup;

/// A renderer that worked for this long is started again at once.
const LONG_LIFE: Duration = Duration::from_secs(10);
/// The first pause before a renderer that keeps ending is started again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A new renderer answers a ping within this.
const PING_PATIENCE: Duration = Duration::from_secs(5);

/// How long a process may take from closing its connections to being gone.
const CRASH_PATIENCE: Duration = Duration::from_millis(100);

/// What the supervisor is told.
#[derive(Debug)]
pub enum Event {
    /// This generation's process has ended.
    Ended(u64),
    /// This generation has failed to answer.
    Retire(u64),
}

/// Starts generations.
#[derive(Debug)]
pub struct Supervisor {
    folder: Arc<PrivateFolder>,
    setup: Setup,
    connections: usize,
    shared: Arc<Shared>,
    events: Sender<Event>,
    current: Option<Arc<Generation>>,
    started: Instant,
    count: u64,
    pause: Duration,
}

impl Supervisor {
    /// A supervisor without a renderer yet.
    pub fn new(
        folder: Arc<PrivateFolder>,
        setup: Setup,
        connections: usize,
        shared: Arc<Shared>,
        events: Sender<Event>,
    ) -> Supervisor {
        Supervisor {
            folder,
            setup,
            connections,
            shared,
            events,
            current: None,
            started: Instant::now(),
            count: 0,
            pause: Duration::ZERO,
        }
    }

    /// Starts the next renderer and sends all further requests to it. The one before, if it still runs, ends
    /// with its last answer.
    pub fn start_generation(&mut self) -> io::Result<()> {
        self.count += 1;
        self.started = Instant::now();
        self.folder.ensure()?;
        let (generation, output) =
            Generation::start(self.count, self.folder.socket(self.count), &self.setup)?;
        let generation = Arc::new(generation);
        self.watch(self.count, output)?;
        // One at a time: see `Connection::open`.
        let connections = (0..self.connections)
            .map(|_| Connection::open(generation.socket(), &generation, PING_PATIENCE))
            .collect::<io::Result<Vec<_>>>()?;
        say!("renderer: process {} is ready with {} workers", generation.id(), connections.len());
        self.shared.install(&generation, connections);
        self.current = Some(generation);
        Ok(())
    }

    /// The pipe of a process's standard output closes with its end, which is seen within a millisecond.
    fn watch(&self, number: u64, mut output: ChildStdout) -> io::Result<()> {
        let events = self.events.clone();
        thread::Builder::new().name("renderer-watch".into()).spawn(move || {
            let mut bytes = [0; 64];
            while matches!(output.read(&mut bytes), Ok(length) if length > 0) {}
            let _ = events.send(Event::Ended(number));
        })?;
        Ok(())
    }

    /// Handles events until the edge ends.
    pub fn run(mut self, events: &Receiver<Event>) {
        while let Ok(event) = events.recv() {
            match event {
                Event::Ended(number) if self.is_current(number) => self.replace_ended(),
                Event::Retire(number) if self.is_current(number) => self.retire(),
                // Of a generation that has been replaced already.
                Event::Ended(_) | Event::Retire(_) => {}
            }
        }
    }

    fn is_current(&self, number: u64) -> bool {
        self.current.as_ref().is_some_and(|generation| generation.number() == number)
    }

    fn retire(&mut self) {
        if let Some(generation) = &self.current {
            // A crash is seen on a connection a moment before the process is gone.
            if generation.ends_within(CRASH_PATIENCE) {
                return self.replace_ended();
            }
            say!(
                "renderer: process {} did not answer; starting another, this one may finish",
                generation.id()
            );
        }
        self.replace();
    }

    fn replace_ended(&mut self) {
        if let Some(generation) = self.current.take() {
            self.shared.forget(generation.number());
            let status = generation.end().map_or_else(|error| error.to_string(), |status| status.to_string());
            say!("renderer: process {} ended ({status}); starting another", generation.id());
        }
        self.replace();
    }

    fn replace(&mut self) {
        loop {
            self.pause = match self.started.elapsed() > LONG_LIFE {
                true => Duration::ZERO,
                false => (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            };
            thread::sleep(self.pause);
            match self.start_generation() {
                Ok(()) => return,
                Err(error) => say!("renderer: can't be started, trying again: {error}"),
            }
        }
    }
}
