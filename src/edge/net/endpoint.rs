//! The endpoints that the configuration asks to listen on.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::config::Config;
use crate::metrics::ListenerLabel;

/// The service of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Images in plain HTTP, on a port or a Unix socket.
    Http,
    /// Images over TLS.
    Https,
    /// The admin listener, which no proxy stands in front of.
    Admin,
}

impl ListenerKind {
    pub fn label(self) -> ListenerLabel {
        match self {
            ListenerKind::Http => ListenerLabel::Http,
            ListenerKind::Https => ListenerLabel::Https,
            ListenerKind::Admin => ListenerLabel::Admin,
        }
    }
}

/// Where the configuration asks to listen.
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
    /// The socket with this number that the service manager has passed.
    Passed(ListenerKind, usize),
}

impl Endpoint {
    /// The endpoints of a configuration. `passed` sockets replace the endpoints of their kind.
    pub fn from_config(config: &Config, passed: &[Endpoint]) -> Vec<Endpoint> {
        let http = config.http_port.map(|port| Endpoint::Http(config.address, port));
        let https = config.https.as_ref().map(|https| Endpoint::Https(config.address, https.port));
        let unix = config.http_socket.clone().map(Endpoint::Unix);
        let admin = config.admin.as_ref().map(|admin| Endpoint::Admin(admin.address));
        let configured = http.into_iter().chain(https).chain(unix).chain(admin);
        let is_replaced =
            |endpoint: &Endpoint| passed.iter().any(|passed| passed.kind() == endpoint.kind());
        let opened = configured.filter(|endpoint| !is_replaced(endpoint));
        passed.iter().cloned().chain(opened).collect()
    }

    pub fn is_passed(&self) -> bool {
        matches!(self, Endpoint::Passed(..))
    }

    pub fn kind(&self) -> ListenerKind {
        match self {
            Endpoint::Http(..) | Endpoint::Unix(_) => ListenerKind::Http,
            Endpoint::Https(..) => ListenerKind::Https,
            Endpoint::Admin(_) => ListenerKind::Admin,
            Endpoint::Passed(kind, _) => *kind,
        }
    }

    /// Device and inode of the file at the path of a Unix socket.
    pub fn file(&self) -> Option<(u64, u64)> {
        let Endpoint::Unix(path) = self else { return None };
        fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// The configuration field that names it.
    pub fn field(&self) -> &'static str {
        match self {
            Endpoint::Http(..) => "http_port",
            Endpoint::Https(..) => "https_port",
            Endpoint::Unix(_) => "http_socket",
            Endpoint::Admin(_) => "admin.address",
            Endpoint::Passed(..) => "LISTEN_FDS",
        }
    }
}
