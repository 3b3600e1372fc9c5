//! The edge as a process: its start, its reloads, its end.

pub mod privileges;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Edge;
use super::net::connection_table::ConnectionTable;
use super::net::listener::{Endpoint, Listener};
use super::net::poller::Pollers;
use super::net::tls::{self, Tls};
use super::renderer::{Renderer, SocketDirectory};
use super::serve::running_config::{CurrentConfig, RunningConfig};
use super::variants::cache_manager::CacheManagers;
use super::variants::purge_log::PurgeLog;
use crate::TokenValidator;
use crate::config::{Config, ConfigError, Handler};
use crate::log::{self, error, info, sink, warn};
use crate::wire::Setup;

/// The exit status when the system does not give us what we need.
const EXIT_FAILURE: i32 = 1;

/// Reads the configuration, and checks it as far as that is possible without opening a port.
pub type Load<'l> = dyn Fn() -> Result<(Config, String), ConfigError> + 'l;

/// What the edge runs with.
struct Server<'l> {
    load: &'l Load<'l>,
    validator: Option<TokenValidator>,
    edge: Arc<Edge>,
    listeners: Vec<Listener>,
    tls: Option<Arc<Tls>>,
    user: Option<String>,
    /// Of every renderer that may still be there, those of former configurations too.
    directories: Vec<Arc<SocketDirectory>>,
    managers: CacheManagers,
    /// A purge holds through a reload.
    purge_log: Arc<PurgeLog>,
}

/// Serves until SIGTERM or SIGINT and returns the exit status.
pub fn run(load: &Load, validator: Option<TokenValidator>) -> Result<i32, ConfigError> {
    let (config, text) = load()?;
    let listeners =
        Endpoint::of(&config).into_iter().map(Listener::bind).collect::<Result<Vec<_>, _>>()?;
    let tls = config.https.as_ref().map(Tls::new).transpose()?.map(Arc::new);
    // Between the last thing that may need root and the first thread.
    privileges::give_up(&config)?;
    let served = Server::start(load, validator, &config, text, listeners, tls).map(Server::serve);
    Ok(served.unwrap_or_else(|error| {
        error!("start_failed", "{error}");
        EXIT_FAILURE
    }))
}

impl<'l> Server<'l> {
    fn start(
        load: &'l Load<'l>,
        validator: Option<TokenValidator>,
        config: &Config,
        text: String,
        listeners: Vec<Listener>,
        tls: Option<Arc<Tls>>,
    ) -> io::Result<(Server<'l>, Receiver<i32>)> {
        log::set_level(config.log_level);
        sink::start()?;
        let signals = signals()?;
        raise_file_limit();
        let (managers, purge_log) = (CacheManagers::default(), Arc::default());
        let https_port = https_port(&listeners);
        let running = RunningConfig::new(
            config,
            validator,
            renderer(config, text)?,
            https_port,
            &managers,
            &purge_log,
        );
        running.purger.restore();
        let edge = Arc::new(Edge {
            running: CurrentConfig::new(running),
            shutdown: Arc::default(),
            pollers: Pollers::new()?,
            connections: Arc::new(ConnectionTable::new()),
        });
        edge.pollers.start(&edge)?;
        tls.as_ref().map_or(Ok(()), tls::watch)?;
        let (user, directories) = (config.user.clone(), vec![directory(&edge)]);
        let server = Server {
            load,
            validator,
            edge,
            listeners,
            tls,
            user,
            directories,
            managers,
            purge_log,
        };
        for listener in &server.listeners {
            server.open(listener)?;
        }
        Ok((server, signals))
    }

    fn open(&self, listener: &Listener) -> io::Result<()> {
        listener.start(self.tls.as_ref().map(|tls| tls.config()), &self.edge)?;
        info!("listening", "listening on {listener}");
        Ok(())
    }

    fn serve((mut server, signals): (Server, Receiver<i32>)) -> i32 {
        while signals.recv() == Ok(SIGHUP) {
            match server.reload() {
                Ok(()) => info!("reload_ok", "configuration reloaded"),
                Err(error) => {
                    error!("reload_failed", "keeping the previous configuration: {error}")
                }
            }
        }
        server.stop(&signals);
        0
    }

    /// Everything that can fail comes first; then the new configuration takes over at once. Requests in flight
    /// end under the old one, with its renderer.
    fn reload(&mut self) -> Result<(), ConfigError> {
        let (config, text) = (self.load)()?;
        if config.user != self.user {
            let message = "can't be changed while the server runs; it takes a restart";
            return Err(ConfigError::new("user", message));
        }
        let failed = |error: io::Error| ConfigError::new("s3imageserver", error.to_string());
        let wanted = Endpoint::of(&config);
        let added = wanted.iter().filter(|endpoint| !self.is_open(endpoint)).cloned();
        let added = added.map(|endpoint| self.bind(endpoint)).collect::<Result<Vec<_>, _>>()?;
        let renderer = renderer(&config, text).map_err(failed)?;
        match (&config.https, &self.tls) {
            (Some(https), Some(tls)) => tls.reload(https)?,
            (Some(https), None) => {
                let tls = Arc::new(Tls::new(https)?);
                tls::watch(&tls).map_err(failed)?;
                self.tls = Some(tls);
            }
            (None, _) => self.tls = None,
        }
        let kept = self.listeners.iter().filter(|listener| wanted.contains(listener.endpoint()));
        let https_port = https_port(kept.chain(&added));
        let (managers, purge_log) = (&self.managers, &self.purge_log);
        let running =
            RunningConfig::new(&config, self.validator, renderer, https_port, managers, purge_log);
        log::set_level(config.log_level);
        drop(self.edge.running.replace(running));
        // Whose renderers are gone has removed its directory.
        self.directories.retain(|directory| Arc::strong_count(directory) > 1);
        self.directories.push(directory(&self.edge));
        for listener in &added {
            // The new configuration is in force by now.
            if let Err(error) = self.open(listener) {
                error!("listen_failed", "can't serve {listener}: {error}");
            }
        }
        self.listeners
            .retain(|listener| wanted.contains(listener.endpoint()) && !listener.is_lost());
        self.listeners.extend(added);
        Ok(())
    }

    fn bind(&self, endpoint: Endpoint) -> Result<Listener, ConfigError> {
        let is_ours = self.listeners.iter().any(|listener| listener.blocks(&endpoint));
        Listener::bind(endpoint).map_err(|error| match is_ours {
            // The old one can't be closed before the new one is known to work.
            true => {
                let message =
                    format!("{}, by this server itself: it takes a restart", error.message);
                ConfigError { message, ..error }
            }
            false => error,
        })
    }

    fn is_open(&self, endpoint: &Endpoint) -> bool {
        self.listeners.iter().any(|listener| listener.endpoint() == endpoint && !listener.is_lost())
    }

    /// Health turns 503 at once; after `stop_delay` no connection is accepted any more; what is in flight is
    /// finished, up to `stop_timeout`. A second signal ends the waiting.
    fn stop(mut self, signals: &Receiver<i32>) {
        info!("stopping", "draining connections");
        let limits = self.edge.running.get().limits.clone();
        let shutdown = &self.edge.shutdown;
        shutdown.stop();
        let impatient = !limits.stop_delay.is_zero() && next_stop(signals, limits.stop_delay);
        self.listeners.clear();
        const STEP: Duration = Duration::from_millis(100);
        let timeout = if impatient { Duration::ZERO } else { limits.stop_timeout };
        let mut waited = Duration::ZERO;
        let mut left = shutdown.wait_until_idle(timeout.min(STEP));
        while left > 0 && waited < timeout && !next_stop(signals, Duration::ZERO) {
            left = shutdown.wait_until_idle(STEP);
            waited += STEP;
        }
        self.directories.iter().for_each(|directory| directory.remove());
        match left {
            0 => info!("stopped", "stopped"),
            left => warn!("stopped", "stopped with {left} unfinished requests"),
        }
    }
}

/// Whether a signal to stop comes within this time.
fn next_stop(signals: &Receiver<i32>, timeout: Duration) -> bool {
    let deadline = std::time::Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match signals.recv_timeout(left) {
            Ok(SIGHUP) => {}
            other => return other.is_ok(),
        }
    }
}

fn directory(edge: &Edge) -> Arc<SocketDirectory> {
    Arc::clone(edge.running.get().images.renderer().directory())
}

fn renderer(config: &Config, text: String) -> io::Result<Renderer> {
    let resolved = config.handlers.iter().map(Handler::resolved).collect();
    Renderer::start(Setup { text, resolved }, &config.limits).map_err(|error| {
        io::Error::new(error.kind(), format!("the renderer can't be started: {error}"))
    })
}

fn https_port<'a>(listeners: impl IntoIterator<Item = &'a Listener>) -> Option<u16> {
    let is_https = |listener: &&Listener| matches!(listener.endpoint(), Endpoint::Https(..));
    listeners.into_iter().find(is_https).and_then(Listener::port)
}

/// SIGTERM, SIGINT and SIGHUP as messages.
fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
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

/// Each connection is an open file, and the usual soft limit is 1024.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!("file_limit", "can't raise the limit of open files from {current:?}: {error}");
    }
}
