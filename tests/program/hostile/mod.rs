//! Hostile and broken clients: other clients are still answered at once, and no resources leak.

mod connection_limits;
mod disconnects;
mod heads;
mod pipelining;
mod renderers;
mod slow_readers;
mod tls_handshakes;
mod tls_records;

use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::{Server, Setup};
use crate::support::{TIMEOUT, images, merged};

/// Longer than any deadline of the server.
const LONG: Duration = Duration::from_secs(20);

/// A small image, which [`Vitals`] puts into the cache.
///
/// [`Vitals`]: crate::support::vitals::Vitals
const HIT: &str = "/h/a.png?w=5";
/// An image of several megabytes.
const LARGE: &str = "/h/noise.png";

/// A configuration with a cache that serves `a.png` and `noise.png`.
fn setup(fields: Value) -> Setup {
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| images::png(images::noise(1300, 1000)));
    let handler = json!({"name": "h", "directory": "originals", "cache_path": "cache"});
    let config = json!({"handlers": [handler], "access_log": false});
    Setup::new(merged(config, fields))
        .file("originals/a.png", &images::png(images::gradient(80, 60)))
        .file("originals/noise.png", &NOISE)
        .file("cache/.keep", b"")
}

/// A server with these limits.
fn start(limits: Value) -> Server {
    setup(json!({"limits": limits})).start()
}

/// A server with these limits and the large image in its cache, and the image's length.
fn start_with_large(limits: Value) -> (Server, usize) {
    let server = start(limits);
    let length = server.get(LARGE).ok().body.len();
    assert!(length > 3 << 20);
    (server, length)
}

/// A connection with the smallest possible receive buffer, so that the server soon notices a client that does not read.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Each connection is a descriptor of the test process too.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Opens `count` connections.
fn crowd(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| server.client()).collect()
}
