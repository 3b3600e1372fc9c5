//! The edge: owns every byte of every client. It decodes no picture and talks to no origin.

mod access_log;
mod conditional;
mod connection;
mod error_images;
mod flights;
mod images;
mod lifecycle;
mod listener;
mod privileges;
mod renderer;
mod request;
mod response;
mod routes;
mod stream;
mod tls;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::TokenValidator;
use crate::config::{Config, ConfigError, Handler, Limits};
use crate::report::say;
use crate::wire::Setup;
use images::Images;
use lifecycle::Lifecycle;
use renderer::Renderer;

/// The exit status when the system does not give us what we need.
const EXIT_FAILURE: i32 = 1;

/// What every connection shares.
#[derive(Debug)]
pub struct Edge {
    images: Images,
    lifecycle: Lifecycle,
    connections: listener::Count,
    limits: Limits,
    access_log: bool,
    /// The HTTPS port that plain requests are sent to.
    https_redirect: Option<u16>,
}

/// Checks what only the edge can tell about a configuration.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    privileges::check(config)?;
    config.https.as_ref().map_or(Ok(()), |https| tls::server_config(https).map(drop))
}

/// Serves until SIGTERM or SIGINT and returns the exit status.
pub fn run(
    config: Config,
    config_text: String,
    validator: Option<TokenValidator>,
) -> Result<i32, ConfigError> {
    let http = bind(&config, "http_port", config.http_port.unwrap_or(0))?;
    let https = match &config.https {
        None => None,
        Some(https) => Some((bind(&config, "https_port", https.port)?, tls::server_config(https)?)),
    };
    // Between the last thing that may need root and the first thread.
    privileges::give_up(&config)?;
    Ok(serve(config, config_text, validator, http, https).unwrap_or_else(|error| {
        say!("s3imageserver: {error}");
        EXIT_FAILURE
    }))
}

fn bind(config: &Config, field: &str, port: u16) -> Result<TcpListener, ConfigError> {
    listener::bind(config.address, port).map_err(|error| {
        let message = match error.kind() {
            ErrorKind::AddrInUse => format!("{port} is already in use"),
            ErrorKind::PermissionDenied => {
                format!("{port} needs root or the capability CAP_NET_BIND_SERVICE")
            }
            _ => format!("{port} can't be opened: {error}"),
        };
        ConfigError { path: field.into(), message }
    })
}

fn serve(
    config: Config,
    config_text: String,
    validator: Option<TokenValidator>,
    http: TcpListener,
    https: Option<(TcpListener, Arc<ServerConfig>)>,
) -> io::Result<i32> {
    let signals = signals()?;
    raise_file_limit();
    let http_address = http.local_addr()?;
    let https_address = https.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    let strict = config.https.as_ref().is_some_and(|https| https.strict);
    let resolved = config.handlers.iter().map(Handler::resolved).collect();
    let renderer = Renderer::start(Setup { text: config_text, resolved }, &config.limits)
        .map_err(|error| io::Error::new(error.kind(), format!("the renderer can't be started: {error}")))?;
    let edge = Arc::new(Edge {
        images: Images::new(&config, validator, renderer),
        lifecycle: Lifecycle::default(),
        connections: listener::Count::new(0),
        access_log: config.access_log,
        https_redirect: https_address.filter(|_| strict).map(|address| address.port()),
        limits: config.limits,
    });

    let mut listeners = vec![start_accepting(http, None, &edge)?];
    say!("listening on http://{}", shown(http_address));
    if let (Some((listener, tls)), Some(address)) = (https, https_address) {
        listeners.push(start_accepting(listener, Some(tls), &edge)?);
        say!("listening on https://{}", shown(address));
    }

    let _ = signals.recv();
    stop(&edge, &signals, &listeners);
    Ok(0)
}

/// SIGTERM and SIGINT as messages.
fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn start_accepting(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    edge: &Arc<Edge>,
) -> io::Result<Arc<TcpListener>> {
    let listener = Arc::new(listener);
    let (accepting, edge) = (Arc::clone(&listener), Arc::clone(edge));
    thread::Builder::new()
        .name("accept".into())
        .spawn(move || listener::accept(&accepting, tls.as_ref(), &edge))?;
    Ok(listener)
}

/// Health turns 503 at once; after `stop_delay` no connection is accepted any more; what is in flight is
/// finished, up to `stop_timeout`. A second signal ends the waiting.
fn stop(edge: &Edge, signals: &Receiver<i32>, listeners: &[Arc<TcpListener>]) {
    say!("stopping");
    edge.lifecycle.stop();
    let impatient = !edge.limits.stop_delay.is_zero() && signals.recv_timeout(edge.limits.stop_delay).is_ok();
    for listener in listeners {
        // Linux wakes the blocked `accept`, and refuses new connections from here on.
        let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
    }
    const STEP: Duration = Duration::from_millis(100);
    let patience = if impatient { Duration::ZERO } else { edge.limits.stop_timeout };
    let mut waited = Duration::ZERO;
    let mut left = edge.lifecycle.wait_until_idle(patience.min(STEP));
    while left > 0 && waited < patience && signals.try_recv().is_err() {
        left = edge.lifecycle.wait_until_idle(STEP);
        waited += STEP;
    }
    edge.images.renderer().clean_up();
    match left {
        0 => say!("stopped"),
        left => say!("stopped with {left} requests unfinished"),
    }
}

/// Each connection is an open file, and the usual soft limit is 1024.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        say!("edge: the limit of open files stays at {current:?}: {error}");
    }
}

/// The address as one would type it: `127.0.0.1:80`, and the port alone for every address.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("*:{}", address.port()) } else { address.to_string() }
}
