//! Results: from memory, from disk, or from the renderer, and what their age means (RFC 9111 §4, RFC 5861).

mod missing;
mod outage;
mod renewals;
mod route;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::memory::{Hot, Memory};
use super::picture;
use super::refreshes::Refreshes;
use super::renderer::{Renderer, Trouble, Wanted};
use crate::cache::{self, Entry, EntryId, Freshness, Name, Need, Picture, unix_milliseconds};
use crate::error::{Code, Failure};
use crate::flights::Flights;
use missing::Missing;
pub use route::Route;

/// Who has something to serve waits no longer for something newer.
const IN_TIME: Duration = Duration::from_secs(1);
/// How often a picture is made again for one request because it was refreshed meanwhile.
const MOST_REFRESHES: usize = 4;

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
    /// The picture.
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
    pub trouble: Trouble,
    /// Whether it was remembered, so that nobody was asked.
    pub is_known: bool,
}

/// A picture in one of its states.
#[derive(Debug)]
pub enum Got<'r> {
    /// In memory, with the header fields of its answers.
    Hot(Arc<Hot>),
    /// On disk, too large for memory.
    Entry(Box<Entry<'r>>),
    /// It has just been made.
    Picture(Arc<Picture>),
}

/// What a flight brings.
#[derive(Clone, Debug)]
struct Landed {
    picture: Arc<Picture>,
    /// It was in the cache, and is right.
    was_there: bool,
    asked: u64,
}

type Landing = Result<Landed, Trouble>;

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
        Found { got: Got::Picture(self.picture), source, age }
    }
}

/// The pictures of all handlers, made or kept.
#[derive(Debug)]
pub struct Results {
    memory: Memory,
    /// By name, and by the time before which nothing is good enough: a refreshed picture is another one.
    flights: Flights<(Name, u64), Landing>,
    renderer: Renderer,
    patience: Duration,
    missing: Missing,
    refreshes: Arc<Refreshes>,
    counts: Counts,
}

/// What the renderer was asked for, since the start or the last reload.
#[derive(Debug, Default)]
pub struct Counts {
    /// Pictures that were made.
    pub rendered: AtomicU64,
    /// Entries whose origins said that they are right still.
    pub renewed: AtomicU64,
    /// Pictures that there was none of, for whatever reason.
    pub failed: AtomicU64,
}

/// Whether what is kept may be served instead, within its `stale_if_error` (RFC 5861 §4).
fn may_serve_stale(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Failure(failure) => failure.code.is_outage(),
        Trouble::Overloaded => true,
    }
}

impl Got<'_> {
    fn stored(&self) -> u64 {
        match self {
            Got::Hot(hot) => hot.witness().stored(),
            Got::Entry(entry) => entry.stored(),
            Got::Picture(_) => u64::MAX,
        }
    }
}

impl Results {
    /// Nothing in memory yet.
    pub fn new(memory_bytes: u64, renderer: Renderer, refreshes: &Arc<Refreshes>) -> Results {
        Results {
            memory: Memory::new(memory_bytes),
            flights: Flights::new(),
            patience: renderer.longest_ask(),
            renderer,
            missing: Missing::default(),
            refreshes: Arc::clone(refreshes),
            counts: Counts::default(),
        }
    }

    /// What the renderer was asked for.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What makes the pictures.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// The result of this name. `None` if the renderer has to be waited for and that is not wanted.
    pub fn get<'r>(
        self: &Arc<Results>,
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
                Freshness::Stale => {
                    drop(self.renew(route, name, not_before));
                    return Some(Ok(found(Source::Stale)));
                }
                Freshness::Expired => {
                    return self.renewed_in_time(route, name, not_before, may_wait, found(Source::Stale));
                }
                Freshness::Useless => {}
            }
        }
        self.not_kept(route, name, not_before, may_wait)
    }

    /// The result of a name of which only an expired one is kept: renewed, if that is possible now, or as it is.
    fn renewed_in_time<'r>(
        self: &Arc<Results>,
        route: &Arc<Route>,
        name: &Name,
        not_before: u64,
        may_wait: bool,
        spare: Found<'r>,
    ) -> Option<Result<Found<'r>, Missed>> {
        if let Some(failure) = self.missing.find(name, not_before) {
            let trouble = Trouble::Failure(failure);
            return Some(if may_serve_stale(&trouble) {
                Ok(spare)
            } else {
                Err(Missed { trouble, is_known: true })
            });
        }
        if route.outage.is_known(Instant::now()) || self.renderer.is_full() {
            drop(self.renew(route, name, not_before));
            return Some(Ok(spare));
        }
        if !may_wait {
            return None;
        }
        let begun = SystemTime::now();
        let landing = match self.renew(route, name, not_before) {
            Some(renewal) => renewal.recv_timeout(IN_TIME).ok(),
            None => self.flights.join(&(name.clone(), not_before), IN_TIME),
        };
        if self.not_before(name) > not_before {
            // It was refreshed meanwhile, and nothing of this is right any more.
            return self.not_kept(route, name, self.not_before(name), may_wait);
        }
        Some(match landing {
            Some(Ok(landed)) => Ok(landed.found(begun)),
            Some(Err(trouble)) if !may_serve_stale(&trouble) => Err(Missed { trouble, is_known: false }),
            late_or_failed => {
                if !matches!(late_or_failed, Some(Err(Trouble::Failure(_)))) {
                    route.outage.note_late(Instant::now());
                }
                Ok(spare)
            }
        })
    }

    /// The result of this name when what is kept has turned out to be damaged, whether or not that could be removed.
    pub fn get_anew<'r>(
        self: &Arc<Results>,
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
        if let Some(failure) = self.missing.find(name, not_before) {
            return Some(Err(Missed { trouble: Trouble::Failure(failure), is_known: true }));
        }
        if !may_wait {
            // A thread that is told so at once is a thread too many, above all when there are many to be told.
            if !self.renderer.is_full() || self.flights.is_under_way(&(name.clone(), not_before)) {
                return None;
            }
            return Some(Err(Missed { trouble: Trouble::Overloaded, is_known: false }));
        }
        let begun = SystemTime::now();
        let landing = self.make_as_of_now(route, name, not_before);
        let missed = |trouble| {
            if let Trouble::Failure(failure) = &trouble {
                route.explain(name, failure);
            }
            Missed { trouble, is_known: false }
        };
        Some(landing.map(|landed| landed.found(begun)).map_err(missed))
    }

    /// Has the picture made once more when it was refreshed meanwhile.
    fn make_as_of_now(&self, route: &Route, name: &Name, mut not_before: u64) -> Landing {
        for _ in 0..MOST_REFRESHES {
            let landing = self.make(route, name, not_before);
            let latest = self.not_before(name);
            let is_outdated = match &landing {
                Ok(landed) => landed.asked <= latest,
                Err(Trouble::Failure(failure)) => {
                    latest > not_before && matches!(failure.code, Code::NotFound | Code::NotShown)
                }
                Err(Trouble::Overloaded) => false,
            };
            if !is_outdated {
                return landing;
            }
            not_before = latest;
        }
        Err(Trouble::Overloaded)
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
        if let Some((hot, freshness)) = self.memory.find(name, disk, route.keeper.as_deref(), now) {
            if hot.witness().stored() > not_before {
                return Some((Got::Hot(hot), freshness));
            }
            self.memory.forget(name);
        }
        let entry = disk.find(name, need)?;
        if entry.stored() <= not_before {
            // It was written by someone who had asked before a refresh, and the log will not hide it for ever.
            self.drop_entry(route, name);
            return None;
        }
        let freshness = entry.freshness(now);
        if let Some(keeper) = &route.keeper {
            keeper.used(entry.id());
        }
        let is_small = usize::try_from(entry.length()).is_ok_and(|length| self.memory.takes(length));
        if !is_small || freshness == Freshness::Useless {
            return Some((Got::Entry(Box::new(entry)), freshness));
        }
        let witness = entry.witness();
        let picture = Arc::new(entry.read()?);
        let hot = picture::ready(&route.handler, picture, witness);
        self.memory.keep(name.clone(), Arc::clone(&hot));
        Some((Got::Hot(hot), freshness))
    }

    /// Renews a result on a thread of its own, unless there is enough to do already; what comes of it can be waited for.
    fn renew(
        self: &Arc<Results>,
        route: &Arc<Route>,
        name: &Name,
        not_before: u64,
    ) -> Option<Receiver<Landing>> {
        if self.renderer.is_full() {
            return None;
        }
        let renewal = route.renewals.begin(name)?;
        if !route.outage.may_try(Instant::now()) {
            return None;
        }
        let (results, route, name) = (Arc::clone(self), Arc::clone(route), name.clone());
        let (sender, landing) = channel();
        let renew = move || {
            let _renewal = renewal;
            let landing = results.make(&route, &name, not_before);
            if let Err(trouble) = &landing {
                route.complain(&name, trouble);
            }
            // Most of the time nobody waits.
            let _ = sender.send(landing);
        };
        // Without a thread, the next one who asks tries again.
        thread::Builder::new().name("renewal".into()).stack_size(super::STACK).spawn(renew).ok()?;
        Some(landing)
    }

    /// Has the picture made or renewed, together with everybody else who wants it now.
    fn make(&self, route: &Route, name: &Name, not_before: u64) -> Landing {
        const FAILED: &str = "the request that made this picture for all of them failed";
        let failed = Err(Trouble::Failure(Failure::new(Code::RendererFailed, FAILED)));
        let made = self.flights.get(&(name.clone(), not_before), self.patience, failed, || {
            // Who looked before the last flight landed and boarded after finds its result here.
            if let Some(landed) = self.landed_already(route, name, not_before) {
                return Ok(landed);
            }
            self.ask(route, name, not_before)
        });
        made.unwrap_or(Err(Trouble::Overloaded))
    }

    fn landed_already(&self, route: &Route, name: &Name, not_before: u64) -> Option<Landed> {
        let entry = route.cache.as_ref()?.find(name, Need::Picture)?;
        if entry.freshness(SystemTime::now()) != Freshness::Fresh || entry.stored() <= not_before {
            return None;
        }
        let asked = entry.stored();
        Some(Landed { picture: Arc::new(entry.read()?), was_there: true, asked })
    }

    fn ask(&self, route: &Route, name: &Name, not_before: u64) -> Landing {
        let target = route.target(name);
        let begun = unix_milliseconds(SystemTime::now());
        let asked = self.renderer.ask(Wanted { target: &target, not_before });
        let id = EntryId::of(name);
        let made = match asked {
            Ok(made) => made,
            Err(Trouble::Overloaded) => return Err(Trouble::Overloaded),
            Err(Trouble::Failure(failure)) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                route.outage.note(Some(failure.code), Instant::now());
                // A refresh meanwhile wants the origin to be asked again.
                if self.not_before(name) == not_before {
                    self.missing.remember(name, not_before, &failure, route.handler.negative_cache_time);
                }
                if failure.code == Code::NotFound || self.not_before(name) > not_before {
                    self.drop_entry(route, name);
                }
                return Err(Trouble::Failure(failure));
            }
        };
        // What was found on disk, or another request has brought, tells nothing about the origin.
        let was_origin_asked = made.asked >= begun;
        if was_origin_asked {
            route.outage.note(None, Instant::now());
        }
        if !made.renewed {
            self.counts.rendered.fetch_add(1, Ordering::Relaxed);
        } else if was_origin_asked {
            self.counts.renewed.fetch_add(1, Ordering::Relaxed);
        }
        route.originals.note(&name.key, made.original);
        if let (Some(keeper), Some(bytes)) = (&route.keeper, made.stored) {
            keeper.stored(id, bytes);
        }
        // The one in memory is older.
        self.memory.forget(name);
        if made.asked <= self.not_before(name) {
            self.drop_entry(route, name);
        }
        Ok(Landed { picture: Arc::new(made.picture), was_there: made.renewed, asked: made.asked })
    }

    /// What is kept under this name is not right any more.
    fn drop_entry(&self, route: &Route, name: &Name) {
        let id = EntryId::of(name);
        if let Some(cache) = &route.cache
            && let Err(error) = cache.remove(id)
        {
            route.complaint.line(format_args!("cache: an old picture can't be removed: {error}"));
        }
        if let Err(error) = route.originals.drop_entry(&name.key) {
            route.complaint.line(format_args!("cache: an old original can't be removed: {error}"));
        }
        if let Some(keeper) = &route.keeper {
            keeper.removed(id);
        }
        self.memory.forget(name);
    }

    /// Forgets everything of such names that is held in memory. A refresh calls this, and it has to reach whatever
    /// remembers something about a key.
    pub fn forget(&self, is_touched: &dyn Fn(&Name) -> bool) {
        self.memory.forget_all(is_touched);
        self.missing.forget(is_touched);
    }

    /// Makes a rendition whose original was refreshed, as a request for it would. Whether it is there now.
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
        self.refreshes.not_before(name)
    }
}
