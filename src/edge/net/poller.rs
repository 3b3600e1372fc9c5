//! Pollers watch idle connections and serve cache hits.
//!
//! Each of a few threads watches its own connections with epoll. It serves a readable connection as far as that does
//! not block, and gives it a thread of its own for the rest. So an idle connection costs a few hundred bytes, and a
//! cache hit costs no switch between threads.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::connection::{Blocking, Connection, Scratch, Served};
use super::connection_thread;
use super::inbox::{Inbox, WAKE_ID};
use super::shared::Shared;
use crate::log::error;

/// Interval of closing connections whose deadline has passed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum events taken from epoll at once.
const MAX_EVENTS: usize = 64;
/// Maximum yielded connections that are resumed between two calls of epoll.
const MAX_RESUMED: usize = 8;
/// Pause after an error of epoll.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Starts a poller for each inbox.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    for inbox in shared.inboxes.iter() {
        let inbox = Arc::clone(inbox);
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name("poller".into())
            .spawn(move || Poller::new(&inbox, &shared).run())?;
    }
    Ok(())
}

struct Poller<'p> {
    inbox: &'p Inbox,
    shared: &'p Arc<Shared>,
    connections: HashMap<u64, Box<Connection>>,
    /// Ids of the connections that have yielded, each once.
    yielded: VecDeque<u64>,
    scratch: Scratch,
    last_sweep: Instant,
}

impl Poller<'_> {
    fn new<'p>(inbox: &'p Inbox, shared: &'p Arc<Shared>) -> Poller<'p> {
        Poller {
            inbox,
            shared,
            connections: HashMap::new(),
            yielded: VecDeque::new(),
            scratch: Scratch::new(),
            last_sweep: Instant::now(),
        }
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        let until_sweep = Timespec { tv_sec: SWEEP_INTERVAL.as_secs().cast_signed(), tv_nsec: 0 };
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            self.inbox.count_turn();
            let timeout = if self.yielded.is_empty() { &until_sweep } else { &no_wait };
            match epoll::wait(&self.inbox.epoll, spare_capacity(&mut events), Some(timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    error!("poll_failed", "epoll: {error}");
                    thread::sleep(ERROR_PAUSE);
                }
            }
            let mut is_woken = false;
            for event in events.drain(..) {
                match event.data.u64() {
                    WAKE_ID => is_woken = true,
                    // epoll is level-triggered: a yielded connection with more to read must still wait its turn.
                    id if self.has_yielded(id) => {}
                    id => self.serve(id),
                }
            }
            self.resume_yielded();
            if is_woken {
                self.receive();
            }
            if self.last_sweep.elapsed() >= SWEEP_INTERVAL {
                self.sweep();
            }
            debug_assert!(
                self.yielded.len() <= self.connections.len(),
                "a connection is queued twice"
            );
        }
    }

    fn resume_yielded(&mut self) {
        for _ in 0..MAX_RESUMED.min(self.yielded.len()) {
            if let Some(id) = self.yielded.pop_front() {
                self.serve(id);
            }
        }
    }

    /// Adds the connections in the inbox to epoll.
    fn receive(&mut self) {
        for connection in self.inbox.take() {
            let id = connection.id();
            let data = epoll::EventData::new_u64(id);
            match epoll::add(&self.inbox.epoll, &*connection, data, epoll::EventFlags::IN) {
                Ok(()) => drop(self.connections.insert(id, connection)),
                Err(error) => {
                    error!("poll_failed", "closing a connection: can't add it to epoll: {error}");
                }
            }
        }
    }

    /// Closes the connections whose deadline has passed. Closing a socket removes it from epoll.
    fn sweep(&mut self) {
        let now = Instant::now();
        self.last_sweep = now;
        self.connections.retain(|_, connection| connection.deadline() > now);
        self.yielded.retain(|id| self.connections.contains_key(id));
    }

    fn has_yielded(&self, id: u64) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.has_yielded())
    }

    fn serve(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let scratch = &mut self.scratch;
        // A panic closes this connection only.
        let served = catch_unwind(AssertUnwindSafe(|| {
            connection.serve(Blocking::Never, scratch, &self.shared.responder)
        }));
        match served {
            Ok(Served::Idle) => {}
            Ok(Served::Yielded) => self.yielded.push_back(id),
            Ok(Served::WouldBlock) => {
                if let Some(connection) = self.connections.remove(&id) {
                    let _ = epoll::delete(&self.inbox.epoll, &*connection);
                    connection_thread::spawn(self.shared, move |shared| {
                        connection_thread::serve(connection, shared);
                    });
                }
            }
            Ok(Served::Closed) => drop(self.connections.remove(&id)),
            Err(_) => {
                self.scratch = Scratch::new();
                self.connections.remove(&id);
            }
        }
    }
}
