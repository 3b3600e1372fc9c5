//! One client's connection: requests in, answers out, in order.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;

use super::access_log::Line;
use super::connections::Place;
use super::greeting::{self, Greeting};
use super::images::Answer;
use super::request::{Head, LONGEST_HEAD, Method, Refusal, Request, parse};
use super::response::{self, Date, Response};
use super::site::Site;
use super::socket::Socket;
use super::stream::Stream;
use super::{Edge, forwarded, routes};

/// A usual head fits; a longer one makes the buffer grow up to the limit.
const USUAL_HEAD: usize = 2 << 10;

/// What to do next with a connection.
enum Step {
    /// The buffer's first so many bytes have been answered.
    Answered(usize),
    /// The buffer does not hold a whole head yet.
    Read,
    /// Nothing after this can be understood, or the client asked to close.
    Close,
}

/// The deadlines for reading, which outlive the site that they come from.
#[derive(Clone, Copy)]
struct Deadlines {
    head: Duration,
    idle: Duration,
}

impl Deadlines {
    fn of(site: &Site) -> Deadlines {
        Deadlines { head: site.limits.head_timeout, idle: site.limits.idle_timeout }
    }
}

/// A connection at work.
struct Connection<'e> {
    stream: Stream,
    edge: &'e Edge,
    place: &'e Place,
    /// The other end; `None` on a Unix socket.
    peer: Option<IpAddr>,
    secure: bool,
    deadlines: Deadlines,
    /// Whether the first bytes of a head have come, and its deadline runs.
    in_head: bool,
    /// Reused from answer to answer.
    head: String,
    date: Date,
}

/// Serves one connection until it ends.
pub fn serve(
    mut socket: Socket,
    peer: Option<IpAddr>,
    tls: Option<&Arc<ServerConfig>>,
    place: &Place,
    edge: &Edge,
) {
    let site = edge.site.get();
    let deadlines = Deadlines::of(&site);
    let deadline = Instant::now() + deadlines.head;
    socket.read_until(deadline);
    socket.write_until(deadline, deadlines.head);
    let greeted = match greeting::read(&mut socket, site.expects_proxy_header(peer), tls.is_some()) {
        Ok(greeted) => greeted,
        Err(error) => return greeting::log(peer, &error),
    };
    drop(site);
    let (peer, secure) = (greeted.client.or(peer), tls.is_some());
    let stream = match (greeted.greeting, tls) {
        (Greeting::Expected, Some(config)) => Stream::handshaken(config, socket),
        (Greeting::Expected, None) => Ok(Stream::Plain(socket)),
        (Greeting::PlainHttp, _) => return greeting::refuse_plain_http(socket),
    };
    let Ok(stream) = stream else { return };
    let (head, date) = (String::with_capacity(1024), Date::default());
    Connection { stream, edge, place, peer, secure, deadlines, in_head: false, head, date }.serve();
}

impl Connection<'_> {
    fn serve(mut self) {
        let mut buffer = Vec::with_capacity(USUAL_HEAD);
        self.wait_for_request(&buffer, Instant::now());
        loop {
            // Pipelined requests are in the buffer already and are answered in order.
            let step = match parse(&buffer) {
                Ok(Head::Whole(request, length)) => self.answer(&request, length),
                Ok(Head::Partial) => Ok(Step::Read),
                Err(refusal) => self.refuse(&refusal),
            };
            let step = match step {
                Ok(Step::Answered(length)) => {
                    buffer.drain(..length);
                    drop_empty_lines(&mut buffer);
                    self.wait_for_request(&buffer, Instant::now());
                    continue;
                }
                Ok(Step::Read) => {
                    if !self.in_head && !buffer.is_empty() {
                        self.wait_for_request(&buffer, Instant::now());
                    }
                    self.read(&mut buffer)
                }
                other => other,
            };
            match step {
                Ok(Step::Close) => return self.stream.close(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn wait_for_request(&mut self, buffer: &[u8], now: Instant) {
        self.in_head = !buffer.is_empty();
        if !self.in_head {
            self.place.idle(now);
            self.stream.read_until(now + self.deadlines.idle);
        } else {
            self.place.reading(now);
            // From here on the whole head has this long, however it dribbles in.
            self.stream.read_until(now + self.deadlines.head);
        }
    }

    /// Reads more of a head. A client that closes or is quiet between two requests is no error worth an answer.
    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Step> {
        match read_some(&mut self.stream, buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                drop_empty_lines(buffer);
                Ok(Step::Read)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut && self.in_head => {
                self.refuse(&Refusal { status: 408, sentence: "the request did not come in time" })
            }
            Err(error) => Err(error),
        }
    }

    fn answer(&mut self, request: &Request, length: usize) -> io::Result<Step> {
        let _in_flight = self.edge.lifecycle.begin();
        let started = Instant::now();
        self.place.busy(started);
        let site = self.edge.site.get();
        self.deadlines = Deadlines::of(&site);
        let client = forwarded::client(request, self.peer, self.secure, &site.trusted_proxies);
        let answer = routes::answer(request, client.secure, &site, &self.edge.lifecycle);
        let keep_alive = request.keep_alive && !self.edge.lifecycle.is_stopping() && !self.place.is_leaving();
        let sent = self.send(&answer.response, Some(request), keep_alive, &site);
        self.log(&answer, Some(request), &sent, started, client.address, &site);
        sent.map(|_| if keep_alive { Step::Answered(length) } else { Step::Close })
    }

    fn refuse(&mut self, refusal: &Refusal) -> io::Result<Step> {
        let _in_flight = self.edge.lifecycle.begin();
        let started = Instant::now();
        let site = self.edge.site.get();
        let answer = Answer {
            error: Some("bad_request"),
            ..Answer::plain(Response::text(refusal.status, refusal.sentence))
        };
        let sent = self.send(&answer.response, None, false, &site);
        self.log(&answer, None, &sent, started, self.peer, &site);
        sent.map(|_| Step::Close)
    }

    /// Sends an answer and tells how many bytes its body had.
    fn send(
        &mut self,
        response: &Response,
        request: Option<&Request>,
        keep_alive: bool,
        site: &Site,
    ) -> io::Result<usize> {
        let connection = response::Connection {
            is_http_10: request.is_some_and(|request| request.is_http_10),
            keep_alive,
            hsts: site.hsts.filter(|_| self.secure),
        };
        self.head.clear();
        response.write_head(&mut self.head, &mut self.date, SystemTime::now(), connection);
        let body = match request {
            Some(request) if request.method == Method::Head => &[],
            _ => response.body.bytes(),
        };
        self.stream.write_until(Instant::now() + time_to_take(body.len(), site), site.limits.write_timeout);
        self.stream.send(self.head.as_bytes(), body).map(|()| body.len())
    }

    fn log(
        &self,
        answer: &Answer,
        request: Option<&Request>,
        sent: &io::Result<usize>,
        started: Instant,
        client: Option<IpAddr>,
        site: &Site,
    ) {
        if !site.access_log {
            return;
        }
        let line = Line {
            client,
            method: request.map_or("", |request| request.method_name),
            target: request.map_or("", |request| request.target),
            status: answer.response.status,
            bytes: sent.as_ref().map_or(0, |length| *length),
            took: started.elapsed(),
            cache: answer.cache,
            // An answer that the client did not take is worth seeing.
            error: if sent.is_err() { Some("client_gone") } else { answer.error },
        };
        self.edge.log.add(&line, SystemTime::now());
    }
}

/// How long a client may take for an answer: some time, and more for a long one at the lowest rate that is allowed.
fn time_to_take(length: usize, site: &Site) -> Duration {
    site.limits.write_timeout + Duration::from_secs(length as u64 / site.limits.min_write_rate)
}

/// RFC 9112 §2.2: empty lines before a request line are skipped.
fn drop_empty_lines(buffer: &mut Vec<u8>) {
    let empty = buffer.chunks(2).take_while(|pair| *pair == b"\r\n").count();
    buffer.drain(..empty * 2);
}

fn read_some(stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let before = buffer.len();
    let room = (buffer.capacity() - before).max(1024).min(LONGEST_HEAD.saturating_sub(before).max(1));
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
