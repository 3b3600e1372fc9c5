//! A request for a picture: token, options, cache, renderer, answer; in this order.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::conditional::{Outcome, Validators, evaluate};
use super::error_images::ErrorImages;
use super::memory::{Hot, Memory};
use super::refreshes::Refreshes;
use super::renderer::{Renderer, Trouble, Wanted};
use super::request::{Method, Request};
use super::response::{Body, Response};
use super::store::Keeper;
use crate::TokenValidator;
use crate::cache::{DiskCache, Entry, EntryId, Freshness, Name, Need, Picture, Witness};
use crate::config::{CacheTime, Config, DEFAULT_CACHE_SECONDS, Handler};
use crate::error::{Code, Failure};
use crate::flights::Flights;
use crate::format::Format;
use crate::key;
use crate::options::{DEFAULT_QUALITY, Options, Query, Size};
use crate::report::say;

/// What `Cache-Control` says for a picture that never expires: RFC 9111 knows no "for ever", so a year.
const A_YEAR: u64 = 31_536_000;

/// Everything that is needed to answer for pictures.
#[derive(Debug)]
pub struct Images {
    validator: Option<TokenValidator>,
    routes: HashMap<String, Route>,
    error_images: ErrorImages,
    memory: Memory,
    /// By name and the refresh that they come after: no request boards one that began before it.
    flights: Flights<(Name, u64), Result<Arc<Picture>, Trouble>>,
    refreshes: Arc<Refreshes>,
    renderer: Renderer,
    patience: Duration,
}

#[derive(Debug)]
struct Route {
    handler: Handler,
    identity: String,
    cache: Option<DiskCache>,
    keeper: Option<Arc<Keeper>>,
}

/// An answer, with what the log says about it.
#[derive(Debug)]
pub struct Answer {
    /// What the client gets.
    pub response: Response,
    /// `hit` or `miss`.
    pub cache: Option<&'static str>,
    /// The value of `X-Error`.
    pub error: Option<&'static str>,
}

impl Answer {
    /// An answer that is not about a picture.
    pub fn plain(response: Response) -> Answer {
        Answer { response, cache: None, error: None }
    }

    fn no_such_handler() -> Answer {
        const CODE: &str = "no_such_handler";
        let response = Response::text(404, "no handler answers at this path").with("X-Error", CODE);
        Answer { error: Some(CODE), ..Answer::plain(response) }
    }

    fn refused(sentence: &str) -> Answer {
        Answer { error: Some("bad_request"), ..Answer::plain(Response::text(400, sentence)) }
    }
}

/// One request, as far as it has been understood.
struct Asked<'r> {
    request: &'r Request<'r>,
    route: &'r Route,
    options: Options,
    varies: bool,
    /// Whether the renderer may be waited for.
    may_wait: bool,
}

impl<'r> Asked<'r> {
    fn find(&self, name: &Name, not_before: u64, need: Need) -> Option<Entry<'r>> {
        self.route.find(name, not_before, need)
    }
}

impl Route {
    fn find(&self, name: &Name, not_before: u64, need: Need) -> Option<Entry<'_>> {
        let entry = self.cache.as_ref()?.find(name, need)?;
        let is_fresh = entry.freshness(SystemTime::now()) == Freshness::Fresh;
        (is_fresh && entry.stored() > not_before).then_some(entry)
    }
}

impl Images {
    /// Pictures of this configuration, made by this renderer.
    pub fn new(
        config: &Config,
        validator: Option<TokenValidator>,
        renderer: Renderer,
        keepers: &HashMap<PathBuf, Arc<Keeper>>,
        refreshes: &Arc<Refreshes>,
    ) -> Images {
        let route = |handler: &Handler| Route {
            handler: handler.clone(),
            identity: handler.identity(),
            cache: handler.cache.as_ref().map(|cache| DiskCache::new(&cache.path, handler.lifetime())),
            keeper: handler.cache.as_ref().and_then(|cache| keepers.get(&cache.path)).map(Arc::clone),
        };
        Images {
            validator,
            routes: config.handlers.iter().map(|handler| (handler.route.clone(), route(handler))).collect(),
            error_images: ErrorImages::new(config),
            memory: Memory::new(config.memory_cache),
            flights: Flights::new(),
            refreshes: Arc::clone(refreshes),
            patience: renderer.longest_ask(),
            renderer,
        }
    }

    /// The renderer that makes the pictures.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Answers a GET or HEAD. `None` if the renderer has to be waited for and that is not wanted.
    pub fn answer(&self, request: &Request, may_wait: bool) -> Option<Answer> {
        if !request.path()[1..].contains('/') {
            return Some(Answer::no_such_handler());
        }
        let Some((route, key)) = key::split_path(request.path()) else {
            return Some(Answer::refused("the path must be /{handler}/{key}, percent-encoded UTF-8"));
        };
        let Some(route) = self.routes.get(&route) else { return Some(Answer::no_such_handler()) };
        let query = match Query::parse(request.query()) {
            Ok(query) => query,
            Err(error) => return Some(Answer::refused(&error.0)),
        };
        let accept = if query.varies() { request.list("accept").unwrap_or_default() } else { String::new() };
        let options = Options::resolve(&query, &accept, &route.handler);
        let (varies, is_accepted) = (query.varies(), self.is_token_accepted(query.token()));

        let options = match options {
            Ok(options) => options,
            // Whether its options are right is none of the business of someone without a token.
            Err(_) if !is_accepted => as_configured(&route.handler),
            Err(error) => return Some(Answer::refused(&error.0)),
        };
        let asked = Asked { request, route, options, varies, may_wait };
        if !is_accepted {
            let failure = Failure::new(Code::TokenRefused, "the token was not accepted");
            return self.failure(&asked, &failure, None);
        }
        if let Err(failure) = check_key(&key, &route.handler) {
            return self.failure(&asked, &failure, None);
        }
        self.picture(&asked, key)
    }

    fn is_token_accepted(&self, token: &str) -> bool {
        match self.validator {
            None => true,
            // The panic's own message is on stderr.
            Some(validator) => catch_unwind(AssertUnwindSafe(|| validator(token))).unwrap_or(false),
        }
    }

    fn picture(&self, asked: &Asked, key: String) -> Option<Answer> {
        let name = Name { handler: asked.route.identity.clone(), key, options: asked.options.canonical() };
        let not_before = self.refreshes.not_before(&name);
        if let Some(response) = self.cached(asked, &name, not_before) {
            return Some(Answer { response, cache: Some("hit"), error: None });
        }
        if !asked.may_wait {
            // A thread that is told so at once is a thread too many, above all when there are many to be told.
            let is_refused = self.renderer.is_full() && !self.flights.is_under_way(&(name, not_before));
            return is_refused.then(overloaded);
        }
        match self.made(asked.route, &name, not_before) {
            Some(Ok(picture)) => {
                let response = picture_response(asked, picture).with("X-Cache", "miss");
                Some(Answer { response, cache: Some("miss"), error: None })
            }
            Some(Err(Trouble::Failure(failure))) => self.failure(asked, &failure, Some(&name.key)),
            Some(Err(Trouble::Overloaded)) | None => Some(overloaded()),
        }
    }

    /// Has a picture made, by whoever is making it already or here. `None` if that takes too long.
    fn made(&self, route: &Route, name: &Name, not_before: u64) -> Option<Result<Arc<Picture>, Trouble>> {
        let target = format!("{}?{}", key::to_path(&route.handler.route, &name.key), name.options);
        let failed =
            Failure::new(Code::RendererFailed, "the request that made this picture for all of them failed");
        let flight = (name.clone(), not_before);
        self.flights.get(&flight, self.patience, Err(Trouble::Failure(failed)), || {
            // Who looked before the last flight landed and boarded after finds its result here.
            if let Some(picture) = route.find(name, not_before, Need::Picture).and_then(Entry::read) {
                return Ok(Arc::new(picture));
            }
            let made = self.renderer.ask(Wanted { target: &target, not_before })?;
            if let (Some(keeper), Some(bytes)) = (&route.keeper, made.stored) {
                keeper.stored(EntryId::of(name), bytes);
            }
            if made.asked <= self.refreshes.not_before(name) {
                self.drop_entry(route, name);
            }
            Ok(Arc::new(made.picture))
        })
    }

    /// A flight that began before a refresh must not leave behind what that has dropped.
    fn drop_entry(&self, route: &Route, name: &Name) {
        let id = EntryId::of(name);
        if let Some(disk) = &route.cache
            && let Err(error) = disk.remove(id)
        {
            say!("cache: {}: {:?}: can't be removed after a refresh: {error}", route.handler.route, name.key);
        }
        if let Some(keeper) = &route.keeper {
            keeper.removed(id);
        }
    }

    /// Forgets everything of such names that is held in memory. A refresh calls this, and it has to reach whatever
    /// remembers something about a key.
    pub fn forget(&self, is_touched: &dyn Fn(&Name) -> bool) {
        self.memory.forget_all(is_touched);
    }

    /// Makes a rendition whose original was refreshed, as a request for it would. Whether it is there now.
    pub fn render(&self, route: &str, name: &Name) -> bool {
        let Some(route) = self.routes.get(route) else { return false };
        match self.made(route, name, self.refreshes.not_before(name)) {
            Some(Ok(_)) => true,
            Some(Err(Trouble::Failure(failure))) => {
                say!("{}: {:?}: {failure}", route.handler.route, name.key);
                false
            }
            Some(Err(Trouble::Overloaded)) | None => false,
        }
    }

    fn cached(&self, asked: &Asked, name: &Name, not_before: u64) -> Option<Response> {
        let disk = asked.route.cache.as_ref()?;
        let hot = self.memory.find(name, disk, asked.route.keeper.as_deref());
        if let Some(hot) = hot.filter(|hot| hot.stored() > not_before) {
            return Some(hot_response(asked, &hot));
        }
        let entry = asked.find(name, not_before, need(asked.request))?;
        if let Some(keeper) = &asked.route.keeper {
            keeper.used(entry.id());
        }
        let is_small = usize::try_from(entry.length()).is_ok_and(|length| self.memory.takes(length));
        if !is_small {
            return entry_response(asked, entry);
        }
        let (id, witness) = (entry.id(), entry.witness());
        let picture = Arc::new(entry.read()?);
        let hot = ready(&asked.route.handler, picture, id, witness);
        let response = hot_response(asked, &hot);
        self.memory.keep(name.clone(), hot);
        Some(response)
    }

    fn failure(&self, asked: &Asked, failure: &Failure, key: Option<&str>) -> Option<Answer> {
        let handler = &asked.route.handler;
        let image = match self.error_images.known(&handler.route, &asked.options) {
            Some(image) => Some(image),
            None if !asked.may_wait => return None,
            None => self.error_images.get(&handler.route, &asked.options, &self.renderer),
        };
        if let Some(key) = key
            && !matches!(failure.code, Code::NotFound | Code::NotShown | Code::CrashesRenderer)
        {
            say!("{}: {key:?}: {failure}", handler.route);
        }
        let status = if handler.precise_errors { failure.code.precise_status() } else { 404 };
        let response = match image {
            Some(picture) => {
                let format = picture.format;
                let whole = 0..picture.bytes.len();
                Response::new(status, Body::Picture(picture, whole)).with("Content-Type", format.media_type())
            }
            None => Response::new(status, Body::Text(String::new())),
        };
        let response = common(handler, asked.varies, response)
            .with("Cache-Control", "no-store")
            .with("X-Error", failure.code.public());
        // Nothing was looked for in the cache when the request was refused before.
        let cache = key.map(|_| "miss");
        let response = if cache.is_some() { response.with("X-Cache", "miss") } else { response };
        Some(Answer { response, cache, error: Some(failure.code.public()) })
    }
}

/// A client that sends a condition has the picture, and most of the time the right one.
fn need(request: &Request) -> Need {
    let has = |name| request.all(name).next().is_some();
    match request.method == Method::Head || has("if-none-match") || has("if-modified-since") {
        true => Need::Description,
        false => Need::Picture,
    }
}

fn check_key(key: &str, handler: &Handler) -> Result<(), Failure> {
    if !key::is_valid(key) {
        return Err(Failure::new(Code::InvalidKey, "the key is empty, too long, or has a . or .. segment"));
    }
    if let (Some(allowed), Some(extension)) = (&handler.allowed_formats, key::extension(key))
        && !allowed.contains(&extension)
    {
        return Err(Failure::new(Code::FormatNotAllowed, format!(".{extension} is not in allowed_formats")));
    }
    Ok(())
}

fn as_configured(handler: &Handler) -> Options {
    Options {
        size: Size::Original,
        format: handler.output_format,
        quality: DEFAULT_QUALITY,
        enlarge: false,
        background: [0xff; 3],
    }
}

/// A result with the header fields of its answers.
fn ready(handler: &Handler, picture: Arc<Picture>, id: EntryId, witness: Witness) -> Arc<Hot> {
    let etag = quoted(&picture.sha256);
    let fields = |outcome, body| {
        respond(handler, false, outcome, Some(body), described(&picture, &etag))
            .with("X-Cache", "hit")
            .into_fields()
    };
    let whole = fields(Outcome::Whole, Body::None);
    let not_modified = fields(Outcome::NotModified, Body::None);
    Arc::new(Hot::new(picture, etag, whole, not_modified, id, witness))
}

/// The answer from memory.
fn hot_response(asked: &Asked, hot: &Arc<Hot>) -> Response {
    let described = described(&hot.picture, &hot.etag);
    let response = match evaluate(asked.request, described.validators()) {
        Outcome::Whole => Response::hot(200, hot),
        Outcome::NotModified => Response::hot(304, hot),
        outcome => {
            let body = Body::Picture(Arc::clone(&hot.picture), 0..hot.picture.bytes.len());
            let response = respond(&asked.route.handler, asked.varies, outcome, Some(body), described);
            return response.with("X-Cache", "hit");
        }
    };
    if asked.varies { response.with("Vary", "Accept") } else { response }
}

/// The answer from a cache entry that is too large for memory. Its picture is read only if it is sent.
fn entry_response(asked: &Asked, entry: Entry) -> Option<Response> {
    let etag = quoted(entry.sha256());
    let described = Described {
        etag: &etag,
        format: entry.format(),
        last_modified: entry.last_modified(),
        length: entry.length(),
    };
    let outcome = evaluate(asked.request, described.validators());
    let body = match outcome {
        Outcome::Whole if asked.request.method == Method::Head => Some(Body::Length(entry.length())),
        Outcome::NotModified | Outcome::Unsatisfiable | Outcome::PreconditionFailed => None,
        Outcome::Whole | Outcome::Part(_) => {
            let picture = entry.read()?;
            let whole = 0..picture.bytes.len();
            Some(Body::Picture(Arc::new(picture), whole))
        }
    };
    let response = respond(&asked.route.handler, asked.varies, outcome, body, described);
    Some(response.with("X-Cache", "hit"))
}

fn picture_response(asked: &Asked, picture: Arc<Picture>) -> Response {
    let etag = quoted(&picture.sha256);
    let described = described(&picture, &etag);
    let outcome = evaluate(asked.request, described.validators());
    let body = Body::Picture(Arc::clone(&picture), 0..picture.bytes.len());
    respond(&asked.route.handler, asked.varies, outcome, Some(body), described)
}

/// What an answer says about a picture.
#[derive(Clone, Copy)]
struct Described<'p> {
    etag: &'p str,
    format: Format,
    last_modified: Option<u64>,
    length: u64,
}

fn described<'p>(picture: &Picture, etag: &'p str) -> Described<'p> {
    let (format, last_modified) = (picture.format, picture.last_modified);
    Described { etag, format, last_modified, length: picture.bytes.len() as u64 }
}

impl<'p> Described<'p> {
    fn validators(&self) -> Validators<'p> {
        Validators { etag: self.etag, last_modified: self.last_modified, length: self.length }
    }
}

/// The answer for a picture and an outcome; `body` is the whole picture where the outcome needs it.
fn respond(
    handler: &Handler,
    varies: bool,
    outcome: Outcome,
    body: Option<Body>,
    described: Described,
) -> Response {
    let length = described.length;
    let typed = |response: Response| response.with("Content-Type", described.format.media_type());
    let response = match (outcome, body) {
        (Outcome::NotModified, _) => Response::new(304, Body::None),
        (Outcome::Unsatisfiable, _) => {
            let response = Response::text(416, "the range starts behind the end of the picture");
            return common(handler, varies, response).with("Content-Range", &format!("bytes */{length}"));
        }
        (Outcome::PreconditionFailed, _) => {
            let response = Response::text(412, "the picture is not the one of the condition");
            return common(handler, varies, response);
        }
        (Outcome::Part(range), Some(Body::Picture(picture, _))) => {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            // Both ends lie inside the picture, which is in memory.
            let range = range.start as usize..range.end as usize;
            typed(Response::new(206, Body::Picture(picture, range))).with("Content-Range", &content_range)
        }
        (_, body) => typed(Response::new(200, body.unwrap_or(Body::None))),
    };
    let response = response
        .with("ETag", described.etag)
        .with("Accept-Ranges", "bytes")
        .with("Cache-Control", &cache_control(handler.cache_time));
    let response = match described.last_modified {
        Some(seconds) => response.with("Last-Modified", &http_date(seconds)),
        None => response,
    };
    common(handler, varies, response)
}

/// What every answer of a handler carries.
fn common(handler: &Handler, varies: bool, response: Response) -> Response {
    let response = match &handler.cors_origin {
        Some(origin) => response.with("Access-Control-Allow-Origin", origin),
        None => response,
    };
    if varies { response.with("Vary", "Accept") } else { response }
}

fn overloaded() -> Answer {
    let response = Response::text(503, "too many pictures are being made; please come again")
        .with("Retry-After", "1")
        .with("X-Error", "overloaded");
    Answer { error: Some("overloaded"), cache: Some("miss"), ..Answer::plain(response) }
}

fn cache_control(time: CacheTime) -> String {
    match time {
        CacheTime::Seconds(DEFAULT_CACHE_SECONDS) => "public, max-age=604800".into(),
        CacheTime::Seconds(seconds) => format!("public, max-age={seconds}"),
        CacheTime::Forever => format!("public, max-age={A_YEAR}"),
        CacheTime::Never => "no-store".into(),
    }
}

fn quoted(sha256: &str) -> String {
    format!("\"{sha256}\"")
}

fn http_date(seconds: u64) -> String {
    /// The last second that an HTTP date can write: 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    httpdate::fmt_http_date(time)
}
