//! The renderer: the only place where libvips, S3 and untrusted pixels meet. Its only client is the edge.
//!
//! It may crash, hang or be killed at any time; the edge starts another.

mod admission;
pub mod bench;
mod cache_write;
mod codec;
mod decode_events;
mod origin;
mod originals;
mod pipeline;
mod pool;
mod process;
mod sandbox;
mod server;
mod service;
mod strip;
mod vips;
mod watchdog;

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::{self, Config, ConfigError};
use crate::log::{self, error, warn};
use crate::wire;

/// Checks what only the renderer can tell about a configuration.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    for handler in &config.handlers {
        origin::check(&handler.origin).map_err(|sentence| {
            let (path, message) = sentence.split_once(": ").unwrap_or(("handlers", &sentence));
            ConfigError { path: path.to_owned(), message: message.to_owned() }
        })?;
    }
    Ok(())
}

/// Says once, before a renderer is started, where no renderer can be confined.
pub fn warn() {
    if !sandbox::is_possible() {
        warn!("not_sandboxed", "the renderer is not sandboxed: the kernel has no Landlock");
    }
}

/// Is the renderer until the edge goes away. Returns an exit status only when it can't start.
pub fn run(socket: &Path) -> i32 {
    match start(socket) {
        Ok(()) => 0,
        Err(error) => {
            error!("renderer_failed", "{error}");
            1
        }
    }
}

fn start(socket: &Path) -> io::Result<()> {
    process::end_with_edge()?;
    process::yield_to_edge();
    ignore_signals()?;
    let mut edge = BufReader::new(io::stdin());
    let setup = wire::receive_setup(&mut edge)?;
    let config = config::parse_resolved(&setup.text, &setup.resolved).map_err(io::Error::other)?;
    log::set_level(config.log_level);
    // Before the first thread: threads have the rights of the one that starts them.
    let sandbox = sandbox::enter(&config, socket);
    thread::Builder::new().name("edge-watch".into()).spawn(move || end_with(edge))?;
    let vips = vips::Vips::start().map_err(|error| io::Error::other(error.0))?;
    let service = service::Service::new(&config, vips, sandbox)?;
    server::serve(socket, service, config.limits.fetches_at_once, || {
        let mut out = io::stdout();
        writeln!(out, "{}", wire::READY)?;
        out.flush()
    })
}

/// A service manager sends SIGTERM, or SIGHUP for a reload, to every process of a service. When the renderer ends is
/// the edge's to decide, which still needs it for the requests in flight.
fn ignore_signals() -> io::Result<()> {
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// End this process when the pipe from the edge closes: the edge wants it gone, or is gone itself.
fn end_with(mut edge: impl BufRead) {
    loop {
        match edge.fill_buf().map(<[u8]>::len) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => exit(0),
            Ok(length) => edge.consume(length),
        }
    }
}
