//! Clients that mean harm, or behave as if: whatever they do, everybody else is answered at once, and nothing of
//! them is left when they are gone.

mod crowds;
mod goodbyes;
mod heads;
mod pipelines;
mod readers;
mod records;
mod renderers;
mod tls;

use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::{Server, Setup};
use crate::support::{TIMEOUT, images, merged};

/// A time that only a server without a deadline would take.
const LONG: Duration = Duration::from_secs(20);

/// A small image, which is in the cache as soon as the [`Vitals`] are taken.
///
/// [`Vitals`]: crate::support::vitals::Vitals
const HIT: &str = "/h/a.png?w=5";
/// An image of some megabytes.
const LARGE: &str = "/h/noise.png";

/// A configuration that serves `a.png` and `noise.png` with a cache.
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

/// A server with these limits and the large image in its cache, and how many bytes that has.
fn start_with_large(limits: Value) -> (Server, usize) {
    let server = start(limits);
    let length = server.get(LARGE).ok().body.len();
    assert!(length > 3 << 20);
    (server, length)
}

/// A connection whose receive buffer is as small as it can be, so that the server notices when nobody reads.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Each of our connections is a descriptor of ours, too.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// So many connections that do nothing yet.
fn crowd(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| server.client()).collect()
}

/// Ends what goes on until then, also when the test fails.
struct AtEnd<'b>(&'b AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
