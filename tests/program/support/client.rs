//! A client that sends exactly the given bytes and parses responses strictly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::TIMEOUT;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// The socket below the stream.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_read_timeout(&self, time: Duration) {
        match self {
            Socket::Tcp(socket) => socket.set_read_timeout(Some(time)).unwrap(),
            Socket::Unix(socket) => socket.set_read_timeout(Some(time)).unwrap(),
        }
    }

    fn reset_at_close(&self) {
        if let Socket::Tcp(socket) = self {
            sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
        }
    }

    fn finish_sending(&self) {
        match self {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write).unwrap(),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write).unwrap(),
        }
    }
}

/// One connection.
pub struct Client {
    stream: Box<dyn Stream>,
    socket: Socket,
    /// Bytes that were read and are not yet part of a response.
    pending: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A request with a `Host`, as bytes.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: images.test\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap()
    }

    /// Like `connect`, for a server that may not be listening.
    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        Client::socket(address).map(Client::over)
    }

    /// A client on an existing connection.
    pub fn over(socket: TcpStream) -> Client {
        let stream = Box::new(socket.try_clone().unwrap());
        Client { stream, socket: Socket::Tcp(socket), pending: Vec::new() }
    }

    /// Connects to a Unix socket.
    pub fn connect_unix(path: &Path) -> Client {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.set_write_timeout(Some(TIMEOUT)).unwrap();
        let stream = Box::new(socket.try_clone().unwrap());
        Client { stream, socket: Socket::Unix(socket), pending: Vec::new() }
    }

    pub fn connect_tls(
        address: SocketAddr,
        name: &'static str,
        config: Arc<ClientConfig>,
    ) -> io::Result<Client> {
        Client::connect_tls_after(address, b"", name, config)
    }

    /// Like `connect_tls`, with bytes sent before the handshake.
    pub fn connect_tls_after(
        address: SocketAddr,
        first: &[u8],
        name: &'static str,
        config: Arc<ClientConfig>,
    ) -> io::Result<Client> {
        let mut socket = Client::socket(address)?;
        socket.write_all(first)?;
        let name = ServerName::try_from(name).unwrap();
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = socket.try_clone()?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let stream = Box::new(StreamOwned::new(connection, stream));
        Ok(Client { stream, socket: Socket::Tcp(socket), pending: Vec::new() })
    }

    fn socket(address: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Like `send`, for a server that may close the connection meanwhile.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Shuts down the sending direction; responses can still be read.
    pub fn finish_sending(&self) {
        self.socket.finish_sending();
    }

    /// Closes the connection with a reset.
    pub fn reset(self) {
        self.socket.reset_at_close();
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.get_with(target, &[])
    }

    pub fn get_with(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(&request("GET", target, headers));
        self.read()
    }

    pub fn head_with(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(&request("HEAD", target, headers));
        self.try_read(true).unwrap().expect("the server closed the connection without a response")
    }

    /// The next response.
    #[track_caller]
    pub fn read(&mut self) -> Answer {
        self.try_read(false).unwrap().expect("the server closed the connection without a response")
    }

    /// The next response, or `None` if the server closed the connection after a complete one.
    pub fn try_read(&mut self, to_head_request: bool) -> io::Result<Option<Answer>> {
        let head_end = loop {
            if let Some(at) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill()? == 0 {
                return if self.pending.is_empty() {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
        };
        let head: Vec<u8> = self.pending.drain(..head_end).collect();
        let (status, headers) = parse_head(&head);
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.content_length();
        if to_head_request || status == 304 || status == 204 || status < 200 {
            return Ok(Some(answer));
        }
        let length = length.unwrap_or_else(|| {
            panic!("a response with a body and without Content-Length: {answer:?}")
        });
        while self.pending.len() < length {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        answer.body = self.pending.drain(..length).collect();
        Ok(Some(answer))
    }

    /// Waits for the next bytes of a response.
    #[track_caller]
    pub fn read_some(&mut self) {
        assert!(self.fill().unwrap() > 0, "the server closed the connection");
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        let count = self.stream.read(&mut buffer)?;
        self.pending.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Waits for the first bytes of a response.
    #[track_caller]
    pub fn wait_for_first_bytes(&mut self) {
        assert!(!self.pending.is_empty() || self.fill().unwrap() > 0, "closed without a response");
    }

    /// Waits until the server closes the connection, and fails if it sends anything first.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let ended = self.ended();
        assert!(
            self.pending.is_empty(),
            "unexpected bytes: {:?}",
            String::from_utf8_lossy(&self.pending)
        );
        assert!(ended, "the server left the connection open for {TIMEOUT:?}");
    }

    /// Whether the server has left the connection open so far.
    pub fn is_open(&self) -> bool {
        let Socket::Tcp(socket) = &self.socket else { panic!("not for Unix sockets") };
        socket.set_nonblocking(true).unwrap();
        let open = match socket.peek(&mut [0]) {
            Ok(length) => length > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        socket.set_nonblocking(false).unwrap();
        open
    }

    /// Reads until the server closes the connection, cleanly or not; false if it does not.
    pub fn ended(&mut self) -> bool {
        loop {
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }

    /// Whether the server has neither closed the connection nor sent anything so far.
    pub fn is_open_and_quiet(&mut self) -> bool {
        self.pending.is_empty() && self.is_quiet_for(Duration::from_millis(1))
    }

    /// Whether the server sends nothing and leaves the connection open for this long.
    pub fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.socket.set_read_timeout(time);
        let outcome = self.fill();
        self.socket.set_read_timeout(TIMEOUT);
        outcome
            .is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

impl Answer {
    /// The value of a header field that may occur once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "{name} is sent twice: {:?}", self.headers);
        first.map(|(_, value)| value.as_str())
    }

    /// The value of a required header field.
    #[track_caller]
    pub fn expect(&self, name: &str) -> &str {
        self.header(name)
            .unwrap_or_else(|| panic!("no {name} in {} {:?}", self.status, self.headers))
    }

    fn content_length(&self) -> Option<usize> {
        assert_eq!(self.header("Transfer-Encoding"), None, "every response has a Content-Length");
        self.header("Content-Length").map(|value| value.parse().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Whether `Vary` names this header.
    pub fn varies_on(&self, name: &str) -> bool {
        self.header("Vary")
            .is_some_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(name)))
    }

    /// The members of `Cache-Control`.
    pub fn cache_control(&self) -> Vec<&str> {
        self.header("Cache-Control").unwrap_or_default().split(',').map(str::trim).collect()
    }

    /// Fails unless this is an image with status 200.
    #[track_caller]
    pub fn ok(self) -> Answer {
        assert_eq!(
            self.status,
            200,
            "X-Error: {:?}, {}",
            self.header("X-Error"),
            self.shown_body()
        );
        assert!(self.expect("Content-Type").starts_with("image/"), "{:?}", self.headers);
        self
    }

    /// Fails unless this is the error image with status 404 and this code.
    #[track_caller]
    pub fn failed(self, code: &str) -> Answer {
        assert_eq!(
            (self.status, self.header("X-Error")),
            (404, Some(code)),
            "{}",
            self.shown_body()
        );
        self
    }

    fn shown_body(&self) -> String {
        let text = self.header("Content-Type").is_some_and(|kind| kind.starts_with("text/"));
        if text {
            String::from_utf8_lossy(&self.body).into_owned()
        } else {
            format!("{} bytes", self.body.len())
        }
    }
}

fn parse_head(head: &[u8]) -> (u16, Vec<(String, String)>) {
    let head = std::str::from_utf8(head).expect("the head of a response is ASCII");
    assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "a bare CR or LF in {head:?}");
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().unwrap();
    let rest = status_line
        .strip_prefix("HTTP/1.1 ")
        .unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
    assert_eq!(rest.as_bytes().get(3), Some(&b' '), "{status_line:?}");
    let status = rest[..3].parse().unwrap();
    let headers = lines
        .map(|line| {
            let (name, value) =
                line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
            let token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert!(!name.is_empty() && name.bytes().all(token), "not a header: {line:?}");
            (name.to_owned(), value.trim().to_owned())
        })
        .collect();
    (status, headers)
}
