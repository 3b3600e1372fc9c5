//! A client's socket, TCP or Unix, with deadlines for what is read and what is written.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg, sockopt};

/// An accepted connection as the system gives it to us.
#[derive(Debug)]
pub enum Raw {
    /// Of `http_port` or `https_port`.
    Tcp(TcpStream),
    /// Of `http_socket`.
    Unix(UnixStream),
}

impl Raw {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Raw::Tcp(tcp) => (&mut &*tcp).read(buffer),
            Raw::Unix(unix) => (&mut &*unix).read(buffer),
        }
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Raw::Tcp(tcp) => (&mut &*tcp).write_vectored(slices),
            Raw::Unix(unix) => (&mut &*unix).write_vectored(slices),
        }
    }

    fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Raw::Tcp(tcp) => tcp.set_read_timeout(Some(time)),
            Raw::Unix(unix) => unix.set_read_timeout(Some(time)),
        }
    }

    fn set_write_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Raw::Tcp(tcp) => tcp.set_write_timeout(Some(time)),
            Raw::Unix(unix) => unix.set_write_timeout(Some(time)),
        }
    }

    /// Ends one direction or both, also for a thread that waits in it.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Raw::Tcp(tcp) => tcp.shutdown(how),
            Raw::Unix(unix) => unix.shutdown(how),
        }
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Raw::Tcp(tcp) => tcp.as_fd(),
            Raw::Unix(unix) => unix.as_fd(),
        }
    }
}

/// A connection whose reads and writes end at a deadline, however slowly the bytes dribble.
#[derive(Debug)]
pub struct Socket {
    raw: Arc<Raw>,
    waits: bool,
    /// What was read to see what this connection is, and is read again.
    unread: Vec<u8>,
    read: Deadline,
    write: Deadline,
}

#[derive(Debug)]
struct Deadline {
    at: Instant,
    /// One wait takes no longer, however far the deadline is.
    longest_wait: Duration,
    /// The socket option's value, which is set again only when it is off by more than a tenth.
    set: Duration,
}

impl Deadline {
    /// The new value of the socket option if it must change.
    fn revalidated(&mut self) -> io::Result<Option<Duration>> {
        let left = self.at.saturating_duration_since(Instant::now()).min(self.longest_wait);
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
    pub fn new(raw: Arc<Raw>) -> io::Result<Socket> {
        if let Raw::Tcp(tcp) = &*raw {
            tcp.set_nodelay(true)?;
        }
        let unset =
            || Deadline { at: Instant::now(), longest_wait: Duration::MAX, set: Duration::ZERO };
        Ok(Socket { raw, waits: true, unread: Vec::new(), read: unset(), write: unset() })
    }

    /// Whether reads and writes wait until their deadlines, or return [`ErrorKind::WouldBlock`] at once.
    pub fn set_waiting(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// Whether reads and writes wait.
    pub fn is_waiting(&self) -> bool {
        self.waits
    }

    /// Whether bytes that were put back are still to be read.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// From now on reads end at this moment, all together.
    pub fn read_until(&mut self, moment: Instant) {
        self.read.at = moment;
    }

    /// From now on writes end at this moment, all together, or when the client takes nothing for so long.
    pub fn write_until(&mut self, moment: Instant, longest_wait: Duration) {
        self.write.at = moment;
        self.write.longest_wait = longest_wait;
    }

    /// Puts bytes back that were read, in front of what is read next.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.unread.splice(..0, bytes.iter().copied());
    }

    /// Ends our direction, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.raw.shutdown(how)
    }

    /// Writes two parts whole, in one system call if the socket takes them. `sent` counts what has been written, also
    /// by the call before that could not finish.
    pub fn write_both(&mut self, head: &[u8], body: &[u8], sent: &mut usize) -> io::Result<()> {
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
    fn write_at_once(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(&*self.raw, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn write_waiting(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(left) = self.write.revalidated()? {
            self.raw.set_write_timeout(left)?;
        }
        match self.raw.write_vectored(slices) {
            // Whoever waits is not woken before a third of the kernel's buffer is free, which is much for a slow
            // client: if it has taken anything at all, there is room by now.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.write_at_once(slices).map_err(timed_out)
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
        if !self.unread.is_empty() {
            let length = buffer.len().min(self.unread.len());
            buffer[..length].copy_from_slice(&self.unread[..length]);
            self.unread.drain(..length);
            return Ok(length);
        }
        if !self.waits {
            let (length, _) = recv(&*self.raw, buffer, RecvFlags::DONTWAIT)?;
            return Ok(length);
        }
        if let Some(left) = self.read.revalidated()? {
            self.raw.set_read_timeout(left)?;
        }
        self.raw.read(buffer).map_err(timed_out)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // Most of the time the kernel takes all of it at once, and then no timeout has to be set.
        match self.write_at_once(slices) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.waits => {}
            other => return other,
        }
        let written = self.write_waiting(slices);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
            // Nobody reads. Without a reset the kernel would go on offering what it holds, megabytes, for minutes.
            let _ = sockopt::set_socket_linger(&*self.raw, Some(Duration::ZERO));
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel reports a socket's timeout as EAGAIN.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(Arc::new(Raw::Unix(ours))).unwrap();
        let moment = Instant::now() + Duration::from_secs(10);
        socket.read_until(moment);
        socket.write_until(moment, Duration::MAX);
        (socket, theirs)
    }

    #[test]
    fn what_is_put_back_is_read_first() {
        let (mut socket, mut theirs) = pair();
        theirs.write_all(b"cd").unwrap();
        socket.put_back(b"b");
        socket.put_back(b"a");
        let mut read = [0; 2];
        socket.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"ab");
        socket.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"cd");
    }

    #[test]
    fn a_large_answer_is_written_whole_to_a_slow_reader() {
        let (mut socket, mut theirs) = pair();
        let (head, body) = (vec![1; 10], vec![2; 1 << 20]);
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        socket.write_both(&head, &body, &mut 0).unwrap();
        drop(socket);
        assert_eq!(reader.join().unwrap(), [head, body].concat());
    }

    #[test]
    fn deadlines_end_reads_and_writes() {
        let (mut socket, _theirs) = pair();
        let soon = Instant::now() + Duration::from_millis(20);
        socket.read_until(soon);
        socket.write_until(soon, Duration::MAX);
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(
            socket.write_both(&[], &vec![0; 8 << 20], &mut 0).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        socket.write_until(Instant::now() + Duration::from_secs(3600), Duration::from_millis(20));
        assert_eq!(
            socket.write_both(&[], &vec![0; 8 << 20], &mut 0).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
    }

    #[test]
    fn without_waiting_an_answer_goes_on_where_it_stopped() {
        let (mut socket, mut theirs) = pair();
        let (head, body) = (vec![1; 10], (0..1 << 20).map(|n| n as u8).collect::<Vec<_>>());
        socket.set_waiting(false);
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut sent = 0;
        let error = socket.write_both(&head, &body, &mut sent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(sent > 0 && sent < body.len());
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        socket.set_waiting(true);
        socket.write_both(&head, &body, &mut sent).unwrap();
        drop(socket);
        assert_eq!(reader.join().unwrap(), [head, body].concat());
    }
}
