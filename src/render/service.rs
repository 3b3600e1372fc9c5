//! Serves one request: gets the original, renders the image and stores it.

mod sharing;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::admission::Admission;
use super::cache_write::CacheWrites;
use super::decode_events::DecodeGuard;
use super::journal::{Journal, JournalCall, Journals};
use super::origin::Original;
use super::originals::{OriginalResponse, Originals, SharedOriginal};
use super::pipeline::{self, Bounds, Encoded};
use super::results::{Results, Uploads};
use super::sandbox::Sandbox;
use super::sns::Sns;
use super::vips::Vips;
use super::watchdog::Watchdog;
use crate::cache::{
    DiskCache, EncodedImage, Entry, EntryId, Freshness, Name, Need, OriginalEntry, Rendered,
    SharedEntry, has_room,
};
use crate::config::{Config, FailOn, Handler};
use crate::error::{Code, Failure};
use crate::error_image_timeout::error_image_timeout;
use crate::format::Format;
use crate::key;
use crate::media_type::MediaType;
use crate::options::{Options, Query, Raw};
use crate::phases::{Phases, Side};
use crate::renderer_status::RendererStatus;
use crate::time::unix_milliseconds;
use crate::wire::{self, NotBefore};

/// Renders images of every handler.
pub struct Service {
    /// By route.
    handlers: HashMap<String, OpenHandler>,
    vips: Vips,
    admission: Admission,
    watchdog: Watchdog,
    bounds: Bounds,
    render_timeout: Duration,
    cache_writes: Arc<CacheWrites>,
    /// `None` if no handler shares its results.
    uploads: Option<Uploads>,
    sns: Sns,
}

struct OpenHandler {
    config: Handler,
    identity: String,
    originals: Originals,
    cache: Option<DiskCache>,
    results: Option<Arc<Results>>,
    /// That of its results bucket.
    journal: Option<Arc<Journal>>,
}

/// The outcome of revalidating a variant that was cached or shared.
enum Revalidation {
    Valid(Rendered),
    /// The origin has another original.
    Changed(Arc<SharedOriginal>),
    /// There is no entry, it has no entity tag, or it can't be read.
    Impossible,
}

impl Service {
    pub fn new(config: &Config, vips: Vips, sandbox: Sandbox) -> io::Result<Service> {
        let cache_writes = Arc::new(CacheWrites::new(sandbox));
        let mut handlers = HashMap::new();
        let shares = config.handlers.iter().any(|handler| handler.results.is_some());
        let mut journals = Journals::default();
        for handler in &config.handlers {
            let journal = journals.open(handler, &config.limits)?;
            let state = OpenHandler {
                identity: handler.identity(),
                originals: Originals::open(handler, &config.limits, Arc::clone(&cache_writes)),
                cache: handler.cache.as_ref().map(|cache| {
                    DiskCache::new(&cache.path, handler.lifetime()).with_min_free(cache.min_free)
                }),
                results: sharing::open_results(handler, &config.limits, journal.as_ref()),
                journal,
                config: handler.clone(),
            };
            handlers.insert(handler.route.clone(), state);
        }
        let limits = &config.limits;
        let bounds = Bounds::from_limits(limits);
        check_watermarks(config, &bounds)?;
        Ok(Service {
            handlers,
            vips,
            admission: Admission::new(limits.renders_at_once, limits.memory_budget),
            watchdog: Watchdog::start(limits.decode_timeout)?,
            bounds,
            render_timeout: limits.render_timeout,
            cache_writes,
            uploads: if shares { Some(Uploads::start()?) } else { None },
            sns: Sns::new(config),
        })
    }

    /// See [`Sandbox::is_outdated`].
    pub fn is_outdated(&self) -> bool {
        self.cache_writes.is_outdated()
    }

    /// For the answer to a ping, so it waits for no request.
    pub fn status(&self) -> RendererStatus {
        let mut status = self.admission.status();
        for (route, handler) in &self.handlers {
            status.fetches += handler.originals.fetches();
            if let Some(credentials) = handler.originals.credentials() {
                status.credentials.insert(route.clone(), credentials);
            }
            if let Some(results) = &handler.results {
                status.results.insert(route.clone(), results.status());
            }
        }
        if let Some(uploads) = &self.uploads {
            (status.uploads, status.upload_bytes) = uploads.pending();
        }
        status
    }

    /// Serves a path and canonical query. The image comes from an origin request after `not_before`. `id` is the edge's number for the request. `phases` gets the times of the phases that it has reached.
    pub fn serve(
        &self,
        target: &str,
        not_before: NotBefore,
        id: Option<u64>,
        phases: &mut Phases,
    ) -> Result<Rendered, Failure> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path.strip_prefix(wire::ERROR_IMAGE_PATH) {
            Some(route) => self.serve_error_image(route, query, id, phases),
            None => self.serve_image(path, query, not_before, id, phases),
        }
    }

    /// Renders an original that is in no origin, with a canonical query and the settings of this handler.
    pub fn render_once(
        &self,
        original: &[u8],
        query: &str,
        handler: &Handler,
    ) -> Result<(Vec<u8>, MediaType), Failure> {
        let options = resolve(query, handler)?;
        let phases = &mut Phases::default();
        let Encoded { bytes, media_type, .. } =
            self.render(original, &options, handler.fail_on, Duration::MAX, None, phases)?;
        Ok((bytes, media_type))
    }

    /// See [`Sns::ask`].
    pub fn ask_sns(&self, target: &str) -> Option<Result<Vec<u8>, Failure>> {
        self.sns.ask(target)
    }

    /// The first keys of a handler, for its playground.
    pub fn keys(&self, route: &str) -> Vec<String> {
        let route = key::split_path(&format!("/{route}/")).map(|(route, _)| route);
        let Some(handler) = route.and_then(|route| self.handlers.get(&route)) else {
            return Vec::new();
        };
        let mut keys = handler.originals.keys(wire::MAX_KEYS + 1);
        if let Some(allowed) = &handler.config.allowed_formats {
            keys.retain(|key| key::extension(key).is_some_and(|found| allowed.contains(&found)));
        }
        keys
    }

    /// A call of the edge about the shared journal of a handler.
    pub fn call_journal(&self, target: &str) -> Result<String, Failure> {
        let call = JournalCall::parse(target).ok_or_else(|| invalid_path(target))?;
        let handler = self.handlers.get(&call.route).ok_or_else(|| invalid_path(target))?;
        let journal = handler.journal.as_ref().ok_or_else(|| invalid_path(target))?;
        call.run(journal, &handler.identity)
    }

    fn serve_image(
        &self,
        path: &str,
        query: &str,
        not_before: NotBefore,
        id: Option<u64>,
        phases: &mut Phases,
    ) -> Result<Rendered, Failure> {
        let started = Instant::now();
        let (route, key) = key::split_path(path).ok_or_else(|| invalid_path(path))?;
        if !key::is_valid(&key) {
            return Err(invalid_path(path));
        }
        let handler = self.handlers.get(&route).ok_or_else(|| invalid_path(path))?;
        let options = resolve(query, &handler.config)?;
        let is_no_image = matches!(options.raw, Raw::File(file_type) if !file_type.is_image());
        if handler.config.has_mandatory_watermark()
            && options.watermarks != handler.config.watermarks.all
            && !is_no_image
            && options.description().is_none()
        {
            let detail = "malformed query from the edge: a watermark is missing";
            return Err(Failure::new(Code::RendererFailed, detail));
        }
        let name = Name { handler: handler.identity.clone(), key, options: options.canonical() };
        // Only the header is read: in most cases there is no entry, or the original has changed.
        let entry = handler
            .cache
            .as_ref()
            .and_then(|cache| cache.find(&name, Need::Header))
            .filter(|entry| handler.config.as_is.allows(entry.media_type()));
        let shares = handler.shares(&options);
        let revalidation = match entry.filter(|entry| entry.validated_at() > not_before.time) {
            Some(entry) => self.revalidate(handler, &name.key, entry, not_before.time, phases)?,
            None if shares => self.find_shared(handler, &name, not_before, phases)?,
            None => Revalidation::Impossible,
        };
        let original = match revalidation {
            Revalidation::Valid(rendered) => return Ok(rendered),
            Revalidation::Changed(original) => {
                let found = shares.then(|| self.find_shared_of(handler, &name, &original, phases));
                if let Some(rendered) = found.flatten() {
                    return Ok(rendered);
                }
                original
            }
            Revalidation::Impossible => {
                handler.originals.get(&name.key, not_before.time, phases)?
            }
        };
        let Original { last_modified, cache_control, .. } = original.original;
        let validator = original.original.validator();
        let (validated_at, original_entry) = (original.validated_at, original.entry);
        let Encoded { bytes, media_type, quality } = if options.raw == Raw::No {
            let bytes = &original.original.bytes;
            self.render(bytes, &options, handler.config.fail_on, Duration::MAX, id, phases)?
        } else {
            let (bytes, media_type) =
                as_it_is(original, &options, &handler.config, &name.key, phases)?;
            Encoded { bytes, media_type, quality: None }
        };
        let image = EncodedImage::new(bytes, media_type, last_modified)
            .with_cache_control(cache_control)
            .with_quality(quality);
        // The edge has stopped waiting and would not learn of a new entry.
        let is_late = started.elapsed() >= self.render_timeout;
        let made = SharedEntry { image, validator, validated_at };
        let mut disk_bytes = None;
        if !is_late && self.has_room(handler, &name) {
            disk_bytes = self.store(handler, &name, &made);
            if shares {
                self.share(handler, &name, &made, phases);
            }
        }
        Ok(Rendered {
            image: made.image,
            disk_bytes,
            validated_at: unix_milliseconds(made.validated_at),
            revalidated: false,
            shared: false,
            original: original_entry,
        })
    }

    /// Inspects an original, waits for a permit and renders: within `render_timeout` and `decode_timeout`, and all of it
    /// within this time.
    fn render(
        &self,
        original: &[u8],
        options: &Options,
        fail_on: FailOn,
        most: Duration,
        id: Option<u64>,
        phases: &mut Phases,
    ) -> Result<Encoded, Failure> {
        let begun = Instant::now();
        let left = || most.saturating_sub(begun.elapsed());
        phases.input = Format::of_original(original)
            .map(|format| Side { media_type: format.into(), pixels: 0 });
        // Before the wait, so that an image over a limit is refused at once.
        let mut examined = {
            let _decoding = DecodeGuard::start(id);
            let started = Instant::now();
            let examined = pipeline::examine(original, options, fail_on, &self.bounds);
            phases.decode += started.elapsed();
            examined?
        };
        loop {
            // The edge gives up after the same time.
            let started = Instant::now();
            let permit = self.admission.acquire(examined.memory, self.render_timeout.min(left()));
            phases.permit += started.elapsed();
            let Some(_permit) = permit else {
                let detail = "timed out waiting for a render slot (limits.render_timeout)";
                return Err(Failure::new(Code::RenderTimeout, detail));
            };
            let _decoding = DecodeGuard::start(id);
            let work = self.watchdog.begin(left());
            let bounds = self.bounds;
            let result =
                pipeline::render(self.vips, original, options, fail_on, bounds, &examined, phases);
            if result.is_err() && work.was_stopped() {
                let detail = "decoding and rendering took longer than limits.decode_timeout";
                return Err(Failure::new(Code::DecodeTimeout, detail));
            }
            if let Some(rendered) = result? {
                return Ok(rendered);
            }
            examined = examined.with_full_memory();
        }
    }

    /// Asks the origin whether the original of an entry has changed. An entry that is fresh again was revalidated by
    /// another request in the meantime.
    fn revalidate(
        &self,
        handler: &OpenHandler,
        key: &str,
        entry: Entry,
        not_before: u64,
        phases: &mut Phases,
    ) -> Result<Revalidation, Failure> {
        let valid = |image, disk_bytes, validated_at, original| {
            Revalidation::Valid(Rendered {
                image,
                disk_bytes,
                validated_at,
                revalidated: true,
                shared: false,
                original,
            })
        };
        let validated_at = entry.validated_at();
        // The edge also asks for fresh entries of a directory, when a link to it was switched.
        let is_remote = handler.config.origins.local_directories().next().is_none();
        if is_remote && entry.freshness(SystemTime::now()) == Freshness::Fresh {
            let image = entry.read();
            return Ok(image.map_or(Revalidation::Impossible, |image| {
                valid(image, None, validated_at, OriginalEntry::None)
            }));
        }
        let validator = entry.validator();
        if validator.etag.is_none() {
            return Ok(Revalidation::Impossible);
        }
        let answer = handler.originals.get_if_changed(key, validator, not_before, phases)?;
        let (now, original) = match answer {
            OriginalResponse::Original(original) => return Ok(Revalidation::Changed(original)),
            OriginalResponse::NotModified { validated_at, entry } => (validated_at, entry),
        };
        // The answer may be older than the entry, which must not become older. A time in the future is from before the
        // clock was set back, and is replaced.
        let newer = unix_milliseconds(now)..=unix_milliseconds(SystemTime::now());
        if newer.contains(&validated_at) {
            let image = entry.read();
            return Ok(image.map_or(Revalidation::Impossible, |image| {
                valid(image, None, validated_at, original)
            }));
        }
        Ok(match entry.revalidate(now) {
            None => Revalidation::Impossible,
            Some((image, written)) => {
                let disk_bytes = self.cache_writes.check(written);
                valid(image, disk_bytes, unix_milliseconds(now), original)
            }
        })
    }

    /// Whether a variant may be stored: not if its key has `max_variants`, or the cache can't be read.
    fn has_room(&self, handler: &OpenHandler, name: &Name) -> bool {
        let (Some(directory), Some(max_variants)) =
            (&handler.config.cache, handler.config.max_variants)
        else {
            return true;
        };
        let retention = handler.config.lifetime().retention();
        match has_room(&directory.path, EntryId::of(name), max_variants, retention) {
            Ok(has_room) => has_room,
            Err(error) => self.cache_writes.check(Err(error)).is_some(),
        }
    }

    /// Stores an image. Returns the bytes on disk.
    fn store(&self, handler: &OpenHandler, name: &Name, made: &SharedEntry) -> Option<u64> {
        let cache = handler.cache.as_ref()?;
        let SharedEntry { image, validator, validated_at } = made;
        let written = cache.store(name, image, validator.clone(), *validated_at);
        self.cache_writes.check(written)
    }

    fn serve_error_image(
        &self,
        route: &str,
        query: &str,
        id: Option<u64>,
        phases: &mut Phases,
    ) -> Result<Rendered, Failure> {
        let (route, _) =
            key::split_path(&format!("/{route}/")).ok_or_else(|| invalid_path(route))?;
        let handler = self.handlers.get(&route).ok_or_else(|| invalid_path(&route))?;
        let options = resolve(query, &handler.config)?;
        let most = error_image_timeout();
        let image = handler.config.error_image.as_ref().ok_or_else(|| invalid_path(&route))?;
        let Encoded { bytes, media_type, .. } =
            self.render(&image.bytes, &options, FailOn::None, most, id, phases)?;
        let image = EncodedImage::new(bytes, media_type, None);
        Ok(Rendered {
            image,
            disk_bytes: None,
            validated_at: 0,
            revalidated: false,
            shared: false,
            original: OriginalEntry::None,
        })
    }
}

/// Decodes each watermark once, so that a damaged one prevents the start, and a reload keeps the old configuration.
fn check_watermarks(config: &Config, bounds: &Bounds) -> io::Result<()> {
    for handler in &config.handlers {
        for watermark in &handler.watermarks.all {
            pipeline::decode_watermark(watermark, bounds).map_err(|failure| {
                let Handler { route, .. } = handler;
                let name = &watermark.name;
                io::Error::other(format!("watermark {name} of /{route}/: {}", failure.detail))
            })?;
        }
    }
    Ok(())
}

/// The bytes of an original, and their type. They are copied only if other requests use them.
fn as_it_is(
    original: Arc<SharedOriginal>,
    options: &Options,
    handler: &Handler,
    key: &str,
    phases: &mut Phases,
) -> Result<(Vec<u8>, MediaType), Failure> {
    let media_type =
        handler.as_is.type_of(options.raw, &original.original.bytes).map_err(|problem| {
            Failure::new(Code::UnsupportedFormat, format!("key {key:?}: {problem}"))
        })?;
    phases.input = Some(Side { media_type, pixels: 0 });
    phases.output = phases.input;
    let bytes = match Arc::try_unwrap(original) {
        Ok(original) => original.original.bytes,
        Err(shared) => shared.original.bytes.clone(),
    };
    Ok((bytes, media_type))
}

fn resolve(query: &str, handler: &Handler) -> Result<Options, Failure> {
    Query::parse(query)
        .and_then(|query| Options::from_canonical(&query, handler.defaults()))
        .map_err(|error| {
            Failure::new(Code::RendererFailed, format!("malformed query from the edge: {error}"))
        })
}

fn invalid_path(path: &str) -> Failure {
    Failure::new(Code::InvalidKey, format!("{path:?} is not a handler and a valid key"))
}
