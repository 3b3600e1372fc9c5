//! A turn: one call of [`Connection::serve`](super::Connection::serve), and its limits.

/// Maximum reads per turn, so that a client sending faster than it is answered can't monopolise a poller.
const MAX_READS_PER_TURN: usize = 4;
/// Maximum responses and bytes sent per turn: pipelined requests are small and their responses are not.
const MAX_RESPONSES_PER_TURN: usize = 16;
const MAX_BYTES_PER_TURN: usize = 64 << 10;
/// Maximum reads that wait for [`FIRST_REQUEST_TIMEOUT`](super::FIRST_REQUEST_TIMEOUT).
const MAX_FIRST_REQUEST_READS: u32 = 2;

/// The operations on which a call of [`Connection::serve`](super::Connection::serve) may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// Nothing: it runs on a poller, which serves other connections too.
    Never,
    /// A request that has begun, until its response is sent.
    Request,
    /// As `Request`, and for [`FIRST_REQUEST_TIMEOUT`](super::FIRST_REQUEST_TIMEOUT) on the first request after a
    /// handshake.
    FirstRequest,
    /// As `Request`, and on every next request.
    Always,
}

/// Why [`Connection::serve`](super::Connection::serve) returned.
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

/// The limits and the progress of one call of [`Connection::serve`](super::Connection::serve).
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) blocking: Blocking,
    /// Whether to read although no head has begun.
    pub(super) may_read: bool,
    first_request_reads: u32,
    reads: usize,
    responses: usize,
    /// Bytes sent.
    pub(super) sent: usize,
}

impl Turn {
    pub(super) fn new(blocking: Blocking) -> Turn {
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
    pub(super) fn start_read(&mut self) -> bool {
        self.first_request_reads = self.first_request_reads.saturating_sub(1);
        self.may_read = self.blocking == Blocking::Always || self.first_request_reads > 0;
        if self.blocking == Blocking::Never && self.reads == MAX_READS_PER_TURN {
            return false;
        }
        self.reads += 1;
        true
    }

    /// Counts a response. `true` if a poller has answered enough on this connection.
    pub(super) fn end_response(&mut self) -> bool {
        self.responses += 1;
        let is_enough = self.responses == MAX_RESPONSES_PER_TURN || self.sent > MAX_BYTES_PER_TURN;
        is_enough && self.blocking == Blocking::Never
    }
}
