//! A client's connection, plain or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
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

    /// Whether reads and writes wait until their deadlines, or return [`ErrorKind::WouldBlock`] at once.
    pub fn set_waiting(&mut self, waits: bool) {
        self.socket().set_waiting(waits);
    }

    /// Whether there is something to read that the system does not know of.
    pub fn has_unread(&self) -> bool {
        match self {
            Stream::Plain(socket) => socket.has_unread(),
            // rustls wants no more while it holds what nobody has taken yet.
            Stream::Tls(tls) => tls.sock.has_unread() || !tls.conn.wants_read(),
        }
    }

    /// Writes head and body, in one system call if the socket takes them. `sent` counts what has been taken, also by
    /// the call before that could not finish.
    pub fn send(&mut self, head: &[u8], body: &[u8], sent: &mut usize) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.write_both(head, body, sent),
            Stream::Tls(tls) => {
                // The first record is filled up with the body: no small record before a large one, and no copy of
                // a large body.
                let with_head = body.len().min(RECORD.saturating_sub(head.len()));
                let first = head.len() + with_head;
                if *sent < first {
                    let mut record = Vec::with_capacity(first);
                    record.extend_from_slice(head);
                    record.extend_from_slice(&body[..with_head]);
                    hand_over(tls, &record, sent, 0)?;
                }
                hand_over(tls, body, sent, head.len())?;
                while tls.conn.wants_write() {
                    write_tls(tls)?;
                }
                Ok(())
            }
        }
    }

    /// Tells the other end that no more comes. What it still sends must be read for a while, or the kernel would
    /// answer it with a reset, which could overtake our last answer (RFC 9112 §9.6).
    pub fn finish(&mut self) -> io::Result<()> {
        if let Stream::Tls(tls) = self {
            tls.conn.send_close_notify();
            while tls.conn.wants_write() {
                write_tls(tls)?;
            }
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// After the other end has said its last word: TLS wants one from each side (RFC 8446 §6.1).
    pub fn send_close_notify(&mut self) {
        if let Stream::Tls(tls) = self {
            tls.conn.send_close_notify();
            while tls.conn.wants_write() && write_tls(tls).is_ok() {}
        }
    }

    /// Reads what is still sent after [`Stream::finish`], past TLS.
    pub fn discard(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket().read(buffer)
    }
}

/// Hands bytes to rustls, from `sent` on; they start at `offset` of the whole.
fn hand_over(
    tls: &mut StreamOwned<ServerConnection, Socket>,
    bytes: &[u8],
    sent: &mut usize,
    offset: usize,
) -> io::Result<()> {
    while let Some(rest) = bytes.get(*sent - offset..)
        && !rest.is_empty()
    {
        match tls.conn.writer().write(rest)? {
            // Its buffer is full.
            0 => write_tls(tls)?,
            taken => *sent += taken,
        }
    }
    Ok(())
}

fn write_tls(tls: &mut StreamOwned<ServerConnection, Socket>) -> io::Result<()> {
    match tls.conn.write_tls(&mut tls.sock) {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Plain(socket) => socket.as_fd(),
            Stream::Tls(tls) => tls.sock.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) if tls.sock.is_waiting() => tls.read(buffer),
            // Once only: with new keys between them, records without content may follow each other for ever.
            Stream::Tls(tls) => {
                if tls.conn.wants_read() {
                    tls.conn.complete_io(&mut tls.sock)?;
                }
                tls.conn.reader().read(buffer)
            }
        }
    }
}
