//! The byte stream of a client connection, plain or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::net::Shutdown;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use super::socket::Socket;
use crate::edge::http::response::Body;
use crate::metrics::{Handshake, METRICS};

/// Maximum plaintext of a TLS record (RFC 8446 §5.1).
const MAX_RECORD_BYTES: usize = 16 << 10;
/// Bytes that are read from disk at a time.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    /// Shakes hands as the server, and counts the result.
    pub fn accept_tls(config: &Arc<ServerConfig>, socket: Socket) -> io::Result<Stream> {
        let result = shake_hands(config, socket);
        let handshake = match &result {
            Ok(tls) if tls.conn.handshake_kind() == Some(HandshakeKind::Resumed) => {
                Handshake::Resumed
            }
            Ok(_) => Handshake::Full,
            Err(_) => Handshake::Failed,
        };
        METRICS.connections.handshakes.get(handshake).add(1);
        result.map(|tls| Stream::Tls(Box::new(tls)))
    }

    /// For its deadlines and its mode.
    pub fn socket(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Whether bytes are buffered in this process, where epoll does not see them.
    pub fn has_buffered(&self) -> bool {
        match self {
            Stream::Plain(socket) => socket.has_buffered(),
            // rustls does not want to read while it holds plaintext.
            Stream::Tls(tls) => tls.sock.has_buffered() || !tls.conn.wants_read(),
        }
    }

    /// Writes a response as [`Stream::send`] does. A body on disk is read in pieces of [`PIECE_BYTES`]; a socket that does
    /// not block takes the first one only, because the disk would keep a poller from other connections.
    pub fn send_response(&mut self, head: &[u8], body: &Body, sent: &mut usize) -> io::Result<()> {
        let Body::Entry(entry, range) = body else { return self.send(head, body.bytes(), sent) };
        let length = body.length();
        let mut piece = Vec::new();
        loop {
            let position = sent.saturating_sub(head.len());
            piece.resize(length.saturating_sub(position).min(PIECE_BYTES), 0);
            entry.read_at(range.start.saturating_add(position as u64), &mut piece)?;
            let head_left = head.get(*sent..).unwrap_or_default();
            let mut taken = 0;
            let result = self.send(head_left, &piece, &mut taken);
            *sent = sent.saturating_add(taken);
            result?;
            if *sent >= head.len().saturating_add(length) {
                return Ok(());
            }
            if !self.socket().is_blocking() {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Writes head and body, in one system call if the socket takes them. `sent` counts the bytes taken, including
    /// those of earlier calls that returned [`ErrorKind::WouldBlock`].
    pub fn send(&mut self, head: &[u8], body: &[u8], sent: &mut usize) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.write_head_and_body(head, body, sent),
            Stream::Tls(tls) => {
                // The first record holds the head and the start of the body: no small record precedes a large one, and
                // a large body is not copied.
                let with_head = body.len().min(MAX_RECORD_BYTES.saturating_sub(head.len()));
                let first = head.len() + with_head;
                if *sent < first {
                    let mut record = Vec::with_capacity(first);
                    record.extend_from_slice(head);
                    record.extend_from_slice(&body[..with_head]);
                    write_plaintext(tls, &record, sent, 0)?;
                }
                write_plaintext(tls, body, sent, head.len())?;
                while tls.conn.wants_write() {
                    write_tls(tls)?;
                }
                Ok(())
            }
        }
    }

    /// Shuts down the sending direction. Bytes that the client still sends must be read for a while, or the kernel
    /// would answer them with a reset, which can make the client lose the last response (RFC 9112 §9.6).
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        if let Stream::Tls(tls) = self {
            tls.conn.send_close_notify();
            while tls.conn.wants_write() {
                write_tls(tls)?;
            }
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Sends close_notify, which TLS requires of each side before it closes (RFC 8446 §6.1).
    pub fn send_close_notify(&mut self) {
        if let Stream::Tls(tls) = self {
            tls.conn.send_close_notify();
            while tls.conn.wants_write() && write_tls(tls).is_ok() {}
        }
    }

    /// Reads raw bytes that the client sends after [`Stream::shutdown_write`], without decrypting them.
    pub fn discard(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket().read(buffer)
    }
}

fn shake_hands(
    config: &Arc<ServerConfig>,
    mut socket: Socket,
) -> io::Result<StreamOwned<ServerConnection, Socket>> {
    let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut socket) {
            // Sends the alert, if rustls has one for the client.
            let _ = session.write_tls(&mut socket);
            return Err(error);
        }
    }
    Ok(StreamOwned::new(session, socket))
}

/// Passes `bytes` from `sent` on to rustls; `offset` is their position in head and body together.
fn write_plaintext(
    tls: &mut StreamOwned<ServerConnection, Socket>,
    bytes: &[u8],
    sent: &mut usize,
    offset: usize,
) -> io::Result<()> {
    while let Some(rest) = bytes.get(*sent - offset..)
        && !rest.is_empty()
    {
        match tls.conn.writer().write(rest)? {
            // The buffer of rustls is full.
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
            Stream::Tls(tls) if tls.sock.is_blocking() => tls.read(buffer),
            // Only once, not until there is plaintext: a client can send records without any forever.
            Stream::Tls(tls) => {
                if tls.conn.wants_read() {
                    tls.conn.complete_io(&mut tls.sock)?;
                }
                tls.conn.reader().read(buffer)
            }
        }
    }
}
