//! What the renderer does for one request: ask the origin, render, store.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::admission::Admission;
use super::cache_write::Storing;
use super::decode_events::Decoding;
use super::originals::{Answer, Held, Originals};
use super::pipeline::{self, Bounds};
use super::sandbox::Sandbox;
use super::vips::Vips;
use super::watchdog::Watchdog;
use crate::cache::{
    DiskCache, EncodedImage, Entry, EntryId, Freshness, Name, Need, OriginalEntry, Rendered,
    has_room,
};
use crate::config::{Config, FailOn, Handler};
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::key;
use crate::options::{Options, Query};
use crate::time::unix_milliseconds;
use crate::wire;

/// Every handler with its origin and its cache.
pub struct Service {
    routes: HashMap<String, Route>,
    vips: Vips,
    admission: Admission,
    watchdog: Watchdog,
    bounds: Bounds,
    render_timeout: Duration,
    storing: Arc<Storing>,
}

struct Route {
    handler: Handler,
    identity: String,
    originals: Originals,
    cache: Option<DiskCache>,
}

/// What an entry was good for.
enum Revalidated {
    /// It is the answer.
    Access(Rendered),
    /// The origin has something else.
    Outdated(Arc<Held>),
    /// Nothing.
    Unknown,
}

impl Service {
    /// Opens the origins and caches of a configuration.
    pub fn new(config: &Config, vips: Vips, sandbox: Sandbox) -> io::Result<Service> {
        let storing = Arc::new(Storing::new(sandbox));
        let mut routes = HashMap::new();
        for handler in &config.handlers {
            let route = Route {
                identity: handler.identity(),
                originals: Originals::open(handler, &config.limits, Arc::clone(&storing)),
                cache: handler.cache.as_ref().map(|cache| {
                    DiskCache::new(&cache.path, handler.lifetime()).with_min_free(cache.min_free)
                }),
                handler: handler.clone(),
            };
            routes.insert(handler.route.clone(), route);
        }
        let limits = &config.limits;
        Ok(Service {
            routes,
            vips,
            admission: Admission::new(limits.renders_at_once, limits.memory_budget),
            watchdog: Watchdog::start(limits.decode_timeout)?,
            bounds: Bounds::of(limits),
            render_timeout: limits.render_timeout,
            storing,
        })
    }

    /// Whether this process can't get at what the configuration names any more, and the next one could.
    pub fn is_outdated(&self) -> bool {
        self.storing.is_outdated()
    }

    /// Answers a path and canonical query as the edge writes them, with nothing that an origin said before a time in
    /// milliseconds since 1970. The id is the edge's number for it.
    pub fn answer(
        &self,
        target: &str,
        not_before: u64,
        id: Option<u64>,
    ) -> Result<Rendered, Failure> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path.strip_prefix(wire::ERROR_IMAGE_PATH) {
            Some(route) => self.error_image(route, query, id),
            None => self.image(path, query, not_before, id),
        }
    }

    fn image(
        &self,
        path: &str,
        query: &str,
        not_before: u64,
        id: Option<u64>,
    ) -> Result<Rendered, Failure> {
        let (route, key) = key::split_path(path).ok_or_else(|| unreadable(path))?;
        if !key::is_valid(&key) {
            return Err(unreadable(path));
        }
        let begun = Instant::now();
        let route = self.routes.get(&route).ok_or_else(|| unreadable(path))?;
        let options = resolve(query, &route.handler)?;
        let name = Name { handler: route.identity.clone(), key, options: options.canonical() };
        // Most of the time it is not read: there is none, or the origin has something else.
        let entry = route.cache.as_ref().and_then(|cache| cache.find(&name, Need::Header));
        let revalidated = match entry.filter(|entry| entry.validated_at() > not_before) {
            None => Revalidated::Unknown,
            Some(entry) => self.revalidate(route, &name.key, entry, not_before)?,
        };
        let held = match revalidated {
            Revalidated::Access(made) => return Ok(made),
            Revalidated::Outdated(held) => held,
            Revalidated::Unknown => route.originals.get(&name.key, not_before)?,
        };
        let (bytes, format) =
            self.render(&held.original.bytes, &options, route.handler.fail_on, id)?;
        let image = EncodedImage::new(bytes, format, held.original.last_modified);
        // Nobody waits any more, and nobody would know of it.
        let is_overdue = begun.elapsed() >= self.render_timeout;
        let stored = if is_overdue { None } else { self.store(route, &name, &image, &held) };
        let asked = unix_milliseconds(held.asked);
        Ok(Rendered {
            image,
            disk_bytes: stored,
            validated_at: asked,
            revalidated: false,
            original: held.entry,
        })
    }

    /// Makes an image of an original, when there is a turn and memory for it.
    fn render(
        &self,
        original: &[u8],
        options: &Options,
        fail_on: FailOn,
        id: Option<u64>,
    ) -> Result<(Vec<u8>, Format), Failure> {
        // What is refused by its header waits for nobody.
        let bytes = {
            let _decoding = Decoding::of(id);
            pipeline::examine(original, options, fail_on, &self.bounds)?
        };
        // The edge has waited no shorter than that.
        let Some(_turn) = self.admission.enter(bytes, self.render_timeout) else {
            let sentence = "no turn and memory for this image within limits.render_timeout";
            return Err(Failure::new(Code::RenderTimeout, sentence));
        };
        let _decoding = Decoding::of(id);
        let watched = self.watchdog.begin();
        let made = pipeline::render(self.vips, original, options, fail_on, self.bounds);
        if made.is_err() && watched.was_stopped() {
            let sentence = "the work on this image took longer than limits.decode_timeout";
            return Err(Failure::new(Code::DecodeTimeout, sentence));
        }
        made
    }

    /// Asks the origin whether an entry is right still, unless somebody else has just done that.
    fn revalidate(
        &self,
        route: &Route,
        key: &str,
        entry: Entry,
        not_before: u64,
    ) -> Result<Revalidated, Failure> {
        let right = |image, stored, asked, original| {
            Revalidated::Access(Rendered {
                image,
                disk_bytes: stored,
                validated_at: asked,
                revalidated: true,
                original,
            })
        };
        let was_asked = entry.validated_at();
        if entry.freshness(SystemTime::now()) == Freshness::Fresh {
            let read = entry.read();
            return Ok(read.map_or(Revalidated::Unknown, |image| {
                right(image, None, was_asked, OriginalEntry::None)
            }));
        }
        let Some(etag) = entry.original_etag().map(str::to_owned) else {
            return Ok(Revalidated::Unknown);
        };
        let (asked, original) = match route.originals.get_unless(key, &etag, not_before)? {
            Answer::Changed(held) => return Ok(Revalidated::Outdated(held)),
            Answer::Unchanged { asked, entry } => (asked, entry),
        };
        // One from the future was made before the clock was set back.
        let knows_better = unix_milliseconds(asked)..=unix_milliseconds(SystemTime::now());
        if knows_better.contains(&was_asked) {
            // It must not become older.
            let read = entry.read();
            return Ok(
                read.map_or(Revalidated::Unknown, |image| right(image, None, was_asked, original))
            );
        }
        Ok(match entry.revalidate(asked) {
            None => Revalidated::Unknown,
            Some((image, written)) => {
                let stored = self.storing.outcome(written);
                right(image, stored, unix_milliseconds(asked), original)
            }
        })
    }

    /// Stores an image, unless its key has as many variants as it may have. How many bytes of the disk that takes.
    fn store(&self, route: &Route, name: &Name, image: &EncodedImage, held: &Held) -> Option<u64> {
        let cache = route.cache.as_ref()?;
        let has_room = match (&route.handler.cache, route.handler.max_variants) {
            (Some(directory), Some(most)) => has_room(
                &directory.path,
                EntryId::of(name),
                most,
                route.handler.lifetime().retention(),
            ),
            _ => Ok(true),
        };
        let written = match has_room {
            Ok(true) => cache.store(name, image, held.original.etag.as_deref(), held.asked),
            Ok(false) => return None,
            Err(error) => Err(error),
        };
        self.storing.outcome(written)
    }

    fn error_image(&self, route: &str, query: &str, id: Option<u64>) -> Result<Rendered, Failure> {
        let (route, _) = key::split_path(&format!("/{route}/")).ok_or_else(|| unreadable(route))?;
        let route = self.routes.get(&route).ok_or_else(|| unreadable(&route))?;
        let options = resolve(query, &route.handler)?;
        let bytes = &route.handler.error_image.bytes;
        let (bytes, format) = self.render(bytes, &options, FailOn::None, id)?;
        let image = EncodedImage::new(bytes, format, None);
        Ok(Rendered {
            image,
            disk_bytes: None,
            validated_at: 0,
            revalidated: false,
            original: OriginalEntry::None,
        })
    }
}

fn resolve(query: &str, handler: &Handler) -> Result<Options, Failure> {
    Query::parse(query).and_then(|query| Options::resolve(&query, "", handler.defaults())).map_err(
        |error| {
            Failure::new(
                Code::RendererFailed,
                format!("the edge sent a query that is not ours: {error}"),
            )
        },
    )
}

fn unreadable(path: &str) -> Failure {
    Failure::new(Code::InvalidKey, format!("{path:?} names no key of a handler"))
}
