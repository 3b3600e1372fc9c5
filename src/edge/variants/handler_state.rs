//! The state of one handler: its caches, its circuit breaker, its revalidations.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::cache_manager::CacheManager;
use super::circuit_breaker::CircuitBreaker;
use super::handler_caches::HandlerCaches;
use super::journal_status::JournalStatus;
use super::link_switch::LinkSwitch;
use super::revalidations::Revalidations;
use crate::cache::{Freshness, Name};
use crate::config::Handler;
use crate::edge::renderer::RenderError;
use crate::error::{Code, Failure};
use crate::key;
use crate::log::{RateLimited, warn};
use crate::metrics::{HandlerMetrics, METRICS};
use crate::sync::Mutex;

/// Minimum time between two equal log lines: all waiters of one failed image log the same failure.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct HandlerState {
    pub config: Handler,
    pub caches: HandlerCaches,
    pub circuit_breaker: CircuitBreaker,
    pub revalidations: Arc<Revalidations>,
    pub metrics: Arc<HandlerMetrics>,
    /// Of the journal in its results bucket, if it has one.
    pub journal: JournalStatus,
    link_switch: LinkSwitch,
    pub warning: RateLimited,
    last_failure: Mutex<Option<(String, Instant)>>,
}

impl HandlerState {
    pub fn new(config: &Handler, managers: &HashMap<PathBuf, Arc<CacheManager>>) -> HandlerState {
        HandlerState {
            config: config.clone(),
            caches: HandlerCaches::new(config, managers),
            circuit_breaker: CircuitBreaker::default(),
            revalidations: Arc::default(),
            metrics: METRICS.handlers.find(&config.route),
            journal: JournalStatus::default(),
            link_switch: LinkSwitch::new(config.origins.local_directories(), SystemTime::now()),
            warning: RateLimited::default(),
            last_failure: Mutex::default(),
        }
    }

    /// Identifies the state of the origin at the time of a request: requests with different epochs share no results. It
    /// is the time of the latest purge, `not_before`, or of a later switch of a link.
    pub fn epoch(&self, not_before: u64) -> u64 {
        not_before.max(self.link_switch.switched_at())
    }

    /// Looks for a switched link. Returns the directory and its new target if there is one.
    pub fn check_links(&self) -> Option<(&Path, PathBuf)> {
        let switched = self.link_switch.check(SystemTime::now())?;
        // The failures were those of the directory before.
        self.circuit_breaker.record(None, Instant::now());
        Some(switched)
    }

    /// Limits the freshness of an entry from before a switch of a link: the originals may have changed.
    pub fn freshness_after_switch(&self, freshness: Freshness, validated_at: u64) -> Freshness {
        let is_before = validated_at <= self.link_switch.switched_at();
        match freshness {
            Freshness::Fresh | Freshness::StaleWhileRevalidate if is_before => {
                if self.config.stale_if_error.is_zero() {
                    Freshness::MustRevalidate
                } else {
                    Freshness::StaleIfError
                }
            }
            freshness => freshness,
        }
    }

    /// Logs why an image can't be made, unless the same line was logged within [`REPEAT_INTERVAL`].
    pub fn log_failure(&self, name: &Name, failure: &Failure) {
        if matches!(failure.code, Code::NotFound | Code::NotShown | Code::CrashesRenderer) {
            return;
        }
        let line = format!("{}: {:?}: {failure}", self.config.route, name.key);
        let now = Instant::now();
        let mut last = self.last_failure.lock();
        let is_repeated = last.as_ref().is_some_and(|(last_line, at)| {
            *last_line == line && now.duration_since(*at) <= REPEAT_INTERVAL
        });
        if !is_repeated {
            warn!("image_failed", "{line}");
            *last = Some((line, now));
        }
    }

    /// Logs, rate-limited, why a stale image is served.
    pub fn warn_stale(&self, name: &Name, error: &RenderError) {
        if let RenderError::Failure(failure) = error {
            let route = &self.config.route;
            let key = &name.key;
            self.warning.warn(
                "revalidation_failed",
                format_args!("{route}: {key:?}: serving a stale image: {failure}"),
            );
        }
    }

    /// The request target for the renderer.
    pub fn render_target(&self, name: &Name) -> String {
        format!("{}?{}", key::to_path(&self.config.route, &name.key), name.options)
    }
}
