//! A port or a socket that is listened on: accepts, and hands each connection to a thread of its own.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustls::ServerConfig;

use super::connection::{self, Connection, Port};
use super::connection_table::Full;
use super::socket::{Raw, Socket};
use super::stream::Stream;
use crate::config::{Config, ConfigError};
use crate::edge::Edge;
use crate::edge::http::response::{self, Date, Response};
use crate::log::{RateLimited, warn, warn_ratelimited};

/// After an error of `accept` that will not go away at once (EMFILE, ENFILE, ENOBUFS, ENOMEM).
const PAUSE: Duration = Duration::from_millis(50);
/// After such an error when somebody was found who can go.
const MOMENT: Duration = Duration::from_millis(2);
/// For telling a client that there is no room.
const REFUSAL_TIME: Duration = Duration::from_millis(100);

/// What the configuration asks to be listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http_port` on `address`.
    Http(Option<IpAddr>, u16),
    /// `https_port` on `address`.
    Https(Option<IpAddr>, u16),
    /// `http_socket`
    Unix(PathBuf),
    /// `admin.address`
    Admin(SocketAddr),
}

/// What comes in at an endpoint.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// Requests for images, in plain HTTP.
    Http,
    /// Requests for images behind TLS.
    Https(Arc<ServerConfig>),
    /// Orders from whoever runs the server. No proxy stands in front of it.
    Admin,
}

/// An endpoint that is bound. Dropping it closes it.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    bound: Arc<Bound>,
    /// Device and inode of a Unix socket's file.
    file: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Bound {
    socket: ListeningSocket,
    closed: AtomicBool,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Endpoint {
    /// Every endpoint of a configuration.
    pub fn of(config: &Config) -> Vec<Endpoint> {
        let http = config.http_port.map(|port| Endpoint::Http(config.address, port));
        let https = config.https.as_ref().map(|https| Endpoint::Https(config.address, https.port));
        let unix = config.http_socket.clone().map(Endpoint::Unix);
        let admin = config.admin.as_ref().map(|admin| Endpoint::Admin(admin.address));
        http.into_iter().chain(https).chain(unix).chain(admin).collect()
    }

    fn file(&self) -> Option<(u64, u64)> {
        let Endpoint::Unix(path) = self else { return None };
        fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    fn field(&self) -> &'static str {
        match self {
            Endpoint::Http(..) => "http_port",
            Endpoint::Https(..) => "https_port",
            Endpoint::Unix(_) => "http_socket",
            Endpoint::Admin(_) => "admin.address",
        }
    }
}

impl Listener {
    /// Binds an endpoint. From here on connections wait to be accepted.
    pub fn bind(endpoint: Endpoint) -> Result<Listener, ConfigError> {
        let socket = match &endpoint {
            Endpoint::Http(address, port) | Endpoint::Https(address, port) => {
                bind_tcp(*address, *port).map(ListeningSocket::Tcp)
            }
            Endpoint::Unix(path) => bind_unix(path).map(ListeningSocket::Unix),
            Endpoint::Admin(address) => TcpListener::bind(address).map(ListeningSocket::Tcp),
        };
        match socket {
            Ok(socket) => {
                let file = endpoint.file();
                let bound = Arc::new(Bound { socket, closed: AtomicBool::new(false) });
                Ok(Listener { endpoint, bound, file })
            }
            Err(error) => Err(not_bound(&endpoint, &error)),
        }
    }

    /// Whether this is what stands in the way of another endpoint: the same port by another name.
    pub fn blocks(&self, other: &Endpoint) -> bool {
        match other {
            Endpoint::Http(_, port) | Endpoint::Https(_, port) => self.port() == Some(*port),
            Endpoint::Admin(address) => self.port() == Some(address.port()),
            Endpoint::Unix(_) => self.file.is_some() && self.file == other.file(),
        }
    }

    /// Whether nobody can connect any more: the file of the socket was deleted or is another one.
    pub fn is_lost(&self) -> bool {
        matches!(self.endpoint, Endpoint::Unix(_)) && self.file != self.endpoint.file()
    }

    /// What it was bound for.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The port that is listened on, which the system has chosen where the configuration says 0.
    pub fn port(&self) -> Option<u16> {
        self.address().map(|address| address.port())
    }

    fn address(&self) -> Option<SocketAddr> {
        match &self.bound.socket {
            ListeningSocket::Tcp(listener) => listener.local_addr().ok(),
            ListeningSocket::Unix(_) => None,
        }
    }

    /// Accepts on a thread of its own until this is dropped. `tls` is for an HTTPS endpoint.
    pub fn start(&self, tls: Option<&Arc<ServerConfig>>, edge: &Arc<Edge>) -> io::Result<()> {
        let entrance = match (&self.endpoint, tls) {
            (Endpoint::Admin(_), _) => Entrance::Admin,
            (Endpoint::Https(..), Some(tls)) => Entrance::Https(Arc::clone(tls)),
            (Endpoint::Https(..), None) => return Err(io::Error::other("there is no certificate")),
            (Endpoint::Http(..) | Endpoint::Unix(_), _) => Entrance::Http,
        };
        let (bound, edge) = (Arc::clone(&self.bound), Arc::clone(edge));
        thread::Builder::new()
            .name("accept".into())
            .spawn(move || accept(&bound, &entrance, &edge))?;
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.bound.closed.store(true, Ordering::SeqCst);
        // Before it is closed: afterwards another server may put its own in its place. Or it has done so already.
        if let Endpoint::Unix(path) = &self.endpoint
            && !self.is_lost()
            && let Err(error) = fs::remove_file(path)
        {
            warn!("socket_not_removed", "can't remove {}: {error}", path.display());
        }
        // Linux wakes the blocked `accept`, and refuses new connections from here on.
        let _ = match &self.bound.socket {
            ListeningSocket::Tcp(listener) => {
                rustix::net::shutdown(listener, rustix::net::Shutdown::Both)
            }
            ListeningSocket::Unix(listener) => {
                rustix::net::shutdown(listener, rustix::net::Shutdown::Both)
            }
        };
    }
}

/// The address as one would type it.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.endpoint {
            Endpoint::Https(..) => "https",
            Endpoint::Admin(_) => "admin http",
            Endpoint::Http(..) | Endpoint::Unix(_) => "http",
        };
        match (&self.endpoint, self.address()) {
            (Endpoint::Unix(path), _) => write!(f, "{}", path.display()),
            (_, Some(address)) if address.ip().is_unspecified() => {
                write!(f, "{scheme}://*:{}", address.port())
            }
            (_, Some(address)) => write!(f, "{scheme}://{address}"),
            (_, None) => write!(f, "{scheme}://?"),
        }
    }
}

/// A port on an address, or on every address of the machine: IPv6 with IPv4 where the system has it.
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

/// A Unix socket that everybody may connect to who can reach it: its directory says who. One that a killed server
/// left behind is replaced; one that is listened at, or another file, is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if is_socket(path) {
        prove_abandoned(path)?;
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// An error unless nobody listens at this socket. It does not wait: somebody may listen and be too busy to accept.
fn prove_abandoned(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(ErrorKind::AddrInUse.into()),
        // That of a logger, for example.
        Err(Errno::PROTOTYPE) => Err(io::Error::other("it is a socket of another kind")),
        Err(error) => Err(error.into()),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn not_bound(endpoint: &Endpoint, error: &io::Error) -> ConfigError {
    let what = match endpoint {
        Endpoint::Http(_, port) | Endpoint::Https(_, port) => port.to_string(),
        Endpoint::Unix(path) => path.display().to_string(),
        Endpoint::Admin(address) => address.to_string(),
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
    fn accept(&self) -> io::Result<(Raw, Option<IpAddr>)> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (tcp, client) = listener.accept()?;
                // An IPv4 client on a socket of both families is shown as what it is.
                Ok((Raw::Tcp(tcp), Some(client.ip().to_canonical())))
            }
            ListeningSocket::Unix(listener) => {
                let (unix, _) = listener.accept()?;
                Ok((Raw::Unix(unix), None))
            }
        }
    }
}

fn accept(bound: &Bound, entrance: &Entrance, edge: &Arc<Edge>) {
    let warning = RateLimited::default();
    loop {
        match bound.accept() {
            // What was accepted is served to its end. What the kernel holds when the listener closes is reset.
            Ok((raw, peer)) => start(Arc::new(raw), peer, entrance, edge),
            Err(_) if bound.closed.load(Ordering::SeqCst) => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warning.warn(
                    "accept_failed",
                    format_args!("can't accept connections, retrying: {error}"),
                );
                // Descriptors are what is most likely missing, and whoever is idle holds one, which is free in a moment.
                let has_made_room = edge.connections.close_idlest();
                thread::sleep(if has_made_room { MOMENT } else { PAUSE });
            }
        }
    }
}

/// A client that went away before it was accepted says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

fn start(raw: Arc<Raw>, peer: Option<IpAddr>, entrance: &Entrance, edge: &Arc<Edge>) {
    let running = edge.running.get();
    let is_admin = matches!(entrance, Entrance::Admin);
    let counted = peer.filter(|_| is_admin || !running.trusted_proxies.contains(peer));
    let place = match edge.connections.admit(&raw, counted, &running.limits) {
        Ok(place) => place,
        Err(full) => {
            if let (Full::Address, Some(peer)) = (full, peer) {
                warn_ratelimited!(
                    "connection_refused",
                    "{peer} has {} open connections, the most that limits.connections_per_address allows; \
                     if it is a load balancer, list it in trusted_proxies",
                    running.limits.connections_per_address
                );
            }
            return refuse(raw, full, entrance);
        }
    };
    let Ok(socket) = Socket::new(raw) else { return };
    let waits = match entrance {
        Entrance::Http => running.expects_proxy_header(peer),
        Entrance::Https(_) => true,
        Entrance::Admin => false,
    };
    if !waits && !running.needs_threads {
        // Nothing has to be waited for before the first request.
        let comes_by = if is_admin { Port::Admin } else { Port::Http };
        let connection = Connection::new(Stream::Plain(socket), peer, comes_by, place, &running);
        return edge.pollers.park(Box::new(connection));
    }
    drop(running);
    let entrance = entrance.clone();
    edge.spawn(move |edge| connection::read_preface(socket, peer, &entrance, place, edge));
}

/// Says 503 on a plain connection if that is possible without waiting; TLS is just closed.
fn refuse(raw: Arc<Raw>, full: Full, entrance: &Entrance) {
    let Ok(mut socket) = Socket::new(raw) else { return };
    if matches!(entrance, Entrance::Https(_)) {
        return;
    }
    let sentence = match full {
        Full::Total => "too many connections",
        Full::Address => "too many connections from your address",
    };
    let response = Response::text(503, sentence).with("Retry-After", "1");
    let connection = response::Ending { is_http_10: false, keep_alive: false, hsts: None };
    let mut head = String::new();
    response.write_head(&mut head, &mut Date::default(), SystemTime::now(), connection);
    socket.write_until(Instant::now() + REFUSAL_TIME, REFUSAL_TIME);
    let _ = socket.write_both(head.as_bytes(), response.body.bytes(), &mut 0);
}
