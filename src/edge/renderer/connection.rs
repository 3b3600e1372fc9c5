//! One kept-alive HTTP connection to the renderer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::worker::Worker;
use crate::cache::{EncodedImage, OriginalEntry, Rendered};
use crate::cache_control::CacheControl;
use crate::cache_tag::PurgeScope;
use crate::error::{Code, Failure};
use crate::log::context;
use crate::media_type::MediaType;
use crate::phases::Phases;
use crate::quality::Level;
use crate::renderer_status::RendererStatus;
use crate::wire::{self, HookAnswer, NotBefore};

/// Maximum bytes of a response head; a typical one has a few hundred.
const MAX_HEAD: usize = 8 << 10;
/// Bytes of a read before the length of the body is known: a small image comes with its head.
const HEAD_READ: usize = 16 << 10;
/// Maximum bytes of a later read, so that memory is only written to for what the renderer sends.
const BODY_READ: usize = 1 << 20;

/// A connection that has answered a ping, so the worker reads from it.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    pub worker: Arc<Worker>,
}

/// Why a connection can't be used again.
#[derive(Debug)]
pub enum ConnectionLost {
    /// The worker exited before the request was sent.
    NotSent(io::Error),
    /// The request was sent, and there is no complete response.
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

#[derive(Clone, Copy, Debug)]
pub struct RenderRequest<'w> {
    /// Path and canonical query.
    pub target: &'w str,
    pub not_before: NotBefore,
}

impl<'w> RenderRequest<'w> {
    pub fn new(target: &'w str) -> RenderRequest<'w> {
        RenderRequest { target, not_before: NotBefore::default() }
    }
}

#[derive(Debug)]
pub struct RendererResponse {
    pub result: Result<Rendered, Failure>,
    /// The worker asks to be replaced: its sandbox does not match the file system any more.
    pub is_outdated: bool,
    /// Without the wait for the connection.
    pub phases: Phases,
}

struct Response {
    status: u16,
    is_outdated: bool,
    disk_bytes: Option<u64>,
    validated_at: Option<u64>,
    revalidated: bool,
    shared: bool,
    original: OriginalEntry,
    media_type: Option<MediaType>,
    sha256: Option<String>,
    last_modified: Option<u64>,
    cache_control: Option<CacheControl>,
    quality: Option<Level>,
    code: Option<Code>,
    phases: Phases,
    body: Vec<u8>,
}

impl Connection {
    /// Connects and pings; returns also the answer to the ping. tiny_http may queue a connection on the thread of another one; its ping is never answered.
    pub fn open(
        socket: &Path,
        worker: &Arc<Worker>,
        timeout: Duration,
    ) -> io::Result<(Connection, RendererStatus)> {
        let stream = UnixStream::connect(socket)?;
        let mut connection = Connection { stream, worker: Arc::clone(worker) };
        let request = RenderRequest::new(wire::PING_PATH);
        let response = connection.exchange(request, None, timeout)?;
        let status = str::from_utf8(&response.body).ok().and_then(RendererStatus::parse);
        let status = status.filter(|_| response.status == 200);
        status.map(|status| (connection, status)).ok_or_else(|| invalid("the ping failed"))
    }

    /// The socket without its reference to the worker.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Requests an image; decode events carry the id.
    pub fn render(
        &mut self,
        request: RenderRequest,
        id: u64,
        timeout: Duration,
    ) -> Result<RendererResponse, ConnectionLost> {
        let response = self.exchange(request, Some(id), timeout)?;
        let Response { is_outdated, phases, .. } = response;
        if response.status != 200 {
            let code = response.code.ok_or_else(|| invalid("a failure without a code"))?;
            let failure = Failure::new(code, String::from_utf8_lossy(&response.body));
            return Ok(RendererResponse { result: Err(failure), is_outdated, phases });
        }
        let (Some(media_type), Some(sha256)) = (response.media_type, response.sha256) else {
            return Err(invalid("an image without its type or hash").into());
        };
        let image = EncodedImage {
            bytes: response.body,
            media_type,
            sha256,
            last_modified: response.last_modified,
            cache_control: response.cache_control,
            quality: response.quality,
        };
        let Response { disk_bytes, revalidated, shared, original, .. } = response;
        let validated_at = response.validated_at.unwrap_or_default();
        Ok(RendererResponse {
            result: Ok(Rendered { image, disk_bytes, validated_at, revalidated, shared, original }),
            is_outdated,
            phases,
        })
    }

    /// Requests the keys of a handler ([`wire::KEYS_PATH`]).
    pub fn keys(&mut self, target: &str, timeout: Duration) -> Result<Vec<String>, ConnectionLost> {
        let response = self.exchange(RenderRequest::new(target), None, timeout)?;
        let keys = serde_json::from_slice(&response.body);
        keys.map_err(|_| invalid("the keys are not a list of strings").into())
    }

    /// Has the purge hook of a handler sent ([`wire::HOOK_PATH`]).
    pub fn send_hook(
        &mut self,
        target: &str,
        scopes: &[PurgeScope],
        timeout: Duration,
    ) -> Result<HookAnswer, ConnectionLost> {
        let body = serde_json::to_vec(scopes).map_err(io::Error::from)?;
        let length = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: renderer\r\nContent-Length: {length}\r\n\r\n");
        let response = self.transact(&[head.into_bytes(), body].concat(), timeout)?;
        let answer = serde_json::from_slice(&response.body);
        answer.map_err(|_| invalid("the answer to a purge hook").into())
    }

    /// Sends a request whose answer is a text or a sentence about a failure.
    pub fn ask(
        &mut self,
        target: &str,
        timeout: Duration,
    ) -> Result<Result<Vec<u8>, String>, ConnectionLost> {
        let response = self.exchange(RenderRequest::new(target), None, timeout)?;
        Ok(match response.status {
            200 => Ok(response.body),
            _ => Err(String::from_utf8_lossy(&response.body).trim_end().to_owned()),
        })
    }

    /// Makes a call about a shared journal. Returns the body of the answer, or the failure that it is.
    pub fn call(
        &mut self,
        target: &str,
        timeout: Duration,
    ) -> Result<Result<Vec<u8>, Failure>, ConnectionLost> {
        let response = self.exchange(RenderRequest::new(target), None, timeout)?;
        if response.status == 200 {
            return Ok(Ok(response.body));
        }
        let code = response.code.unwrap_or(Code::RendererFailed);
        Ok(Err(Failure::new(code, String::from_utf8_lossy(&response.body))))
    }

    fn exchange(
        &mut self,
        request: RenderRequest,
        id: Option<u64>,
        timeout: Duration,
    ) -> Result<Response, ConnectionLost> {
        let RenderRequest { target, not_before } = request;
        let field = |name, number| format!("{name}: {number}\r\n");
        let id = id.map(|id| field(wire::REQUEST_ID_HEADER, id)).unwrap_or_default();
        let not_before = match not_before {
            NotBefore { time: 0, .. } => String::new(),
            NotBefore { time, purge: 0 } => field(wire::NOT_BEFORE_HEADER, time),
            NotBefore { time, purge } => {
                field(wire::NOT_BEFORE_HEADER, time) + &field(wire::PURGE_HEADER, purge)
            }
        };
        let client_id = context::current()
            .map(|ids| format!("{}: {}\r\n", wire::CLIENT_REQUEST_ID_HEADER, ids.id.as_str()));
        let client_id = client_id.unwrap_or_default();
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: renderer\r\n{id}{client_id}{not_before}\r\n");
        self.transact(head.as_bytes(), timeout)
    }

    /// Sends a request and reads its response.
    fn transact(&mut self, request: &[u8], timeout: Duration) -> Result<Response, ConnectionLost> {
        let deadline = Instant::now() + timeout;
        self.stream.set_write_timeout(Some(timeout))?;
        self.stream
            .write_all(request)
            .map_err(|error| ConnectionLost::NotSent(timed_out(error)))?;

        let mut buffer = Vec::with_capacity(HEAD_READ);
        loop {
            if let Some(head) = Head::parse(&buffer)? {
                return Ok(self.read_body(head, buffer, deadline)?);
            }
            if buffer.len() > MAX_HEAD {
                return Err(invalid("the head is too long").into());
            }
            let before = buffer.len();
            buffer.resize(before + HEAD_READ, 0);
            let read = self.read_some(&mut buffer[before..], deadline)?;
            if read == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            buffer.truncate(before + read);
        }
    }

    fn read_body(
        &mut self,
        head: Head,
        mut buffer: Vec<u8>,
        deadline: Instant,
    ) -> io::Result<Response> {
        let Head { mut response, content_length: length, bytes } = head;
        buffer.drain(..bytes);
        let mut filled = buffer.len();
        if filled > length {
            return Err(invalid("the body is longer than its Content-Length"));
        }
        buffer.try_reserve_exact(length - filled).map_err(|_| ErrorKind::OutOfMemory)?;
        while filled < length {
            if filled == buffer.len() {
                buffer.resize(length.min(filled + BODY_READ), 0);
            }
            match self.read_some(&mut buffer[filled..], deadline)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        response.body = buffer;
        Ok(response)
    }

    fn read_some(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(timed_out),
            }
        }
    }
}

/// A response head, and the response that it begins.
pub(super) struct Head {
    response: Response,
    pub(super) content_length: usize,
    /// The length of the head itself.
    pub(super) bytes: usize,
}

impl Head {
    /// `None` while the head is incomplete.
    pub(super) fn parse(buffer: &[u8]) -> io::Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; 24];
        let mut parser = httparse::Response::new(&mut headers);
        let status = parser.parse(buffer).map_err(|error| invalid(&error.to_string()))?;
        let httparse::Status::Complete(bytes) = status else { return Ok(None) };
        let field = |name: &str| {
            let mut headers = parser.headers.iter();
            let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
        let content_length = field("Content-Length").and_then(|length| length.parse().ok());
        let content_length = content_length.ok_or_else(|| invalid("no Content-Length"))?;
        let response = Response {
            status: parser.code.unwrap_or(0),
            is_outdated: field(wire::OUTDATED_HEADER).is_some(),
            disk_bytes: number(wire::DISK_BYTES_HEADER),
            validated_at: number(wire::VALIDATED_AT_HEADER),
            revalidated: field(wire::REVALIDATED_HEADER).is_some(),
            shared: field(wire::SHARED_HEADER).is_some(),
            original: match field(wire::ORIGINAL_HEADER) {
                Some(wire::ORIGINAL_USED) => OriginalEntry::Used,
                Some(bytes) => bytes.parse().map_or(OriginalEntry::None, OriginalEntry::Stored),
                None => OriginalEntry::None,
            },
            media_type: field(wire::FORMAT_HEADER).and_then(MediaType::parse),
            sha256: field(wire::SHA256_HEADER).map(str::to_owned),
            last_modified: number(wire::LAST_MODIFIED_HEADER),
            cache_control: field(wire::CACHE_CONTROL_HEADER).and_then(CacheControl::parse),
            quality: field(wire::QUALITY_HEADER).and_then(Level::parse),
            code: field(wire::ERROR_HEADER).and_then(Code::from_name),
            phases: field(wire::PHASES_HEADER).and_then(Phases::parse).unwrap_or_default(),
            body: Vec::new(),
        };
        Ok(Some(Head { response, content_length, bytes }))
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("malformed response from the renderer: {what}"))
}

/// A socket timeout is EAGAIN (socket(7), SO_RCVTIMEO).
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}
