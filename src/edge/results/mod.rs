//! Results: from memory, from disk, or from the renderer, and what their age means (RFC 9111 §4, RFC 5861).

mod missing;
mod outage;
mod renewals;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::memory::{Hot, Memory};
use super::picture;
use super::refreshes::Refreshes;
use super::renderer::{Renderer, Trouble, Wanted};
use super::store::{Keeper, OriginalsKeeper};
use crate::cache::{self, DiskCache, Entry, EntryId, Freshness, Name, Need, Picture, unix_milliseconds};
use crate::config::Handler;
use crate::error::{Code, Failure};
use crate::flights::Flights;
use crate::key;
use crate::report::OnceAMinute;
use missing::Missing;
use outage::Outage;
use renewals::Renewals;

/// Everything about one handler that answering for its pictures takes.
#[derive(Debug)]
pub struct Route {
    /// The handler.
    pub handler: Handler,
    /// [`Handler::identity`]
    pub identity: String,
    cache: Option<DiskCache>,
    keeper: Option<Arc<Keeper>>,
    originals: OriginalsKeeper,
    outage: Outage,
    complaint: OnceAMinute,
}

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
    renewed: bool,
    asked: u64,
}

type Landing = Result<Landed, Trouble>;

/// The pictures of all handlers, made or kept.
#[derive(Debug)]
pub struct Results {
    memory: Memory,
    /// By name, and by the time before which nothing is good enough: a refreshed picture is another one.
    flights: Flights<(Name, u64), Landing>,
    renderer: Renderer,
    patience: Duration,
    missing: Missing,
    renewals: Arc<Renewals>,
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
            complaint: OnceAMinute::default(),
        }
    }

    /// Says, once in a while, why old pictures are served.
    fn complain(&self, name: &Name, trouble: &Trouble) {
        if let Trouble::Failure(failure) = trouble {
            let (handler, key) = (&self.handler.route, &name.key);
            self.complaint.line(format_args!("{handler}: {key:?} can't be renewed: {failure}"));
        }
    }

    fn target(&self, name: &Name) -> String {
        format!("{}?{}", key::to_path(&self.handler.route, &name.key), name.options)
    }
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
            renewals: Arc::default(),
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
        let mut spare = None;
        if let Some((got, freshness)) = self.kept(route, name, need, not_before, now) {
            let age = cache::age(got.stored(), now);
            let found = |source| Found { got, source, age };
            match freshness {
                Freshness::Fresh => return Some(Ok(found(Source::Hit))),
                Freshness::Stale => {
                    self.renew_behind(route, name, not_before);
                    return Some(Ok(found(Source::Stale)));
                }
                Freshness::Expired if route.outage.is_known(Instant::now()) => {
                    self.renew_behind(route, name, not_before);
                    return Some(Ok(found(Source::Stale)));
                }
                Freshness::Expired => spare = Some(found(Source::Stale)),
                Freshness::Useless => {}
            }
        }
        self.not_kept(route, name, not_before, may_wait, spare)
    }

    /// The result of this name when what is kept has turned out to be damaged, whether or not that could be removed.
    pub fn get_anew<'r>(
        self: &Arc<Results>,
        route: &'r Arc<Route>,
        name: &Name,
        may_wait: bool,
    ) -> Option<Result<Found<'r>, Missed>> {
        self.not_kept(route, name, self.not_before(name), may_wait, None)
    }

    /// Has the result made. Where that fails, `spare` is better than nothing.
    fn not_kept<'r>(
        &self,
        route: &Route,
        name: &Name,
        not_before: u64,
        may_wait: bool,
        spare: Option<Found<'r>>,
    ) -> Option<Result<Found<'r>, Missed>> {
        if let Some(failure) = self.missing.find(name) {
            let trouble = Trouble::Failure(failure);
            let stale = spare.filter(|_| may_serve_stale(&trouble));
            return Some(stale.ok_or(Missed { trouble, is_known: true }));
        }
        if !may_wait {
            // A thread that is told so at once is a thread too many, above all when there are many to be told.
            if !self.renderer.is_full() || self.flights.is_under_way(&(name.clone(), not_before)) {
                return None;
            }
            return Some(spare.ok_or(Missed { trouble: Trouble::Overloaded, is_known: false }));
        }
        let begun = SystemTime::now();
        Some(match self.make(route, name, not_before) {
            Ok(landed) => {
                let source = match landed.renewed {
                    true if landed.asked >= unix_milliseconds(begun) => Source::Revalidated,
                    // Somebody else has asked.
                    true => Source::Hit,
                    false => Source::Miss,
                };
                let age = cache::age(landed.asked, SystemTime::now());
                Ok(Found { got: Got::Picture(landed.picture), source, age })
            }
            Err(trouble) => match spare.filter(|_| may_serve_stale(&trouble)) {
                Some(spare) => {
                    route.complain(name, &trouble);
                    Ok(spare)
                }
                None => Err(Missed { trouble, is_known: false }),
            },
        })
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

    /// Renews a result on a thread of its own, unless there is enough to do already.
    fn renew_behind(self: &Arc<Results>, route: &Arc<Route>, name: &Name, not_before: u64) {
        if self.renderer.is_full() || !route.outage.may_try(Instant::now()) {
            return;
        }
        let Some(renewal) = self.renewals.begin(name) else { return };
        let (results, route, name) = (Arc::clone(self), Arc::clone(route), name.clone());
        let renew = move || {
            let _renewal = renewal;
            if let Err(trouble) = results.make(&route, &name, not_before) {
                route.complain(&name, &trouble);
            }
        };
        // Without a thread, the next one who asks tries again.
        let _ = thread::Builder::new().name("renewal".into()).stack_size(super::STACK).spawn(renew);
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
        Some(Landed { picture: Arc::new(entry.read()?), renewed: false, asked })
    }

    fn ask(&self, route: &Route, name: &Name, not_before: u64) -> Landing {
        let target = route.target(name);
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
                    self.missing.remember(name, &failure, route.handler.negative_cache_time);
                }
                if failure.code == Code::NotFound || self.not_before(name) > not_before {
                    self.drop_entry(route, name);
                }
                return Err(Trouble::Failure(failure));
            }
        };
        let count = if made.renewed { &self.counts.renewed } else { &self.counts.rendered };
        count.fetch_add(1, Ordering::Relaxed);
        route.outage.note(None, Instant::now());
        route.originals.note(&name.key, made.original);
        if let (Some(keeper), Some(bytes)) = (&route.keeper, made.stored) {
            keeper.stored(id, bytes);
        }
        // The one in memory is older.
        self.memory.forget(name);
        if made.asked <= self.not_before(name) {
            self.drop_entry(route, name);
        }
        Ok(Landed { picture: Arc::new(made.picture), renewed: made.renewed, asked: made.asked })
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
        match self.make(route, name, self.not_before(name)) {
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
