//! The HTTP client for origins: connection pool, DNS resolver, TLS.

pub mod agent;
pub mod resolver;
pub mod tls;

/// The files from which glibc resolves names: resolv.conf(5), nsswitch.conf(5), host.conf(5), gai.conf(5).
pub const RESOLVER_FILES: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];
