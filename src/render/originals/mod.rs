//! The originals of one handler. Requests for the same original share one fetch.
//!
//! A request that arrives during a fetch gets its result, also if it is a failure. A request that arrives while another
//! one still renders an original shares it. `originals_cache` keeps originals on disk for later. With `not_before`, a
//! request gets only an answer to an origin request after that time.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::cache_write::CacheWrites;
use super::origin::Fetched;
use super::origin::OriginClient;
use super::origin::Original;
use crate::cache::{
    self, CacheTime, DiskCache, EncodedImage, Entry, EntryId, Lifetime, Name, Need, OriginalEntry,
    Validator,
};
use crate::config::{Handler, Limits};
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::phases::{Fetch, FetchOutcome, Phases};
use crate::renderer_status::CredentialsStatus;
use crate::singleflight::SingleFlight;
use crate::sync::Mutex;
use crate::time::{system_time, unix_milliseconds};

/// How long an original in memory is shared, however long requests hold it.
const MAX_SHARED: Duration = Duration::from_secs(2);
/// How much longer than a fetch its waiters wait, because it is also written to disk.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Originals {
    /// A failure if an origin could not be opened, so that the other handlers keep theirs.
    origin: Result<OriginClient, Failure>,
    identity: String,
    lifetime: Lifetime,
    cache: Option<DiskCache>,
    cache_writes: Arc<CacheWrites>,
    singleflight: SingleFlight<OriginalRequest, Result<OriginalResponse, Failure>>,
    /// By key, the originals that a request holds.
    shared: Mutex<HashMap<String, Weak<SharedOriginal>>>,
    timeout: Duration,
    fetches: AtomicU64,
}

/// Equal requests wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OriginalRequest {
    key: String,
    /// One with an entity tag: the original is needed only if it has another one.
    condition: Option<Validator>,
    /// Milliseconds since 1970.
    not_before: u64,
}

impl OriginalRequest {
    /// Whether an original with this validator is the one that the request has already.
    fn is_satisfied_by(&self, validator: &Validator) -> bool {
        validator.etag.is_some() && self.condition.as_ref() == Some(validator)
    }
}

#[derive(Clone, Debug)]
pub enum OriginalResponse {
    /// The original still has the validator of the request.
    NotModified {
        validated_at: SystemTime,
        entry: OriginalEntry,
    },
    Original(Arc<SharedOriginal>),
}

/// An original in memory, shared by the requests that render it.
#[derive(Debug)]
pub struct SharedOriginal {
    pub original: Original,
    /// When the origin was last asked for it, or whether it has changed.
    pub validated_at: SystemTime,
    /// Whether it was read from or written to its cache.
    pub entry: OriginalEntry,
    shared_at: Instant,
}

impl Originals {
    /// Opens a handler's origin, and its cache of originals if it has one.
    pub fn open(handler: &Handler, limits: &Limits, cache_writes: Arc<CacheWrites>) -> Originals {
        let cache = |path| DiskCache::new(path, handler.lifetime()).with_min_free(None);
        Originals {
            origin: OriginClient::open(handler, limits),
            identity: handler.identity(),
            lifetime: handler.lifetime(),
            cache: handler.originals.as_ref().map(|originals| cache(&originals.path)),
            cache_writes,
            singleflight: SingleFlight::new(),
            shared: Mutex::default(),
            timeout: limits.origin_timeout + WRITE_TIMEOUT,
            fetches: AtomicU64::new(0),
        }
    }

    /// The number of requests to the origin in flight.
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// The state of the origins' credentials, if they need any.
    pub fn credentials(&self) -> Option<CredentialsStatus> {
        match &self.origin {
            Ok(origin) => origin.credentials(),
            Err(Failure { code: Code::NoCredentials, .. }) => Some(CredentialsStatus::Missing),
            Err(_) => None,
        }
    }

    /// The original of a key, from an origin request after `not_before` in milliseconds since 1970.
    ///
    /// `phases` gets the fetch, if this request makes one.
    pub fn get(
        &self,
        key: &str,
        not_before: u64,
        phases: &mut Phases,
    ) -> Result<Arc<SharedOriginal>, Failure> {
        let request = OriginalRequest { key: key.to_owned(), condition: None, not_before };
        match self.find(request, phases)? {
            OriginalResponse::Original(original) => Ok(original),
            OriginalResponse::NotModified { .. } => {
                let problem =
                    format!("key {key:?}: the origin answered 304 to an unconditional request");
                Err(Failure::new(Code::OriginError, problem))
            }
        }
    }

    /// [`Originals::get`], unless the original still has this validator, which has an entity tag.
    pub fn get_if_changed(
        &self,
        key: &str,
        validator: Validator,
        not_before: u64,
        phases: &mut Phases,
    ) -> Result<OriginalResponse, Failure> {
        let condition = Some(validator);
        let request = OriginalRequest { key: key.to_owned(), condition, not_before };
        self.find(request, phases)
    }

    /// See [`OriginClient::keys`].
    pub fn keys(&self, max: usize) -> Vec<String> {
        self.origin.as_ref().map_or_else(|_| Vec::new(), |origin| origin.keys(max))
    }

    fn find(
        &self,
        request: OriginalRequest,
        phases: &mut Phases,
    ) -> Result<OriginalResponse, Failure> {
        if let Some(response) = self.find_shared(&request) {
            return Ok(response);
        }
        let failure =
            |code, problem: &str| Failure::new(code, format!("key {:?}: {problem}", request.key));
        let failed = failure(
            Code::RendererFailed,
            "the request that fetched this original for several failed",
        );
        let response = self.singleflight.run(&request, self.timeout, Err(failed), || {
            // Another request may have fetched it since the lookup above.
            self.find_shared(&request).map_or_else(|| self.find_cached(&request, phases), Ok)
        });
        response.unwrap_or_else(|| {
            let problem =
                "timed out waiting for another request that fetches it (limits.origin_timeout)";
            Err(failure(Code::OriginTimeout, problem))
        })
    }

    /// Looks in memory.
    fn find_shared(&self, request: &OriginalRequest) -> Option<OriginalResponse> {
        let original = self.shared.lock().get(&request.key)?.upgrade()?;
        let validated_at = unix_milliseconds(original.validated_at);
        let is_usable = validated_at > request.not_before
            && original.shared_at.elapsed() < MAX_SHARED
            && (self.lifetime.time == CacheTime::Never
                || self.lifetime.is_surely_fresh(validated_at, SystemTime::now()));
        is_usable.then(|| respond(request, original))
    }

    /// Looks in the cache, and then asks the origin.
    fn find_cached(
        &self,
        request: &OriginalRequest,
        phases: &mut Phases,
    ) -> Result<OriginalResponse, Failure> {
        let key = request.key.clone();
        let name =
            Name { handler: self.identity.clone(), key, options: cache::ORIGINAL.to_owned() };
        let entry = self.cache.as_ref().and_then(|cache| cache.find(&name, Need::Header));
        let response = match entry.filter(|entry| entry.validated_at() > request.not_before) {
            None => self.fetch(request, &name, phases),
            Some(entry) => match self.use_entry(entry, request, &name, phases) {
                Ok(Some(response)) => Ok(response),
                Ok(None) => self.fetch(request, &name, phases),
                Err(failure) => Err(failure),
            },
        };
        if let (Some(cache), Err(Failure { code: Code::NotFound, .. })) = (&self.cache, &response) {
            // An original that was deleted at its origin must not stay in the cache. If the removal fails, the entry is
            // still revalidated by each request.
            let _ = cache.remove(EntryId::of(&name));
        }
        response
    }

    /// Reads an entry of the originals cache, and revalidates it unless it is fresh. `None` if it can't be used.
    fn use_entry(
        &self,
        entry: Entry,
        request: &OriginalRequest,
        name: &Name,
        phases: &mut Phases,
    ) -> Result<Option<OriginalResponse>, Failure> {
        let validator = entry.validator();
        let is_not_modified = request.is_satisfied_by(&validator);
        if self.lifetime.is_surely_fresh(entry.validated_at(), SystemTime::now()) {
            let validated_at = system_time(entry.validated_at());
            if is_not_modified {
                let entry = OriginalEntry::Used;
                return Ok(Some(OriginalResponse::NotModified { validated_at, entry }));
            }
            let original = entry.read().map(|image| {
                self.share_image(name, image, validator, validated_at, OriginalEntry::Used)
            });
            return Ok(original.map(|original| respond(request, original)));
        }
        if validator.etag.is_none() {
            return Ok(None);
        }
        let now = now_after(request.not_before);
        match self.ask_origin(request, Some(&validator), phases)? {
            Fetched::Original(original) => {
                Ok(Some(respond(request, self.store(name, original, now))))
            }
            Fetched::Unchanged => match entry.revalidate(now) {
                Some((image, written)) => {
                    let entry = self.check_write(written);
                    let original = self.share_image(name, image, validator, now, entry);
                    Ok(Some(respond(request, original)))
                }
                None if is_not_modified => {
                    let entry = OriginalEntry::None;
                    Ok(Some(OriginalResponse::NotModified { validated_at: now, entry }))
                }
                None => Ok(None),
            },
        }
    }

    fn fetch(
        &self,
        request: &OriginalRequest,
        name: &Name,
        phases: &mut Phases,
    ) -> Result<OriginalResponse, Failure> {
        let now = now_after(request.not_before);
        match self.ask_origin(request, request.condition.as_ref(), phases)? {
            Fetched::Original(original) => Ok(respond(request, self.store(name, original, now))),
            Fetched::Unchanged => {
                let entry = OriginalEntry::None;
                Ok(OriginalResponse::NotModified { validated_at: now, entry })
            }
        }
    }

    /// Shares a fetched original, and stores it if its first bytes are those of an image.
    fn store(
        &self,
        name: &Name,
        original: Original,
        validated_at: SystemTime,
    ) -> Arc<SharedOriginal> {
        let (Some(cache), Some(format)) = (&self.cache, Format::of_bytes(&original.bytes)) else {
            let entry = OriginalEntry::None;
            return self.share(name, SharedOriginal::new(original, validated_at, entry));
        };
        let validator = original.validator();
        let Original { bytes, etag, last_modified, cache_control, origin } = original;
        let image =
            EncodedImage::new(bytes, format, last_modified).with_cache_control(cache_control);
        let entry = self.check_write(cache.store(name, &image, validator, validated_at));
        let original = Original { bytes: image.bytes, etag, last_modified, cache_control, origin };
        self.share(name, SharedOriginal::new(original, validated_at, entry))
    }

    /// Shares an original that was read from its cache.
    fn share_image(
        &self,
        name: &Name,
        image: EncodedImage,
        validator: Validator,
        validated_at: SystemTime,
        entry: OriginalEntry,
    ) -> Arc<SharedOriginal> {
        let seconds = image.last_modified;
        let last_modified = seconds.map(|seconds| system_time(seconds.saturating_mul(1000)));
        let Validator { etag, origin } = validator;
        let EncodedImage { bytes, cache_control, .. } = image;
        let original = Original { bytes, etag, last_modified, cache_control, origin };
        self.share(name, SharedOriginal::new(original, validated_at, entry))
    }

    fn share(&self, name: &Name, original: SharedOriginal) -> Arc<SharedOriginal> {
        let original = Arc::new(original);
        let mut shared = self.shared.lock();
        shared.retain(|_, original| original.strong_count() > 0);
        shared.insert(name.key.clone(), Arc::downgrade(&original));
        original
    }

    fn check_write(&self, written: io::Result<u64>) -> OriginalEntry {
        self.cache_writes.check(written).map_or(OriginalEntry::None, OriginalEntry::Stored)
    }

    fn ask_origin(
        &self,
        request: &OriginalRequest,
        validator: Option<&Validator>,
        phases: &mut Phases,
    ) -> Result<Fetched, Failure> {
        let origin = self.origin.as_ref().map_err(Failure::clone)?;
        let started = Instant::now();
        let mut retries = 0;
        let fetched = {
            let _in_flight = InFlight::start(&self.fetches);
            origin.fetch(&request.key, validator, request.not_before, &mut retries)
        };
        let took = started.elapsed();
        let (bytes, outcome) = match &fetched {
            Ok(Fetched::Original(original)) => (original.bytes.len(), FetchOutcome::Fetched),
            Ok(Fetched::Unchanged) => (0, FetchOutcome::NotModified),
            Err(failure) => (0, FetchOutcome::of_failure(failure.code)),
        };
        phases.add_fetch(Fetch { took, bytes: bytes as u64, outcome, retries });
        fetched
    }
}

/// Counts one request to an origin while it is in flight, also if it panics.
struct InFlight<'o>(&'o AtomicU64);

impl InFlight<'_> {
    fn start(count: &AtomicU64) -> InFlight<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        InFlight(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SharedOriginal {
    fn new(original: Original, validated_at: SystemTime, entry: OriginalEntry) -> SharedOriginal {
        SharedOriginal { original, validated_at, entry, shared_at: Instant::now() }
    }
}

/// Applies the condition of the request: memory, the cache, and an origin that ignores conditions all return an
/// original whose validator may be that of the request.
fn respond(request: &OriginalRequest, original: Arc<SharedOriginal>) -> OriginalResponse {
    if request.is_satisfied_by(&original.original.validator()) {
        let SharedOriginal { validated_at, entry, .. } = *original;
        return OriginalResponse::NotModified { validated_at, entry };
    }
    OriginalResponse::Original(original)
}

/// The time of an origin request that is sent now. It is after `not_before` even if the clock is not, because the
/// client set `not_before` earlier.
fn now_after(not_before: u64) -> SystemTime {
    SystemTime::now().max(system_time(not_before.saturating_add(1)))
}

#[cfg(test)]
mod tests;
