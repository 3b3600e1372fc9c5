//! Answers a request for an image: token, options, cache, renderer, response, in this order.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::auth::{AuthRequest, Authorizer};
use super::error_image::ErrorImages;
use super::image_request::{self, ImageRequest};
use super::image_response;
use crate::TokenValidator;
use crate::cache::{EncodedImage, Name};
use crate::config::{Config, Handler};
use crate::edge::http::request::Request;
use crate::edge::http::response::{Body, Response};
use crate::edge::renderer::{RenderError, Renderer};
use crate::edge::variants::cache_manager::CacheManager;
use crate::edge::variants::purge_log::PurgeLog;
use crate::edge::variants::{CacheStatus, Counts, HandlerState, VariantError, Variants};
use crate::error::{Code, Failure};
use crate::key;
use crate::options::Query;
use crate::token::Refusal;

/// The handlers of a configuration, with their variants and error images.
#[derive(Debug)]
pub struct ImageHandler {
    /// By route.
    handlers: HashMap<String, AuthorizedHandler>,
    error_images: ErrorImages,
    variants: Arc<Variants>,
}

#[derive(Debug)]
struct AuthorizedHandler {
    authorizer: Authorizer,
    state: Arc<HandlerState>,
}

/// A response, with what the access log says about it.
#[derive(Debug)]
pub struct Answer {
    pub response: Response,
    /// The value of `X-Cache`.
    pub cache: Option<&'static str>,
    /// The value of `X-Error`.
    pub error: Option<&'static str>,
}

impl Answer {
    /// A response that is not for an image.
    pub fn plain(response: Response) -> Answer {
        Answer { response, cache: None, error: None }
    }

    fn no_such_handler() -> Answer {
        const CODE: &str = "no_such_handler";
        let response = Response::text(404, "no handler at this path").with("X-Error", CODE);
        Answer { error: Some(CODE), ..Answer::plain(response) }
    }

    fn bad_request(sentence: &str) -> Answer {
        Answer { error: Some("bad_request"), ..Answer::plain(Response::text(400, sentence)) }
    }

    fn overloaded() -> Answer {
        const CODE: &str = "overloaded";
        let response = Response::text(503, "the server is overloaded, try again later")
            .with("Retry-After", "1")
            .with("X-Error", CODE);
        let cache = Some(CacheStatus::Miss.as_str());
        Answer { error: Some(CODE), cache, ..Answer::plain(response) }
    }
}

impl ImageHandler {
    pub fn new(
        config: &Config,
        validator: Option<TokenValidator>,
        renderer: Renderer,
        managers: &HashMap<PathBuf, Arc<CacheManager>>,
        purge_log: &Arc<PurgeLog>,
    ) -> ImageHandler {
        let handler = |handler: &Handler| {
            let authorized = AuthorizedHandler {
                authorizer: Authorizer::new(handler, validator),
                state: Arc::new(HandlerState::new(handler, managers)),
            };
            (handler.route.clone(), authorized)
        };
        ImageHandler {
            handlers: config.handlers.iter().map(handler).collect(),
            error_images: ErrorImages::new(config),
            variants: Arc::new(Variants::new(config.memory_cache, renderer, purge_log)),
        }
    }

    pub fn renderer(&self) -> &Renderer {
        self.variants.renderer()
    }

    pub fn counts(&self) -> &Counts {
        self.variants.counts()
    }

    /// Removes the matching names from memory, for a purge.
    pub fn remove_matching(&self, matches: &dyn Fn(&Name) -> bool) {
        self.variants.remove_matching(matches);
    }

    /// Makes a purged variant again. `false` if that failed.
    pub fn rerender(&self, route: &str, name: &Name) -> bool {
        self.handlers.get(route).is_some_and(|handler| self.variants.rerender(&handler.state, name))
    }

    /// Answers a GET or HEAD. `None` if this would wait for the renderer and `may_wait` is false.
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
            return Some(Answer::bad_request(
                "the path must be /{handler}/{key}, percent-encoded UTF-8",
            ));
        };
        let Some(AuthorizedHandler { authorizer, state: handler }) = self.handlers.get(&route)
        else {
            return Some(Answer::no_such_handler());
        };
        let config = &handler.config;
        let query = match Query::parse(request.query()) {
            Ok(query) => query,
            Err(error) => return Some(Answer::bad_request(&error.0)),
        };
        // Before the options are checked: a client without a token must not learn whether they are valid.
        let auth_request = AuthRequest { request, key: &key, query: &query, client };
        let Ok(grant) = authorizer.authorize(&config.route, auth_request) else {
            return Some(self.token_refused(config));
        };
        let (options, varies) = match image_request::resolve_options(&query, request, config) {
            Ok(resolved) => resolved,
            Err(error) => return Some(Answer::bad_request(&error.0)),
        };
        if !grant.max_size.allows(options.size) {
            authorizer.log_refusal(&config.route, client, Refusal::Size);
            return Some(self.token_refused(config));
        }
        let image_request = ImageRequest { request, handler, options, varies, grant, may_wait };
        if let Err(failure) = image_request::check_key(&key, config) {
            return self.failure(&image_request, &failure, None);
        }
        self.image(&image_request, key)
    }

    fn image(&self, image_request: &ImageRequest, key: String) -> Option<Answer> {
        let ImageRequest { handler, may_wait, .. } = *image_request;
        let options = image_request.options.canonical();
        let name = Name { handler: handler.identity.clone(), key, options };
        let mut result = self.variants.get(handler, &name, image_request.need(), may_wait)?;
        loop {
            match result {
                Ok(variant) => {
                    let cache = Some(variant.cache_status.as_str());
                    if let Some(response) = image_response::respond(image_request, variant) {
                        return Some(Answer { response, cache, error: None });
                    }
                    // The entry on disk is damaged. The next result comes from the renderer, so this loops once.
                    result = self.variants.get_uncached(handler, &name, may_wait)?;
                }
                Err(VariantError { error: RenderError::Overloaded, .. }) => {
                    return Some(Answer::overloaded());
                }
                Err(VariantError { error: RenderError::Failure(failure), is_cached }) => {
                    let status = if is_cached { CacheStatus::Hit } else { CacheStatus::Miss };
                    return self.failure(image_request, &failure, Some(status));
                }
            }
        }
    }

    /// The same response for every refused token: the error image as it is, without asking the renderer.
    fn token_refused(&self, handler: &Handler) -> Answer {
        let image = self.error_images.original(&handler.route);
        let response = error_response(handler, false, Code::TokenRefused, image);
        Answer { response, cache: None, error: Some(Code::TokenRefused.public_name()) }
    }

    /// `cache_status` is `None` if the request failed before the cache lookup.
    fn failure(
        &self,
        image_request: &ImageRequest,
        failure: &Failure,
        cache_status: Option<CacheStatus>,
    ) -> Option<Answer> {
        let ImageRequest { handler, options, varies, may_wait, .. } = image_request;
        let config = &handler.config;
        let image = match self.error_images.find(&config.route, options) {
            Some(image) => Some(image),
            None if !may_wait => return None,
            None => self.error_images.get(&config.route, options, self.renderer()),
        };
        let mut response = error_response(config, *varies, failure.code, image);
        let cache = cache_status.map(CacheStatus::as_str);
        if let Some(cache) = cache {
            response = response.with("X-Cache", cache);
        }
        Some(Answer { response, cache, error: Some(failure.code.public_name()) })
    }
}

/// The response for a failure, with the handler's error image.
fn error_response(
    handler: &Handler,
    varies: bool,
    code: Code,
    image: Option<Arc<EncodedImage>>,
) -> Response {
    let status = if handler.precise_errors { code.precise_status() } else { 404 };
    let response = match image {
        Some(image) => {
            let media_type = image.format.media_type();
            let whole = 0..image.bytes.len();
            Response::new(status, Body::EncodedImage(image, whole)).with("Content-Type", media_type)
        }
        None => Response::new(status, Body::Text(String::new())),
    };
    image_response::with_handler_fields(response, handler, varies)
        .with("Cache-Control", "no-store")
        .with("X-Error", code.public_name())
}
