//! Where idle connections lie, and where hits are served.
//!
//! A few threads, each with connections of its own that it watches with epoll. One that becomes readable is served
//! here as long as nothing has to be waited for, and gets a thread of its own for what has to be. So an idle
//! connection costs a few hundred bytes, and a hit no switch from thread to thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use super::connection::{self, Connection, Scratch, Served, Timeout};
use crate::edge::Edge;
use crate::log::error;

/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// How many connections are served between two looks at what has arrived.
const EVENTS: usize = 64;
/// How many connections that have more to do are served between two looks at those that have something new.
const AGAIN: usize = 8;
/// The number under which a poller's own bell is watched; no connection has it.
const BELL: u64 = u64::MAX;

/// The pollers of an edge.
#[derive(Debug)]
pub struct Pollers {
    inboxes: Vec<Arc<Inbox>>,
    next: AtomicUsize,
}

/// How connections come to a poller.
#[derive(Debug)]
struct Inbox {
    epoll: OwnedFd,
    bell: OwnedFd,
    #[expect(
        clippy::vec_box,
        reason = "a connection is moved from hand to hand, and it is not small"
    )]
    arrived: Mutex<Vec<Box<Connection>>>,
}

impl Pollers {
    /// One for each processor, but two at least: one that waits for a disk must not be the only one.
    pub fn new() -> io::Result<Pollers> {
        let count = thread::available_parallelism().map_or(2, |count| count.get().max(2));
        let inboxes = (0..count).map(|_| Inbox::new().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Pollers { inboxes, next: AtomicUsize::new(0) })
    }

    /// Starts their threads.
    pub fn start(&self, edge: &Arc<Edge>) -> io::Result<()> {
        for inbox in &self.inboxes {
            let (inbox, edge) = (Arc::clone(inbox), Arc::clone(edge));
            thread::Builder::new()
                .name("poller".into())
                .spawn(move || Poller::new(&inbox, &edge).run())?;
        }
        Ok(())
    }

    /// Leaves an idle connection to a poller.
    pub fn park(&self, connection: Box<Connection>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len().max(1);
        if let Some(inbox) = self.inboxes.get(number) {
            inbox.put(connection);
        }
    }
}

impl Inbox {
    fn new() -> io::Result<Inbox> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        Ok(Inbox { epoll, bell, arrived: Mutex::default() })
    }

    fn put(&self, connection: Box<Connection>) {
        let was_empty = {
            let mut arrived = self.arrived();
            arrived.push(connection);
            arrived.len() == 1
        };
        if was_empty {
            // Can only fail when it has been rung 2^64 times.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    #[expect(clippy::vec_box, reason = "see the field")]
    fn arrived(&self) -> MutexGuard<'_, Vec<Box<Connection>>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Poller<'p> {
    inbox: &'p Inbox,
    edge: &'p Arc<Edge>,
    connections: HashMap<u64, Box<Connection>>,
    /// Those whose turn was over before they were done, each once.
    again: VecDeque<u64>,
    scratch: Scratch,
    swept: Instant,
}

impl Poller<'_> {
    fn new<'p>(inbox: &'p Inbox, edge: &'p Arc<Edge>) -> Poller<'p> {
        let (connections, again) = (HashMap::new(), VecDeque::new());
        Poller { inbox, edge, connections, again, scratch: Scratch::new(), swept: Instant::now() }
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let until_sweep = Timespec { tv_sec: SWEEP.as_secs().cast_signed(), tv_nsec: 0 };
        let not_at_all = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let timeout = if self.again.is_empty() { &until_sweep } else { &not_at_all };
            match epoll::wait(&self.inbox.epoll, spare_capacity(&mut events), Some(timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    error!("poll_failed", "epoll: {error}");
                    thread::sleep(Duration::from_millis(50));
                }
            }
            let mut rung = false;
            for event in events.drain(..) {
                match event.data.u64() {
                    BELL => rung = true,
                    // More to read is told of again and again, and must not bring turns out of turn.
                    number if self.has_turn_coming(number) => {}
                    number => self.serve(number),
                }
            }
            for _ in 0..AGAIN.min(self.again.len()) {
                if let Some(number) = self.again.pop_front() {
                    self.serve(number);
                }
            }
            if rung {
                self.take_in();
            }
            if self.swept.elapsed() >= SWEEP {
                self.swept = Instant::now();
                let now = self.swept;
                // Closing takes a connection out of epoll's list.
                self.connections.retain(|_, connection| connection.deadline() > now);
                self.again.retain(|number| self.connections.contains_key(number));
            }
            debug_assert!(
                self.again.len() <= self.connections.len(),
                "a connection has two turns coming"
            );
        }
    }

    fn take_in(&mut self) {
        let _ = rustix::io::read(&self.inbox.bell, &mut [0; 8]);
        for connection in std::mem::take(&mut *self.inbox.arrived()) {
            let number = connection.number();
            let data = epoll::EventData::new_u64(number);
            match epoll::add(&self.inbox.epoll, &*connection, data, epoll::EventFlags::IN) {
                Ok(()) => drop(self.connections.insert(number, connection)),
                Err(error) => {
                    error!("poll_failed", "closing a connection: can't add it to epoll: {error}")
                }
            }
        }
    }

    fn has_turn_coming(&self, number: u64) -> bool {
        self.connections.get(&number).is_some_and(|connection| connection.has_turn_coming())
    }

    fn serve(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (scratch, edge) = (&mut self.scratch, self.edge);
        // Whatever goes wrong with one connection is no business of the others.
        let served =
            catch_unwind(AssertUnwindSafe(|| connection.serve(Timeout::Nothing, scratch, edge)));
        match served {
            Ok(Served::Idle) => {}
            Ok(Served::More) => self.again.push_back(number),
            Ok(Served::MustWait) => {
                if let Some(connection) = self.connections.remove(&number) {
                    let _ = epoll::delete(&self.inbox.epoll, &*connection);
                    self.edge.spawn(move |edge| connection::serve(connection, edge));
                }
            }
            Ok(Served::Closed) => drop(self.connections.remove(&number)),
            Err(_) => {
                self.scratch = Scratch::new();
                self.connections.remove(&number);
            }
        }
    }
}
