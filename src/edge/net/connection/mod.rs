//! A client connection: reads requests and answers them in order.
//!
//! An idle connection is parked with a poller, which also serves it while nothing blocks: a cache hit needs neither a
//! thread of its own nor a switch between threads. Work that blocks (the rest of a head, the renderer, a slow reader, a
//! TLS handshake) runs on a thread of the connection's own.

mod body;
mod lingering;
mod respond;
mod turn;

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::connection_table::Registration;
use super::endpoint::ListenerKind;
use super::stream::Stream;
use crate::edge::http::request::{Head, MAX_HEAD_BYTES, parse, parse_with_body};
use crate::edge::http::response::{Date, Response};
use crate::edge::serve::admin;
use crate::edge::serve::responder::Responder;
use crate::edge::serve::running_config::RunningConfig;
use crate::edge::serve::shutdown::ActiveRequest;
use respond::{PartialResponse, PendingRequest};
use turn::Turn;
pub use turn::{Blocking, Served};

/// Fits a usual head; the buffer grows up to [`MAX_HEAD_BYTES`] for a longer one.
const INITIAL_BUFFER_BYTES: usize = 2 << 10;
/// How long the thread of a handshake waits for the first request before it parks the connection: most clients send it
/// at once, and many close after one response.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(20);

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
    /// Time that the client may still delay its responses, besides the time that each gets for its length. It is not
    /// restored for the next request.
    write_grace: Duration,
    /// When the response being written was begun, and when it times out.
    write_started: Instant,
    write_deadline: Instant,
    /// The request being answered, and when it began.
    active: Option<(Instant, ActiveRequest)>,
    /// A request whose answer waits for a renderer or for disks.
    pending: Option<Box<PendingRequest>>,
    /// A response that the socket has not taken completely.
    unsent: Option<Box<PartialResponse>>,
    /// In a lingering close: how many bytes it may still discard.
    lingering: Option<usize>,
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
            write_started: now,
            write_deadline: now,
            active: None,
            pending: None,
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
    pub fn serve(
        &mut self,
        blocking: Blocking,
        scratch: &mut Scratch,
        responder: &Responder,
    ) -> Served {
        self.stream.socket().set_blocking(blocking != Blocking::Never);
        scratch.buffer.clear();
        scratch.buffer.append(&mut self.unanswered);
        let mut buffer = std::mem::take(&mut scratch.buffer);
        let served = self.run(blocking, &mut buffer, scratch, responder);
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
        responder: &Responder,
    ) -> Served {
        let mut turn = Turn::new(blocking);
        loop {
            match self.step(&mut turn, buffer, scratch, responder) {
                Ok(None) => {}
                Ok(Some(served)) => return served,
                Err(_) => return Served::Closed,
            }
        }
    }

    /// Takes the next step: lingers, sends the rest of a response, answers a request, or reads. `None` if another step
    /// follows in this turn.
    fn step(
        &mut self,
        turn: &mut Turn,
        buffer: &mut Vec<u8>,
        scratch: &mut Scratch,
        responder: &Responder,
    ) -> io::Result<Option<Served>> {
        if self.lingering.is_some() {
            // A thread parks the connection; a poller does the lingering close.
            let is_poller = turn.blocking == Blocking::Never;
            return if is_poller { self.discard().map(Some) } else { Ok(Some(Served::Idle)) };
        }
        if turn.blocking == Blocking::Never && (self.pending.is_some() || self.unsent.is_some()) {
            return Ok(Some(Served::WouldBlock));
        }
        if let Some(unsent) = self.unsent.take() {
            self.send_rest(unsent, responder)?;
            return Ok(self.end_request(turn, buffer));
        }
        if let Some(pending) = self.pending.take() {
            self.finish(*pending, buffer, turn, scratch, responder)?;
            return Ok(self.end_request(turn, buffer));
        }
        // Pipelined requests are in the buffer already.
        let head = match self.kind {
            ListenerKind::Admin => parse_with_body(buffer, admin::EVENTS),
            ListenerKind::Http | ListenerKind::Https => parse(buffer),
        };
        match head {
            Ok(Head::Complete(request, length)) => {
                let has_body = request.body_length > 0;
                self.respond(&request, turn, scratch, responder)?;
                buffer.drain(..length);
                if !has_body {
                    skip_empty_lines(buffer);
                }
                Ok(self.end_request(turn, buffer))
            }
            Ok(Head::Partial) => self.read_more(turn, buffer, scratch, responder),
            Err(error) => {
                self.refuse(Response::text(error.status, error.message), scratch, responder);
                Ok(None)
            }
        }
    }

    /// Waits for the next request, unless this one is not answered completely or was the last.
    fn end_request(&mut self, turn: &mut Turn, buffer: &[u8]) -> Option<Served> {
        if self.pending.is_some() || self.unsent.is_some() || self.lingering.is_some() {
            return None;
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
        responder: &Responder,
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
        self.stream.socket().set_read_deadline(if is_first_request {
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
                self.refuse(response, scratch, responder);
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
