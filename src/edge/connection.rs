//! One client's connection: requests in, answers out, in order.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::time::Instant;

use super::access_log::Line;
use super::images::Answer;
use super::request::{Head, LONGEST_HEAD, Method, Refusal, Request, parse};
use super::response::Response;
use super::stream::Stream;
use super::{Edge, routes};

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

/// Serves one connection until it ends. `secure` tells HTTPS from HTTP.
pub fn serve(mut stream: Stream, client: Option<IpAddr>, secure: bool, edge: &Edge) {
    stream.read_within(edge.limits.head_timeout);
    stream.write_within(edge.limits.head_timeout);
    if stream.handshake().is_err() {
        return;
    }
    let mut buffer = Vec::with_capacity(USUAL_HEAD);
    stream.read_within(edge.limits.idle_timeout);
    loop {
        // Pipelined requests are in the buffer already and are answered in order.
        let step = match parse(&buffer) {
            Ok(Head::Whole(request, length)) => answer(&mut stream, &request, length, client, secure, edge),
            Ok(Head::Partial) => Ok(Step::Read),
            Err(refusal) => refuse(&mut stream, &refusal, client, edge),
        };
        let step = match step {
            Ok(Step::Answered(length)) => {
                buffer.drain(..length);
                drop_empty_lines(&mut buffer);
                let deadline =
                    if buffer.is_empty() { edge.limits.idle_timeout } else { edge.limits.head_timeout };
                stream.read_within(deadline);
                continue;
            }
            Ok(Step::Read) => read(&mut stream, &mut buffer, client, edge),
            other => other,
        };
        match step {
            Ok(Step::Close) => return stream.close(),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// RFC 9112 §2.2: empty lines before a request line are skipped.
fn drop_empty_lines(buffer: &mut Vec<u8>) {
    let empty = buffer.chunks(2).take_while(|pair| *pair == b"\r\n").count();
    buffer.drain(..empty * 2);
}

/// Reads more of a head. A client that closes or is quiet between two requests is no error worth an answer.
fn read(stream: &mut Stream, buffer: &mut Vec<u8>, client: Option<IpAddr>, edge: &Edge) -> io::Result<Step> {
    let was_idle = buffer.is_empty();
    match read_some(stream, buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(_) => {
            drop_empty_lines(buffer);
            if was_idle && !buffer.is_empty() {
                // From here on the whole head has this long, however it dribbles in.
                stream.read_within(edge.limits.head_timeout);
            }
            Ok(Step::Read)
        }
        Err(error) if error.kind() == ErrorKind::TimedOut && !was_idle => {
            let refusal = Refusal { status: 408, sentence: "the request did not come in time" };
            refuse(stream, &refusal, client, edge)
        }
        Err(error) => Err(error),
    }
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

fn answer(
    stream: &mut Stream,
    request: &Request,
    length: usize,
    client: Option<IpAddr>,
    secure: bool,
    edge: &Edge,
) -> io::Result<Step> {
    let _in_flight = edge.lifecycle.begin();
    let started = Instant::now();
    let answer = routes::answer(request, secure, edge);
    let keep_alive = request.keep_alive && !edge.lifecycle.is_stopping();
    let sent = send(stream, &answer.response, Some(request), keep_alive, edge);
    log(&answer, Some(request), &sent, started, client, edge);
    sent.map(|_| if keep_alive { Step::Answered(length) } else { Step::Close })
}

fn refuse(stream: &mut Stream, refusal: &Refusal, client: Option<IpAddr>, edge: &Edge) -> io::Result<Step> {
    let _in_flight = edge.lifecycle.begin();
    let started = Instant::now();
    let answer = Answer {
        error: Some("bad_request"),
        ..Answer::plain(Response::text(refusal.status, refusal.sentence))
    };
    let sent = send(stream, &answer.response, None, false, edge);
    log(&answer, None, &sent, started, client, edge);
    sent.map(|_| Step::Close)
}

/// Sends an answer and tells how many bytes its body had.
fn send(
    stream: &mut Stream,
    response: &Response,
    request: Option<&Request>,
    keep_alive: bool,
    edge: &Edge,
) -> io::Result<usize> {
    let head = response.head(request.is_some_and(|request| request.is_http_10), keep_alive);
    let body = match request {
        Some(request) if request.method == Method::Head => &[],
        _ => response.body.bytes(),
    };
    stream.write_within(edge.limits.write_timeout);
    stream.send(head, body).map(|()| body.len())
}

fn log(
    answer: &Answer,
    request: Option<&Request>,
    sent: &io::Result<usize>,
    started: Instant,
    client: Option<IpAddr>,
    edge: &Edge,
) {
    if !edge.access_log {
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
    line.write();
}
