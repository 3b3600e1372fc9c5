//! Answers a request for an image: token, options, cache, renderer, response, in this order.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::answer::{Answer, Reply};
use super::auth::{AuthRequest, Authorizer};
use super::error_image::ErrorImages;
use super::fallback::{self, Fallback};
use super::image_request::{self, ImageRequest};
use super::{image_response, page};
use crate::TokenValidator;
use crate::cache::{EncodedImage, Name};
use crate::config::{Config, Handler};
use crate::edge::http::conditional::Conditions;
use crate::edge::http::request::{Method, Request};
use crate::edge::http::response::Response;
use crate::edge::renderer::{RenderError, Renderer};
use crate::edge::variants::cache_manager::CacheManager;
use crate::edge::variants::purge_log::PurgeLog;
use crate::edge::variants::{
    CacheStatus, HandlerState, Lookup, Miss, Variant, VariantError, VariantRequest, Variants,
};
use crate::error::Code;
use crate::key;
use crate::options::{Description, Options, Query};
use crate::phases::Phases;
use crate::token::{Grant, Refusal};

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

/// The part of a request that waits for the renderer. It is authorized, its options are resolved, and the cache lookup
/// is done.
#[derive(Debug)]
pub enum ImageJob {
    Variant { handler: Arc<HandlerState>, request: Box<ImageRequest<'static>>, miss: Miss },
    Error { handler: Arc<HandlerState>, error: Box<ImageError>, fallback: Box<Fallback> },
    Playground { handler: Arc<HandlerState>, conditions: Conditions<'static> },
}

/// A request that is answered with an error image, or with the fallback.
#[derive(Debug)]
pub struct ImageError {
    name: Name,
    options: Options,
    varies: bool,
    grant: Grant,
    code: Code,
    /// `None` if the request failed before the cache lookup.
    cache_status: Option<CacheStatus>,
    /// For the list of the last failures.
    reason: Option<String>,
}

/// Who asks for an image.
#[derive(Clone, Copy)]
enum Access {
    Client(Option<IpAddr>),
    /// The operator, whose secret stands for a token.
    Admin,
}

/// Why a request is rejected before the cache lookup.
enum Rejection<'h> {
    NoSuchHandler,
    BadRequest(Option<&'h Arc<HandlerState>>, String),
    /// With the description that was asked for in place of an image.
    Token(&'h Arc<HandlerState>, Option<Description>),
    Image(&'h Arc<HandlerState>, Box<ImageError>),
    /// It asks for the handler's playground.
    Playground(&'h Arc<HandlerState>),
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

    pub fn variants(&self) -> &Arc<Variants> {
        &self.variants
    }

    pub fn handlers(&self) -> impl Iterator<Item = &Arc<HandlerState>> {
        self.handlers.values().map(|handler| &handler.state)
    }

    /// Answers a GET or HEAD as far as that needs no waiting for the renderer.
    pub fn lookup(&self, request: &Request, client: Option<IpAddr>) -> Reply<ImageJob> {
        self.lookup_at(request, request.path(), Access::Client(client))
    }

    /// [`ImageHandler::lookup`] of the image at `path` for the operator.
    pub fn lookup_for_admin(&self, request: &Request, path: &str) -> Reply<ImageJob> {
        self.lookup_at(request, path, Access::Admin)
    }

    fn lookup_at(&self, request: &Request, path: &str, access: Access) -> Reply<ImageJob> {
        match self.resolve(request, path, access) {
            Ok((handler, image_request)) => self.lookup_image(handler, image_request),
            Err(Rejection::NoSuchHandler) => Reply::Ready(Answer::no_such_handler()),
            Err(Rejection::BadRequest(handler, sentence)) => {
                let answer = Answer::bad_request(&sentence);
                Reply::Ready(match handler {
                    Some(handler) => answer.of(handler),
                    None => answer,
                })
            }
            Err(Rejection::Token(handler, description)) => {
                Reply::Ready(self.token_refused(handler, description))
            }
            Err(Rejection::Image(handler, error)) => self.lookup_error(handler, *error),
            Err(Rejection::Playground(handler)) => Reply::Pending(ImageJob::Playground {
                handler: Arc::clone(handler),
                conditions: Conditions::from_request(request).into_owned(),
            }),
        }
    }

    /// Runs a job of [`ImageHandler::lookup`]. Waits for the renderer.
    pub fn make(&self, job: ImageJob) -> Answer {
        let (ImageJob::Variant { handler, .. }
        | ImageJob::Error { handler, .. }
        | ImageJob::Playground { handler, .. }) = &job;
        let has_server_timing = handler.config.server_timing;
        self.make_timed(job, has_server_timing)
    }

    /// [`ImageHandler::make`] for the operator, who may know where the time went.
    pub fn make_for_admin(&self, job: ImageJob) -> Answer {
        self.make_timed(job, true)
    }

    fn make_timed(&self, job: ImageJob, has_server_timing: bool) -> Answer {
        let mut phases = Phases::default();
        let answer = self.make_answer(job, &mut phases);
        answer.after(phases, has_server_timing)
    }

    fn make_answer(&self, job: ImageJob, phases: &mut Phases) -> Answer {
        let (handler, error) = match job {
            ImageJob::Error { handler, error, fallback } => {
                return match fallback.make(&self.variants, &handler, phases) {
                    Some(image) => error.into_answer_with_fallback(&handler, image),
                    None => self.make_error(&handler, *error),
                };
            }
            ImageJob::Playground { handler, conditions } => {
                let keys = self.variants.renderer().keys(&handler.config.route);
                let page = page::playground(&handler.config, keys, &conditions);
                return Answer::plain(page).of(&handler);
            }
            ImageJob::Variant { handler, request, miss } => {
                let asked = variant_request(&handler, &request);
                match self.variants.make(asked, miss, phases) {
                    Ok(variant) => {
                        let status = variant.cache_status;
                        let response = self.respond_from_disk(asked, &request, &variant);
                        let response = response.unwrap_or_else(|| {
                            image_response::respond(&handler.config, &request, variant)
                        });
                        let answer = Answer::plain(response).with_cache(status).of(&handler);
                        return answer.about(request.name);
                    }
                    Err(error) => match ImageError::new(&request, &error) {
                        Some(error) => (handler, error),
                        None => return Answer::overloaded().of(&handler).about(request.name),
                    },
                }
            }
        };
        let fallback =
            fallback::find(&self.variants, &handler, (&error.name, &error.options), error.code);
        // The phases stay those of the request for the missing image.
        match fallback.make(&self.variants, &handler, &mut Phases::default()) {
            Some(image) => error.into_answer_with_fallback(&handler, image),
            None => self.make_error(&handler, error),
        }
    }

    /// Answers with the error image. Waits for the renderer.
    fn make_error(&self, handler: &HandlerState, error: ImageError) -> Answer {
        let config = &handler.config;
        if let Some(description) = error.options.description() {
            return error.into_text(handler, description);
        }
        let image = self.error_images.make(&config.route, &error.options, &self.variants);
        error.into_answer(handler, image)
    }

    /// The response for a large body that was made, from its entry on disk. `None` if it is small or was not stored.
    fn respond_from_disk(
        &self,
        asked: VariantRequest,
        request: &ImageRequest,
        made: &Variant<Arc<EncodedImage>>,
    ) -> Option<Response> {
        let Variant { content: image, cache_status, age, now } = made;
        if !image_response::is_streamed(image.bytes.len() as u64) {
            return None;
        }
        let content = self.variants.stored(asked, image)?;
        let variant = Variant { content, cache_status: *cache_status, age: *age, now: *now };
        image_response::respond_from_cache(&asked.handler.config, request, variant)
    }

    /// Finds the handler of a request, authorizes it and resolves its options.
    fn resolve<'r>(
        &self,
        request: &Request<'r>,
        path: &str,
        access: Access,
    ) -> Result<(&Arc<HandlerState>, ImageRequest<'r>), Rejection<'_>> {
        if !path[1..].contains('/') {
            return Err(Rejection::NoSuchHandler);
        }
        let Some((route, key)) = key::split_path(path) else {
            let sentence = "the path must be /{handler}/{key}, percent-encoded UTF-8";
            return Err(Rejection::BadRequest(None, sentence.to_owned()));
        };
        let Some(AuthorizedHandler { authorizer, state }) = self.handlers.get(&route) else {
            return Err(Rejection::NoSuchHandler);
        };
        let config = &state.config;
        if key.is_empty() && config.playground && matches!(access, Access::Client(_)) {
            return Err(Rejection::Playground(state));
        }
        let query = Query::parse(request.query())
            .map_err(|error| Rejection::BadRequest(Some(state), error.0))?;
        // Before the options are checked: a client without a token must not learn whether they are valid.
        let grant = match access {
            Access::Client(client) => {
                let auth_request = AuthRequest { request, key: &key, query: &query, client };
                authorizer
                    .authorize(&config.route, auth_request)
                    .map_err(|_| Rejection::Token(state, query.description()))?
            }
            Access::Admin => Grant { is_private: true, binds_url: true, ..Grant::default() },
        };
        let (options, varies) =
            image_request::resolve_options(&query, &key, request, config, &grant)
                .map_err(|error| Rejection::BadRequest(Some(state), error.0))?;
        if !grant.max_size.allows(options.size) || !grant.max_size.allows_part(&query, &options) {
            if let Access::Client(client) = access {
                authorizer.log_refusal(&config.route, client, Refusal::Size);
            }
            return Err(Rejection::Token(state, options.description()));
        }
        let name =
            Name { handler: state.caches.identity.clone(), key, options: options.canonical() };
        if let Err(failure) = image_request::check_key(&name.key, config) {
            let code = failure.code;
            let (cache_status, reason) = (None, None);
            let error = ImageError { name, options, varies, grant, code, cache_status, reason };
            return Err(Rejection::Image(state, Box::new(error)));
        }
        let download =
            query.download().map_err(|error| Rejection::BadRequest(Some(state), error.0))?;
        let is_head = request.method == Method::Head;
        let conditions = Conditions::from_request(request);
        Ok((state, ImageRequest { name, options, varies, grant, download, is_head, conditions }))
    }

    fn lookup_image(&self, handler: &Arc<HandlerState>, request: ImageRequest) -> Reply<ImageJob> {
        let asked = variant_request(handler, &request);
        let missed = match self.variants.lookup(asked) {
            Lookup::Ready(Ok(variant)) => {
                let status = variant.cache_status;
                match image_response::respond_from_cache(&handler.config, &request, variant) {
                    Some(response) => {
                        let answer = Answer::plain(response).with_cache(status).of(handler);
                        return Reply::Ready(answer.about(request.name));
                    }
                    // The entry on disk is damaged.
                    None => self.variants.lookup_uncached(asked),
                }
            }
            Lookup::Ready(Err(error)) => Err(error),
            Lookup::Miss(miss) => Ok(miss),
        };
        match missed {
            Ok(miss) => {
                let handler = Arc::clone(handler);
                let request = Box::new(request.into_owned());
                Reply::Pending(ImageJob::Variant { handler, request, miss })
            }
            Err(error) => match ImageError::new(&request, &error) {
                Some(error) => self.lookup_error(handler, error),
                None => Reply::Ready(Answer::overloaded().of(handler).about(request.name)),
            },
        }
    }

    fn lookup_error(&self, handler: &Arc<HandlerState>, error: ImageError) -> Reply<ImageJob> {
        let config = &handler.config;
        let fallback =
            fallback::find(&self.variants, handler, (&error.name, &error.options), error.code);
        if let Fallback::Found(image) = fallback {
            return Reply::Ready(error.into_answer_with_fallback(handler, image));
        }
        if matches!(fallback, Fallback::None) {
            if let Some(description) = error.options.description() {
                return Reply::Ready(error.into_text(handler, description));
            }
            let image = self.error_images.find(&config.route, &error.options);
            if image.is_some() || config.error_image.is_none() {
                return Reply::Ready(error.into_answer(handler, image));
            }
        }
        let handler = Arc::clone(handler);
        let (error, fallback) = (Box::new(error), Box::new(fallback));
        Reply::Pending(ImageJob::Error { handler, error, fallback })
    }

    /// The same response for every refused token: the error image as it is, without asking the renderer, or the text that
    /// was asked for in place of an image.
    fn token_refused(&self, handler: &HandlerState, description: Option<Description>) -> Answer {
        let config = &handler.config;
        let code = Code::TokenRefused;
        let response = match description {
            Some(description) => image_response::error_text(config, None, false, code, description),
            None => {
                let image = self.error_images.original(&config.route);
                image_response::error(config, None, false, code, image)
            }
        };
        let error = Some(Code::TokenRefused.public_name());
        Answer { error, ..Answer::plain(response).of(handler) }
    }
}

impl ImageError {
    /// `None` for an overload, which is answered without an image.
    fn new(request: &ImageRequest, error: &VariantError) -> Option<ImageError> {
        let RenderError::Failure(failure) = &error.error else { return None };
        let cache_status = if error.is_cached { CacheStatus::Hit } else { CacheStatus::Miss };
        Some(ImageError {
            name: request.name.clone(),
            options: request.options.clone(),
            varies: request.varies,
            grant: request.grant.clone(),
            code: failure.code,
            cache_status: Some(cache_status),
            reason: (!matches!(failure.code, Code::NotFound | Code::NotShown))
                .then(|| failure.detail.clone()),
        })
    }

    fn into_answer(self, handler: &HandlerState, image: Option<Arc<EncodedImage>>) -> Answer {
        let key = Some(self.name.key.as_str());
        let response = image_response::error(&handler.config, key, self.varies, self.code, image);
        self.with_response(handler, response)
    }

    /// The answer to a request for a description.
    fn into_text(self, handler: &HandlerState, description: Description) -> Answer {
        let (config, key) = (&handler.config, Some(self.name.key.as_str()));
        let response = image_response::error_text(config, key, self.varies, self.code, description);
        self.with_response(handler, response)
    }

    fn into_answer_with_fallback(self, handler: &HandlerState, image: Arc<EncodedImage>) -> Answer {
        let ImageError { name, varies, grant, code, .. } = &self;
        let response =
            image_response::fallback(&handler.config, &name.key, *varies, grant, *code, image);
        self.with_response(handler, response)
    }

    fn with_response(self, handler: &HandlerState, mut response: Response) -> Answer {
        let cache = self.cache_status.map(CacheStatus::as_str);
        if let Some(cache) = cache {
            response = response.with("X-Cache", cache);
        }
        let error = Some(self.code.public_name());
        let reason = self.reason;
        Answer { cache, error, reason, ..Answer::plain(response).of(handler).about(self.name) }
    }
}

fn variant_request<'j>(
    handler: &'j Arc<HandlerState>,
    request: &'j ImageRequest,
) -> VariantRequest<'j> {
    VariantRequest { handler, name: &request.name, need: request.need() }
}
