//! The edge as a process: its start, its reloads, its end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::connections::Connections;
use super::listener::{Endpoint, Listener};
use super::poller::Pollers;
use super::refreshes::Refreshes;
use super::renderer::{PrivateFolder, Renderer};
use super::site::{CurrentSite, Site};
use super::store::Keepers;
use super::tls::{self, Tls};
use super::{Edge, privileges};
use crate::TokenValidator;
use crate::config::{Config, ConfigError, Handler};
use crate::outlet;
use crate::report::say;
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
    folders: Vec<Arc<PrivateFolder>>,
    keepers: Keepers,
    /// A refresh holds through a reload.
    refreshes: Arc<Refreshes>,
}

/// Serves until SIGTERM or SIGINT and returns the exit status.
pub fn run(load: &Load, validator: Option<TokenValidator>) -> Result<i32, ConfigError> {
    let (config, text) = load()?;
    let listeners = Endpoint::of(&config).into_iter().map(Listener::bind).collect::<Result<Vec<_>, _>>()?;
    let tls = config.https.as_ref().map(Tls::new).transpose()?.map(Arc::new);
    // Between the last thing that may need root and the first thread.
    privileges::give_up(&config)?;
    let served = Server::start(load, validator, &config, text, listeners, tls).map(Server::serve);
    Ok(served.unwrap_or_else(|error| {
        say!("s3imageserver: {error}");
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
        outlet::start()?;
        let signals = signals()?;
        raise_file_limit();
        let (keepers, refreshes) = (Keepers::default(), Arc::default());
        let https_port = https_port(&listeners);
        let site = Site::new(config, validator, renderer(config, text)?, https_port, &keepers, &refreshes);
        site.refresher.restore();
        let edge = Arc::new(Edge {
            site: CurrentSite::new(site),
            lifecycle: Arc::default(),
            pollers: Pollers::new()?,
            connections: Arc::new(Connections::new()),
        });
        edge.pollers.start(&edge)?;
        tls.as_ref().map_or(Ok(()), tls::watch)?;
        let (user, folders) = (config.user.clone(), vec![folder(&edge)]);
        let server = Server { load, validator, edge, listeners, tls, user, folders, keepers, refreshes };
        for listener in &server.listeners {
            server.open(listener)?;
        }
        Ok((server, signals))
    }

    fn open(&self, listener: &Listener) -> io::Result<()> {
        listener.start(self.tls.as_ref().map(|tls| tls.config()), &self.edge)?;
        say!("listening on {listener}");
        Ok(())
    }

    fn serve((mut server, signals): (Server, Receiver<i32>)) -> i32 {
        while signals.recv() == Ok(SIGHUP) {
            match server.reload() {
                Ok(()) => say!("the configuration was read again and is in force"),
                Err(error) => {
                    say!("the configuration was read again and is not used: {error}; the old one stays")
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
            return Err(ConfigError { path: "user".into(), message: message.into() });
        }
        let failed =
            |error: io::Error| ConfigError { path: "s3imageserver".into(), message: error.to_string() };
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
        let (keepers, refreshes) = (&self.keepers, &self.refreshes);
        let site = Site::new(&config, self.validator, renderer, https_port, keepers, refreshes);
        drop(self.edge.site.replace(site));
        // Whose renderers are gone has removed its folder.
        self.folders.retain(|folder| Arc::strong_count(folder) > 1);
        self.folders.push(folder(&self.edge));
        for listener in &added {
            // The new configuration is in force by now.
            if let Err(error) = self.open(listener) {
                say!("edge: {listener} can't be served: {error}");
            }
        }
        self.listeners.retain(|listener| wanted.contains(listener.endpoint()) && !listener.is_lost());
        self.listeners.extend(added);
        Ok(())
    }

    fn bind(&self, endpoint: Endpoint) -> Result<Listener, ConfigError> {
        let is_ours = self.listeners.iter().any(|listener| listener.blocks(&endpoint));
        Listener::bind(endpoint).map_err(|error| match is_ours {
            // The old one can't be closed before the new one is known to work.
            true => {
                let message = format!("{}, by this server itself: it takes a restart", error.message);
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
        say!("stopping");
        let limits = self.edge.site.get().limits.clone();
        let lifecycle = &self.edge.lifecycle;
        lifecycle.stop();
        let impatient = !limits.stop_delay.is_zero() && next_stop(signals, limits.stop_delay);
        self.listeners.clear();
        const STEP: Duration = Duration::from_millis(100);
        let patience = if impatient { Duration::ZERO } else { limits.stop_timeout };
        let mut waited = Duration::ZERO;
        let mut left = lifecycle.wait_until_idle(patience.min(STEP));
        while left > 0 && waited < patience && !next_stop(signals, Duration::ZERO) {
            left = lifecycle.wait_until_idle(STEP);
            waited += STEP;
        }
        self.folders.iter().for_each(|folder| folder.remove());
        match left {
            0 => say!("stopped"),
            left => say!("stopped with {left} requests unfinished"),
        }
    }
}

/// Whether a signal to stop comes within this time.
fn next_stop(signals: &Receiver<i32>, patience: Duration) -> bool {
    let deadline = std::time::Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match signals.recv_timeout(left) {
            Ok(SIGHUP) => {}
            other => return other.is_ok(),
        }
    }
}

fn folder(edge: &Edge) -> Arc<PrivateFolder> {
    Arc::clone(edge.site.get().images.renderer().folder())
}

fn renderer(config: &Config, text: String) -> io::Result<Renderer> {
    let resolved = config.handlers.iter().map(Handler::resolved).collect();
    Renderer::start(Setup { text, resolved }, &config.limits)
        .map_err(|error| io::Error::new(error.kind(), format!("the renderer can't be started: {error}")))
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
        say!("edge: the limit of open files stays at {current:?}: {error}");
    }
}
