//! A client socket, TCP or Unix, with a read and a write deadline.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};

/// A socket whose reads and writes time out at a deadline, however slowly bytes dribble in or out.
#[derive(Debug)]
pub struct Socket {
    raw: Arc<OwnedFd>,
    is_blocking: bool,
    /// Bytes pushed back, which are read first.
    buffered: Vec<u8>,
    read: Deadline,
    write: Deadline,
}

#[derive(Debug)]
struct Deadline {
    at: Instant,
    /// Maximum duration of a single wait, even if the deadline is later.
    max_wait: Duration,
    /// The current value of the socket option.
    timeout: Duration,
}

impl Deadline {
    /// The value to set the socket option to, or `None` if the current one is within a tenth, which saves a system
    /// call.
    fn update(&mut self) -> io::Result<Option<Duration>> {
        let left = self.at.saturating_duration_since(Instant::now()).min(self.max_wait);
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.timeout > left + left / 10 || self.timeout < left - left / 10 {
            self.timeout = left;
            return Ok(Some(left));
        }
        Ok(None)
    }
}

impl Socket {
    /// A connected stream socket in blocking mode.
    pub fn new(raw: Arc<OwnedFd>) -> Socket {
        let unset =
            || Deadline { at: Instant::now(), max_wait: Duration::MAX, timeout: Duration::ZERO };
        Socket { raw, is_blocking: true, buffered: Vec::new(), read: unset(), write: unset() }
    }

    /// Whether reads and writes block until their deadlines, or return [`ErrorKind::WouldBlock`] at once.
    pub fn set_blocking(&mut self, is_blocking: bool) {
        self.is_blocking = is_blocking;
    }

    pub fn is_blocking(&self) -> bool {
        self.is_blocking
    }

    /// Whether bytes that were pushed back are still to be read.
    pub fn has_buffered(&self) -> bool {
        !self.buffered.is_empty()
    }

    /// Sets the deadline of all reads from now on.
    pub fn set_read_deadline(&mut self, at: Instant) {
        self.read.at = at;
    }

    /// Sets the deadline of all writes from now on, and how long each may wait for the client to take anything.
    pub fn set_write_deadline(&mut self, at: Instant, max_wait: Duration) {
        self.write.at = at;
        self.write.max_wait = max_wait;
    }

    /// Puts bytes in front of those that are read next.
    pub fn push_back(&mut self, bytes: &[u8]) {
        self.buffered.splice(..0, bytes.iter().copied());
    }

    /// Shuts down one direction or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Ok(shutdown(&self.raw, how)?)
    }

    /// Writes head and body, in one system call if the socket takes them. `sent` counts the bytes written, including
    /// those of earlier calls that returned [`ErrorKind::WouldBlock`].
    pub fn write_head_and_body(
        &mut self,
        head: &[u8],
        body: &[u8],
        sent: &mut usize,
    ) -> io::Result<()> {
        while *sent < head.len() + body.len() {
            let head_left = head.get(*sent..).unwrap_or_default();
            let body_left = body.get(sent.saturating_sub(head.len())..).unwrap_or_default();
            match self.write_vectored(&[IoSlice::new(head_left), IoSlice::new(body_left)]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => *sent += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Socket {
    fn write_with(&self, slices: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        let flags = flags | SendFlags::NOSIGNAL;
        Ok(sendmsg(&self.raw, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn write_blocking(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(left) = self.write.update()? {
            sockopt::set_socket_timeout(&self.raw, Timeout::Send, Some(left))?;
        }
        match self.write_with(slices, SendFlags::empty()) {
            // The kernel does not wake a blocked writer before a third of its buffer is free, which takes a slow client
            // a long time. If the client has taken anything at all, there is room for a non-blocking write.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.write_with(slices, SendFlags::DONTWAIT).map_err(timed_out)
            }
            other => other,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.buffered.is_empty() {
            let length = buffer.len().min(self.buffered.len());
            buffer[..length].copy_from_slice(&self.buffered[..length]);
            self.buffered.drain(..length);
            return Ok(length);
        }
        if !self.is_blocking {
            return Ok(recv(&self.raw, buffer, RecvFlags::DONTWAIT)?.0);
        }
        if let Some(left) = self.read.update()? {
            sockopt::set_socket_timeout(&self.raw, Timeout::Recv, Some(left))?;
        }
        let (length, _) =
            recv(&self.raw, buffer, RecvFlags::empty()).map_err(|error| timed_out(error.into()))?;
        Ok(length)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // Usually the kernel takes all of it at once, which saves setting the timeout.
        match self.write_with(slices, SendFlags::DONTWAIT) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.is_blocking => {}
            other => return other,
        }
        let written = self.write_blocking(slices);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
            // The client does not read. Without a reset the kernel would keep up to megabytes for minutes.
            let _ = sockopt::set_socket_linger(&self.raw, Some(Duration::ZERO));
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Linux reports SO_RCVTIMEO and SO_SNDTIMEO as EAGAIN (socket(7)).
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Socket, UnixStream) {
        let (server, client) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(Arc::new(server.into()));
        let deadline = Instant::now() + Duration::from_secs(10);
        socket.set_read_deadline(deadline);
        socket.set_write_deadline(deadline, Duration::MAX);
        (socket, client)
    }

    #[test]
    fn bytes_pushed_back_are_read_first() {
        let (mut socket, mut client) = pair();
        client.write_all(b"cd").unwrap();
        socket.push_back(b"b");
        socket.push_back(b"a");
        let mut read = [0; 2];
        socket.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"ab");
        socket.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"cd");
    }

    #[test]
    fn a_large_response_is_written_completely_to_a_slow_reader() {
        let (mut socket, mut client) = pair();
        let head = vec![1; 10];
        let body = vec![2; 1 << 20];
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            client.read_to_end(&mut read).unwrap();
            read
        });
        socket.write_head_and_body(&head, &body, &mut 0).unwrap();
        drop(socket);
        assert_eq!(reader.join().unwrap(), [head, body].concat());
    }

    #[test]
    fn reads_and_writes_time_out_at_their_deadlines() {
        let (mut socket, _client) = pair();
        let soon = Instant::now() + Duration::from_millis(20);
        socket.set_read_deadline(soon);
        socket.set_write_deadline(soon, Duration::MAX);
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(
            socket.write_head_and_body(&[], &vec![0; 8 << 20], &mut 0).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        socket.set_write_deadline(
            Instant::now() + Duration::from_secs(3600),
            Duration::from_millis(20),
        );
        assert_eq!(
            socket.write_head_and_body(&[], &vec![0; 8 << 20], &mut 0).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
    }

    #[test]
    fn a_nonblocking_write_resumes_where_it_stopped() {
        let (mut socket, mut client) = pair();
        let head = vec![1; 10];
        let body = (0..1 << 20).map(|n| n as u8).collect::<Vec<_>>();
        socket.set_blocking(false);
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut sent = 0;
        let error = socket.write_head_and_body(&head, &body, &mut sent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(sent > 0 && sent < body.len());
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            client.read_to_end(&mut read).unwrap();
            read
        });
        socket.set_blocking(true);
        socket.write_head_and_body(&head, &body, &mut sent).unwrap();
        drop(socket);
        assert_eq!(reader.join().unwrap(), [head, body].concat());
    }
}
