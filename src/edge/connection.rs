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

/// How the reading of a head ended.
enum Next {
    /// The buffer starts with a whole head.
    Head,
    /// The client closed, or was quiet for too long between two requests.
    Closed,
    /// The head is wrong or came too slowly.
    Refused(Refusal),
}

/// Serves one connection until it ends. `secure` tells HTTPS from HTTP.
pub fn serve(mut stream: Stream, client: Option<IpAddr>, secure: bool, edge: &Edge) {
    stream.read_within(edge.limits.head_timeout);
    stream.write_within(edge.limits.head_timeout);
    if stream.handshake().is_err() {
        return;
    }
    let mut buffer = Vec::with_capacity(USUAL_HEAD);
    loop {
        let next = match read_head(&mut stream, &mut buffer, edge) {
            Ok(next) => next,
            Err(_) => return,
        };
        let kept = match next {
            Next::Closed => return,
            Next::Head => answer_next(&mut stream, &mut buffer, client, secure, edge),
            Next::Refused(refusal) => refuse(&mut stream, &refusal, client, edge),
        };
        match kept {
            Ok(true) => {}
            Ok(false) => return stream.close(),
            Err(_) => return,
        }
    }
}

/// Reads until the buffer holds a whole head. Pipelined requests are in the buffer already.
fn read_head(stream: &mut Stream, buffer: &mut Vec<u8>, edge: &Edge) -> io::Result<Next> {
    if buffer.is_empty() {
        stream.read_within(edge.limits.idle_timeout);
    } else {
        stream.read_within(edge.limits.head_timeout);
    }
    loop {
        // RFC 9112 §2.2: empty lines before a request line are skipped.
        let skip = buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        buffer.drain(..skip);
        match parse(buffer) {
            Ok(Head::Whole(..)) => return Ok(Next::Head),
            Ok(Head::Partial) => {}
            Err(refusal) => return Ok(Next::Refused(refusal)),
        }
        let was_idle = buffer.is_empty();
        match read_more(stream, buffer) {
            Ok(0) => return Ok(Next::Closed),
            // The whole head has this long, however it dribbles in.
            Ok(_) if was_idle => stream.read_within(edge.limits.head_timeout),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::TimedOut && was_idle => return Ok(Next::Closed),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return Ok(Next::Refused(Refusal {
                    status: 408,
                    sentence: "the request did not come in time",
                }));
            }
            Err(error) => return Err(error),
        }
    }
}

fn read_more(stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<usize> {
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

/// Answers the request at the start of the buffer and removes it. Tells whether the connection is kept.
fn answer_next(
    stream: &mut Stream,
    buffer: &mut Vec<u8>,
    client: Option<IpAddr>,
    secure: bool,
    edge: &Edge,
) -> io::Result<bool> {
    let (kept, length) = match parse(buffer) {
        Ok(Head::Whole(request, length)) => {
            let _in_flight = edge.lifecycle.begin();
            let started = Instant::now();
            let answer = routes::answer(&request, secure, edge);
            let keep_alive = request.keep_alive && !edge.lifecycle.is_stopping();
            let sent = send(stream, &answer.response, Some(&request), keep_alive, edge);
            log(&answer, Some(&request), &sent, started, client, edge);
            (sent.map(|_| keep_alive)?, length)
        }
        _ => (false, 0),
    };
    buffer.drain(..length);
    Ok(kept)
}

fn refuse(stream: &mut Stream, refusal: &Refusal, client: Option<IpAddr>, edge: &Edge) -> io::Result<bool> {
    let _in_flight = edge.lifecycle.begin();
    let started = Instant::now();
    let answer = Answer {
        error: Some("bad_request"),
        ..Answer::plain(Response::text(refusal.status, refusal.sentence))
    };
    let sent = send(stream, &answer.response, None, false, edge);
    log(&answer, None, &sent, started, client, edge);
    sent.map(|_| false)
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
