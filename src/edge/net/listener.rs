//! Binds ports and Unix sockets, accepts connections, and passes each to a poller or to a thread of its own.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, getsockname,
    shutdown, sockopt,
};
use rustls::ServerConfig;

use super::connection::Connection;
use super::connection_table::Full;
use super::connection_thread;
use super::endpoint::{Endpoint, ListenerKind};
use super::shared::Shared;
use super::socket::Socket;
use super::stream::Stream;
use crate::config::ConfigError;
use crate::edge::http::response::{Date, HeadOptions, Response};
use crate::edge::serve::running_config::RunningConfig;
use crate::log::{RateLimited, warn, warn_ratelimited};
use crate::metrics::{METRICS, ResponseCount};
use crate::sync::Mutex;

/// How long `accept` waits: the accept loop then counts a turn, and sees that the listener is closed.
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause after an error of `accept` that will not go away at once (EMFILE, ENFILE, ENOBUFS, ENOMEM).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pause after such an error when an idle connection has been closed.
const ACCEPT_PAUSE_AFTER_CLOSE: Duration = Duration::from_millis(2);

/// A bound endpoint. Dropping it closes it.
#[derive(Debug)]
pub struct Listener {
    pub endpoint: Endpoint,
    bound: Arc<Bound>,
    /// Device and inode of a Unix socket's file.
    file: Option<(u64, u64)>,
    /// The accept loop, once it is started.
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Bound {
    socket: OwnedFd,
    is_closed: AtomicBool,
    /// The turns of the accept loop.
    turns: AtomicU64,
}

impl Listener {
    /// Binds an endpoint. The kernel queues connections from here on; [`Listener::start`] accepts them.
    pub fn bind(endpoint: Endpoint) -> Result<Listener, ConfigError> {
        let socket = match &endpoint {
            Endpoint::Http(address, port) | Endpoint::Https(address, port) => {
                bind_tcp(*address, *port).and_then(without_delay)
            }
            Endpoint::Unix(path) => bind_unix(path).map(OwnedFd::from),
            Endpoint::Admin(address) => TcpListener::bind(address).and_then(without_delay),
            Endpoint::Passed(..) => Err(io::Error::other("is not passed any more")),
        };
        let listener = socket.and_then(|socket| Listener::new(endpoint.clone(), socket));
        listener.map_err(|error| bind_error(&endpoint, &error))
    }

    /// A socket that the service manager has passed. Dropping the listener leaves it open for the next process.
    pub fn passed(endpoint: Endpoint, socket: OwnedFd) -> Result<Listener, ConfigError> {
        // Fails for a Unix socket, which has no such delay.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        Listener::new(endpoint.clone(), socket).map_err(|error| bind_error(&endpoint, &error))
    }

    fn new(endpoint: Endpoint, socket: OwnedFd) -> io::Result<Listener> {
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ACCEPT_TIMEOUT))?;
        let file = endpoint.file();
        let is_closed = AtomicBool::new(false);
        let bound = Arc::new(Bound { socket, is_closed, turns: AtomicU64::new(0) });
        Ok(Listener { endpoint, bound, file, acceptor: Mutex::default() })
    }

    /// The turns of its accept loop so far; `None` without one.
    pub fn turns(&self) -> Option<u64> {
        self.acceptor.lock().as_ref()?;
        Some(self.bound.turns.load(Ordering::Relaxed))
    }

    /// Whether this listener holds the port or socket file that `other` needs.
    pub fn blocks(&self, other: &Endpoint) -> bool {
        match other {
            Endpoint::Http(_, port) | Endpoint::Https(_, port) => self.port() == Some(*port),
            Endpoint::Admin(address) => self.port() == Some(address.port()),
            Endpoint::Unix(_) => self.file.is_some() && self.file == other.file(),
            Endpoint::Passed(..) => false,
        }
    }

    /// Whether clients can no longer reach it: the socket's file was deleted or replaced.
    pub fn is_lost(&self) -> bool {
        matches!(self.endpoint, Endpoint::Unix(_)) && self.file != self.endpoint.file()
    }

    /// The bound port, which the system chooses if the configured one is 0.
    pub fn port(&self) -> Option<u16> {
        self.address().map(|address| address.port())
    }

    fn address(&self) -> Option<SocketAddr> {
        // A Unix socket has another kind of address.
        getsockname(&self.bound.socket).ok().and_then(|address| address.try_into().ok())
    }

    /// Accepts on a thread of its own until this is dropped. `tls` is needed for an HTTPS endpoint.
    pub fn start(&self, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) -> io::Result<()> {
        let kind = self.endpoint.kind();
        let tls = tls.filter(|_| kind == ListenerKind::Https).cloned();
        if kind == ListenerKind::Https && tls.is_none() {
            return Err(io::Error::other("there is no certificate"));
        }
        let acceptor =
            Acceptor { bound: Arc::clone(&self.bound), kind, tls, shared: Arc::clone(shared) };
        let thread = thread::Builder::new().name("accept".into()).spawn(move || acceptor.run())?;
        *self.acceptor.lock() = Some(thread);
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.bound.is_closed.store(true, Ordering::SeqCst);
        if self.endpoint.is_passed() {
            // The connections that it has not accepted are for the next process, so none may be accepted later.
            if let Some(thread) = self.acceptor.lock().take() {
                let _ = thread.join();
            }
            return;
        }
        // Before closing: afterwards another server may have bound its own socket at this path. It may have already.
        if let Endpoint::Unix(path) = &self.endpoint
            && !self.is_lost()
            && let Err(error) = fs::remove_file(path)
        {
            warn!("socket_not_removed", "can't remove {}: {error}", path.display());
        }
        // Wakes the blocked `accept` (on Linux), and refuses new connections from here on.
        let _ = shutdown(&self.bound.socket, Shutdown::Both);
    }
}

/// As a URL, or as a path for a Unix socket.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.endpoint.kind() {
            ListenerKind::Http => "http",
            ListenerKind::Https => "https",
            ListenerKind::Admin => "admin http",
        };
        match (&self.endpoint, self.address()) {
            (Endpoint::Unix(path), _) => write!(f, "{}", path.display()),
            (_, Some(address)) if address.ip().is_unspecified() => {
                write!(f, "{scheme}://*:{}", address.port())
            }
            (_, Some(address)) => write!(f, "{scheme}://{address}"),
            (_, None) => write!(f, "{scheme}, a Unix socket of the service manager"),
        }
    }
}

/// Binds a port on one address, or on all addresses: dual-stack IPv6, or IPv4 where the system has no IPv6.
fn bind_tcp(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) => TcpListener::bind((address, port)),
        None => {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.kind() {
                ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
                _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
            })
        }
    }
}

/// Sets `TCP_NODELAY`, which accepted sockets inherit: a response is written at once, so delaying small segments gains
/// nothing.
fn without_delay(listener: TcpListener) -> io::Result<OwnedFd> {
    sockopt::set_tcp_nodelay(&listener, true)?;
    Ok(listener.into())
}

/// Binds a Unix socket of mode 0666: the permissions of its directory control access. A stale socket is replaced; one
/// in use, or another kind of file, is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if is_socket(path) {
        check_stale(path)?;
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Fails unless no process listens on this socket. Non-blocking, because a listener with a full backlog would block.
fn check_stale(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(ErrorKind::AddrInUse.into()),
        // A datagram socket, as loggers have.
        Err(Errno::PROTOTYPE) => Err(io::Error::other("not a stream socket")),
        Err(error) => Err(error.into()),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn bind_error(endpoint: &Endpoint, error: &io::Error) -> ConfigError {
    let what = match endpoint {
        Endpoint::Http(_, port) | Endpoint::Https(_, port) => port.to_string(),
        Endpoint::Unix(path) => path.display().to_string(),
        Endpoint::Admin(address) => address.to_string(),
        Endpoint::Passed(_, index) => format!("socket {index}"),
    };
    let message = match (error.kind(), endpoint) {
        (ErrorKind::AddrInUse, Endpoint::Unix(path)) if !is_socket(path) => {
            format!("{what} exists and is not a socket")
        }
        (ErrorKind::AddrInUse, _) => format!("{what} is already in use"),
        (
            ErrorKind::PermissionDenied,
            Endpoint::Http(..) | Endpoint::Https(..) | Endpoint::Admin(_),
        ) => {
            format!("{what} needs root or the capability CAP_NET_BIND_SERVICE")
        }
        _ => format!("{what} can't be opened: {error}"),
    };
    ConfigError::new(endpoint.field(), message)
}

impl Bound {
    /// A connection, and its address unless this is a Unix socket.
    fn accept(&self) -> io::Result<(OwnedFd, Option<IpAddr>)> {
        let (socket, address) = acceptfrom_with(&self.socket, SocketFlags::CLOEXEC)?;
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        // A dual-stack socket reports IPv4 clients as IPv4-mapped IPv6 addresses.
        Ok((socket, address.map(|address| address.ip().to_canonical())))
    }
}

/// The state of a listener's accept thread.
struct Acceptor {
    bound: Arc<Bound>,
    kind: ListenerKind,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
}

impl Acceptor {
    fn run(&self) {
        let warning = RateLimited::default();
        while !self.bound.is_closed.load(Ordering::SeqCst) {
            let accepted = self.bound.accept();
            self.bound.turns.fetch_add(1, Ordering::Relaxed);
            match accepted {
                // An accepted connection is served to its end; the kernel resets those not accepted at the close.
                Ok((socket, peer)) => self.start(Arc::new(socket), peer),
                Err(_) if self.bound.is_closed.load(Ordering::SeqCst) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warning.warn(
                        "accept_failed",
                        format_args!("can't accept connections, retrying: {error}"),
                    );
                    // Most likely there are no descriptors left; closing an idle connection frees one.
                    let has_closed = self.shared.connections.close_longest_idle();
                    thread::sleep(if has_closed { ACCEPT_PAUSE_AFTER_CLOSE } else { ACCEPT_PAUSE });
                }
            }
        }
    }

    fn start(&self, socket: Arc<OwnedFd>, peer: Option<IpAddr>) {
        let running = self.shared.responder.running.get();
        let is_admin = self.kind == ListenerKind::Admin;
        let counted = peer.filter(|_| is_admin || !running.trusted_proxies.contains(peer));
        let mut registration = match self.shared.connections.register(
            &socket,
            counted,
            &running.limits,
        ) {
            Ok(registration) => registration,
            Err(full) => {
                if let (Full::Address, Some(peer)) = (full, peer) {
                    warn_ratelimited!(
                        "connection_refused",
                        "{peer} has {} open connections, the maximum of limits.connections_per_address; \
                         if it is a load balancer, list it in trusted_proxies",
                        running.limits.connections_per_address
                    );
                }
                return self.refuse(socket, peer, full, &running);
            }
        };
        registration.open = Some(METRICS.connections.accept(self.kind.label()));
        let socket = Socket::new(socket);
        let has_preface = match self.kind {
            ListenerKind::Http => running.expects_proxy_header(peer),
            ListenerKind::Https => true,
            ListenerKind::Admin => false,
        };
        if !has_preface && !running.needs_threads {
            let stream = Stream::Plain(socket);
            let connection = Connection::new(stream, peer, self.kind, registration, &running);
            return self.shared.inboxes.park(Box::new(connection));
        }
        drop(running);
        let kind = self.kind;
        let tls = self.tls.clone();
        connection_thread::spawn(&self.shared, move |shared| {
            connection_thread::open(socket, peer, kind, tls.as_ref(), registration, shared);
        });
    }

    /// Sends a 503 on a plain connection, without blocking, and leaves the lingering close to a poller. A TLS
    /// connection is just closed.
    fn refuse(
        &self,
        socket: Arc<OwnedFd>,
        peer: Option<IpAddr>,
        full: Full,
        running: &RunningConfig,
    ) {
        METRICS.connections.refused.get(full.label()).add(1);
        if self.kind == ListenerKind::Https {
            return;
        }
        let registration = self.shared.connections.register_refused(&socket);
        let mut socket = Socket::new(socket);
        socket.set_blocking(false);
        let message = match full {
            Full::Total => "too many connections",
            Full::Address => "too many connections from your address",
        };
        let response = Response::text(503, message).with("Retry-After", "1");
        let options =
            HeadOptions { request_id: None, is_http_10: false, keep_alive: false, hsts: None };
        let mut head = String::new();
        response.write_head(&mut head, &mut Date::default(), SystemTime::now(), options);
        let mut sent = 0;
        let result = socket.write_head_and_body(head.as_bytes(), response.body.bytes(), &mut sent);
        let metrics = match self.kind {
            ListenerKind::Admin => &METRICS.admin,
            ListenerKind::Http | ListenerKind::Https => &METRICS.without_handler,
        };
        metrics.count_response(ResponseCount {
            status: response.status,
            cache: None,
            error: None,
            bytes: sent as u64,
            took: Duration::ZERO,
        });
        if let (Ok(()), Some(registration)) = (result, registration) {
            let stream = Stream::Plain(socket);
            let mut connection = Connection::new(stream, peer, self.kind, registration, running);
            connection.start_lingering_close();
            self.shared.inboxes.park(Box::new(connection));
        }
    }
}

/// Whether `accept` failed because of one client, which says nothing about the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn accepted_sockets_inherit_tcp_nodelay() {
        let listener =
            Listener::bind(Endpoint::Admin(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
        let _client = TcpStream::connect(listener.address().unwrap()).unwrap();
        let (socket, peer) = listener.bound.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        assert_eq!(peer, Some(Ipv4Addr::LOCALHOST.into()));
    }
}
