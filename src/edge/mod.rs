//! The edge: owns every byte of every client. It decodes no image and talks to no origin.

mod http;
mod net;
mod process;
mod renderer;
mod serve;
mod variants;

use std::sync::Arc;
use std::thread;

use crate::config::{Config, ConfigError};
use crate::log::warn_ratelimited;
use net::connection_table::ConnectionTable;
use net::poller::Pollers;
use serve::running_config::CurrentConfig;
use serve::shutdown::Shutdown;

pub use process::run;

/// What every connection shares for the life of the process.
#[derive(Debug)]
pub struct Edge {
    running: CurrentConfig,
    shutdown: Arc<Shutdown>,
    connections: Arc<ConnectionTable>,
    pollers: Pollers,
}

/// Enough for a TLS handshake; the pages that are never touched cost nothing.
const STACK: usize = 256 << 10;

impl Edge {
    /// A thread for what has to wait. Without one, what it was for ends, and nothing else.
    fn spawn(self: &Arc<Edge>, work: impl FnOnce(&Arc<Edge>) + Send + 'static) {
        let edge = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("client".into())
            .stack_size(STACK)
            .spawn(move || work(&edge));
        if let Err(error) = spawned {
            warn_ratelimited!(
                "thread_failed",
                "closing a connection: can't start a thread: {error}"
            );
        }
    }
}

/// Checks what only the edge can tell about a configuration.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    process::privileges::check(config)?;
    config.https.as_ref().map_or(Ok(()), net::tls::check)
}
