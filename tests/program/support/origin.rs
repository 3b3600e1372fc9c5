//! An origin on raw sockets: it records its requests and sends the responses that a test chooses.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::eventually;

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number among all requests, from 0.
    pub number: usize,
    pub method: String,
    /// The path and query, exactly as sent.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path without the query, percent-decoded.
    pub fn path(&self) -> String {
        let path = self.target.split('?').next().unwrap();
        percent_encoding::percent_decode_str(path).decode_utf8().unwrap().into_owned()
    }
}

/// The server side of a connection.
pub struct Peer {
    stream: Box<dyn Duplex>,
    socket: TcpStream,
}

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

type Respond = Box<dyn Fn(&Request, &mut Peer) -> Then + Send + Sync>;

/// What to do with the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
}

impl Peer {
    /// Writes bytes. It fails if the client has disconnected.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends a response and keeps the connection.
    pub fn send(&mut self, bytes: &[u8]) -> Then {
        if self.write(bytes).is_ok() { Then::Keep } else { Then::Close }
    }

    /// Closes the connection with a reset.
    pub fn reset(&mut self) -> Then {
        sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO)).unwrap();
        Then::Close
    }
}

/// A complete response.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// A response with an object.
pub fn object(body: &[u8]) -> Vec<u8> {
    let date = "Tue, 14 Apr 2020 09:00:00 GMT";
    answer(
        200,
        &[("Last-Modified", date), ("ETag", "\"0123456789abcdef\""), ("Content-Type", "image/png")],
        body,
    )
}

pub struct RawOrigin {
    address: SocketAddr,
    tls: bool,
    state: Arc<State>,
}

struct State {
    accepted: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    stopping: AtomicBool,
    respond: Respond,
    tls: Option<Arc<ServerConfig>>,
}

impl RawOrigin {
    pub fn start(
        respond: impl Fn(&Request, &mut Peer) -> Then + Send + Sync + 'static,
    ) -> RawOrigin {
        RawOrigin::serve(None, Box::new(respond))
    }

    pub fn start_tls(
        config: Arc<ServerConfig>,
        respond: impl Fn(&Request, &mut Peer) -> Then + Send + Sync + 'static,
    ) -> RawOrigin {
        RawOrigin::serve(Some(config), Box::new(respond))
    }

    /// An origin that always sends the same bytes.
    pub fn always(bytes: Vec<u8>) -> RawOrigin {
        RawOrigin::start(move |_, peer| peer.send(&bytes))
    }

    fn serve(tls: Option<Arc<ServerConfig>>, respond: Respond) -> RawOrigin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_tls = tls.is_some();
        let state = Arc::new(State {
            accepted: AtomicUsize::new(0),
            requests: Mutex::default(),
            stopping: AtomicBool::new(false),
            respond,
            tls,
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                std::thread::spawn(move || drop(shared.converse(socket)));
            }
        });
        RawOrigin { address, tls: is_tls, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The `aws` object for a bucket here.
    pub fn aws(&self) -> Value {
        json!({
            "bucket_name": "bucket",
            "endpoint": self.url(),
            "aws_access": "AKRAW",
            "aws_secret": "raw-secret",
        })
    }

    /// A handler named `h` on this origin.
    pub fn handler(&self) -> Value {
        json!({"name": "h", "aws": self.aws()})
    }

    /// The number of connections that it has accepted.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits until this many requests were received, answered or not.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        eventually("the origin gets the requests", || self.requests().len() >= count);
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn converse(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(socket.try_clone()?),
            Some(config) => {
                let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, socket.try_clone()?))
            }
        };
        let mut reader = BufReader::new(Peer { stream, socket });
        while let Some(request) = self.read(&mut reader)? {
            if (self.respond)(&request, reader.get_mut()) == Then::Close {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, reader: &mut BufReader<Peer>) -> io::Result<Option<Request>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let headers: Vec<(String, String)> = lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or("0", |(_, value)| value);
        let mut body = vec![0; length.parse().map_err(io::Error::other)?];
        reader.read_exact(&mut body)?;
        let mut requests = self.requests.lock().unwrap();
        let number = requests.len();
        let request =
            Request { number, method: method.to_owned(), target: target.to_owned(), headers, body };
        requests.push(request.clone());
        Ok(Some(request))
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}
