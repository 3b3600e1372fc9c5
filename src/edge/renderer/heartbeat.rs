//! The health check of a renderer: a ping every few seconds on a connection of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::connection::Head;
use crate::renderer_status::{self, RendererStatus};
use crate::wire;

/// Checks between a response and the next ping.
const PING_INTERVAL: u32 = 3;
/// Checks without a response after which the renderer counts as hung. Checks are counted, not seconds, so that a
/// renderer does not count as hung after the machine was suspended.
const MAX_MISSED: u32 = 10;
/// Checks without a response after which the renderer counts as not answering.
const LATE: u32 = 3;
/// Maximum bytes of a response; a typical one has about 300.
const MAX_RESPONSE: usize = renderer_status::MAX_BYTES + (1 << 10);

#[derive(Debug)]
pub struct Heartbeat {
    stream: UnixStream,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The number of checks until the next ping.
    Idle(u32),
    /// The number of checks since the ping, and the bytes received.
    Waiting(u32, Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// No response is due.
    Ok,
    /// The response to a ping.
    Answered(RendererStatus),
    /// The process runs and does not answer.
    TimedOut,
    /// The connection is closed, or the response malformed.
    Closed,
}

impl Heartbeat {
    /// `stream` is a connection that has answered a ping. The first check sends the next one.
    pub fn new(stream: UnixStream) -> io::Result<Heartbeat> {
        stream.set_nonblocking(true)?;
        Ok(Heartbeat { stream, state: State::Idle(0) })
    }

    /// Must be called once per check interval.
    pub fn check(&mut self) -> Health {
        let (next, health) = match std::mem::replace(&mut self.state, State::Idle(0)) {
            State::Idle(checks @ 1..) => (State::Idle(checks - 1), Health::Ok),
            State::Idle(0) => (State::Waiting(0, Vec::new()), self.ping()),
            State::Waiting(missed, response) => self.receive(missed, response),
        };
        self.state = next;
        health
    }

    /// Whether a response is overdue, and the renderer not yet hung.
    pub fn is_late(&self) -> bool {
        matches!(self.state, State::Waiting(missed, _) if missed >= LATE)
    }

    fn ping(&mut self) -> Health {
        let request = format!("GET {} HTTP/1.1\r\nHost: renderer\r\n\r\n", wire::PING_PATH);
        if self.stream.write_all(request.as_bytes()).is_ok() { Health::Ok } else { Health::Closed }
    }

    fn receive(&mut self, missed: u32, mut response: Vec<u8>) -> (State, Health) {
        let mut bytes = vec![0; MAX_RESPONSE];
        let health = match self.stream.read(&mut bytes) {
            Ok(length @ 1..) => {
                response.extend(bytes.iter().take(length));
                match parse(&response) {
                    Ok(Some(status)) => {
                        return (State::Idle(PING_INTERVAL), Health::Answered(status));
                    }
                    Ok(None) if response.len() <= MAX_RESPONSE => Health::Ok,
                    Ok(None) | Err(_) => Health::Closed,
                }
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                if missed + 1 < MAX_MISSED {
                    Health::Ok
                } else {
                    Health::TimedOut
                }
            }
            Ok(_) | Err(_) => Health::Closed,
        };
        (State::Waiting(missed.saturating_add(1), response), health)
    }
}

/// `None` while the response is incomplete.
fn parse(response: &[u8]) -> io::Result<Option<RendererStatus>> {
    let Some(Head { content_length, bytes, .. }) = Head::parse(response)? else { return Ok(None) };
    let body = response.get(bytes..).unwrap_or_default();
    if body.len() < content_length {
        return Ok(None);
    }
    let status = str::from_utf8(body).ok().and_then(RendererStatus::parse);
    status.map(Some).ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npermits 3\n";

    fn answered() -> Health {
        Health::Answered(RendererStatus { permits: 3, ..RendererStatus::default() })
    }

    fn pair() -> (Heartbeat, UnixStream) {
        let (edge, renderer) = UnixStream::pair().unwrap();
        renderer.set_nonblocking(true).unwrap();
        (Heartbeat::new(edge).unwrap(), renderer)
    }

    fn receives_ping(renderer: &mut UnixStream) -> bool {
        renderer.read(&mut [0; 256]).is_ok_and(|length| length > 0)
    }

    #[test]
    fn heartbeat_is_ok_while_pings_are_answered() {
        let (mut heartbeat, mut renderer) = pair();
        let mut pings = 0;
        let mut is_answered = false;
        for _ in 0..100 {
            let expected = if is_answered { answered() } else { Health::Ok };
            assert_eq!(heartbeat.check(), expected);
            is_answered = receives_ping(&mut renderer);
            if is_answered {
                renderer.write_all(RESPONSE).unwrap();
                pings += 1;
            }
        }
        assert!((10..=34).contains(&pings), "{pings}");
    }

    #[test]
    fn heartbeat_accepts_a_late_response_in_pieces_and_times_out_without_one() {
        let (mut heartbeat, mut renderer) = pair();
        while !receives_ping(&mut renderer) {
            assert_eq!(heartbeat.check(), Health::Ok);
        }
        for piece in [&RESPONSE[..9], &RESPONSE[9..41], &RESPONSE[41..]] {
            for _ in 0..3 {
                assert_eq!(heartbeat.check(), Health::Ok);
            }
            renderer.write_all(piece).unwrap();
        }
        assert_eq!(heartbeat.check(), answered());
        while !receives_ping(&mut renderer) {
            assert_eq!(heartbeat.check(), Health::Ok);
        }
        for missed in 1..MAX_MISSED {
            assert_eq!(heartbeat.check(), Health::Ok);
            assert_eq!(heartbeat.is_late(), missed >= LATE);
        }
        assert_eq!(heartbeat.check(), Health::TimedOut);
    }

    #[test]
    fn heartbeat_is_closed_after_a_malformed_response() {
        for response in [
            "hello\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npermits x",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npermits 1\nx",
        ] {
            let (mut heartbeat, mut renderer) = pair();
            assert_eq!(heartbeat.check(), Health::Ok);
            renderer.write_all(response.as_bytes()).unwrap();
            assert_eq!(heartbeat.check(), Health::Closed, "{response}");
        }
    }

    #[test]
    fn heartbeat_is_closed_after_a_hang_up_or_an_endless_response() {
        let (mut heartbeat, renderer) = pair();
        drop(renderer);
        assert!((0..10).any(|_| heartbeat.check() == Health::Closed));

        let (mut heartbeat, mut renderer) = pair();
        let is_closed = (0..100).any(|_| {
            let _ = renderer.write_all(&[b'x'; 7000]);
            heartbeat.check() == Health::Closed
        });
        assert!(is_closed);
    }

    #[test]
    fn heartbeat_timeout_is_as_documented() {
        // A check takes place each second.
        for sentence in [
            format!("A renderer that answers no ping for {MAX_MISSED} seconds is killed"),
            format!("a renderer answered no ping for {MAX_MISSED} seconds and is killed"),
        ] {
            assert_says("docs/http.md", &sentence);
        }
    }
}
