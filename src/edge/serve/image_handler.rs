//! A request for an image: token, options, cache, renderer, answer; in this order.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::auth::{AuthRequest, Authorizer};
use super::error_image::ErrorImages;
use super::image_response::{self, Wish, common};
use crate::TokenValidator;
use crate::cache::{EncodedImage, Name, Need};
use crate::config::{Config, Handler};
use crate::edge::http::request::{Method, Request};
use crate::edge::http::response::{Body, Response};
use crate::edge::renderer::{RenderError, Renderer};
use crate::edge::variants::cache_manager::CacheManager;
use crate::edge::variants::purge_log::PurgeLog;
use crate::edge::variants::{Counts, Missed, Route, Source, Variants};
use crate::error::{Code, Failure};
use crate::key;
use crate::options::{BadQuery, Options, Query};
use crate::token::{Grant, Refusal};

/// Everything that is needed to answer for images.
#[derive(Debug)]
pub struct ImageHandler {
    routes: HashMap<String, Place>,
    error_images: ErrorImages,
    results: Arc<Variants>,
}

/// A handler and who may come in.
#[derive(Debug)]
struct Place {
    authorizer: Authorizer,
    route: Arc<Route>,
}

/// An answer, with what the log says about it.
#[derive(Debug)]
pub struct Answer {
    /// What the client gets.
    pub response: Response,
    /// The value of `X-Cache`.
    pub cache: Option<&'static str>,
    /// The value of `X-Error`.
    pub error: Option<&'static str>,
}

impl Answer {
    /// An answer that is not about an image.
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
    route: &'r Arc<Route>,
    options: Options,
    varies: bool,
    /// What its token allows.
    grant: Grant,
    /// Whether the renderer may be waited for.
    may_wait: bool,
}

impl ImageHandler {
    /// Service of this configuration, made by this renderer.
    pub fn new(
        config: &Config,
        validator: Option<TokenValidator>,
        renderer: Renderer,
        managers: &HashMap<PathBuf, Arc<CacheManager>>,
        purge_log: &Arc<PurgeLog>,
    ) -> ImageHandler {
        let place = |handler: &Handler| {
            let (authorizer, route) =
                (Authorizer::new(handler, validator), Arc::new(Route::new(handler, managers)));
            (handler.route.clone(), Place { authorizer, route })
        };
        ImageHandler {
            routes: config.handlers.iter().map(place).collect(),
            error_images: ErrorImages::new(config),
            results: Arc::new(Variants::new(config.memory_cache, renderer, purge_log)),
        }
    }

    /// The renderer that makes the images.
    pub fn renderer(&self) -> &Renderer {
        self.results.renderer()
    }

    /// What the renderer was asked for.
    pub fn counts(&self) -> &Counts {
        self.results.counts()
    }

    /// Forgets everything of such names that is held in memory.
    pub fn forget(&self, is_touched: &dyn Fn(&Name) -> bool) {
        self.results.forget(is_touched);
    }

    /// Makes a variant whose original was purged. Whether it is there now.
    pub fn render(&self, route: &str, name: &Name) -> bool {
        self.routes.get(route).is_some_and(|place| self.results.render(&place.route, name))
    }

    /// Answers this client's GET or HEAD. `None` if the renderer has to be waited for and that is not wanted.
    pub fn answer(
        &self,
        request: &Request,
        client: Option<IpAddr>,
        may_wait: bool,
    ) -> Option<Answer> {
        if !request.path()[1..].contains('/') {
            return Some(Answer::no_such_handler());
        }
        let Some((route, key)) = key::split_path(request.path()) else {
            return Some(Answer::refused(
                "the path must be /{handler}/{key}, percent-encoded UTF-8",
            ));
        };
        let Some(Place { authorizer, route }) = self.routes.get(&route) else {
            return Some(Answer::no_such_handler());
        };
        let query = match Query::parse(request.query()) {
            Ok(query) => query,
            Err(error) => return Some(Answer::refused(&error.0)),
        };
        // Whether its options are right, and everything after that, is none of the business of someone without a token.
        let auth_request = AuthRequest { request, key: &key, query: &query, client };
        let Ok(grant) = authorizer.admit(&route.handler.route, auth_request) else {
            return Some(self.token_refused(&route.handler));
        };
        let (options, varies) = match options(&query, request, &route.handler) {
            Ok(options) => options,
            Err(error) => return Some(Answer::refused(&error.0)),
        };
        if !grant.max_size.allows(options.size) {
            authorizer.complain(&route.handler.route, client, Refusal::Size);
            return Some(self.token_refused(&route.handler));
        }
        let asked = Asked { request, route, options, varies, grant, may_wait };
        if let Err(failure) = check_key(&key, &route.handler) {
            return self.failure(&asked, &failure, None);
        }
        self.image(&asked, key)
    }

    fn image(&self, asked: &Asked, key: String) -> Option<Answer> {
        let (request, route) = (asked.request, asked.route);
        let name =
            Name { handler: route.identity.clone(), key, options: asked.options.canonical() };
        let wish =
            Wish { request, handler: &route.handler, varies: asked.varies, grant: &asked.grant };
        let (results, may_wait) = (&self.results, asked.may_wait);
        let mut got = results.get(route, &name, need(request), may_wait)?;
        loop {
            match got {
                Ok(found) => {
                    let cache = Some(found.source.as_str());
                    if let Some(response) = image_response::response(wish, found) {
                        return Some(Answer { response, cache, error: None });
                    }
                    // It was found damaged when it was read; what is made anew is not read.
                    got = results.get_anew(route, &name, may_wait)?;
                }
                Err(Missed { trouble: RenderError::Overloaded, .. }) => return Some(overloaded()),
                Err(Missed { trouble: RenderError::Failure(failure), is_known }) => {
                    let source = if is_known { Source::Hit } else { Source::Miss };
                    return self.failure(asked, &failure, Some((&name.key, source)));
                }
            }
        }
    }

    /// The one answer to everybody who is not let in: the error image as it is, for which nobody is asked.
    fn token_refused(&self, handler: &Handler) -> Answer {
        let image = self.error_images.original(&handler.route);
        let response = error_response(handler, false, Code::TokenRefused, image);
        Answer { response, cache: None, error: Some(Code::TokenRefused.public_name()) }
    }

    fn failure(
        &self,
        asked: &Asked,
        failure: &Failure,
        looked_up: Option<(&str, Source)>,
    ) -> Option<Answer> {
        let handler = &asked.route.handler;
        let image = match self.error_images.known(&handler.route, &asked.options) {
            Some(image) => Some(image),
            None if !asked.may_wait => return None,
            None => self.error_images.get(&handler.route, &asked.options, self.renderer()),
        };
        let response = error_response(handler, asked.varies, failure.code, image);
        // Nothing was looked for in the cache when the request was refused before.
        let cache = looked_up.map(|(_, source)| source.as_str());
        let response =
            cache.into_iter().fold(response, |response, cache| response.with("X-Cache", cache));
        Some(Answer { response, cache, error: Some(failure.code.public_name()) })
    }
}

/// What is asked for, if the handler allows that, and whether it depends on `Accept`.
fn options(
    query: &Query,
    request: &Request,
    handler: &Handler,
) -> Result<(Options, bool), BadQuery> {
    let whole = handler.size_policy.with_preset(query)?;
    let varies = whole.varies();
    let accept = if varies { request.list("accept").unwrap_or_default() } else { String::new() };
    let options = Options::resolve(&whole, &accept, handler.defaults())?;
    handler.size_policy.check_size(query, &whole)?;
    Ok((options, varies))
}

/// The answer of a handler that has no image to send, with its error image.
fn error_response(
    handler: &Handler,
    varies: bool,
    code: Code,
    image: Option<Arc<EncodedImage>>,
) -> Response {
    let status = if handler.precise_errors { code.precise_status() } else { 404 };
    let response = match image {
        Some(image) => {
            let format = image.format;
            let whole = 0..image.bytes.len();
            Response::new(status, Body::EncodedImage(image, whole))
                .with("Content-Type", format.media_type())
        }
        None => Response::new(status, Body::Text(String::new())),
    };
    common(handler, varies, response)
        .with("Cache-Control", "no-store")
        .with("X-Error", code.public_name())
}

/// A client that sends a condition has the image, and most of the time the right one.
fn need(request: &Request) -> Need {
    let has = |name| request.all(name).next().is_some();
    match request.method == Method::Head || has("if-none-match") || has("if-modified-since") {
        true => Need::Header,
        false => Need::Image,
    }
}

fn check_key(key: &str, handler: &Handler) -> Result<(), Failure> {
    if !key::is_valid(key) {
        return Err(Failure::new(
            Code::InvalidKey,
            "the key is empty, too long, or has a . or .. segment",
        ));
    }
    if let (Some(allowed), Some(extension)) = (&handler.allowed_formats, key::extension(key))
        && !allowed.contains(&extension)
    {
        return Err(Failure::new(
            Code::FormatNotAllowed,
            format!(".{extension} is not in allowed_formats"),
        ));
    }
    Ok(())
}

fn overloaded() -> Answer {
    let response = Response::text(503, "too many images are being made; please come again")
        .with("Retry-After", "1")
        .with("X-Error", "overloaded");
    Answer { error: Some("overloaded"), cache: Some("miss"), ..Answer::plain(response) }
}
