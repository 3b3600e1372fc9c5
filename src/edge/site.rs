//! What a configuration makes of requests: everything that a reload replaces at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::admin::Secret;
use super::images::Images;
use super::refresh::Refresher;
use super::refreshes::Refreshes;
use super::renderer::Renderer;
use super::store::{Keeper, Keepers};
use crate::TokenValidator;
use crate::config::{Config, Limits, TrustedProxies};

/// One configuration at work. Requests that began under it end under it; the last one takes its renderer along.
#[derive(Debug)]
pub struct Site {
    /// The pictures.
    pub images: Images,
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
    /// Who keeps the cache folders within their bounds.
    pub keepers: HashMap<PathBuf, Arc<Keeper>>,
    /// Refreshes what is cached.
    pub refresher: Refresher,
    /// Who may use the admin listener; `None` is nobody.
    pub admin: Option<Secret>,
    proxy_protocol: bool,
}

impl Site {
    /// A configuration with its renderer, which runs already. `https_port` is the one that is really listened on.
    pub fn new(
        config: &Config,
        validator: Option<TokenValidator>,
        renderer: Renderer,
        https_port: Option<u16>,
        keepers: &Keepers,
        refreshes: &Arc<Refreshes>,
    ) -> Site {
        refreshes.outlast(renderer.longest_ask());
        let keepers = keepers.of(config);
        let strict = config.https.as_ref().is_some_and(|https| https.strict);
        Site {
            images: Images::new(config, validator, renderer, &keepers, refreshes),
            limits: config.limits.clone(),
            access_log: config.access_log,
            https_redirect: https_port.filter(|_| strict),
            hsts: config.https.as_ref().and_then(|https| https.hsts),
            needs_threads: validator.is_some(),
            trusted_proxies: config.trusted_proxies.clone(),
            refresher: Refresher::new(config, &keepers, refreshes),
            keepers,
            admin: config.admin.as_ref().map(|admin| Secret::new(&admin.secret)),
            proxy_protocol: config.proxy_protocol,
        }
    }

    /// Whether this peer must start its connections with a PROXY header.
    pub fn expects_proxy_header(&self, peer: Option<IpAddr>) -> bool {
        self.proxy_protocol && self.trusted_proxies.contains(peer)
    }
}

/// The site in force.
#[derive(Debug)]
pub struct CurrentSite(RwLock<Arc<Site>>);

impl CurrentSite {
    /// The first one.
    pub fn new(site: Site) -> CurrentSite {
        CurrentSite(RwLock::new(Arc::new(site)))
    }

    /// For the length of one request. Nobody keeps it while waiting for a client, or an old site would live on.
    pub fn get(&self) -> Arc<Site> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on requests are answered by this one. The one before is returned.
    pub fn replace(&self, site: Site) -> Arc<Site> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, Arc::new(site))
    }
}
