//! The edge: owns every client socket. It decodes no image and connects to no origin.

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

/// The state that all connections share, for the life of the process.
#[derive(Debug)]
pub struct Edge {
    running: CurrentConfig,
    shutdown: Arc<Shutdown>,
    connections: Arc<ConnectionTable>,
    pollers: Pollers,
}

/// Stack size of a connection thread: enough for a TLS handshake. Pages that are never touched cost nothing.
const STACK_BYTES: usize = 256 << 10;

impl Edge {
    /// Runs `work` on a thread of its own. If the thread can't be started, `work` is dropped, which closes its
    /// connection.
    fn spawn(self: &Arc<Edge>, work: impl FnOnce(&Arc<Edge>) + Send + 'static) {
        let edge = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("client".into())
            .stack_size(STACK_BYTES)
            .spawn(move || work(&edge));
        if let Err(error) = spawned {
            warn_ratelimited!(
                "thread_failed",
                "closing a connection: can't start a thread: {error}"
            );
        }
    }
}

/// Checks the parts of a configuration that need the edge: the user and the certificates.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    process::privileges::check(config)?;
    config.https.as_ref().map_or(Ok(()), net::tls::check)
}
