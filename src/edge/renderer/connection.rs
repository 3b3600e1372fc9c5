//! One kept-alive HTTP connection to the renderer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::worker::Worker;
use crate::cache::{EncodedImage, OriginalEntry, Rendered};
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::wire;

/// The renderer's heads are a few hundred bytes.
const LONGEST_HEAD: usize = 8 << 10;

/// A connection that the renderer's loop is known to read from.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    worker: Arc<Worker>,
}

/// Why a connection can't be used again.
#[derive(Debug)]
pub enum ConnectionLost {
    /// The renderer was gone before it was asked.
    NotSent(io::Error),
    /// The renderer was asked and did not answer.
    NotAnswered(io::Error),
}

impl From<io::Error> for ConnectionLost {
    fn from(error: io::Error) -> ConnectionLost {
        ConnectionLost::NotAnswered(error)
    }
}

impl From<ConnectionLost> for io::Error {
    fn from(lost: ConnectionLost) -> io::Error {
        match lost {
            ConnectionLost::NotSent(error) | ConnectionLost::NotAnswered(error) => error,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RenderRequest<'w> {
    /// A path and canonical query.
    pub target: &'w str,
    /// Nothing that the origin was asked for then or before is good enough, in milliseconds since 1970.
    pub not_before: u64,
}

impl<'w> RenderRequest<'w> {
    /// Whatever the origin has said.
    pub fn anything(target: &'w str) -> RenderRequest<'w> {
        RenderRequest { target, not_before: 0 }
    }
}

/// What the renderer said.
#[derive(Debug)]
pub struct RendererResponse {
    /// The image, or why there is none.
    pub result: Result<Rendered, Failure>,
    /// Whether it has asked to be replaced.
    pub is_outdated: bool,
}

struct Answer {
    status: u16,
    is_outdated: bool,
    stored: Option<u64>,
    asked: Option<u64>,
    revalidated: bool,
    original: OriginalEntry,
    format: Option<Format>,
    sha256: Option<String>,
    last_modified: Option<u64>,
    code: Option<Code>,
    body: Vec<u8>,
}

impl Connection {
    /// Connects and pings: tiny_http may have queued the connection behind another one's thread, in which case
    /// the ping is never answered.
    pub fn open(socket: &Path, worker: &Arc<Worker>, timeout: Duration) -> io::Result<Connection> {
        let stream = UnixStream::connect(socket)?;
        let mut connection = Connection { stream, worker: Arc::clone(worker) };
        let answer =
            connection.exchange(RenderRequest::anything(wire::PING_PATH), None, timeout)?;
        if answer.status != 200 { Err(invalid("the ping was refused")) } else { Ok(connection) }
    }

    /// The renderer at the other end.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// The socket alone, which keeps no renderer alive.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Asks for an image; the renderer's marks carry the id.
    pub fn ask(
        &mut self,
        wanted: RenderRequest,
        id: u64,
        timeout: Duration,
    ) -> Result<RendererResponse, ConnectionLost> {
        let answer = self.exchange(wanted, Some(id), timeout)?;
        let is_outdated = answer.is_outdated;
        if answer.status != 200 {
            let code = answer.code.ok_or_else(|| invalid("a failure without a code"))?;
            let failure = Failure::new(code, String::from_utf8_lossy(&answer.body));
            return Ok(RendererResponse { result: Err(failure), is_outdated });
        }
        let (Some(format), Some(sha256)) = (answer.format, answer.sha256) else {
            return Err(invalid("an image without its description").into());
        };
        let image = EncodedImage {
            bytes: answer.body,
            format,
            sha256,
            last_modified: answer.last_modified,
        };
        let Answer { stored, revalidated, original, .. } = answer;
        let asked = answer.asked.unwrap_or_default();
        Ok(RendererResponse {
            result: Ok(Rendered {
                image,
                disk_bytes: stored,
                validated_at: asked,
                revalidated,
                original,
            }),
            is_outdated,
        })
    }

    fn exchange(
        &mut self,
        wanted: RenderRequest,
        id: Option<u64>,
        timeout: Duration,
    ) -> Result<Answer, ConnectionLost> {
        let deadline = Instant::now() + timeout;
        self.stream.set_write_timeout(Some(timeout))?;
        let RenderRequest { target, not_before } = wanted;
        let field = |name, number| format!("{name}: {number}\r\n");
        let id = id.map(|number| field(wire::REQUEST_ID_HEADER, number)).unwrap_or_default();
        let bound = match not_before {
            0 => String::new(),
            bound => field(wire::NOT_BEFORE_HEADER, bound),
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: renderer\r\n{id}{bound}\r\n");
        self.stream
            .write_all(request.as_bytes())
            .map_err(|error| ConnectionLost::NotSent(timed_out(error)))?;

        let mut buffer = Vec::with_capacity(4096);
        loop {
            if let Some((answer, length, body_at)) = parse(&buffer)? {
                return Ok(self.read_body(answer, buffer, body_at, length, deadline)?);
            }
            if buffer.len() > LONGEST_HEAD {
                return Err(invalid("too long a head").into());
            }
            if self.read_some(&mut buffer, 16 << 10, deadline)? == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn read_body(
        &mut self,
        mut answer: Answer,
        mut buffer: Vec<u8>,
        body_at: usize,
        length: usize,
        deadline: Instant,
    ) -> io::Result<Answer> {
        buffer.drain(..body_at);
        buffer.reserve_exact(length.saturating_sub(buffer.len()));
        while buffer.len() < length {
            let missing = length - buffer.len();
            if self.read_some(&mut buffer, missing, deadline)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        if buffer.len() > length {
            return Err(invalid("more bytes than announced"));
        }
        answer.body = buffer;
        Ok(answer)
    }

    fn read_some(
        &mut self,
        buffer: &mut Vec<u8>,
        most: usize,
        deadline: Instant,
    ) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let before = buffer.len();
        buffer.resize(before + most, 0);
        let read = loop {
            match self.stream.read(&mut buffer[before..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.map_err(timed_out),
            }
        };
        buffer.truncate(before + read.as_ref().map_or(0, |length| *length));
        read
    }
}

/// Status, fields, length of the body and where it starts; `None` while the head is not whole.
fn parse(buffer: &[u8]) -> io::Result<Option<(Answer, usize, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let head = response.parse(buffer).map_err(|error| invalid(&error.to_string()))?;
    let httparse::Status::Complete(body_at) = head else { return Ok(None) };
    let field = |name: &str| {
        let header =
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let length = field("Content-Length").and_then(|length| length.parse().ok());
    let answer = Answer {
        status: response.code.unwrap_or(0),
        is_outdated: field(wire::OUTDATED_HEADER).is_some(),
        stored: field(wire::STORED_HEADER).and_then(|bytes| bytes.parse().ok()),
        asked: field(wire::ASKED_HEADER).and_then(|milliseconds| milliseconds.parse().ok()),
        revalidated: field(wire::REVALIDATED_HEADER).is_some(),
        original: match field(wire::ORIGINAL_HEADER) {
            Some(wire::ORIGINAL_USED) => OriginalEntry::Used,
            Some(bytes) => bytes.parse().map_or(OriginalEntry::None, OriginalEntry::Stored),
            None => OriginalEntry::None,
        },
        format: field(wire::FORMAT_HEADER).and_then(Format::parse),
        sha256: field(wire::SHA256_HEADER).map(str::to_owned),
        last_modified: field(wire::LAST_MODIFIED_HEADER).and_then(|seconds| seconds.parse().ok()),
        code: field(wire::ERROR_HEADER).and_then(Code::from_name),
        body: Vec::new(),
    };
    let length = length.ok_or_else(|| invalid("no Content-Length"))?;
    Ok(Some((answer, length, body_at)))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the renderer's answer is not ours: {what}"))
}

/// The kernel reports a socket's timeout as EAGAIN.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}
