//! Shared by the tests of origins: limits, configurations, directories and servers that misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::config::{self, Http, Limits, Origin, S3};

/// Timeouts long enough for a busy machine; tests of a timeout shorten it.
pub fn limits() -> Limits {
    let text = r#"{"handlers": [{"name": "x", "directory": "/"}]}"#;
    let mut limits = config::parse(text, "test").unwrap().limits;
    limits.origin_connect_timeout = Duration::from_secs(10);
    limits.origin_first_byte_timeout = Duration::from_secs(10);
    limits.origin_timeout = Duration::from_secs(10);
    limits.fetches_at_once = 4;
    limits
}

/// The bucket `images` at an endpoint, with keys.
pub fn s3(endpoint: &str) -> S3 {
    s3_with(&format!(r#""endpoint": "{endpoint}", "aws_access": "AKID", "aws_secret": "SECRET""#))
}

/// The bucket `images` with these fields, in JSON.
pub fn s3_with(fields: &str) -> S3 {
    let text = format!(
        r#"{{"handlers": [{{"name": "x", "aws": {{"bucket_name": "images", {fields}}}}}]}}"#
    );
    match config::parse(&text, "test").unwrap().handlers.remove(0).origins.first() {
        Some(Origin::S3(s3)) => s3.clone(),
        origin => panic!("{origin:?}"),
    }
}

/// The web server of an `http` field, in JSON.
pub fn http(field: &str) -> Http {
    let text = format!(r#"{{"handlers": [{{"name": "x", "http": {field}}}]}}"#);
    match config::parse(&text, "test").unwrap().handlers.remove(0).origins.first() {
        Some(Origin::Http(http)) => http.clone(),
        origin => panic!("{origin:?}"),
    }
}

/// A directory that is removed at the end.
pub struct TempDirectory(PathBuf);

impl TempDirectory {
    pub fn new() -> TempDirectory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("s3is-origin-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        TempDirectory(path.canonicalize().unwrap())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A response with a `Content-Length`. Each of `headers` ends in CRLF.
pub fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An HTTP server whose responses are written by hand.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Server {
    /// Answers the n-th request, counted from 0, with these bytes and keeps the connection.
    pub fn answering(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Server {
        Server::scripted(move |number, stream| stream.write_all(&answer(number)).is_ok())
    }

    /// Lets `script` answer the n-th request; it returns whether the connection is kept.
    pub fn scripted(
        script: impl Fn(usize, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (server, script) = (seen.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.stopped.load(Ordering::Relaxed) {
                    return;
                }
                server.connections.fetch_add(1, Ordering::Relaxed);
                let (seen, script) = (server.clone(), script.clone());
                thread::spawn(move || seen.serve(stream, &*script));
            }
        });
        Server { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// The requests so far, whole.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The path of each request so far, without the query.
    pub fn paths(&self) -> Vec<String> {
        let path = |request: &String| {
            let target = request.split(' ').nth(1).unwrap_or_default();
            target.split('?').next().unwrap_or_default().to_owned()
        };
        self.requests().iter().map(path).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Seen {
    fn serve(&self, mut stream: TcpStream, script: &dyn Fn(usize, &mut TcpStream) -> bool) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            let number = {
                let mut requests = self.requests.lock().unwrap();
                requests.push(request);
                requests.len() - 1
            };
            if !script(number, &mut stream) {
                return;
            }
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<String> {
    let mut request = String::new();
    let mut length = 0;
    loop {
        let start = request.len();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        let line = request[start..].trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.push_str(&String::from_utf8(body).unwrap());
    Some(request)
}

/// Makes the connection end with a reset when it is closed.
pub fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}
