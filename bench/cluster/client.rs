//! A kept-alive connection, and what the tests of a cluster read of a response.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Without a response for this long, the request has failed.
const TIMEOUT: Duration = Duration::from_secs(20);
/// More than a response head has.
const MAX_HEAD: usize = 64 << 10;

#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// `X-Cache`.
    pub cache: String,
    /// `X-Node`, which the balancer adds.
    pub node: String,
    pub etag: String,
}

/// Connects when it is asked, and again after a failure.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address, connection: None, buffer: vec![0; MAX_HEAD] }
    }

    /// Sends a GET and reads the complete response.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => open(self.address)?,
        };
        let answer = exchange(&mut connection, path, &mut self.buffer)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

fn exchange(connection: &mut TcpStream, path: &str, buffer: &mut [u8]) -> io::Result<Answer> {
    connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: cluster\r\n\r\n").as_bytes())?;
    let mut read = 0;
    let (answer, mut left) = loop {
        let room = buffer.get_mut(read..).filter(|room| !room.is_empty());
        read += some(connection, room.ok_or_else(|| malformed("its head is too long"))?)?;
        if let Some((answer, length)) = head(buffer.get(..read).unwrap_or_default())? {
            break (answer, length.saturating_sub(read));
        }
    };
    while left > 0 {
        let room = buffer.len().min(left);
        left -= some(connection, buffer.get_mut(..room).unwrap_or_default())?;
    }
    Ok(answer)
}

fn some(connection: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
    match connection.read(room)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        length => Ok(length),
    }
}

/// The answer and the length of head and body, once the head is complete.
fn head(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let found = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(found.value).ok()
    };
    let text = |name| field(name).unwrap_or_default().to_owned();
    let body: usize = field("content-length")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("it has no length"))?;
    let answer = Answer {
        status: parsed.code.unwrap_or_default(),
        cache: text("x-cache"),
        node: text("x-node"),
        etag: text("etag"),
    };
    Ok(Some((answer, length + body)))
}

fn malformed(sentence: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("an answer is of no use: {sentence}"))
}
