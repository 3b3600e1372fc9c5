//! A client's connection, plain or TLS, with deadlines for what is read and what is written.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

/// A TCP connection whose reads and writes end at a deadline, however slowly the bytes dribble.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    read: Deadline,
    write: Deadline,
}

#[derive(Debug)]
struct Deadline {
    at: Instant,
    /// The socket option's value, which is set again only when it is off by more than a tenth.
    set: Duration,
}

impl Deadline {
    /// The new value of the socket option if it must change.
    fn renewed(&mut self) -> io::Result<Option<Duration>> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.set > left + left / 10 || self.set < left - left / 10 {
            self.set = left;
            return Ok(Some(left));
        }
        Ok(None)
    }
}

impl Socket {
    /// Takes an accepted connection. Answers are written whole, so nothing is gained by waiting for more.
    pub fn new(tcp: TcpStream) -> io::Result<Socket> {
        tcp.set_nodelay(true)?;
        let unset = || Deadline { at: Instant::now(), set: Duration::ZERO };
        Ok(Socket { tcp, read: unset(), write: unset() })
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(left) = self.read.renewed()? {
            self.tcp.set_read_timeout(Some(left))?;
        }
        self.tcp.read(buffer).map_err(timed_out)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(left) = self.write.renewed()? {
            self.tcp.set_write_timeout(Some(left))?;
        }
        self.tcp.write_vectored(slices).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel reports a socket's timeout as EAGAIN.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

/// A client's connection.
#[derive(Debug)]
pub enum Stream {
    /// HTTP
    Plain(Socket),
    /// HTTPS
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }

    /// From now on reads end after this long, all together.
    pub fn read_within(&mut self, time: Duration) {
        self.socket().read.at = Instant::now() + time;
    }

    /// From now on writes end after this long, all together.
    pub fn write_within(&mut self, time: Duration) {
        self.socket().write.at = Instant::now() + time;
    }

    /// Finishes the TLS handshake; nothing to do on a plain connection.
    pub fn handshake(&mut self) -> io::Result<()> {
        if let Stream::Tls(tls) = self {
            while tls.conn.is_handshaking() {
                tls.conn.complete_io(&mut tls.sock)?;
            }
        }
        Ok(())
    }

    /// Writes head and body, in one system call if the socket takes them.
    pub fn send(&mut self, head: Vec<u8>, body: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => write_both(socket, &head, body),
            Stream::Tls(tls) => {
                // One record for a small answer, and no small record before a large one.
                let mut bytes = head;
                bytes.extend_from_slice(body);
                tls.write_all(&bytes)?;
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
        if socket.tcp.shutdown(Shutdown::Write).is_err() {
            return;
        }
        socket.read.at = Instant::now() + LONGEST;
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

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

fn write_both(socket: &mut Socket, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < head.len() + body.len() {
        let head_left = head.get(written..).unwrap_or_default();
        let body_left = body.get(written.saturating_sub(head.len())..).unwrap_or_default();
        match socket.write_vectored(&[IoSlice::new(head_left), IoSlice::new(body_left)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
