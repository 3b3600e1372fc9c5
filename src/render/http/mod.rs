//! The HTTP client for origins: connection pool, DNS resolver, TLS, content codings, the failures of requests.

pub mod agent;
mod closed;
pub mod content_coding;
mod deadline;
mod exchange;
mod failure;
mod public;
pub mod resolver;
pub mod tls;

pub use self::deadline::Deadline;
pub use self::exchange::{Exchange, MaxBytes, content_length, drain};

/// The files from which glibc resolves names: resolv.conf(5), nsswitch.conf(5), host.conf(5), gai.conf(5).
pub const RESOLVER_FILES: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];
