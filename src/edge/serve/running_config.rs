//! What a configuration makes of requests: everything that a reload replaces at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::image_handler::ImageHandler;
use crate::TokenValidator;
use crate::config::{Config, Limits, TrustedProxies};
use crate::edge::http::bearer::Secret;
use crate::edge::renderer::Renderer;
use crate::edge::variants::cache_manager::{CacheManager, CacheManagers};
use crate::edge::variants::purge::Purger;
use crate::edge::variants::purge_log::PurgeLog;

/// One configuration at work. Requests that began under it end under it; the last one takes its renderer along.
#[derive(Debug)]
pub struct RunningConfig {
    /// The images.
    pub images: ImageHandler,
    /// Deadlines and sizes.
    pub limits: Limits,
    /// Whether each request is a line.
    pub access_log: bool,
    /// The HTTPS port that plain requests are sent to.
    pub https_redirect: Option<u16>,
    /// The `max-age` of `Strict-Transport-Security`.
    pub hsts: Option<u64>,
    /// Whose word about the client is taken.
    pub trusted_proxies: TrustedProxies,
    /// A token check that is not ours may take its time, so that each connection gets a thread of its own.
    pub needs_threads: bool,
    /// Who keeps the cache directories within their bounds.
    pub managers: HashMap<PathBuf, Arc<CacheManager>>,
    /// PurgeLog what is cached.
    pub purger: Purger,
    /// Who may use the admin listener; `None` is nobody.
    pub admin: Option<Secret>,
    proxy_protocol: bool,
}

impl RunningConfig {
    /// A configuration with its renderer, which runs already. `https_port` is the one that is really listened on.
    pub fn new(
        config: &Config,
        validator: Option<TokenValidator>,
        renderer: Renderer,
        https_port: Option<u16>,
        managers: &CacheManagers,
        purge_log: &Arc<PurgeLog>,
    ) -> RunningConfig {
        purge_log.outlast(renderer.max_render_time());
        let managers = managers.of(config);
        let strict = config.https.as_ref().is_some_and(|https| https.strict);
        RunningConfig {
            images: ImageHandler::new(config, validator, renderer, &managers, purge_log),
            limits: config.limits.clone(),
            access_log: config.access_log,
            https_redirect: https_port.filter(|_| strict),
            hsts: config.https.as_ref().and_then(|https| https.hsts),
            needs_threads: validator.is_some(),
            trusted_proxies: config.trusted_proxies.clone(),
            purger: Purger::new(config, &managers, purge_log),
            managers,
            admin: config.admin.as_ref().map(|admin| Secret::new(&admin.secret)),
            proxy_protocol: config.proxy_protocol,
        }
    }

    /// Whether this peer must start its connections with a PROXY header.
    pub fn expects_proxy_header(&self, peer: Option<IpAddr>) -> bool {
        self.proxy_protocol && self.trusted_proxies.contains(peer)
    }
}

/// The running in force.
#[derive(Debug)]
pub struct CurrentConfig(RwLock<Arc<RunningConfig>>);

impl CurrentConfig {
    /// The first one.
    pub fn new(running: RunningConfig) -> CurrentConfig {
        CurrentConfig(RwLock::new(Arc::new(running)))
    }

    /// For the length of one request. Nobody keeps it while waiting for a client, or an old running would live on.
    pub fn get(&self) -> Arc<RunningConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on requests are answered by this one. The one before is returned.
    pub fn replace(&self, running: RunningConfig) -> Arc<RunningConfig> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, Arc::new(running))
    }
}
