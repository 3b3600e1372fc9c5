//! Passes connections to the pollers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::connection::Connection;
use crate::sync::Mutex;

/// The epoll data of an inbox's eventfd; no connection has this id.
pub const WAKE_ID: u64 = u64::MAX;

/// One inbox for each poller.
#[derive(Debug)]
pub struct Inboxes {
    inboxes: Vec<Arc<Inbox>>,
    next: AtomicUsize,
}

/// The inbox of one poller.
#[derive(Debug)]
pub struct Inbox {
    pub epoll: OwnedFd,
    /// An eventfd that wakes the poller.
    wake: OwnedFd,
    #[expect(clippy::vec_box, reason = "a connection is large and is moved between threads")]
    arrived: Mutex<Vec<Box<Connection>>>,
    turns: AtomicU64,
}

impl Inboxes {
    /// One for each CPU, but at least two, so that a poller waiting for a disk is not the only one.
    pub fn new() -> io::Result<Inboxes> {
        let count = thread::available_parallelism().map_or(2, |count| count.get().max(2));
        let inboxes = (0..count).map(|_| Inbox::new().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Inboxes { inboxes, next: AtomicUsize::new(0) })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Inbox>> {
        self.inboxes.iter()
    }

    /// Gives an idle connection to the next poller in turn.
    pub fn park(&self, connection: Box<Connection>) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len().max(1);
        if let Some(inbox) = self.inboxes.get(index) {
            inbox.push(connection);
        }
    }
}

impl Inbox {
    fn new() -> io::Result<Inbox> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE_ID), epoll::EventFlags::IN)?;
        Ok(Inbox { epoll, wake, arrived: Mutex::default(), turns: AtomicU64::new(0) })
    }

    /// The poller begins a turn.
    pub fn count_turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// The turns of the poller so far.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    fn push(&self, connection: Box<Connection>) {
        let was_empty = {
            let mut arrived = self.arrived.lock();
            arrived.push(connection);
            arrived.len() == 1
        };
        if was_empty {
            // Fails only if the counter overflows, at 2^64 writes.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// Takes the connections that have arrived, and resets the eventfd.
    #[expect(clippy::vec_box, reason = "see the field")]
    pub fn take(&self) -> Vec<Box<Connection>> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut *self.arrived.lock())
    }
}
