//! The edge: owns every byte of every client. It decodes no picture and talks to no origin.

mod access_log;
mod conditional;
mod connection;
mod connections;
mod error_images;
mod flights;
mod forwarded;
mod greeting;
mod images;
mod lifecycle;
mod listener;
mod memory;
mod proxy_protocol;
mod renderer;
mod request;
mod response;
mod routes;
mod server;
mod site;
mod socket;
mod stream;
mod tls;

use std::sync::Arc;

use crate::config::{Config, ConfigError};
use access_log::AccessLog;
use connections::Connections;
use lifecycle::Lifecycle;
use site::CurrentSite;

pub use server::run;

/// What every connection shares for the life of the process.
#[derive(Debug)]
pub struct Edge {
    site: CurrentSite,
    lifecycle: Lifecycle,
    connections: Arc<Connections>,
    log: AccessLog,
}

/// Checks what only the edge can tell about a configuration.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    config.https.as_ref().map_or(Ok(()), |https| tls::server_config(https).map(drop))
}
