//! One client's connection: requests in, answers out, in order.
//!
//! A connection lies with a poller while it is idle, and is served there as long as nothing has to be waited for: a
//! hit costs no thread of its own and no hand-over. What has to wait (the rest of a head, the renderer, a client that
//! takes its answer slowly, a handshake) is waited for on a thread of its own.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::connection_table::Place;
use super::listener::Entrance;
use super::preface::{self, Preface};
use super::socket::Socket;
use super::stream::Stream;
use crate::edge::Edge;
use crate::edge::http::forwarded;
use crate::edge::http::forwarded::Client;
use crate::edge::http::request::{Head, LONGEST_HEAD, Method, Refusal, Request, parse};
use crate::edge::http::response::{Date, Ending, Response};
use crate::edge::serve::access_log::{self, Line};
use crate::edge::serve::admin;
use crate::edge::serve::image_handler::Answer;
use crate::edge::serve::router;
use crate::edge::serve::running_config::RunningConfig;
use crate::edge::serve::shutdown::ActiveRequest;

/// A usual head fits; a longer one makes the buffer grow up to the limit.
const USUAL_HEAD: usize = 2 << 10;
/// So often a poller reads from one connection while others may be waiting. Who sends faster than it is answered
/// would keep the poller for as long as he likes.
const READS_IN_A_TURN: usize = 4;
/// A poller goes on to others after so many answers to one connection, or so many bytes: pipelined requests are small
/// and their answers are not.
const ANSWERS_IN_A_TURN: usize = 16;
const BYTES_IN_A_TURN: usize = 64 << 10;
/// After our last answer the client has this long to close.
const LINGERING_TIMEOUT: Duration = Duration::from_secs(1);
/// And it may send this much meanwhile.
const LINGERING_BYTES: usize = 256 << 10;

/// Who has just shaken hands most likely asks at once, and many close after one answer. Their thread waits so long for
/// that before it leaves them to a poller.
const FIRST_REQUEST: Duration = Duration::from_millis(20);
/// How many times it does.
const BRIEF_WAITS: u32 = 2;

/// What a connection was made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// A port or a socket for images, in plain HTTP.
    Http,
    /// The port for images behind TLS.
    Https,
    /// `admin.address`
    Admin,
}

/// What may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Nothing: a poller has others to serve.
    Nothing,
    /// Everything but the next request.
    Work,
    /// That, and the first request after a handshake for a moment.
    Beginning,
    /// The next request as well.
    Everything,
}

/// How far a connection could be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Until there was nothing more to do for now.
    Idle,
    /// As long as it was its turn; there is more to do that needs no waiting.
    More,
    /// Until something would have had to be waited for.
    MustWait,
    /// Until its end.
    Closed,
}

/// What a connection needs only while it is served.
#[derive(Debug)]
pub struct Scratch {
    /// What was read and has not been answered.
    buffer: Vec<u8>,
    /// The head of the answer.
    head: String,
    date: Date,
}

impl Scratch {
    /// Empty buffers.
    pub fn new() -> Scratch {
        let (buffer, head) = (Vec::with_capacity(USUAL_HEAD), String::with_capacity(1024));
        Scratch { buffer, head, date: Date::default() }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    place: Place,
    /// The other end, or whom the PROXY header names; `None` on a Unix socket.
    peer: Option<IpAddr>,
    port: Port,
    head_timeout: Duration,
    idle_timeout: Duration,
    /// Whether the first bytes of a head have come, and its deadline runs.
    in_head: bool,
    /// When what is being read has to be there.
    deadline: Instant,
    /// Read by a poller and left to a thread, or to its own next turn.
    rest: Vec<u8>,
    /// How many bytes have been sent in this turn.
    taken: usize,
    /// How long the client may still keep its answers waiting, besides the time that each has for its length. What a
    /// slow one has used up is not given back with the next request.
    grace: Duration,
    /// When the answer that is being written has to be taken.
    write_deadline: Instant,
    /// Since when a request is being answered.
    working: Option<(Instant, ActiveRequest)>,
    /// An answer that the client has not taken whole.
    unsent: Option<Box<Unsent>>,
    /// After the last answer: how much the client may still send.
    lingering_close: Option<usize>,
}

#[derive(Debug)]
struct Unsent {
    answer: Answer,
    head: String,
    sent: usize,
    ending: Ending,
    log: Logged,
}

/// What the log says about a request whose bytes are gone.
#[derive(Debug)]
struct Logged {
    client: Option<IpAddr>,
    method: String,
    target: String,
    is_head: bool,
}

/// Reads what comes before the first request, on a thread, and serves the connection.
pub fn read_preface(
    mut socket: Socket,
    peer: Option<IpAddr>,
    entrance: &Entrance,
    place: Place,
    edge: &Arc<Edge>,
) {
    let running = edge.running.get();
    let head_timeout = running.limits.head_timeout;
    let deadline = Instant::now() + head_timeout;
    socket.read_until(deadline);
    socket.write_until(deadline, head_timeout);
    let is_admin = matches!(entrance, Entrance::Admin);
    let tls = if let Entrance::Https(config) = entrance { Some(config) } else { None };
    let expects_proxy_header = !is_admin && running.expects_proxy_header(peer);
    let preface_read = match preface::read(&mut socket, expects_proxy_header, tls.is_some()) {
        Ok(preface_read) => preface_read,
        Err(error) => return preface::log(peer, &error),
    };
    drop(running);
    let client = preface_read.client.or(peer);
    let port = match tls {
        Some(_) if preface_read.preface == Preface::Expected => Port::Https,
        None if is_admin => Port::Admin,
        _ => Port::Http,
    };
    let stream = match (preface_read.preface, tls) {
        (Preface::Expected, Some(config)) => Stream::handshaken(config, socket),
        _ => Ok(Stream::Plain(socket)),
    };
    let Ok(stream) = stream else { return };
    let mut connection = Connection::new(stream, client, port, place, &edge.running.get());
    if preface_read.preface == Preface::PlainHttp {
        connection.refuse(preface::plain_http_refusal(), &mut Scratch::new(), edge);
    }
    serve_with(Timeout::Beginning, Box::new(connection), edge);
}

/// Serves a connection on this thread as long as it is worth one.
pub fn serve(connection: Box<Connection>, edge: &Arc<Edge>) {
    serve_with(Timeout::Work, connection, edge);
}

fn serve_with(timeout: Timeout, mut connection: Box<Connection>, edge: &Arc<Edge>) {
    let timeout = if edge.running.get().needs_threads { Timeout::Everything } else { timeout };
    let mut scratch = Scratch::new();
    match connection.serve(timeout, &mut scratch, edge) {
        Served::Idle => edge.pollers.park(connection),
        Served::More | Served::MustWait | Served::Closed => {}
    }
}

impl Connection {
    /// A connection of which nothing has been read yet. It is idle from now on.
    pub fn new(
        stream: Stream,
        peer: Option<IpAddr>,
        port: Port,
        place: Place,
        running: &RunningConfig,
    ) -> Connection {
        let now = Instant::now();
        place.idle(now);
        Connection {
            stream,
            place,
            peer,
            port,
            head_timeout: running.limits.head_timeout,
            idle_timeout: running.limits.idle_timeout,
            in_head: false,
            deadline: now + running.limits.idle_timeout,
            rest: Vec::new(),
            taken: 0,
            grace: running.limits.write_timeout,
            write_deadline: now,
            working: None,
            unsent: None,
            lingering_close: None,
        }
    }

    /// When an idle connection has to be closed.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Tells its connections apart for a poller.
    pub fn number(&self) -> u64 {
        self.place.number()
    }

    /// Whether its turn was over before it was done: it has one coming, whatever else may be there to be read.
    pub fn has_turn_coming(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Reads, answers and writes as far as `timeout` goes. With [`Timeout::Nothing`] something is there to be read.
    pub fn serve(&mut self, timeout: Timeout, scratch: &mut Scratch, edge: &Arc<Edge>) -> Served {
        self.stream.set_waiting(timeout != Timeout::Nothing);
        scratch.buffer.clear();
        scratch.buffer.append(&mut self.rest);
        let mut buffer = std::mem::take(&mut scratch.buffer);
        let served = self.run(timeout, &mut buffer, scratch, edge);
        if matches!(served, Served::More | Served::MustWait) {
            self.rest = buffer.clone();
        }
        scratch.buffer = buffer;
        served
    }

    fn run(
        &mut self,
        timeout: Timeout,
        buffer: &mut Vec<u8>,
        scratch: &mut Scratch,
        edge: &Arc<Edge>,
    ) -> Served {
        let mut may_read = timeout != Timeout::Work;
        let mut brief_waits = if timeout == Timeout::Beginning { BRIEF_WAITS } else { 0 };
        let (mut reads, mut answers) = (0, 0);
        self.taken = 0;
        let result = loop {
            if self.lingering_close.is_some() {
                break match timeout {
                    Timeout::Nothing => self.discard(),
                    // A poller can see it off.
                    _ => Ok(Served::Idle),
                };
            }
            if let Some(unsent) = self.unsent.take() {
                match self.send_rest(unsent, edge) {
                    Ok(()) => continue,
                    Err(error) => break Err(error),
                }
            }
            // Pipelined requests are in the buffer already and are answered in order.
            match parse(buffer) {
                Ok(Head::Whole(request, length)) => {
                    match self.answer(&request, timeout, scratch, edge) {
                        Ok(true) => {}
                        other => break other.map(|_| Served::MustWait),
                    }
                    buffer.drain(..length);
                    drop_empty_lines(buffer);
                    if self.unsent.is_some() {
                        break Ok(Served::MustWait);
                    }
                    self.wait_for_request(buffer);
                    answers += 1;
                    let is_long = answers == ANSWERS_IN_A_TURN || self.taken > BYTES_IN_A_TURN;
                    if is_long && timeout == Timeout::Nothing && !buffer.is_empty() {
                        break Ok(Served::More);
                    }
                    continue;
                }
                Ok(Head::Partial) => {}
                Err(refusal) => {
                    self.refuse(Response::text(refusal.status, refusal.sentence), scratch, edge);
                    continue;
                }
            }
            let is_idle = buffer.is_empty();
            if is_idle && !may_read && !self.stream.has_unread() {
                break Ok(Served::Idle);
            }
            brief_waits = brief_waits.saturating_sub(1);
            may_read = timeout == Timeout::Everything || brief_waits > 0;
            if timeout == Timeout::Nothing && reads == READS_IN_A_TURN {
                break Ok(Served::MustWait);
            }
            reads += 1;
            if !is_idle && !self.in_head {
                self.wait_for_request(buffer);
            }
            let is_brief = is_idle && timeout == Timeout::Beginning;
            let moment = Instant::now() + FIRST_REQUEST;
            self.stream.read_until(if is_brief {
                moment.min(self.deadline)
            } else {
                self.deadline
            });
            match read_some(&mut self.stream, buffer) {
                Ok(0) => {
                    self.stream.send_close_notify();
                    break Ok(Served::Closed);
                }
                Ok(_) => drop_empty_lines(buffer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    break Ok(if buffer.is_empty() { Served::Idle } else { Served::MustWait });
                }
                Err(error) if error.kind() == ErrorKind::TimedOut && self.in_head => {
                    let late =
                        Refusal { status: 408, sentence: "the request did not come in time" };
                    self.refuse(Response::text(late.status, late.sentence), scratch, edge);
                }
                Err(error) if error.kind() == ErrorKind::TimedOut && is_brief => {
                    break Ok(Served::Idle);
                }
                // A client that closes or is quiet between two requests is no error worth an answer.
                Err(error) => break Err(error),
            }
        };
        result.unwrap_or(Served::Closed)
    }

    fn wait_for_request(&mut self, buffer: &[u8]) {
        let now = Instant::now();
        self.in_head = !buffer.is_empty();
        if self.in_head {
            self.place.reading(now);
            // From here on the whole head has this long, however it dribbles in.
            self.deadline = now + self.head_timeout;
        } else {
            self.place.idle(now);
            self.deadline = now + self.idle_timeout;
        }
    }

    /// Answers a request. `false` if that has to be waited for and may not be.
    fn answer(
        &mut self,
        request: &Request,
        timeout: Timeout,
        scratch: &mut Scratch,
        edge: &Arc<Edge>,
    ) -> io::Result<bool> {
        if self.working.is_none() {
            let started = Instant::now();
            self.place.busy(started);
            self.working = Some((started, edge.shutdown.begin()));
        }
        let running = edge.running.get();
        (self.head_timeout, self.idle_timeout) =
            (running.limits.head_timeout, running.limits.idle_timeout);
        let may_wait = timeout != Timeout::Nothing;
        let (client, answer) = match self.port {
            Port::Admin => {
                let client = Client { address: self.peer, secure: false };
                (client, admin::answer(request, self.peer, may_wait, &running, &edge.shutdown))
            }
            port => {
                let secure = port == Port::Https;
                let client =
                    forwarded::client(request, self.peer, secure, &running.trusted_proxies);
                (client, router::answer(request, client, may_wait, &running, &edge.shutdown))
            }
        };
        let Some(answer) = answer else { return Ok(false) };
        let keep_alive =
            request.keep_alive && !edge.shutdown.is_stopping() && !self.place.is_leaving();
        let ending = Ending {
            is_http_10: request.is_http_10,
            keep_alive,
            hsts: running.hsts.filter(|_| client.secure),
        };
        scratch.head.clear();
        let now = SystemTime::now();
        answer.response.write_head(&mut scratch.head, &mut scratch.date, now, ending);
        let is_head = request.method == Method::Head;
        let body = if is_head { &[] } else { answer.response.body.bytes() };
        self.give_time(scratch.head.len() + body.len(), &running);
        let is_logged = running.access_log;
        // A client may take its time from here on, and an old running must not wait for it.
        drop(running);
        let mut sent = 0;
        let result = self.stream.send(scratch.head.as_bytes(), body, &mut sent);
        self.taken += sent;
        if let Err(error) = &result
            && error.kind() == ErrorKind::WouldBlock
        {
            let (method, target) = (request.method_name.to_owned(), request.target.to_owned());
            let log = Logged { client: client.address, method, target, is_head };
            let head = std::mem::take(&mut scratch.head);
            self.unsent = Some(Box::new(Unsent { answer, head, sent, ending, log }));
            return Ok(true);
        }
        if is_logged {
            let line = Line {
                client: client.address,
                method: request.method_name,
                target: request.target,
                ..self.line(&answer, body.len(), &result)
            };
            access_log::add(&line, now);
        }
        self.answered(result, ending).map(|()| true)
    }

    /// Goes on with an answer where it stopped, and waits until it is taken: no poller has a connection with one.
    fn send_rest(&mut self, mut unsent: Box<Unsent>, edge: &Edge) -> io::Result<()> {
        let body = if unsent.log.is_head { &[] } else { unsent.answer.response.body.bytes() };
        let result = self.stream.send(unsent.head.as_bytes(), body, &mut unsent.sent);
        if edge.running.get().access_log {
            let line = Line {
                client: unsent.log.client,
                method: &unsent.log.method,
                target: &unsent.log.target,
                ..self.line(&unsent.answer, body.len(), &result)
            };
            access_log::add(&line, SystemTime::now());
        }
        self.answered(result, unsent.ending)?;
        self.wait_for_request(&[]);
        Ok(())
    }

    /// Answers what is no request, and closes.
    fn refuse(&mut self, response: Response, scratch: &mut Scratch, edge: &Edge) {
        let (started, _in_flight) = (Instant::now(), edge.shutdown.begin());
        self.place.busy(started);
        let running = edge.running.get();
        let answer = Answer { error: Some("bad_request"), ..Answer::plain(response) };
        let ending = Ending {
            is_http_10: false,
            keep_alive: false,
            hsts: running.hsts.filter(|_| self.port == Port::Https),
        };
        scratch.head.clear();
        let now = SystemTime::now();
        answer.response.write_head(&mut scratch.head, &mut scratch.date, now, ending);
        let body = answer.response.body.bytes();
        self.give_time(scratch.head.len() + body.len(), &running);
        // It is so short that a socket which does not take it at once belongs to a client that does not read.
        let result = self.stream.send(scratch.head.as_bytes(), body, &mut 0);
        if running.access_log {
            let line = Line { client: self.peer, ..self.line(&answer, body.len(), &result) };
            access_log::add(&line, now);
        }
        self.lingering_close();
    }

    /// A client has some time for its answers, and more for a long one at the lowest rate that is allowed.
    fn give_time(&mut self, length: usize, running: &RunningConfig) {
        let (wait, rate) = (running.limits.write_timeout, running.limits.min_write_rate.max(1));
        let for_length = Duration::from_micros((length as u64).saturating_mul(1_000_000) / rate);
        self.write_deadline = Instant::now() + self.grace.min(wait) + for_length;
        self.stream.write_until(self.write_deadline, wait);
    }

    fn answered(&mut self, result: io::Result<()>, ending: Ending) -> io::Result<()> {
        self.working = None;
        result?;
        self.grace = self.write_deadline.saturating_duration_since(Instant::now());
        if !ending.keep_alive {
            self.lingering_close();
        }
        Ok(())
    }

    fn line<'a>(&self, answer: &Answer, length: usize, result: &io::Result<()>) -> Line<'a> {
        Line {
            client: None,
            method: "",
            target: "",
            status: answer.response.status,
            bytes: if result.is_ok() { length } else { 0 },
            took: self.working.as_ref().map_or(Duration::ZERO, |(started, _)| started.elapsed()),
            cache: answer.cache,
            // An answer that the client did not take is worth seeing.
            error: if result.is_err() { Some("client_gone") } else { answer.error },
        }
    }

    /// Nothing more is answered; the client may take its time to read our last answer.
    fn lingering_close(&mut self) {
        let left = if self.stream.finish().is_ok() { LINGERING_BYTES } else { 0 };
        self.lingering_close = Some(left);
        let now = Instant::now();
        // It has its answer: when places are scarce it can go.
        self.place.idle(now);
        self.deadline = now + LINGERING_TIMEOUT;
    }

    fn discard(&mut self) -> io::Result<Served> {
        let mut bytes = [0; 4096];
        while let Some(left) = self.lingering_close
            && left > 0
        {
            match self.stream.discard(&mut bytes) {
                Ok(0) => return Ok(Served::Closed),
                Ok(length) => self.lingering_close = Some(left.saturating_sub(length)),
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
fn drop_empty_lines(buffer: &mut Vec<u8>) {
    let empty = buffer.chunks(2).take_while(|pair| *pair == b"\r\n").count();
    buffer.drain(..empty * 2);
}

fn read_some(stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let before = buffer.len();
    let room =
        (buffer.capacity() - before).max(1024).min(LONGEST_HEAD.saturating_sub(before).max(1));
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
