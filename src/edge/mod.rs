//! The edge: owns every byte of every client. It decodes no picture and talks to no origin.

mod access_log;
mod admin;
mod conditional;
mod connection;
mod connections;
mod error_images;
mod forwarded;
mod gate;
mod greeting;
mod images;
mod lifecycle;
mod listener;
mod memory;
mod picture;
mod poller;
mod privileges;
mod proxy_protocol;
mod refresh;
mod refresh_journal;
mod refreshes;
mod renderer;
mod request;
mod response;
mod results;
mod routes;
mod server;
mod site;
mod socket;
mod store;
mod stream;
mod tls;

use std::sync::Arc;
use std::thread;

use crate::config::{Config, ConfigError};
use crate::report::OnceAMinute;
use connections::Connections;
use lifecycle::Lifecycle;
use poller::Pollers;
use site::CurrentSite;

pub use server::run;

/// What every connection shares for the life of the process.
#[derive(Debug)]
pub struct Edge {
    site: CurrentSite,
    lifecycle: Arc<Lifecycle>,
    connections: Arc<Connections>,
    pollers: Pollers,
}

/// Enough for a TLS handshake; the pages that are never touched cost nothing.
const STACK: usize = 256 << 10;

impl Edge {
    /// A thread for what has to wait. Without one, what it was for ends, and nothing else.
    fn spawn(self: &Arc<Edge>, work: impl FnOnce(&Arc<Edge>) + Send + 'static) {
        let edge = Arc::clone(self);
        let spawned =
            thread::Builder::new().name("client".into()).stack_size(STACK).spawn(move || work(&edge));
        if let Err(error) = spawned {
            static COMPLAINT: OnceAMinute = OnceAMinute::new();
            COMPLAINT.line(format_args!("edge: no thread for a connection, which is closed: {error}"));
        }
    }
}

/// Checks what only the edge can tell about a configuration.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    privileges::check(config)?;
    config.https.as_ref().map_or(Ok(()), tls::check)
}
