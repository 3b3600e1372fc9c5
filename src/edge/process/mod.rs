//! The life of the edge process: start, reload and shutdown.

mod link_watch;
mod liveness;
pub mod privileges;
mod purge_watch;
mod readiness_watch;
mod service_manager;
mod signals;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::SIGHUP;

use super::net::activation;
use super::net::endpoint::{Endpoint, ListenerKind};
use super::net::listener::Listener;
use super::net::poller;
use super::net::shared::Shared;
use super::net::tls::{self, Tls};
use super::renderer::{Renderer, SocketDirectory};
use super::serve::responder::Responder;
use super::serve::running_config::RunningConfig;
use super::variants::Counts;
use super::variants::cache_manager::CacheManagers;
use super::variants::purge_hooks::PurgeHooks;
use super::variants::purge_log::PurgeLog;
use crate::TokenValidator;
use crate::config::{Config, ConfigError, Handler, Limits};
use crate::log::{self, error, info, sink, warn};
use crate::machine::{self, Machine};
use crate::metrics::{METRICS, Reload};
use crate::time::unix_seconds;
use crate::wire::Setup;
use liveness::Liveness;
use service_manager::ServiceManager;
use signals::receives_stop;

/// Exit status if the server can't start although its configuration is valid.
const EXIT_FAILURE: i32 = 1;
/// Interval at which a drain checks for another signal.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// Reads the configuration and checks it, without opening a port.
pub type Load<'l> = dyn Fn() -> Result<Config, ConfigError> + 'l;

struct Server<'l> {
    load: &'l Load<'l>,
    validator: Option<TokenValidator>,
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    tls: Option<Arc<Tls>>,
    user: Option<String>,
    /// Socket directories of all renderers that may still run, including draining ones.
    directories: Vec<Arc<SocketDirectory>>,
    managers: CacheManagers,
    /// Kept across reloads, so that a purge stays in force.
    purge_log: Arc<PurgeLog>,
    /// Kept across reloads, so that no purge is lost with one.
    purge_hooks: Arc<PurgeHooks>,
    service_manager: ServiceManager,
    /// For the watchdog of the service manager.
    liveness: Option<Liveness>,
}

/// Serves a configuration, later the one that `load` returns at a reload, until SIGTERM or SIGINT. Returns the exit
/// status.
pub fn run(
    config: Config,
    load: &Load,
    validator: Option<TokenValidator>,
) -> Result<i32, ConfigError> {
    let (listeners, tls) = prepare(&config).map_err(|error| config.locate(error))?;
    match Server::start(load, validator, &config, listeners, tls) {
        Ok((server, signals)) => {
            server.serve(&signals);
            Ok(0)
        }
        Err(error) => {
            error!("start_failed", "{error}");
            Ok(EXIT_FAILURE)
        }
    }
}

/// Binds the ports and loads the certificates, which may need root, and becomes the configured user. No thread may run
/// before.
fn prepare(config: &Config) -> Result<(Vec<Listener>, Option<Arc<Tls>>), ConfigError> {
    let passed = activation::receive(config)?.into_iter().enumerate();
    let mut listeners = passed
        .map(|(index, (kind, socket))| Listener::passed(Endpoint::Passed(kind, index), socket))
        .collect::<Result<Vec<_>, _>>()?;
    for endpoint in Endpoint::from_config(config, &passed_endpoints(&listeners)) {
        if !endpoint.is_passed() {
            listeners.push(Listener::bind(endpoint)?);
        }
    }
    let tls = config.https.as_ref().map(Tls::new).transpose()?.map(Arc::new);
    privileges::drop_root(config)?;
    Ok((listeners, tls))
}

impl<'l> Server<'l> {
    fn start(
        load: &'l Load<'l>,
        validator: Option<TokenValidator>,
        config: &Config,
        listeners: Vec<Listener>,
        tls: Option<Arc<Tls>>,
    ) -> io::Result<(Server<'l>, Receiver<i32>)> {
        sink::start()?;
        let signals = signals::forward()?;
        raise_file_limit();
        log_machine(machine::current(), config);
        let service_manager = ServiceManager::from_environment();
        let managers = CacheManagers::default();
        let purge_log = Arc::default();
        let purge_hooks = Arc::default();
        let https_port = https_port(&listeners);
        let running = RunningConfig::new(
            config,
            validator,
            start_renderer(config)?,
            https_port,
            &managers,
            &purge_log,
            &purge_hooks,
        );
        running.purger.restore();
        let now = unix_seconds(SystemTime::now());
        METRICS.started.set(now);
        METRICS.config_loaded.set(now);
        let shared = Shared::new(Responder::new(running))?;
        poller::start(&shared)?;
        tls.as_ref().map_or(Ok(()), tls::watch)?;
        link_watch::start(&shared)?;
        readiness_watch::start(&shared)?;
        purge_watch::start(&shared)?;
        let directories = vec![socket_directory(&shared.responder)];
        let server = Server {
            load,
            validator,
            shared,
            listeners,
            tls,
            user: config.user.clone(),
            directories,
            managers,
            purge_log,
            purge_hooks,
            liveness: service_manager.stall_timeout().map(Liveness::new),
            service_manager,
        };
        for listener in &server.listeners {
            server.open(listener)?;
        }
        log_playgrounds(config);
        Ok((server, signals))
    }

    fn open(&self, listener: &Listener) -> io::Result<()> {
        listener.start(self.tls.as_ref().map(|tls| &tls.config), &self.shared)?;
        info!("listening", "listening on {listener}");
        Ok(())
    }

    fn serve(mut self, signals: &Receiver<i32>) {
        self.service_manager.ready(&self.status());
        loop {
            match signals::receive(signals, self.service_manager.interval()) {
                Ok(SIGHUP) => {
                    self.service_manager.reloading();
                    match self.reload() {
                        Ok(()) => {
                            METRICS.reloads.get(Reload::Ok).add(1);
                            info!("reload_ok", "configuration reloaded");
                        }
                        Err(error) => {
                            METRICS.reloads.get(Reload::Failed).add(1);
                            error!("reload_failed", "keeping the previous configuration: {error}");
                        }
                    }
                    self.service_manager.ready(&self.status());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let is_alive = self.is_alive();
                    self.service_manager.report(&self.status(), is_alive);
                }
                _ => break,
            }
        }
        self.service_manager.stopping();
        self.shut_down(signals);
    }

    /// A line for the operator.
    fn status(&self) -> String {
        let connections = self.shared.connections.open();
        let running = self.shared.responder.running.get();
        let Counts { rendered, revalidated, failed } = running.images.variants().counts();
        let [rendered, revalidated, failed] =
            [rendered, revalidated, failed].map(|count| count.load(Ordering::Relaxed));
        format!(
            "serving {connections} connections; {rendered} images rendered, {revalidated} revalidated, {failed} failed"
        )
    }

    /// Whether the pollers, the accept loops and the renderer make progress.
    fn is_alive(&mut self) -> bool {
        let Some(liveness) = &mut self.liveness else { return true };
        let running = self.shared.responder.running.get();
        let pollers = self.shared.inboxes.iter().map(|inbox| inbox.turns());
        let acceptors = self.listeners.iter().filter_map(Listener::turns);
        let renderer = running.images.variants().renderer().heartbeats();
        liveness.check(pollers.chain(acceptors).chain([renderer]), Instant::now())
    }

    /// Everything that can fail comes first; then the running config is replaced at once. Active requests finish under
    /// the previous one, with its renderer.
    fn reload(&mut self) -> Result<(), ConfigError> {
        let config = (self.load)()?;
        self.apply(&config).map_err(|error| config.locate(error))
    }

    fn apply(&mut self, config: &Config) -> Result<(), ConfigError> {
        if config.user != self.user {
            let message = "can't be changed by a reload; restart the server";
            return Err(ConfigError::new("user", message));
        }
        let failed = |error: io::Error| ConfigError::new("s3imageserver", error.to_string());
        let passed = passed_endpoints(&self.listeners);
        activation::check(config, passed.iter().map(Endpoint::kind))?;
        let endpoints = Endpoint::from_config(config, &passed);
        let added = endpoints.iter().filter(|endpoint| !self.is_open(endpoint)).cloned();
        let added = added.map(|endpoint| self.bind(endpoint)).collect::<Result<Vec<_>, _>>()?;
        let renderer = start_renderer(config).map_err(failed)?;
        match (&config.https, &self.tls) {
            (Some(https), Some(tls)) => tls.reload(https)?,
            (Some(https), None) => {
                let tls = Arc::new(Tls::new(https)?);
                tls::watch(&tls).map_err(failed)?;
                self.tls = Some(tls);
            }
            (None, _) => self.tls = None,
        }
        let kept = self.listeners.iter().filter(|listener| endpoints.contains(&listener.endpoint));
        let https_port = https_port(kept.chain(&added));
        let running = RunningConfig::new(
            config,
            self.validator,
            renderer,
            https_port,
            &self.managers,
            &self.purge_log,
            &self.purge_hooks,
        );
        log::configure(config.log_level, config.log_format);
        drop(self.shared.responder.running.replace(running));
        METRICS.config_loaded.set(unix_seconds(SystemTime::now()));
        // The last renderer to use a directory removes it.
        self.directories.retain(|directory| Arc::strong_count(directory) > 1);
        self.directories.push(socket_directory(&self.shared.responder));
        for listener in &added {
            // Too late to fail: the new configuration is in force.
            if let Err(error) = self.open(listener) {
                error!("listen_failed", "can't serve {listener}: {error}");
            }
        }
        self.listeners
            .retain(|listener| endpoints.contains(&listener.endpoint) && !listener.is_lost());
        self.listeners.extend(added);
        log_playgrounds(config);
        Ok(())
    }

    fn bind(&self, endpoint: Endpoint) -> Result<Listener, ConfigError> {
        let is_own = self.listeners.iter().any(|listener| listener.blocks(&endpoint));
        Listener::bind(endpoint).map_err(|error| {
            if !is_own {
                return error;
            }
            // The old listener can't be closed before the whole new configuration is known to work.
            let message = format!("{} by this server itself; restart the server", error.message);
            ConfigError { message, ..error }
        })
    }

    fn is_open(&self, endpoint: &Endpoint) -> bool {
        self.listeners.iter().any(|listener| listener.endpoint == *endpoint && !listener.is_lost())
    }

    /// `/-/health` answers 503 at once; after `stop_delay` the listeners are closed, and active requests are drained
    /// for up to `stop_timeout`. A second signal skips both waits.
    fn shut_down(mut self, signals: &Receiver<i32>) {
        info!("stopping", "draining connections");
        let limits = self.shared.responder.running.get().limits.clone();
        let shutdown = &self.shared.responder.shutdown;
        shutdown.stop();
        let is_hurried = !limits.stop_delay.is_zero() && receives_stop(signals, limits.stop_delay);
        self.listeners.clear();
        let timeout = if is_hurried { Duration::ZERO } else { limits.stop_timeout };
        let mut waited = Duration::ZERO;
        let mut active = shutdown.wait_until_idle(timeout.min(DRAIN_INTERVAL));
        // A connection that was accepted just before has not sent its request yet.
        while (active > 0 || self.shared.connections.unfinished() > 0)
            && waited < timeout
            && !receives_stop(signals, DRAIN_INTERVAL)
        {
            active = shutdown.wait_until_idle(Duration::ZERO);
            waited += DRAIN_INTERVAL;
        }
        self.purge_hooks.stop(is_hurried, || receives_stop(signals, DRAIN_INTERVAL));
        self.directories.iter().for_each(|directory| directory.remove());
        if active == 0 {
            info!("stopped", "stopped");
        } else {
            warn!("stopped", "stopped with {active} unfinished requests");
        }
    }
}

fn passed_endpoints(listeners: &[Listener]) -> Vec<Endpoint> {
    let endpoints = listeners.iter().map(|listener| &listener.endpoint);
    endpoints.filter(|endpoint| endpoint.is_passed()).cloned().collect()
}

fn socket_directory(responder: &Responder) -> Arc<SocketDirectory> {
    Arc::clone(&responder.running.get().images.variants().renderer().directory)
}

fn start_renderer(config: &Config) -> io::Result<Renderer> {
    let setup = Setup {
        text: config.text().to_owned(),
        environment: config.environment().clone(),
        machine: machine::current(),
        resolved: config.handlers.iter().map(Handler::resolved).collect(),
    };
    Renderer::start(setup, &config.limits, config.journal_connections())
        .map_err(|error| io::Error::new(error.kind(), format!("can't start the renderer: {error}")))
}

fn log_playgrounds(config: &Config) {
    for Handler { route, .. } in config.handlers.iter().filter(|handler| handler.playground) {
        info!("playground_open", "{route}: everyone who reaches /{route}/ gets its playground");
    }
}

fn https_port<'a>(listeners: impl IntoIterator<Item = &'a Listener>) -> Option<u16> {
    let is_https = |listener: &&Listener| listener.endpoint.kind() == ListenerKind::Https;
    listeners.into_iter().find(is_https).and_then(Listener::port)
}

/// Says which limits of the control group apply, and what follows from them or from the configuration.
fn log_machine(machine: Machine, config: &Config) {
    if !machine.is_cpu_limited && machine.memory.is_none() {
        return;
    }
    let Machine { processors, memory, .. } = machine;
    let memory = memory.map_or_else(|| "no".to_owned(), |bytes| bytes.to_string());
    let Limits { renders_at_once, memory_budget, renderer_max_rss, .. } = config.limits;
    info!(
        "cgroup_limits",
        "processors {processors}, memory limit {memory}: renders_at_once {renders_at_once}, memory_budget {memory_budget}, \
         renderer_max_rss {renderer_max_rss}, memory_cache {}",
        config.memory_cache
    );
}

/// Raises the soft limit of open files to the hard one: each connection is a file, and the usual soft limit is 1024.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(
            "file_limit",
            "can't raise the limit of open files from {current:?} to {maximum:?}: {error}"
        );
    }
}
