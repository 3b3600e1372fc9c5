//! A client connection: reads requests and answers them in order.
//!
//! An idle connection is parked with a poller, which also serves it while nothing blocks: a cache hit needs neither a
//! thread of its own nor a switch between threads. What blocks (the rest of a head, the renderer, a slow reader, a TLS
//! handshake) runs on a thread of the connection's own.

mod open;
mod respond;

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection_table::Registration;
use super::listener::ListenerKind;
use super::stream::Stream;
use crate::edge::Edge;
use crate::edge::http::request::{Head, MAX_HEAD_BYTES, parse};
use crate::edge::http::response::{Date, Response};
use crate::edge::serve::running_config::RunningConfig;
use crate::edge::serve::shutdown::ActiveRequest;
pub use open::{open, serve};
use respond::PartialResponse;

/// Fits a usual head; the buffer grows up to [`MAX_HEAD_BYTES`] for a longer one.
const INITIAL_BUFFER_BYTES: usize = 2 << 10;
/// Maximum reads per turn, so that a client sending faster than it is answered can't monopolise a poller.
const MAX_READS_PER_TURN: usize = 4;
/// Maximum responses and bytes sent per turn: pipelined requests are small and their responses are not.
const MAX_RESPONSES_PER_TURN: usize = 16;
const MAX_BYTES_PER_TURN: usize = 64 << 10;
/// How long a lingering close waits for the client to close its side.
const LINGERING_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum bytes that a lingering close discards.
const MAX_LINGERING_BYTES: usize = 256 << 10;
/// How long the thread of a handshake waits for the first request before it parks the connection: most clients send it
/// at once, and many close after one response.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(20);
/// Maximum reads that wait for [`FIRST_REQUEST_TIMEOUT`].
const MAX_FIRST_REQUEST_READS: u32 = 2;

/// What a call of [`Connection::serve`] may block on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// Nothing: it runs on a poller, which serves other connections too.
    Never,
    /// A request that has begun, until its response is sent.
    Request,
    /// As `Request`, and for [`FIRST_REQUEST_TIMEOUT`] on the first request after a handshake.
    FirstRequest,
    /// As `Request`, and on every next request.
    Always,
}

/// Why [`Connection::serve`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing to do until the client sends more.
    Idle,
    /// The turn is over, with buffered requests left.
    Yielded,
    /// The next step would block.
    WouldBlock,
    Closed,
}

/// Buffers that a connection needs only while it is served; each thread has one set.
#[derive(Debug)]
pub struct Scratch {
    /// Bytes read and not yet answered.
    buffer: Vec<u8>,
    /// The head of the response.
    head: String,
    date: Date,
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch {
            buffer: Vec::with_capacity(INITIAL_BUFFER_BYTES),
            head: String::with_capacity(1024),
            date: Date::default(),
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    registration: Registration,
    /// The remote address, or the client in the PROXY header; `None` on a Unix socket.
    peer: Option<IpAddr>,
    kind: ListenerKind,
    head_timeout: Duration,
    idle_timeout: Duration,
    /// Whether the first bytes of a head have arrived, so that `deadline` is that of the whole head.
    in_head: bool,
    /// When the read under way times out.
    deadline: Instant,
    /// Read in an earlier turn and not yet answered.
    unanswered: Vec<u8>,
    /// Time that the client may still delay its responses, besides the time that each gets for its length. What a slow
    /// client has used up does not come back with its next request.
    write_grace: Duration,
    /// When the response being written times out.
    write_deadline: Instant,
    /// The request being answered, and when it began.
    active: Option<(Instant, ActiveRequest)>,
    /// A response that the socket has not taken completely.
    unsent: Option<Box<PartialResponse>>,
    /// In a lingering close: how many bytes it may still discard.
    lingering: Option<usize>,
}

/// What one call of [`Connection::serve`] may do and has done.
#[derive(Debug)]
struct Turn {
    blocking: Blocking,
    /// Whether to read although no head has begun.
    may_read: bool,
    first_request_reads: u32,
    reads: usize,
    responses: usize,
    /// Bytes sent.
    sent: usize,
}

impl Turn {
    fn new(blocking: Blocking) -> Turn {
        let is_first = blocking == Blocking::FirstRequest;
        Turn {
            blocking,
            may_read: blocking != Blocking::Request,
            first_request_reads: if is_first { MAX_FIRST_REQUEST_READS } else { 0 },
            reads: 0,
            responses: 0,
            sent: 0,
        }
    }

    /// Counts a read. `false` if a poller has read enough from this connection.
    fn start_read(&mut self) -> bool {
        self.first_request_reads = self.first_request_reads.saturating_sub(1);
        self.may_read = self.blocking == Blocking::Always || self.first_request_reads > 0;
        if self.blocking == Blocking::Never && self.reads == MAX_READS_PER_TURN {
            return false;
        }
        self.reads += 1;
        true
    }

    /// Counts a response. `true` if a poller has answered enough on this connection.
    fn end_response(&mut self) -> bool {
        self.responses += 1;
        let is_enough = self.responses == MAX_RESPONSES_PER_TURN || self.sent > MAX_BYTES_PER_TURN;
        is_enough && self.blocking == Blocking::Never
    }
}

impl Connection {
    /// A connection of which no request byte has been read. It counts as idle from now on.
    pub fn new(
        stream: Stream,
        peer: Option<IpAddr>,
        kind: ListenerKind,
        registration: Registration,
        running: &RunningConfig,
    ) -> Connection {
        let now = Instant::now();
        registration.set_idle(now);
        Connection {
            stream,
            registration,
            peer,
            kind,
            head_timeout: running.limits.head_timeout,
            idle_timeout: running.limits.idle_timeout,
            in_head: false,
            deadline: now + running.limits.idle_timeout,
            unanswered: Vec::new(),
            write_grace: running.limits.write_timeout,
            write_deadline: now,
            active: None,
            unsent: None,
            lingering: None,
        }
    }

    /// When a poller has to close it.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.registration.id()
    }

    /// Whether it yielded: its next turn is due even if nothing arrives.
    pub fn has_yielded(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Reads, answers and writes as far as `blocking` allows. With [`Blocking::Never`] the socket must be readable.
    pub fn serve(&mut self, blocking: Blocking, scratch: &mut Scratch, edge: &Arc<Edge>) -> Served {
        self.stream.set_blocking(blocking != Blocking::Never);
        scratch.buffer.clear();
        scratch.buffer.append(&mut self.unanswered);
        let mut buffer = std::mem::take(&mut scratch.buffer);
        let served = self.run(blocking, &mut buffer, scratch, edge);
        if matches!(served, Served::Yielded | Served::WouldBlock) {
            self.unanswered = buffer.clone();
        }
        scratch.buffer = buffer;
        served
    }

    fn run(
        &mut self,
        blocking: Blocking,
        buffer: &mut Vec<u8>,
        scratch: &mut Scratch,
        edge: &Arc<Edge>,
    ) -> Served {
        let mut turn = Turn::new(blocking);
        loop {
            match self.step(&mut turn, buffer, scratch, edge) {
                Ok(None) => {}
                Ok(Some(served)) => return served,
                Err(_) => return Served::Closed,
            }
        }
    }

    /// Takes the next step: lingers, sends the rest of a response, answers a buffered request, or reads. `None` if
    /// another step follows in this turn.
    fn step(
        &mut self,
        turn: &mut Turn,
        buffer: &mut Vec<u8>,
        scratch: &mut Scratch,
        edge: &Arc<Edge>,
    ) -> io::Result<Option<Served>> {
        if self.lingering.is_some() {
            // A thread parks the connection; a poller does the lingering close.
            let is_poller = turn.blocking == Blocking::Never;
            return if is_poller { self.discard().map(Some) } else { Ok(Some(Served::Idle)) };
        }
        if let Some(unsent) = self.unsent.take() {
            self.send_rest(unsent, edge)?;
            return Ok(None);
        }
        // Pipelined requests are in the buffer already.
        match parse(buffer) {
            Ok(Head::Complete(request, length)) => {
                if !self.respond(&request, turn, scratch, edge)? {
                    return Ok(Some(Served::WouldBlock));
                }
                buffer.drain(..length);
                skip_empty_lines(buffer);
                Ok(self.end_request(turn, buffer))
            }
            Ok(Head::Partial) => self.read_more(turn, buffer, scratch, edge),
            Err(error) => {
                self.refuse(Response::text(error.status, error.message), scratch, edge);
                Ok(None)
            }
        }
    }

    fn end_request(&mut self, turn: &mut Turn, buffer: &[u8]) -> Option<Served> {
        if self.unsent.is_some() {
            return Some(Served::WouldBlock);
        }
        self.start_waiting(buffer);
        let is_turn_over = turn.end_response();
        (is_turn_over && !buffer.is_empty()).then_some(Served::Yielded)
    }

    fn read_more(
        &mut self,
        turn: &mut Turn,
        buffer: &mut Vec<u8>,
        scratch: &mut Scratch,
        edge: &Edge,
    ) -> io::Result<Option<Served>> {
        let is_idle = buffer.is_empty();
        if is_idle && !turn.may_read && !self.stream.has_buffered() {
            return Ok(Some(Served::Idle));
        }
        if !turn.start_read() {
            return Ok(Some(Served::WouldBlock));
        }
        if !is_idle && !self.in_head {
            self.start_waiting(buffer);
        }
        let is_first_request = is_idle && turn.blocking == Blocking::FirstRequest;
        self.stream.set_read_deadline(if is_first_request {
            self.deadline.min(Instant::now() + FIRST_REQUEST_TIMEOUT)
        } else {
            self.deadline
        });
        match read_into(&mut self.stream, buffer) {
            Ok(0) => {
                self.stream.send_close_notify();
                Ok(Some(Served::Closed))
            }
            Ok(_) => {
                skip_empty_lines(buffer);
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Ok(Some(if buffer.is_empty() { Served::Idle } else { Served::WouldBlock }))
            }
            Err(error) if error.kind() == ErrorKind::TimedOut && self.in_head => {
                let response = Response::text(408, "the request did not arrive in time");
                self.refuse(response, scratch, edge);
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut && is_first_request => {
                Ok(Some(Served::Idle))
            }
            // A client may close or time out between two requests: no response is due.
            Err(error) => Err(error),
        }
    }

    /// Starts the deadline of the next head, or of idleness if none of its bytes has arrived.
    fn start_waiting(&mut self, buffer: &[u8]) {
        let now = Instant::now();
        self.in_head = !buffer.is_empty();
        if self.in_head {
            self.registration.set_reading(now);
            // For the whole head: dribbling does not extend it.
            self.deadline = now + self.head_timeout;
        } else {
            self.registration.set_idle(now);
            self.deadline = now + self.idle_timeout;
        }
    }

    /// Answers no further request, and gives the client time to read the last response (nginx `lingering_close`).
    fn start_lingering_close(&mut self) {
        let is_open = self.stream.shutdown_write().is_ok();
        self.lingering = Some(if is_open { MAX_LINGERING_BYTES } else { 0 });
        let now = Instant::now();
        // Its response is sent, so it may be closed when connections are scarce.
        self.registration.set_idle(now);
        self.deadline = now + LINGERING_TIMEOUT;
    }

    fn discard(&mut self) -> io::Result<Served> {
        let mut bytes = [0; 4096];
        while let Some(left) = self.lingering
            && left > 0
        {
            match self.stream.discard(&mut bytes) {
                Ok(0) => return Ok(Served::Closed),
                Ok(length) => self.lingering = Some(left.saturating_sub(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Served::Idle),
                Err(error) => return Err(error),
            }
        }
        Ok(Served::Closed)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// RFC 9112 §2.2: empty lines before a request line are skipped.
fn skip_empty_lines(buffer: &mut Vec<u8>) {
    let empty = buffer.chunks(2).take_while(|pair| *pair == b"\r\n").count();
    buffer.drain(..empty * 2);
}

/// Appends what one read returns, up to one byte more than a head may have.
fn read_into(stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let before = buffer.len();
    let spare = (buffer.capacity() - before).max(1024);
    let room = spare.min(MAX_HEAD_BYTES.saturating_sub(before).max(1));
    buffer.resize(before + room, 0);
    let read = loop {
        match stream.read(&mut buffer[before..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    buffer.truncate(before + read.as_ref().map_or(0, |length| *length));
    read
}
