//! The free connections to the renderer, and who waits for one.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::connection::Connection;
use super::worker::Worker;
use crate::sync;

/// Hands out the connections to the newest renderer in the order of arrival.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    most_waiting: usize,
}

/// Either nobody waits or no connection is free.
#[derive(Debug, Default)]
struct State {
    /// ConnectionTable to the newest worker that nobody uses. The one used last is taken first, so that the
    /// renderer works with few threads when there is little to do.
    idle: Vec<Connection>,
    /// Who waits, in the order of arrival; each is handed a connection of its own.
    waiting: VecDeque<Waiter>,
    next_number: u64,
    /// The number of the worker that is asked; 0 while there is none.
    newest: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
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

impl Queue {
    /// Without a renderer yet; so many may wait.
    pub fn new(most_waiting: usize) -> Queue {
        Queue { state: Mutex::default(), most_waiting }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }

    /// A free connection; `None` when too many wait already or the deadline passes.
    pub fn take(&self, deadline: Instant) -> Option<Connection> {
        let (number, handed_over) = {
            let mut state = self.lock();
            if let Some(connection) = state.idle.pop() {
                return Some(connection);
            }
            if state.waiting.len() >= self.most_waiting {
                return None;
            }
            let number = state.next_number;
            state.next_number += 1;
            let (hand_over, handed_over) = sync_channel(1);
            state.waiting.push_back(Waiter { number, hand_over });
            (number, handed_over)
        };
        if let Ok(connection) =
            handed_over.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            return Some(connection);
        }
        let mut state = self.lock();
        // It may have come between the end of our timeout and the lock.
        if let Ok(connection) = handed_over.try_recv() {
            return Some(connection);
        }
        state.waiting.retain(|waiter| waiter.number != number);
        None
    }

    /// Whether whoever comes now would be sent away.
    pub fn is_full(&self) -> bool {
        let state = self.lock();
        state.idle.is_empty() && state.waiting.len() >= self.most_waiting
    }

    /// A connection to a worker that is no longer asked is closed here.
    pub fn give_back(&self, connection: Connection) {
        let mut state = self.lock();
        if connection.worker().number() == state.newest {
            state.idle.push(connection);
            state.dispatch();
        } else {
            drop(state);
            drop(connection);
        }
    }

    /// From now on requests go to this worker.
    pub fn install(&self, worker: &Arc<Worker>, connections: Vec<Connection>) {
        let mut state = self.lock();
        state.newest = worker.number();
        let old = std::mem::replace(&mut state.idle, connections);
        state.dispatch();
        drop(state);
        drop(old);
    }

    /// No request goes to this worker any more.
    pub fn forget(&self, number: u64) {
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
