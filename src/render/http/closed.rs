//! Connections that the peer has closed.

use std::io;

use ureq::Error;

/// Whether the peer closed the connection before the head of its response.
pub fn is_closed(error: &Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    match error {
        Error::Io(error) => {
            [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof]
                .contains(&error.kind())
        }
        _ => false,
    }
}
