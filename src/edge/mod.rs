//! The edge: owns every client socket. It decodes no image and connects to no origin.
//!
//! Its modules from the top down; each uses only those below it:
//!
//! - `process`: start, reload and shutdown.
//! - `net`: listeners, connections and TLS. Pollers serve requests that do not block; a request that has to wait moves,
//!   with its connection, to a thread of its own.
//! - `serve`: from a parsed request to an answer: routing, authorization, image responses, the admin listener. It
//!   answers at once, or returns a job for a thread that may wait.
//! - `variants`: the caches, and the decision whether a variant is served, revalidated or made. It knows nothing of
//!   HTTP.
//! - `renderer`: the client of the renderer process, and its supervisor.
//! - `http`: HTTP/1.1 messages without state; used by `net` and `serve`.

mod http;
mod net;
mod process;
mod renderer;
mod serve;
mod variants;

use crate::config::{Config, ConfigError};

pub use process::run;

/// Checks the parts of a configuration that need the edge: the user and the certificates.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    process::privileges::check(config)?;
    config.https.as_ref().map_or(Ok(()), net::tls::check)
}
