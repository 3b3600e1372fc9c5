//! A handler's originals, each fetched once for everything that is made from it.
//!
//! Who wants an original while it is being fetched gets what the one request brings, also its failure; who wants it
//! while a worker still holds it shares it; and an `originals_cache` keeps it on disk for later. Whoever wants
//! nothing that the origin said before some time gets none of that from before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cache_write::Storing;
use super::origin::Fetched;
use super::origin::OriginClient;
use super::origin::Original;
use crate::cache::{
    self, DiskCache, EncodedImage, Entry, EntryId, Lifetime, Name, Need, OriginalEntry,
    unix_milliseconds,
};
use crate::config::{CacheTime, Handler, Limits};
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::singleflight::SingleFlight;

/// An original that is held is shared for so long and no longer, however busy its workers are.
const LONGEST_SHARED: Duration = Duration::from_secs(2);
/// How much longer than a fetch may take the others wait for it: it is written to disk as well.
const WRITING: Duration = Duration::from_secs(1);

/// The originals of one handler.
pub struct Originals {
    /// One origin that can't be opened any more must not take the other handlers' with it.
    source: Result<OriginClient, Failure>,
    identity: String,
    lifetime: Lifetime,
    cache: Option<DiskCache>,
    storing: Arc<Storing>,
    singleflight: SingleFlight<Wanted, Result<Answer, Failure>>,
    /// By their keys, those that somebody still holds.
    held: Mutex<HashMap<String, Weak<Held>>>,
    timeout: Duration,
}

/// What is wanted; only those that want the same wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    key: String,
    /// The entity tag of the original that is not needed again.
    have: Option<String>,
    /// Milliseconds since 1970.
    not_before: u64,
}

/// What became of a conditional wish.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The origin still has what the entity tag stands for.
    Unchanged {
        /// When it was asked.
        asked: SystemTime,
        /// What became of the original in its cache.
        entry: OriginalEntry,
    },
    /// It has another.
    Changed(Arc<Held>),
}

/// An original that is shared by all who make something from it.
#[derive(Debug)]
pub struct Held {
    /// The original.
    pub original: Original,
    /// When its origin was asked for it, or whether it has changed.
    pub asked: SystemTime,
    /// What became of it in its cache.
    pub entry: OriginalEntry,
    came: Instant,
}

impl Originals {
    /// Opens a handler's origin, and its cache of originals if it has one.
    pub fn open(handler: &Handler, limits: &Limits, storing: Arc<Storing>) -> Originals {
        let cache = |path| DiskCache::new(path, handler.lifetime()).with_min_free(None);
        Originals {
            source: OriginClient::open(&handler.origin, limits),
            identity: handler.identity(),
            lifetime: handler.lifetime(),
            cache: handler.originals.as_ref().map(|originals| cache(&originals.path)),
            storing,
            singleflight: SingleFlight::new(),
            held: Mutex::default(),
            timeout: limits.origin_timeout + WRITING,
        }
    }

    /// The original of a key, as its origin said after a time in milliseconds since 1970.
    pub fn get(&self, key: &str, not_before: u64) -> Result<Arc<Held>, Failure> {
        match self.find(Wanted { key: key.to_owned(), have: None, not_before })? {
            Answer::Changed(held) => Ok(held),
            Answer::Unchanged { .. } => {
                let problem =
                    format!("key {key:?}: the origin has nothing else, which nobody has asked");
                Err(Failure::new(Code::OriginError, problem))
            }
        }
    }

    /// As [`Originals::get`], for someone who needs it only if it is another than what this entity tag stands for.
    pub fn get_unless(&self, key: &str, etag: &str, not_before: u64) -> Result<Answer, Failure> {
        self.find(Wanted { key: key.to_owned(), have: Some(etag.to_owned()), not_before })
    }

    fn find(&self, wanted: Wanted) -> Result<Answer, Failure> {
        if let Some(answer) = self.shared(&wanted) {
            return Ok(answer);
        }
        let failure =
            |code, problem: &str| Failure::new(code, format!("key {:?}: {problem}", wanted.key));
        let failed = failure(
            Code::RendererFailed,
            "the request that fetched this original for all of them failed",
        );
        let answer = self.singleflight.run(&wanted, self.timeout, Err(failed), || {
            // Who looked before the last flight landed and boarded after finds here what it brought.
            self.shared(&wanted).map_or_else(|| self.ask(&wanted), Ok)
        });
        answer.unwrap_or_else(|| {
            let problem =
                "another request is fetching it and takes too long (limits.origin_timeout)";
            Err(failure(Code::OriginTimeout, problem))
        })
    }

    /// What a worker holds.
    fn shared(&self, wanted: &Wanted) -> Option<Answer> {
        let held = self.held().get(&wanted.key)?.upgrade()?;
        let asked = unix_milliseconds(held.asked);
        let is_good = asked > wanted.not_before
            && held.came.elapsed() < LONGEST_SHARED
            && (self.lifetime.time == CacheTime::Never
                || self.lifetime.is_surely_fresh(asked, SystemTime::now()));
        is_good.then(|| answer(wanted, held))
    }

    /// Asks the disk and then the origin.
    fn ask(&self, wanted: &Wanted) -> Result<Answer, Failure> {
        let key = wanted.key.clone();
        let name =
            Name { handler: self.identity.clone(), key, options: cache::ORIGINAL.to_owned() };
        let entry = self.cache.as_ref().and_then(|cache| cache.find(&name, Need::Description));
        let answer = match entry.filter(|entry| entry.stored() > wanted.not_before) {
            None => self.fetch(wanted, &name),
            Some(entry) => match self.ask_entry(entry, wanted, &name) {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => self.fetch(wanted, &name),
                Err(failure) => Err(failure),
            },
        };
        if let (Some(cache), Err(Failure { code: Code::NotFound, .. })) = (&self.cache, &answer) {
            // What its owner has deleted is not kept. Where that fails it is asked for each time all the same.
            let _ = cache.remove(EntryId::of(&name));
        }
        answer
    }

    /// What an entry of the originals cache is good for; `None` when that is nothing.
    fn ask_entry(
        &self,
        entry: Entry,
        wanted: &Wanted,
        name: &Name,
    ) -> Result<Option<Answer>, Failure> {
        let etag = entry.source_etag().map(str::to_owned);
        let is_had = etag.is_some() && etag == wanted.have;
        if self.lifetime.is_surely_fresh(entry.stored(), SystemTime::now()) {
            let asked = time(entry.stored());
            if is_had {
                return Ok(Some(Answer::Unchanged { asked, entry: OriginalEntry::Used }));
            }
            let held =
                entry.read().map(|image| self.hold(name, image, etag, asked, OriginalEntry::Used));
            return Ok(held.map(|held| answer(wanted, held)));
        }
        let Some(etag) = etag else { return Ok(None) };
        let asked = now(wanted.not_before);
        match self.source()?.fetch_unless(&wanted.key, Some(&etag))? {
            Fetched::Original(original) => {
                Ok(Some(answer(wanted, self.keep(name, original, asked))))
            }
            Fetched::Unchanged => match entry.revalidate(asked) {
                Some((image, written)) => {
                    let entry = self.outcome(written);
                    Ok(Some(answer(wanted, self.hold(name, image, Some(etag), asked, entry))))
                }
                None if is_had => Ok(Some(Answer::Unchanged { asked, entry: OriginalEntry::None })),
                None => Ok(None),
            },
        }
    }

    fn fetch(&self, wanted: &Wanted, name: &Name) -> Result<Answer, Failure> {
        let asked = now(wanted.not_before);
        match self.source()?.fetch_unless(&wanted.key, wanted.have.as_deref())? {
            Fetched::Original(original) => Ok(answer(wanted, self.keep(name, original, asked))),
            Fetched::Unchanged => Ok(Answer::Unchanged { asked, entry: OriginalEntry::None }),
        }
    }

    /// Stores what was fetched, if it is an image by its first bytes.
    fn keep(&self, name: &Name, original: Original, asked: SystemTime) -> Arc<Held> {
        let (Some(cache), Some(format)) = (&self.cache, Format::of_bytes(&original.bytes)) else {
            return self.share(name, Held::new(original, asked, OriginalEntry::None));
        };
        let Original { bytes, etag, last_modified } = original;
        let image = EncodedImage::new(bytes, format, last_modified);
        let entry = self.outcome(cache.store(name, &image, etag.as_deref(), asked));
        let original = Original { bytes: image.bytes, etag, last_modified };
        self.share(name, Held::new(original, asked, entry))
    }

    /// Shares what was read from the disk.
    fn hold(
        &self,
        name: &Name,
        image: EncodedImage,
        etag: Option<String>,
        asked: SystemTime,
        entry: OriginalEntry,
    ) -> Arc<Held> {
        let last_modified = image.last_modified.map(|seconds| time(seconds.saturating_mul(1000)));
        self.share(
            name,
            Held::new(Original { bytes: image.bytes, etag, last_modified }, asked, entry),
        )
    }

    fn share(&self, name: &Name, held: Held) -> Arc<Held> {
        let new = Arc::new(held);
        let mut held = self.held();
        held.retain(|_, held| held.strong_count() > 0);
        held.insert(name.key.clone(), Arc::downgrade(&new));
        new
    }

    fn outcome(&self, written: std::io::Result<u64>) -> OriginalEntry {
        self.storing.outcome(written).map_or(OriginalEntry::None, OriginalEntry::Stored)
    }

    fn source(&self) -> Result<&OriginClient, Failure> {
        self.source.as_ref().map_err(Failure::clone)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn new(original: Original, asked: SystemTime, entry: OriginalEntry) -> Held {
        Held { original, asked, entry, came: Instant::now() }
    }
}

/// An original may come all the same: from the disk, or from an origin that knows no conditions.
fn answer(wanted: &Wanted, held: Arc<Held>) -> Answer {
    if wanted.have.is_some() && wanted.have == held.original.etag {
        return Answer::Unchanged { asked: held.asked, entry: held.entry };
    }
    Answer::Changed(held)
}

/// The time of a question that is asked now. Whoever wants nothing from before a time has said so before, whatever
/// the clock says.
fn now(not_before: u64) -> SystemTime {
    SystemTime::now().max(time(not_before.saturating_add(1)))
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
