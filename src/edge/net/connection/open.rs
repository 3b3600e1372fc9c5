//! What a connection does on a thread of its own: preface, handshake, and requests that block.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;

use super::{Blocking, Connection, Scratch, Served};
use crate::edge::Edge;
use crate::edge::net::connection_table::Registration;
use crate::edge::net::listener::ListenerKind;
use crate::edge::net::preface;
use crate::edge::net::socket::Socket;
use crate::edge::net::stream::Stream;

/// Reads the connection preface, shakes hands if `tls` is given, and serves the connection.
pub fn open(
    mut socket: Socket,
    peer: Option<IpAddr>,
    kind: ListenerKind,
    tls: Option<&Arc<ServerConfig>>,
    registration: Registration,
    edge: &Arc<Edge>,
) {
    let running = edge.running.get();
    let head_timeout = running.limits.head_timeout;
    let deadline = Instant::now() + head_timeout;
    socket.set_read_deadline(deadline);
    socket.set_write_deadline(deadline, head_timeout);
    let expects_proxy_header = kind != ListenerKind::Admin && running.expects_proxy_header(peer);
    let preface = match preface::read(&mut socket, expects_proxy_header, tls.is_some()) {
        Ok(preface) => preface,
        Err(error) => return preface::log(peer, &error),
    };
    // A handshake may take long, and a replaced running config must not wait for it.
    drop(running);
    let stream = match tls {
        Some(config) if !preface.is_plain_http => Stream::accept_tls(config, socket),
        _ => Ok(Stream::Plain(socket)),
    };
    let Ok(stream) = stream else { return };
    let client = preface.client.or(peer);
    let mut connection = Connection::new(stream, client, kind, registration, &edge.running.get());
    if preface.is_plain_http {
        connection.refuse(preface::plain_http_response(), &mut Scratch::new(), edge);
    }
    serve_on_thread(Blocking::FirstRequest, connection.into(), edge);
}

/// Serves a connection that a poller could not go on with, until it is idle or closed.
pub fn serve(connection: Box<Connection>, edge: &Arc<Edge>) {
    serve_on_thread(Blocking::Request, connection, edge);
}

fn serve_on_thread(blocking: Blocking, mut connection: Box<Connection>, edge: &Arc<Edge>) {
    let needs_threads = edge.running.get().needs_threads;
    let blocking = if needs_threads { Blocking::Always } else { blocking };
    match connection.serve(blocking, &mut Scratch::new(), edge) {
        Served::Idle => edge.pollers.park(connection),
        Served::Yielded | Served::WouldBlock | Served::Closed => {}
    }
}
