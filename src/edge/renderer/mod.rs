//! The renderer as the edge sees it: a fixed set of connections to a child process that may die at any time.

mod connection;
mod folder;
mod generation;
mod supervisor;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::Picture;
use crate::config::Limits;
use crate::error::{Code, Failure};
use crate::wire::Setup;
use connection::{Connection, Lost};
use folder::PrivateFolder;
use generation::Generation;
use supervisor::{Event, Supervisor};

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The picture failed.
    Failure(Failure),
    /// Too many are waiting already; the client should come again.
    Overloaded,
}

/// Asks whichever renderer is running.
#[derive(Debug)]
pub struct Renderer {
    shared: Arc<Shared>,
    events: Sender<Event>,
    folder: Arc<PrivateFolder>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    queue_length: usize,
    queue_timeout: Duration,
    render_timeout: Duration,
}

/// Either nobody waits or no connection is free.
#[derive(Debug, Default)]
struct State {
    /// Connections to the newest generation that nobody uses. The one used last is taken first, so that the
    /// renderer works with few threads when there is little to do.
    idle: Vec<Connection>,
    /// Who waits, in the order of arrival; each is handed a connection of its own.
    waiting: VecDeque<Waiter>,
    next_ticket: u64,
    /// The number of the generation that is asked; 0 while there is none.
    newest: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    hand_over: SyncSender<Connection>,
}

impl State {
    fn dispatch(&mut self) {
        while !self.idle.is_empty()
            && let Some(waiter) = self.waiting.pop_front()
            && let Some(connection) = self.idle.pop()
        {
            // The channel has room for the one connection it will ever carry, and a waiter that gives up leaves
            // the queue under the lock that we hold.
            let _ = waiter.hand_over.try_send(connection);
        }
    }
}

impl Renderer {
    /// Starts the first renderer and keeps one running from then on.
    pub fn start(setup: Setup, limits: &Limits) -> io::Result<Renderer> {
        let folder = Arc::new(PrivateFolder::create()?);
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            queue_length: limits.queue_length,
            queue_timeout: limits.queue_timeout,
            render_timeout: limits.render_timeout,
        });
        let (events, received) = channel();
        let mut supervisor = Supervisor::new(
            Arc::clone(&folder),
            setup,
            limits.fetches_at_once,
            Arc::clone(&shared),
            events.clone(),
        );
        supervisor.start_generation()?;
        thread::Builder::new().name("supervisor".into()).spawn(move || supervisor.run(&received))?;
        Ok(Renderer { shared, events, folder })
    }

    /// Removes what would outlive the process; the renderer itself ends with it.
    pub fn clean_up(&self) {
        self.folder.remove();
    }

    /// Asks for a path and canonical query, waiting for a free connection as long as the limits say.
    pub fn ask(&self, target: &str) -> Result<Picture, Trouble> {
        self.ask_within(target, self.shared.queue_timeout)
    }

    /// [`Renderer::ask`] with a patience of one's own for a free connection.
    pub fn ask_within(&self, target: &str, patience: Duration) -> Result<Picture, Trouble> {
        let deadline = Instant::now() + patience;
        let mut asked_again = false;
        loop {
            let mut connection = self.shared.take(deadline)?;
            let generation = connection.generation().number();
            let error = match connection.ask(target, self.shared.render_timeout) {
                Ok(said) => {
                    self.shared.give_back(connection);
                    if said.is_outdated {
                        let _ = self.events.send(Event::Retire(generation));
                    }
                    match said.result {
                        // The next one may well have it; nobody is to ask this one meanwhile.
                        Err(_) if said.is_outdated && !asked_again => {
                            asked_again = true;
                            self.shared.forget(generation);
                        }
                        result => return result.map_err(Trouble::Failure),
                    }
                    continue;
                }
                Err(error) => error,
            };
            drop(connection);
            // One connection less is a worker less; and a renderer that does not answer can't be trusted with
            // the next request. What else it works on is still awaited.
            let _ = self.events.send(Event::Retire(generation));
            self.shared.forget(generation);
            match error {
                // It was gone before it had the request, so the next one may have it.
                Lost::NotSent(_) => {}
                Lost::NotAnswered(error) => return Err(Trouble::Failure(lost(&error))),
            }
        }
    }
}

fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::TimedOut => Failure::new(Code::RenderTimeout, "the renderer did not answer in time"),
        _ => {
            Failure::new(Code::RendererFailed, format!("the renderer ended while it worked on this: {error}"))
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free connection, in the order of arrival.
    fn take(&self, deadline: Instant) -> Result<Connection, Trouble> {
        let (ticket, handed_over) = {
            let mut state = self.lock();
            if let Some(connection) = state.idle.pop() {
                return Ok(connection);
            }
            if state.waiting.len() >= self.queue_length {
                return Err(Trouble::Overloaded);
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let (hand_over, handed_over) = sync_channel(1);
            state.waiting.push_back(Waiter { ticket, hand_over });
            (ticket, handed_over)
        };
        if let Ok(connection) = handed_over.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            return Ok(connection);
        }
        let mut state = self.lock();
        // It may have come between the end of our patience and the lock.
        if let Ok(connection) = handed_over.try_recv() {
            return Ok(connection);
        }
        state.waiting.retain(|waiter| waiter.ticket != ticket);
        Err(Trouble::Overloaded)
    }

    /// A connection to a retired generation is closed here; the last one of them ends that renderer.
    fn give_back(&self, connection: Connection) {
        let mut state = self.lock();
        if connection.generation().number() == state.newest {
            state.idle.push(connection);
            state.dispatch();
        } else {
            // Outside of the lock: closing the last one waits for the old renderer's end.
            drop(state);
            drop(connection);
        }
    }

    /// From now on requests go to this generation.
    fn install(&self, generation: &Arc<Generation>, connections: Vec<Connection>) {
        let mut state = self.lock();
        state.newest = generation.number();
        let old = std::mem::replace(&mut state.idle, connections);
        state.dispatch();
        drop(state);
        drop(old);
    }

    /// No request goes to this generation any more.
    fn forget(&self, number: u64) {
        let mut state = self.lock();
        if state.newest == number {
            // What is given back from now on is closed.
            state.newest = 0;
            let old = std::mem::take(&mut state.idle);
            drop(state);
            drop(old);
        }
    }
}
