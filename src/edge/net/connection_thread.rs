//! Serves a connection on a thread of its own: preface, handshake, and requests that block.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustls::ServerConfig;

use super::connection::{Blocking, Connection, Scratch, Served};
use super::connection_table::Registration;
use super::endpoint::ListenerKind;
use super::preface;
use super::shared::Shared;
use super::socket::Socket;
use super::stream::Stream;
use crate::log::warn_ratelimited;

/// Stack size of a connection's thread: enough for a TLS handshake. Pages that are never touched cost nothing.
const STACK_BYTES: usize = 256 << 10;

/// Runs `work` on a thread of its own. If the thread can't be started, `work` is dropped, which closes its connection.
pub fn spawn(shared: &Arc<Shared>, work: impl FnOnce(&Shared) + Send + 'static) {
    let shared = Arc::clone(shared);
    let spawned = thread::Builder::new()
        .name("client".into())
        .stack_size(STACK_BYTES)
        .spawn(move || work(&shared));
    if let Err(error) = spawned {
        warn_ratelimited!("thread_failed", "closing a connection: can't start a thread: {error}");
    }
}

/// Reads the connection preface, shakes hands if `tls` is given, and serves the connection.
pub fn open(
    mut socket: Socket,
    peer: Option<IpAddr>,
    kind: ListenerKind,
    tls: Option<&Arc<ServerConfig>>,
    registration: Registration,
    shared: &Shared,
) {
    let responder = &shared.responder;
    let running = responder.running.get();
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
    let running = responder.running.get();
    let mut connection = Connection::new(stream, client, kind, registration, &running);
    drop(running);
    if preface.is_plain_http {
        connection.refuse(preface::plain_http_response(), &mut Scratch::new(), responder);
    }
    serve_on_thread(Blocking::FirstRequest, connection.into(), shared);
}

/// Serves a connection that would block a poller, until it is idle or closed.
pub fn serve(connection: Box<Connection>, shared: &Shared) {
    serve_on_thread(Blocking::Request, connection, shared);
}

fn serve_on_thread(blocking: Blocking, mut connection: Box<Connection>, shared: &Shared) {
    let needs_threads = shared.responder.running.get().needs_threads;
    let blocking = if needs_threads { Blocking::Always } else { blocking };
    match connection.serve(blocking, &mut Scratch::new(), &shared.responder) {
        Served::Idle => shared.inboxes.park(connection),
        Served::Yielded | Served::WouldBlock | Served::Closed => {}
    }
}
