//! What the renderer does for one request: fetch, render, store.

use std::collections::HashMap;
use std::time::SystemTime;

use super::confine::Confinement;
use super::decoding::Decoding;
use super::pipeline::{self, Bounds};
use super::pool::Turns;
use super::source::Source;
use super::vips::Vips;
use crate::cache::{DiskCache, Made, Name, OriginalEntry, Picture, unix_milliseconds};
use crate::config::{Config, FailOn, Handler};
use crate::error::{Code, Failure};
use crate::key;
use crate::options::{Options, Query};
use crate::report::OnceAMinute;
use crate::wire;

/// Every handler with its origin and its cache.
pub struct Pictures {
    routes: HashMap<String, Route>,
    vips: Vips,
    turns: Turns,
    bounds: Bounds,
    cache_complaint: OnceAMinute,
    confinement: Confinement,
}

struct Route {
    handler: Handler,
    identity: String,
    /// One origin that can't be opened any more must not take the other handlers' with it.
    source: Result<Source, Failure>,
    cache: Option<DiskCache>,
}

impl Pictures {
    /// Opens the origins and caches of a configuration.
    pub fn new(config: &Config, vips: Vips, confinement: Confinement) -> Pictures {
        let mut routes = HashMap::new();
        for handler in &config.handlers {
            let route = Route {
                identity: handler.identity(),
                source: Source::open(&handler.origin, &config.limits),
                cache: handler.cache.as_ref().map(|cache| {
                    DiskCache::new(&cache.path, handler.lifetime()).with_min_free(cache.min_free)
                }),
                handler: handler.clone(),
            };
            routes.insert(handler.route.clone(), route);
        }
        Pictures {
            routes,
            vips,
            turns: Turns::new(config.limits.renders_at_once),
            bounds: Bounds {
                source: config.limits.source_max_pixels,
                result: config.limits.result_max_pixels,
            },
            cache_complaint: OnceAMinute::default(),
            confinement,
        }
    }

    /// Whether this process can't get at what the configuration names any more, and the next one could.
    pub fn is_outdated(&self) -> bool {
        self.confinement.is_outdated()
    }

    /// Answers a path and canonical query as the edge writes them, with nothing that an origin said before a time in
    /// milliseconds since 1970. The ticket is the edge's number for it.
    pub fn answer(&self, target: &str, _not_before: u64, ticket: Option<u64>) -> Result<Made, Failure> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path.strip_prefix(wire::ERROR_IMAGE_PATH) {
            Some(route) => self.error_image(route, query, ticket),
            None => self.picture(path, query, ticket),
        }
    }

    fn picture(&self, path: &str, query: &str, ticket: Option<u64>) -> Result<Made, Failure> {
        let (route, key) = key::split_path(path).ok_or_else(|| unreadable(path))?;
        if !key::is_valid(&key) {
            return Err(unreadable(path));
        }
        let route = self.routes.get(&route).ok_or_else(|| unreadable(path))?;
        let options = resolve(query, &route.handler)?;
        let asked = SystemTime::now();
        let original = route.source.as_ref().map_err(Failure::clone)?.fetch(&key)?;
        let (bytes, format) = {
            let _turn = self.turns.take();
            let _decoding = Decoding::of(ticket);
            pipeline::render(self.vips, &original.bytes, &options, route.handler.fail_on, self.bounds)?
        };
        let picture = Picture::new(bytes, format, original.last_modified);
        let mut stored = None;
        if let Some(cache) = &route.cache {
            let name = Name { handler: route.identity.clone(), key, options: options.canonical() };
            match cache.store(&name, &picture, original.etag.as_deref(), asked) {
                Ok(bytes) => stored = Some(bytes),
                // A cache that was deleted, which empties it, is the next renderer's to make.
                Err(_) if self.is_outdated() => {}
                Err(error) => {
                    let sentence =
                        format_args!("the cache can't be written, pictures are served without it: {error}");
                    self.cache_complaint.line(format_args!("renderer: {sentence}"));
                }
            }
        }
        Ok(Made {
            picture,
            stored,
            asked: unix_milliseconds(asked),
            renewed: false,
            original: OriginalEntry::None,
        })
    }

    fn error_image(&self, route: &str, query: &str, ticket: Option<u64>) -> Result<Made, Failure> {
        let (route, _) = key::split_path(&format!("/{route}/")).ok_or_else(|| unreadable(route))?;
        let route = self.routes.get(&route).ok_or_else(|| unreadable(&route))?;
        let options = resolve(query, &route.handler)?;
        let _turn = self.turns.take();
        let _decoding = Decoding::of(ticket);
        let bytes = &route.handler.error_image.bytes;
        let (bytes, format) = pipeline::render(self.vips, bytes, &options, FailOn::None, self.bounds)?;
        let picture = Picture::new(bytes, format, None);
        Ok(Made { picture, stored: None, asked: 0, renewed: false, original: OriginalEntry::None })
    }
}

fn resolve(query: &str, handler: &Handler) -> Result<Options, Failure> {
    Query::parse(query).and_then(|query| Options::resolve(&query, "", handler)).map_err(|error| {
        Failure::new(Code::RendererFailed, format!("the edge sent a query that is not ours: {error}"))
    })
}

fn unreadable(path: &str) -> Failure {
    Failure::new(Code::InvalidKey, format!("{path:?} names no key of a handler"))
}
