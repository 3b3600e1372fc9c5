//! Reads the body of a request, on the thread of its connection.

use std::io::{self, ErrorKind, Read};
use std::time::Instant;

use super::{Connection, skip_empty_lines};
use crate::edge::http::request::Request;

/// Bytes of a read. A body is at most [`MAX_BODY_BYTES`](crate::edge::http::request::MAX_BODY_BYTES) long.
const READ_BYTES: usize = 8 << 10;
/// RFC 9110 §15.2.1
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body that has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnreadBody {
    length: usize,
    /// The client waits for a 100 before it sends the body.
    expects_continue: bool,
}

impl UnreadBody {
    pub(super) fn of(request: &Request) -> UnreadBody {
        let is_continue = |value: &str| value.eq_ignore_ascii_case("100-continue");
        UnreadBody {
            length: request.body_length,
            // RFC 9110 §10.1.1: the expectation of an HTTP/1.0 client is ignored.
            expects_continue: !request.is_http_10 && request.all("expect").any(is_continue),
        }
    }
}

impl Connection {
    /// Reads a body into `body`: first what was read with the head, which is removed from `buffer`, then from the
    /// client. The timeout for the head holds for the body once more, however slowly its bytes arrive.
    pub(super) fn read_body(
        &mut self,
        unread: UnreadBody,
        buffer: &mut Vec<u8>,
        body: &mut Vec<u8>,
    ) -> io::Result<()> {
        let UnreadBody { length, expects_continue } = unread;
        let arrived = length.min(buffer.len());
        body.extend(buffer.drain(..arrived));
        let deadline = Instant::now() + self.head_timeout;
        if expects_continue && arrived == 0 && length > 0 {
            self.stream.socket().set_write_deadline(deadline, self.head_timeout);
            self.stream.send(CONTINUE, &[], &mut 0)?;
        }
        self.stream.socket().set_read_deadline(deadline);
        while body.len() < length {
            let mut chunk = [0; READ_BYTES];
            let room = READ_BYTES.min(length - body.len());
            match self.stream.read(&mut chunk[..room]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => body.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if length > 0 {
            skip_empty_lines(buffer);
        }
        Ok(())
    }
}
