//! A client's connection, plain or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::socket::Socket;

/// One TLS record holds this much at the most.
const RECORD: usize = 16 << 10;

/// A client's connection.
#[derive(Debug)]
pub enum Stream {
    /// HTTP
    Plain(Socket),
    /// HTTPS
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    /// A TLS connection whose handshake is finished, or the reason why it could not be.
    pub fn handshaken(config: &Arc<ServerConfig>, mut socket: Socket) -> io::Result<Stream> {
        let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        while session.is_handshaking() {
            if let Err(error) = session.complete_io(&mut socket) {
                // The alert, if rustls has one for the client.
                let _ = session.write_tls(&mut socket);
                return Err(error);
            }
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    fn socket(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }

    /// From now on reads end at this moment, all together.
    pub fn read_until(&mut self, moment: Instant) {
        self.socket().read_until(moment);
    }

    /// From now on writes end at this moment, all together, or when the client takes nothing for so long.
    pub fn write_until(&mut self, moment: Instant, longest_wait: Duration) {
        self.socket().write_until(moment, longest_wait);
    }

    /// Writes head and body, in one system call if the socket takes them.
    pub fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.write_both(head, body),
            Stream::Tls(tls) => {
                // The first record is filled up with the body: no small record before a large one, and no copy of
                // a large body.
                let with_head = body.len().min(RECORD.saturating_sub(head.len()));
                let (first, rest) = body.split_at(with_head);
                let mut record = Vec::with_capacity(head.len() + first.len());
                record.extend_from_slice(head);
                record.extend_from_slice(first);
                write_all(tls, &record)?;
                write_all(tls, rest)?;
                tls.flush()
            }
        }
    }

    /// Ends the connection so that the client still reads our last answer: data of its own that we have not read
    /// would make the kernel send a reset (RFC 9112 §9.6).
    pub fn close(mut self) {
        const LONGEST: Duration = Duration::from_secs(1);
        const MOST: usize = 256 << 10;
        if let Stream::Tls(tls) = &mut self {
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
        let socket = self.socket();
        if socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        socket.read_until(Instant::now() + LONGEST);
        let mut rest = [0; 4096];
        let mut read = 0;
        while read < MOST {
            match socket.read(&mut rest) {
                Ok(length) if length > 0 => read += length,
                _ => break,
            }
        }
    }
}

/// Hands everything to rustls before anything is sent, as far as its buffer goes.
fn write_all(tls: &mut StreamOwned<ServerConnection, Socket>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match tls.conn.writer().write(bytes)? {
            0 => match tls.conn.write_tls(&mut tls.sock) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            },
            taken => bytes = &bytes[taken..],
        }
    }
    Ok(())
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}
