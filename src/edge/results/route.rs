//! One handler, as answering for its pictures needs it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::outage::Outage;
use super::renewals::Renewals;
use crate::cache::{DiskCache, Name};
use crate::config::Handler;
use crate::edge::renderer::Trouble;
use crate::edge::store::{Keeper, OriginalsKeeper};
use crate::error::{Code, Failure};
use crate::key;
use crate::report::{OnceAMinute, say};

/// A line that was said is not said again so soon: a crowd that waited for one picture is told one thing.
const SAME_LINE: Duration = Duration::from_secs(1);

/// Everything about one handler that answering for its pictures takes.
#[derive(Debug)]
pub struct Route {
    /// The handler.
    pub handler: Handler,
    /// [`Handler::identity`]
    pub identity: String,
    /// Its results on disk.
    pub cache: Option<DiskCache>,
    /// Who keeps their folder within its bounds.
    pub keeper: Option<Arc<Keeper>>,
    /// Its originals on disk.
    pub originals: OriginalsKeeper,
    /// Whether its origin answers.
    pub outage: Outage,
    /// What is being renewed.
    pub renewals: Arc<Renewals>,
    /// For what is said once in a while.
    pub complaint: OnceAMinute,
    last_line: Mutex<Option<(String, Instant)>>,
}

impl Route {
    /// A handler with its cache folders' keepers.
    pub fn new(handler: &Handler, keepers: &HashMap<PathBuf, Arc<Keeper>>) -> Route {
        let keeper = handler.cache.as_ref().and_then(|cache| keepers.get(&cache.path));
        Route {
            handler: handler.clone(),
            identity: handler.identity(),
            cache: handler.cache.as_ref().map(|cache| DiskCache::new(&cache.path, handler.lifetime())),
            keeper: keeper.map(Arc::clone),
            originals: OriginalsKeeper::of(handler, keepers),
            outage: Outage::default(),
            renewals: Arc::default(),
            complaint: OnceAMinute::default(),
            last_line: Mutex::default(),
        }
    }

    /// Says why there is no picture. Everybody who waited for it says so, but only once in a while the same.
    pub fn explain(&self, name: &Name, failure: &Failure) {
        if matches!(failure.code, Code::NotFound | Code::NotShown | Code::CrashesRenderer) {
            return;
        }
        let line = format!("{}: {:?}: {failure}", self.handler.route, name.key);
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.as_ref().is_none_or(|(said, at)| *said != line || now.duration_since(*at) > SAME_LINE) {
            say!("{line}");
            *last = Some((line, now));
        }
    }

    /// Says, once in a while, why old pictures are served.
    pub fn complain(&self, name: &Name, trouble: &Trouble) {
        if let Trouble::Failure(failure) = trouble {
            let (handler, key) = (&self.handler.route, &name.key);
            self.complaint.line(format_args!("{handler}: {key:?} can't be renewed: {failure}"));
        }
    }

    /// What the renderer is asked with.
    pub fn target(&self, name: &Name) -> String {
        format!("{}?{}", key::to_path(&self.handler.route, &name.key), name.options)
    }
}
