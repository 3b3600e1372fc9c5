//! The HTTP client for origins: connection pool, DNS resolver, TLS.

pub mod agent;
pub mod resolver;
pub mod tls;
