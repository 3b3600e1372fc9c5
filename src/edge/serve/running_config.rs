//! The running configuration: everything that a reload replaces at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::image_handler::ImageHandler;
use crate::TokenValidator;
use crate::config::{Config, Limits, Topic, TrustedProxies};
use crate::edge::http::bearer::Secret;
use crate::edge::renderer::Renderer;
use crate::edge::variants::cache_manager::{CacheManager, CacheManagers};
use crate::edge::variants::purge::Purger;
use crate::edge::variants::purge_hooks::PurgeHooks;
use crate::edge::variants::purge_log::PurgeLog;
use crate::sync::RwLock;

/// A configuration with its handlers and its renderer. A request keeps the one it began with; the last request drops
/// the renderer.
#[derive(Debug)]
pub struct RunningConfig {
    pub images: ImageHandler,
    pub limits: Limits,
    pub access_log: bool,
    /// The HTTPS port that HTTP requests are redirected to.
    pub https_redirect: Option<u16>,
    /// The `max-age` of `Strict-Transport-Security`.
    pub hsts: Option<u64>,
    pub trusted_proxies: TrustedProxies,
    /// The validator function may block, so each connection gets a thread.
    pub needs_threads: bool,
    /// The managers of the cache directories, by configured path.
    pub managers: HashMap<PathBuf, Arc<CacheManager>>,
    pub purger: Purger,
    /// The secret of the admin listener; `None` refuses every request.
    pub admin: Option<Secret>,
    /// The SNS topics whose messages are accepted.
    pub topics: Vec<Topic>,
    proxy_protocol: bool,
}

impl RunningConfig {
    /// The renderer is already running. `https_port` is the actual port of the HTTPS listener.
    pub fn new(
        config: &Config,
        validator: Option<TokenValidator>,
        renderer: Renderer,
        https_port: Option<u16>,
        managers: &CacheManagers,
        purge_log: &Arc<PurgeLog>,
        purge_hooks: &Arc<PurgeHooks>,
    ) -> RunningConfig {
        purge_log.extend_retention(renderer.max_render_time());
        let managers = managers.for_config(config);
        let images = ImageHandler::new(config, validator, renderer, &managers, purge_log);
        let handlers = images.handlers().map(Arc::clone);
        let purger = Purger::new(images.variants(), handlers, purge_log, purge_hooks);
        let strict = config.https.as_ref().is_some_and(|https| https.strict);
        RunningConfig {
            images,
            limits: config.limits.clone(),
            access_log: config.access_log,
            https_redirect: https_port.filter(|_| strict),
            hsts: config.https.as_ref().and_then(|https| https.hsts),
            needs_threads: validator.is_some(),
            trusted_proxies: config.trusted_proxies.clone(),
            purger,
            managers,
            admin: config.admin.as_ref().map(|admin| Secret::new(&admin.secret)),
            topics: config.admin.as_ref().map_or_else(Vec::new, |admin| admin.topics.clone()),
            proxy_protocol: config.proxy_protocol,
        }
    }

    /// Whether this peer must start its connections with a PROXY header.
    pub fn expects_proxy_header(&self, peer: Option<IpAddr>) -> bool {
        self.proxy_protocol && self.trusted_proxies.contains(peer)
    }
}

/// The current configuration.
#[derive(Debug)]
pub struct CurrentConfig(RwLock<Arc<RunningConfig>>);

impl CurrentConfig {
    pub fn new(running: RunningConfig) -> CurrentConfig {
        CurrentConfig(RwLock::new(Arc::new(running)))
    }

    /// For one request. It must not be held while waiting for a client, which would keep an old configuration alive.
    pub fn get(&self) -> Arc<RunningConfig> {
        Arc::clone(&self.0.read())
    }

    /// Replaces the current configuration and returns the previous one.
    pub fn replace(&self, running: RunningConfig) -> Arc<RunningConfig> {
        let mut current = self.0.write();
        std::mem::replace(&mut current, Arc::new(running))
    }
}
