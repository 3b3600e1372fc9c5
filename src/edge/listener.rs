//! A listening port: accepts, and hands each connection to a thread of its own.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::response::Response;
use super::stream::{Socket, Stream};
use super::{Edge, connection};
use crate::report::{OnceAMinute, say};

/// Enough for a TLS handshake; the pages that are never touched cost nothing.
const STACK: usize = 256 << 10;
/// After an error of `accept` that will not go away at once (EMFILE, ENFILE, ENOBUFS, ENOMEM).
const PAUSE: Duration = Duration::from_millis(50);
/// For telling a client that there is no room.
const REFUSAL_TIME: Duration = Duration::from_millis(100);

/// Binds a port on an address, or on every address of the machine: IPv6 with IPv4 where the system has it.
pub fn bind(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) => TcpListener::bind((address, port)),
        None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.kind() {
            ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
            _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        }),
    }
}

/// Accepts until the listener is shut down.
pub fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, edge: &Arc<Edge>) {
    let complaint = OnceAMinute::default();
    loop {
        match listener.accept() {
            Ok((tcp, client)) => start(tcp, client, tls, edge),
            // What a listener says that has been shut down.
            Err(error) if edge.lifecycle.is_stopping() && error.kind() == ErrorKind::InvalidInput => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                complaint.line(format_args!("edge: can't accept connections now, trying again: {error}"));
                thread::sleep(PAUSE);
            }
        }
    }
}

/// A client that went away before it was accepted says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

fn start(tcp: TcpStream, client: SocketAddr, tls: Option<&Arc<ServerConfig>>, edge: &Arc<Edge>) {
    let Some(place) = Place::take(edge) else { return refuse(tcp, tls.is_some()) };
    let secure = tls.is_some();
    let Ok(stream) = open(tcp, tls) else { return };
    // An IPv4 client on a socket of both families is shown as what it is.
    let client = client.ip().to_canonical();
    let spawned = thread::Builder::new().name("client".into()).stack_size(STACK).spawn(move || {
        connection::serve(stream, Some(client), secure, place.edge());
    });
    if let Err(error) = spawned {
        say!("edge: no thread for a connection: {error}");
    }
}

fn open(tcp: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Stream> {
    let socket = Socket::new(tcp)?;
    Ok(match tls {
        None => Stream::Plain(socket),
        Some(config) => {
            let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Stream::Tls(Box::new(StreamOwned::new(session, socket)))
        }
    })
}

/// Says 503 on a plain connection if that is possible without waiting; TLS is just closed.
fn refuse(tcp: TcpStream, secure: bool) {
    if secure {
        return;
    }
    if let Ok(mut stream) = open(tcp, None) {
        let response = Response::text(503, "too many connections").with("Retry-After", "1");
        stream.write_within(REFUSAL_TIME);
        let _ = stream.send(response.head(false, false), response.body.bytes());
    }
}

/// One of the limited number of connections.
struct Place(Arc<Edge>);

impl Place {
    fn take(edge: &Arc<Edge>) -> Option<Place> {
        let place = Place(Arc::clone(edge));
        let taken = edge.connections.fetch_add(1, Ordering::Relaxed);
        (taken < edge.limits.connections).then_some(place)
    }

    fn edge(&self) -> &Edge {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections there are.
pub type Count = AtomicUsize;
