//! The idle connections to the current worker, and the requests that wait for one.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use super::connection::Connection;
use super::worker::Worker;
use crate::sync::Mutex;

/// Hands out connections in the order of arrival.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    max_waiting: usize,
}

/// `idle` or `waiting` is empty whenever the lock is free.
#[derive(Debug, Default)]
struct State {
    /// A stack: the connection used last is taken first, so that a lightly loaded worker uses few threads.
    idle: Vec<Connection>,
    waiting: VecDeque<Waiter>,
    next_number: u64,
    /// The number of the current worker; 0 while there is none.
    current: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    connection: SyncSender<Connection>,
}

impl State {
    fn dispatch(&mut self) {
        while !self.idle.is_empty()
            && let Some(waiter) = self.waiting.pop_front()
            && let Some(connection) = self.idle.pop()
        {
            // This can't fail: each channel carries one connection and has room for it, and a waiter that times out
            // leaves the queue under the same lock.
            let _ = waiter.connection.try_send(connection);
        }
    }
}

impl Queue {
    /// A queue without a worker.
    pub fn new(max_waiting: usize) -> Queue {
        Queue { state: Mutex::default(), max_waiting }
    }

    /// Waits for an idle connection. `None` when `max_waiting` others wait already or the deadline has passed.
    pub fn take(&self, deadline: Instant) -> Option<Connection> {
        let (number, receiver) = {
            let mut state = self.state.lock();
            if let Some(connection) = state.idle.pop() {
                return Some(connection);
            }
            if state.waiting.len() >= self.max_waiting {
                return None;
            }
            let number = state.next_number;
            state.next_number += 1;
            let (connection, receiver) = sync_channel(1);
            state.waiting.push_back(Waiter { number, connection });
            (number, receiver)
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        if let Ok(connection) = receiver.recv_timeout(timeout) {
            return Some(connection);
        }
        let mut state = self.state.lock();
        // A connection may have been sent between the timeout and the lock.
        if let Ok(connection) = receiver.try_recv() {
            return Some(connection);
        }
        state.waiting.retain(|waiter| waiter.number != number);
        None
    }

    /// The number of requests that wait.
    pub fn length(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Whether a new request would be refused at once.
    pub fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.idle.is_empty() && state.waiting.len() >= self.max_waiting
    }

    /// Returns a connection to the queue, or closes it if its worker is not the current one.
    pub fn give_back(&self, connection: Connection) {
        let mut state = self.state.lock();
        if connection.worker.number == state.current {
            state.idle.push(connection);
            state.dispatch();
        } else {
            drop(state);
            drop(connection);
        }
    }

    /// Makes this worker the current one.
    pub fn install(&self, worker: &Arc<Worker>, connections: Vec<Connection>) {
        let mut state = self.state.lock();
        state.current = worker.number;
        let old = mem::replace(&mut state.idle, connections);
        state.dispatch();
        drop(state);
        drop(old);
    }

    /// Closes the idle connections of this worker if it is the current one; the others are closed by `give_back`.
    pub fn uninstall(&self, number: u64) {
        let mut state = self.state.lock();
        if state.current == number {
            state.current = 0;
            let old = mem::take(&mut state.idle);
            drop(state);
            drop(old);
        }
    }
}
