//! The start of a renderer, and the checks that the edge makes before it starts one.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::pipeline::{Bounds, check_watermark};
use super::purge_hook::PurgeHooks;
use super::service::Service;
use super::vips::Vips;
use super::{origin, process, s3, sandbox, server};
use crate::config::{self, Config, ConfigError};
use crate::log::{self, error, warn};
use crate::machine;
use crate::wire;

/// Checks the origins, the results buckets and the watermarks of a configuration. Nothing is decoded.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let bounds = Bounds::from_limits(&config.limits);
    for (index, handler) in config.handlers.iter().enumerate() {
        for watermark in &handler.watermarks.all {
            check_watermark(watermark, &bounds).map_err(|failure| {
                let path = format!("handlers[{index}].watermarks.{}.file", watermark.name);
                ConfigError::new(path, failure.detail)
            })?;
        }
        handler.origins.iter().try_for_each(origin::check)?;
        handler.results.as_ref().map_or(Ok(()), |results| s3::check(&results.bucket))?;
    }
    Ok(())
}

/// Warns once in the edge, so that each new renderer does not have to.
pub fn warn_if_not_sandboxed() {
    if !sandbox::is_supported() {
        warn!("not_sandboxed", "the renderer is not sandboxed: the kernel has no Landlock");
    }
}

/// Runs a renderer until the edge closes its standard input, which exits the process. Returns an exit status if the
/// renderer can't start.
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
    process::exit_with_edge()?;
    process::lower_priority();
    ignore_signals()?;
    let mut stdin = BufReader::new(io::stdin());
    let setup = wire::receive_setup(&mut stdin)?;
    machine::set(setup.machine);
    let config = config::parse_resolved(&setup.text, &setup.environment, &setup.resolved)
        .map_err(io::Error::other)?;
    log::configure(config.log_level, config.log_format);
    log::log_panics();
    // Before the first thread: threads inherit the restrictions of the one that starts them.
    let sandbox = sandbox::enter(&config, socket);
    thread::Builder::new().name("edge-watch".into()).spawn(move || exit_at_end_of(stdin))?;
    let vips = Vips::start().map_err(|error| io::Error::other(error.0))?;
    let service = Service::new(&config, vips, sandbox)?;
    let hooks = PurgeHooks::new(&config).map_err(io::Error::other)?;
    // One for each connection of the edge.
    let threads = config.limits.fetches_at_once + config.journal_connections().count();
    server::serve(socket, service, hooks, threads, || {
        let mut stdout = io::stdout();
        writeln!(stdout, "{}", wire::READY)?;
        stdout.flush()
    })
}

/// A service manager sends SIGTERM, or SIGHUP for a reload, to every process of a service. The edge still needs the
/// renderer for the requests in flight, and decides when it exits.
fn ignore_signals() -> io::Result<()> {
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// Exits when the edge closes the pipe, or has exited itself.
fn exit_at_end_of(mut stdin: impl BufRead) {
    loop {
        match stdin.fill_buf().map(<[u8]>::len) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => exit(0),
            Ok(length) => stdin.consume(length),
        }
    }
}
