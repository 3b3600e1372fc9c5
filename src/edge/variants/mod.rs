//! Variants: from memory, from disk, or from the renderer, and what their age means (RFC 9111 §4, RFC 5861).

pub mod cache_manager;
mod circuit_breaker;
mod handler;
pub mod memory;
mod negative_cache;
pub mod purge;
pub mod purge_journal;
pub mod purge_log;
mod revalidations;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use self::memory::{Hot, Memory};
use self::purge_log::PurgeLog;
use super::renderer::{RenderError, RenderRequest, Renderer};
use super::serve::image_response;
use crate::cache::{self, EncodedImage, Entry, EntryId, Freshness, Name, Need};
use crate::error::{Code, Failure};
use crate::singleflight::SingleFlight;
use crate::time::unix_milliseconds;
pub use handler::Route;
use negative_cache::NegativeCache;

/// Who has something to serve waits no longer for something newer.
const IN_TIME: Duration = Duration::from_secs(1);
/// How often an image is made again for one request because it was purged meanwhile.
const MOST_PURGEES: usize = 4;

/// Where a result came from: the value of `X-Cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The cache.
    Hit,
    /// The cache, although it is past its time.
    Stale,
    /// The cache, after its origin has said that it has not changed.
    Revalidated,
    /// It was made for this request, or for another one at the same moment.
    Miss,
}

impl Source {
    /// As a header field and the log say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Hit => "hit",
            Source::Stale => "stale",
            Source::Revalidated => "revalidated",
            Source::Miss => "miss",
        }
    }
}

/// A result.
#[derive(Debug)]
pub struct Found<'r> {
    /// The image.
    pub got: Got<'r>,
    /// Where it came from.
    pub source: Source,
    /// `Age` in seconds: how long ago its origin vouched for it.
    pub age: u64,
}

/// Why there is no result.
#[derive(Debug)]
pub struct Missed {
    /// The reason.
    pub trouble: RenderError,
    /// Whether it was remembered, so that nobody was asked.
    pub is_known: bool,
}

/// An image in one of its states.
#[derive(Debug)]
pub enum Got<'r> {
    /// In memory, with the header fields of its answers.
    Hot(Arc<Hot>),
    /// On disk, too large for memory.
    Entry(Box<Entry<'r>>),
    /// It has just been made.
    EncodedImage(Arc<EncodedImage>),
}

/// What a flight brings.
#[derive(Clone, Debug)]
struct Landed {
    image: Arc<EncodedImage>,
    /// It was in the cache, and is right.
    was_there: bool,
    asked: u64,
}

type Landing = Result<Landed, RenderError>;

impl Landed {
    /// What it is for a request that began then.
    fn found<'r>(self, begun: SystemTime) -> Found<'r> {
        let source = match self.was_there {
            true if self.asked >= unix_milliseconds(begun) => Source::Revalidated,
            // Somebody else has asked.
            true => Source::Hit,
            false => Source::Miss,
        };
        let age = cache::age(self.asked, SystemTime::now());
        Found { got: Got::EncodedImage(self.image), source, age }
    }
}

/// The images of all handlers, made or kept.
#[derive(Debug)]
pub struct Variants {
    memory: Memory,
    /// By name, and by the time before which nothing is good enough: a purged image is another one.
    singleflight: SingleFlight<(Name, u64), Landing>,
    renderer: Renderer,
    timeout: Duration,
    negative: NegativeCache,
    purge_log: Arc<PurgeLog>,
    counts: Counts,
}

/// What the renderer was asked for, since the start or the last reload.
#[derive(Debug, Default)]
pub struct Counts {
    /// Service that were made.
    pub rendered: AtomicU64,
    /// Entries whose origins said that they are right still.
    pub revalidated: AtomicU64,
    /// Service that there was none of, for whatever reason.
    pub failed: AtomicU64,
}

/// Whether what is kept may be served instead, within its `stale_if_error` (RFC 5861 §4).
fn may_serve_stale(trouble: &RenderError) -> bool {
    match trouble {
        RenderError::Failure(failure) => failure.code.allows_stale(),
        RenderError::Overloaded => true,
    }
}

impl Got<'_> {
    fn stored(&self) -> u64 {
        match self {
            Got::Hot(hot) => hot.stamp().validated_at(),
            Got::Entry(entry) => entry.validated_at(),
            Got::EncodedImage(_) => u64::MAX,
        }
    }
}

impl Variants {
    /// Nothing in memory yet.
    pub fn new(memory_bytes: u64, renderer: Renderer, purge_log: &Arc<PurgeLog>) -> Variants {
        Variants {
            memory: Memory::new(memory_bytes),
            singleflight: SingleFlight::new(),
            timeout: renderer.longest_ask(),
            renderer,
            negative: NegativeCache::default(),
            purge_log: Arc::clone(purge_log),
            counts: Counts::default(),
        }
    }

    /// What the renderer was asked for.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What makes the images.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// The result of this name. `None` if the renderer has to be waited for and that is not wanted.
    pub fn get<'r>(
        self: &Arc<Variants>,
        route: &'r Arc<Route>,
        name: &Name,
        need: Need,
        may_wait: bool,
    ) -> Option<Result<Found<'r>, Missed>> {
        let now = SystemTime::now();
        let not_before = self.not_before(name);
        if let Some((got, freshness)) = self.kept(route, name, need, not_before, now) {
            let age = cache::age(got.stored(), now);
            let found = |source| Found { got, source, age };
            match freshness {
                Freshness::Fresh => return Some(Ok(found(Source::Hit))),
                Freshness::StaleWhileRevalidate => {
                    drop(self.revalidate(route, name, not_before));
                    return Some(Ok(found(Source::Stale)));
                }
                Freshness::StaleIfError => {
                    return self.revalidated_in_time(
                        route,
                        name,
                        not_before,
                        may_wait,
                        found(Source::Stale),
                    );
                }
                Freshness::MustRevalidate => {}
            }
        }
        self.not_kept(route, name, not_before, may_wait)
    }

    /// The result of a name of which only an expired one is kept: revalidated, if that is possible now, or as it is.
    fn revalidated_in_time<'r>(
        self: &Arc<Variants>,
        route: &Arc<Route>,
        name: &Name,
        not_before: u64,
        may_wait: bool,
        spare: Found<'r>,
    ) -> Option<Result<Found<'r>, Missed>> {
        if let Some(failure) = self.negative.find(name, not_before) {
            let trouble = RenderError::Failure(failure);
            return Some(if may_serve_stale(&trouble) {
                Ok(spare)
            } else {
                Err(Missed { trouble, is_known: true })
            });
        }
        if route.circuit_breaker.is_known(Instant::now()) || self.renderer.is_full() {
            drop(self.revalidate(route, name, not_before));
            return Some(Ok(spare));
        }
        if !may_wait {
            return None;
        }
        let begun = SystemTime::now();
        let landing = match self.revalidate(route, name, not_before) {
            Some(revalidation) => revalidation.recv_timeout(IN_TIME).ok(),
            None => self.singleflight.join(&(name.clone(), not_before), IN_TIME),
        };
        if self.not_before(name) > not_before {
            // It was purged meanwhile, and nothing of this is right any more.
            return self.not_kept(route, name, self.not_before(name), may_wait);
        }
        Some(match landing {
            Some(Ok(landed)) => Ok(landed.found(begun)),
            Some(Err(trouble)) if !may_serve_stale(&trouble) => {
                Err(Missed { trouble, is_known: false })
            }
            late_or_failed => {
                if !matches!(late_or_failed, Some(Err(RenderError::Failure(_)))) {
                    route.circuit_breaker.note_late(Instant::now());
                }
                Ok(spare)
            }
        })
    }

    /// The result of this name when what is kept has turned out to be damaged, whether or not that could be removed.
    pub fn get_anew<'r>(
        self: &Arc<Variants>,
        route: &'r Arc<Route>,
        name: &Name,
        may_wait: bool,
    ) -> Option<Result<Found<'r>, Missed>> {
        self.not_kept(route, name, self.not_before(name), may_wait)
    }

    /// Has the result made.
    fn not_kept<'r>(
        &self,
        route: &Route,
        name: &Name,
        not_before: u64,
        may_wait: bool,
    ) -> Option<Result<Found<'r>, Missed>> {
        if let Some(failure) = self.negative.find(name, not_before) {
            return Some(Err(Missed { trouble: RenderError::Failure(failure), is_known: true }));
        }
        if !may_wait {
            // A thread that is told so at once is a thread too many, above all when there are many to be told.
            if !self.renderer.is_full()
                || self.singleflight.is_under_way(&(name.clone(), not_before))
            {
                return None;
            }
            return Some(Err(Missed { trouble: RenderError::Overloaded, is_known: false }));
        }
        let begun = SystemTime::now();
        let landing = self.make_as_of_now(route, name, not_before);
        let missed = |trouble| {
            if let RenderError::Failure(failure) = &trouble {
                route.explain(name, failure);
            }
            Missed { trouble, is_known: false }
        };
        Some(landing.map(|landed| landed.found(begun)).map_err(missed))
    }

    /// Has the image made once more when it was purged meanwhile.
    fn make_as_of_now(&self, route: &Route, name: &Name, mut not_before: u64) -> Landing {
        for _ in 0..MOST_PURGEES {
            let landing = self.make(route, name, not_before);
            let latest = self.not_before(name);
            let is_outdated = match &landing {
                Ok(landed) => landed.asked <= latest,
                Err(RenderError::Failure(failure)) => {
                    latest > not_before && matches!(failure.code, Code::NotFound | Code::NotShown)
                }
                Err(RenderError::Overloaded) => false,
            };
            if !is_outdated {
                return landing;
            }
            not_before = latest;
        }
        Err(RenderError::Overloaded)
    }

    /// What is kept under this name in memory or on disk, whatever its age.
    fn kept<'r>(
        &self,
        route: &'r Route,
        name: &Name,
        need: Need,
        not_before: u64,
        now: SystemTime,
    ) -> Option<(Got<'r>, Freshness)> {
        let disk = route.cache.as_ref()?;
        if let Some((hot, freshness)) = self.memory.find(name, disk, route.manager.as_deref(), now)
        {
            if hot.stamp().validated_at() > not_before {
                return Some((Got::Hot(hot), freshness));
            }
            self.memory.forget(name);
        }
        let entry = disk.find(name, need)?;
        if entry.validated_at() <= not_before {
            // It was written by someone who had asked before a purge, and the log will not hide it for ever.
            self.drop_entry(route, name);
            return None;
        }
        let freshness = entry.freshness(now);
        if let Some(manager) = &route.manager {
            manager.used(entry.id());
        }
        let is_small =
            usize::try_from(entry.length()).is_ok_and(|length| self.memory.takes(length));
        if !is_small || freshness == Freshness::MustRevalidate {
            return Some((Got::Entry(Box::new(entry)), freshness));
        }
        let stamp = entry.stamp();
        let image = Arc::new(entry.read()?);
        let hot = image_response::ready(&route.handler, image, stamp);
        self.memory.keep(name.clone(), Arc::clone(&hot));
        Some((Got::Hot(hot), freshness))
    }

    /// Renews a result on a thread of its own, unless there is enough to do already; what comes of it can be waited for.
    fn revalidate(
        self: &Arc<Variants>,
        route: &Arc<Route>,
        name: &Name,
        not_before: u64,
    ) -> Option<Receiver<Landing>> {
        if self.renderer.is_full() {
            return None;
        }
        let revalidation = route.revalidations.begin(name)?;
        if !route.circuit_breaker.may_try(Instant::now()) {
            return None;
        }
        let (results, route, name) = (Arc::clone(self), Arc::clone(route), name.clone());
        let (sender, landing) = channel();
        let revalidate = move || {
            let _revalidation = revalidation;
            let landing = results.make(&route, &name, not_before);
            if let Err(trouble) = &landing {
                route.complain(&name, trouble);
            }
            // Most of the time nobody waits.
            let _ = sender.send(landing);
        };
        // Without a thread, the next one who asks tries again.
        thread::Builder::new()
            .name("revalidation".into())
            .stack_size(super::STACK)
            .spawn(revalidate)
            .ok()?;
        Some(landing)
    }

    /// Has the image made or revalidated, together with everybody else who wants it now.
    fn make(&self, route: &Route, name: &Name, not_before: u64) -> Landing {
        const FAILED: &str = "the request that made this image for all of them failed";
        let failed = Err(RenderError::Failure(Failure::new(Code::RendererFailed, FAILED)));
        let made = self.singleflight.get(&(name.clone(), not_before), self.timeout, failed, || {
            // Who looked before the last flight landed and boarded after finds its result here.
            if let Some(landed) = self.landed_already(route, name, not_before) {
                return Ok(landed);
            }
            self.ask(route, name, not_before)
        });
        made.unwrap_or(Err(RenderError::Overloaded))
    }

    fn landed_already(&self, route: &Route, name: &Name, not_before: u64) -> Option<Landed> {
        let entry = route.cache.as_ref()?.find(name, Need::Image)?;
        if entry.freshness(SystemTime::now()) != Freshness::Fresh
            || entry.validated_at() <= not_before
        {
            return None;
        }
        let asked = entry.validated_at();
        Some(Landed { image: Arc::new(entry.read()?), was_there: true, asked })
    }

    fn ask(&self, route: &Route, name: &Name, not_before: u64) -> Landing {
        let target = route.target(name);
        let begun = unix_milliseconds(SystemTime::now());
        let asked = self.renderer.ask(RenderRequest { target: &target, not_before });
        let id = EntryId::of(name);
        let made = match asked {
            Ok(made) => made,
            Err(RenderError::Overloaded) => return Err(RenderError::Overloaded),
            Err(RenderError::Failure(failure)) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                route.circuit_breaker.note(Some(failure.code), Instant::now());
                // A purge meanwhile wants the origin to be asked again.
                if self.not_before(name) == not_before {
                    self.negative.remember(
                        name,
                        not_before,
                        &failure,
                        route.handler.negative_cache_time,
                    );
                }
                if failure.code == Code::NotFound || self.not_before(name) > not_before {
                    self.drop_entry(route, name);
                }
                return Err(RenderError::Failure(failure));
            }
        };
        // What was found on disk, or another request has brought, tells nothing about the origin.
        let was_origin_asked = made.validated_at >= begun;
        if was_origin_asked {
            route.circuit_breaker.note(None, Instant::now());
        }
        if !made.revalidated {
            self.counts.rendered.fetch_add(1, Ordering::Relaxed);
        } else if was_origin_asked {
            self.counts.revalidated.fetch_add(1, Ordering::Relaxed);
        }
        route.originals.note(&name.key, made.original);
        if let (Some(manager), Some(bytes)) = (&route.manager, made.disk_bytes) {
            manager.stored(id, bytes);
        }
        // The one in memory is older.
        self.memory.forget(name);
        if made.validated_at <= self.not_before(name) {
            self.drop_entry(route, name);
        }
        Ok(Landed {
            image: Arc::new(made.image),
            was_there: made.revalidated,
            asked: made.validated_at,
        })
    }

    /// What is kept under this name is not right any more.
    fn drop_entry(&self, route: &Route, name: &Name) {
        let id = EntryId::of(name);
        if let Some(cache) = &route.cache
            && let Err(error) = cache.remove(id)
        {
            route
                .warning
                .warn("entry_not_removed", format_args!("can't remove a stale variant: {error}"));
        }
        if let Err(error) = route.originals.drop_entry(&name.key) {
            route
                .warning
                .warn("entry_not_removed", format_args!("can't remove a stale original: {error}"));
        }
        if let Some(manager) = &route.manager {
            manager.removed(id);
        }
        self.memory.forget(name);
    }

    /// Forgets everything of such names that is held in memory. A purge calls this, and it has to reach whatever
    /// remembers something about a key.
    pub fn forget(&self, is_touched: &dyn Fn(&Name) -> bool) {
        self.memory.forget_all(is_touched);
        self.negative.forget(is_touched);
    }

    /// Makes a variant whose original was purged, as a request for it would. Whether it is there now.
    pub fn render(&self, route: &Route, name: &Name) -> bool {
        match self.make_as_of_now(route, name, self.not_before(name)) {
            Ok(_) => true,
            Err(trouble) => {
                route.complain(name, &trouble);
                false
            }
        }
    }

    /// What the origin said before this is not good enough for this name, in milliseconds since 1970.
    fn not_before(&self, name: &Name) -> u64 {
        self.purge_log.not_before(name)
    }
}
