//! Whether a renderer lives: a ping every few seconds on a connection of its own, and how much memory it has.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::{fs, io};

use crate::wire;

/// Between an answer and the next ping, in checks.
const CHECKS_BETWEEN: u32 = 3;
/// So many checks after a ping without its answer, the renderer hangs. Checks are counted and not seconds, so that a
/// machine that slept does not find its renderer culprits.
const MOST_MISSED: u32 = 10;
/// The answer to a ping is about 100 bytes.
const LONGEST_ANSWER: usize = 1024;

/// The connection that the pings go over.
#[derive(Debug)]
pub struct Heartbeat {
    stream: UnixStream,
    state: State,
}

#[derive(Debug)]
enum State {
    /// So many checks until the next ping.
    Resting(u32),
    /// A ping was sent so many checks ago, and this much of the answer has come.
    Waiting(u32, Vec<u8>),
}

/// What a check finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing is wrong.
    Ok,
    /// The process is there and does not answer.
    TimedOut,
    /// The connection is closed or carries nonsense.
    Closed,
}

impl Heartbeat {
    /// Over a connection that the renderer's loop is known to read from.
    pub fn new(stream: UnixStream) -> io::Result<Heartbeat> {
        stream.set_nonblocking(true)?;
        Ok(Heartbeat { stream, state: State::Resting(CHECKS_BETWEEN) })
    }

    /// Is called once a second.
    pub fn check(&mut self) -> Health {
        let (next, health) = match std::mem::replace(&mut self.state, State::Resting(0)) {
            State::Resting(checks @ 1..) => (State::Resting(checks - 1), Health::Ok),
            State::Resting(0) => (State::Waiting(0, Vec::new()), self.ping()),
            State::Waiting(missed, answer) => self.listen(missed, answer),
        };
        self.state = next;
        health
    }

    fn ping(&mut self) -> Health {
        let request = format!("GET {} HTTP/1.1\r\nHost: renderer\r\n\r\n", wire::PING_PATH);
        if self.stream.write_all(request.as_bytes()).is_ok() { Health::Ok } else { Health::Closed }
    }

    fn listen(&mut self, missed: u32, mut answer: Vec<u8>) -> (State, Health) {
        let mut bytes = [0; LONGEST_ANSWER];
        let health = match self.stream.read(&mut bytes) {
            Ok(length @ 1..) => {
                answer.extend(bytes.iter().take(length));
                // It has no body.
                if answer.ends_with(b"\r\n\r\n") {
                    return (State::Resting(CHECKS_BETWEEN), Health::Ok);
                }
                if answer.len() > LONGEST_ANSWER { Health::Closed } else { Health::Ok }
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                if missed + 1 < MOST_MISSED {
                    Health::Ok
                } else {
                    Health::TimedOut
                }
            }
            Ok(_) | Err(_) => Health::Closed,
        };
        (State::Waiting(missed.saturating_add(1), answer), health)
    }
}

/// The bytes of memory that a process has resident.
pub fn resident_bytes(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    fn pair() -> (Heartbeat, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Heartbeat::new(ours).unwrap(), theirs)
    }

    fn pinged(theirs: &mut UnixStream) -> bool {
        theirs.read(&mut [0; 256]).is_ok_and(|length| length > 0)
    }

    #[test]
    fn who_answers_lives_for_ever() {
        let (mut heartbeat, mut theirs) = pair();
        let mut pings = 0;
        for _ in 0..100 {
            assert_eq!(heartbeat.check(), Health::Ok);
            if pinged(&mut theirs) {
                theirs.write_all(ANSWER).unwrap();
                pings += 1;
            }
        }
        assert!((10..=34).contains(&pings), "{pings}");
    }

    #[test]
    fn an_answer_may_be_late_and_come_in_pieces_but_not_never() {
        let (mut heartbeat, mut theirs) = pair();
        while !pinged(&mut theirs) {
            assert_eq!(heartbeat.check(), Health::Ok);
        }
        for piece in [&ANSWER[..9], &ANSWER[9..]] {
            for _ in 0..4 {
                assert_eq!(heartbeat.check(), Health::Ok);
            }
            theirs.write_all(piece).unwrap();
        }
        assert_eq!(heartbeat.check(), Health::Ok);
        while !pinged(&mut theirs) {
            assert_eq!(heartbeat.check(), Health::Ok);
        }
        for _ in 1..MOST_MISSED {
            assert_eq!(heartbeat.check(), Health::Ok);
        }
        assert_eq!(heartbeat.check(), Health::TimedOut);
    }

    #[test]
    fn who_hangs_up_or_talks_nonsense_is_gone() {
        let (mut heartbeat, theirs) = pair();
        drop(theirs);
        assert!((0..10).any(|_| heartbeat.check() == Health::Closed));

        let (mut heartbeat, mut theirs) = pair();
        let endless = (0..100).any(|_| {
            let _ = theirs.write_all(&[b'x'; 700]);
            heartbeat.check() == Health::Closed
        });
        assert!(endless);
    }

    #[test]
    fn our_own_memory_is_known() {
        let bytes = resident_bytes(std::process::id()).unwrap();
        assert!((1 << 18..1 << 40).contains(&bytes), "{bytes}");
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
