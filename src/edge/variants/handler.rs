//! One handler, as answering for its images needs it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::circuit_breaker::CircuitBreaker;
use super::revalidations::Revalidations;
use crate::cache::{DiskCache, Name};
use crate::config::Handler;
use crate::edge::renderer::RenderError;
use crate::edge::variants::cache_manager::{CacheManager, OriginalsManager};
use crate::error::{Code, Failure};
use crate::key;
use crate::log::{RateLimited, warn};

/// A line that was said is not said again so soon: a crowd that waited for one image is told one thing.
const SAME_LINE: Duration = Duration::from_secs(1);

/// Everything about one handler that answering for its images takes.
#[derive(Debug)]
pub struct Route {
    /// The handler.
    pub handler: Handler,
    /// [`Handler::identity`]
    pub identity: String,
    /// Its results on disk.
    pub cache: Option<DiskCache>,
    /// Who keeps their directory within its bounds.
    pub manager: Option<Arc<CacheManager>>,
    /// Its originals on disk.
    pub originals: OriginalsManager,
    /// Whether its origin answers.
    pub circuit_breaker: CircuitBreaker,
    /// What is being revalidated.
    pub revalidations: Arc<Revalidations>,
    /// For what is said once in a while.
    pub warning: RateLimited,
    last_line: Mutex<Option<(String, Instant)>>,
}

impl Route {
    /// A handler with its cache directories' managers.
    pub fn new(handler: &Handler, managers: &HashMap<PathBuf, Arc<CacheManager>>) -> Route {
        let manager = handler.cache.as_ref().and_then(|cache| managers.get(&cache.path));
        Route {
            handler: handler.clone(),
            identity: handler.identity(),
            cache: handler
                .cache
                .as_ref()
                .map(|cache| DiskCache::new(&cache.path, handler.lifetime())),
            manager: manager.map(Arc::clone),
            originals: OriginalsManager::of(handler, managers),
            circuit_breaker: CircuitBreaker::default(),
            revalidations: Arc::default(),
            warning: RateLimited::default(),
            last_line: Mutex::default(),
        }
    }

    /// Says why there is no image. Everybody who waited for it says so, but only once in a while the same.
    pub fn explain(&self, name: &Name, failure: &Failure) {
        if matches!(failure.code, Code::NotFound | Code::NotShown | Code::CrashesRenderer) {
            return;
        }
        let line = format!("{}: {:?}: {failure}", self.handler.route, name.key);
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last
            .as_ref()
            .is_none_or(|(said, at)| *said != line || now.duration_since(*at) > SAME_LINE)
        {
            warn!("image_failed", "{line}");
            *last = Some((line, now));
        }
    }

    /// Says, once in a while, why old images are served.
    pub fn complain(&self, name: &Name, trouble: &RenderError) {
        if let RenderError::Failure(failure) = trouble {
            let (handler, key) = (&self.handler.route, &name.key);
            self.warning.warn(
                "revalidation_failed",
                format_args!("{handler}: {key:?}: serving a stale image: {failure}"),
            );
        }
    }

    /// What the renderer is asked with.
    pub fn target(&self, name: &Name) -> String {
        format!("{}?{}", key::to_path(&self.handler.route, &name.key), name.options)
    }
}
