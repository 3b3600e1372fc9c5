//! Responses for images, from memory, from disk or from the renderer, and responses with an error image.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::cache_policy::{self, Clock, Policy};
use super::image_request::ImageRequest;
use crate::cache::{EncodedImage, Entry};
use crate::config::Handler;
use crate::edge::http::conditional::{Outcome, Validators};
use crate::edge::http::disposition;
use crate::edge::http::response::{Body, Response};
use crate::edge::variants::memory_cache::{CachedResponse, HeaderTemplates};
use crate::edge::variants::{CacheStatus, Content, Variant};
use crate::error::Code;
use crate::media_type::MediaType;
use crate::options::Description;
use crate::quality::Level;
use crate::time::unix_seconds;
use crate::token::Grant;

/// Length in bytes from which a body is sent from its entry on disk in pieces: a slow client does not keep it in memory.
const STREAMED_LENGTH: u64 = 1 << 20;

/// Whether a body of this length is sent from its entry on disk in pieces, if it has one.
pub fn is_streamed(length: u64) -> bool {
    length >= STREAMED_LENGTH
}

/// A request with the handler that answers it.
#[derive(Clone, Copy)]
struct Context<'r, 'c> {
    handler: &'r Handler,
    request: &'r ImageRequest<'c>,
    clock: Clock,
}

/// The response for a variant from the renderer.
pub fn respond(
    handler: &Handler,
    request: &ImageRequest,
    variant: Variant<Arc<EncodedImage>>,
) -> Response {
    let Variant { content, cache_status, age, now } = variant;
    let context = Context { handler, request, clock: Clock { age, now } };
    let policy = Policy::of(handler, content.cache_control);
    let media_type = content.media_type;
    let response = with_disposition(from_image(context, policy, content), request, media_type);
    with_cache_fields(response, context, policy, cache_status)
}

/// The response for a cached variant. `None` if its entry on disk turns out to be damaged.
pub fn respond_from_cache(
    handler: &Handler,
    request: &ImageRequest,
    variant: Variant<Content>,
) -> Option<Response> {
    let Variant { content, cache_status, age, now } = variant;
    let context = Context { handler, request, clock: Clock { age, now } };
    let (response, policy, media_type) = match content {
        Content::Memory(cached) => {
            let policy = Policy::of(handler, cached.image.cache_control);
            (from_memory(context, policy, &cached), policy, cached.image.media_type)
        }
        Content::Disk(entry) => {
            let policy = Policy::of(handler, entry.cache_control());
            let media_type = entry.media_type();
            (from_disk(context, policy, *entry)?, policy, media_type)
        }
    };
    let response = with_disposition(response, request, media_type);
    Some(with_cache_fields(response, context, policy, cache_status))
}

/// Adds `Content-Disposition` to a response with a body, or with the fields of one: a browser saves what has a name, and
/// what is no image. It is in no template, because `dl` is not part of the name of a variant.
fn with_disposition(response: Response, request: &ImageRequest, media_type: MediaType) -> Response {
    if !matches!(response.status, 200 | 206) {
        return response;
    }
    match &request.download {
        Some(download) => {
            let name = download.with_extension(media_type.extensions());
            response.with("Content-Disposition", &disposition::attachment(&name))
        }
        None if media_type.is_attachment() => {
            response.with("Content-Disposition", disposition::ATTACHMENT)
        }
        None => response,
    }
}

fn with_cache_fields(
    mut response: Response,
    context: Context,
    policy: Policy,
    cache_status: CacheStatus,
) -> Response {
    let grant = &context.request.grant;
    // A browser's cache must not serve a private image to a request with another token.
    if grant.is_private {
        response = response.with("Vary", "Authorization");
    }
    if policy.has_age(grant) {
        response = response.with("Age", &context.clock.age.to_string());
    }
    response.with("X-Cache", cache_status.as_str())
}

/// The response for a failure, with the handler's error image. It has the cache tags of `key`: a CDN may be configured to
/// keep errors in spite of `no-store`, and CloudFront always does with most of them.
pub fn error(
    handler: &Handler,
    key: Option<&str>,
    varies: bool,
    code: Code,
    image: Option<Arc<EncodedImage>>,
) -> Response {
    let response = match image {
        Some(image) => failed(handler, code, image),
        // An empty body has no type (RFC 9110 §8.3), and a browser calls `onerror`.
        None => Response::new(failure_status(handler, code), Body::Text(String::new())),
    };
    with_handler_fields(response, handler, key, varies)
        .with("Cache-Control", "no-store")
        .with("X-Error", code.public_name())
}

/// The response for a failure of a description: as text, or as JSON where that was asked for.
pub fn error_text(
    handler: &Handler,
    key: Option<&str>,
    varies: bool,
    code: Code,
    description: Description,
) -> Response {
    let (name, message) = (code.public_name(), code.sentence());
    let (text, media_type) = match description {
        Description::Json => {
            (json!({"error": {"code": name, "message": message}}).to_string(), MediaType::Json)
        }
        Description::ThumbHash | Description::BlurHash => {
            (format!("{name}: {message}\n"), MediaType::Text)
        }
    };
    let response = Response::new(failure_status(handler, code), Body::Text(text));
    let response = response.with("Content-Type", media_type.content_type());
    with_handler_fields(response, handler, key, varies)
        .with("Cache-Control", "no-store")
        .with("X-Error", name)
}

/// The response for a key that the origins do not have, with the image of the handler's `fallback`. It may be kept as long
/// as this server remembers that the key is missing.
pub fn fallback(
    handler: &Handler,
    key: &str,
    varies: bool,
    grant: &Grant,
    code: Code,
    image: Arc<EncodedImage>,
) -> Response {
    let clock = Clock { age: 0, now: SystemTime::now() };
    let cache_control = Policy::of_missing(handler).granted(grant, clock).to_string();
    let response = with_handler_fields(failed(handler, code, image), handler, Some(key), varies);
    let response = if grant.is_private { response.with("Vary", "Authorization") } else { response };
    response.with("Cache-Control", &cache_control).with("X-Error", code.public_name())
}

fn failed(handler: &Handler, code: Code, image: Arc<EncodedImage>) -> Response {
    let content_type = image.media_type.content_type();
    Response::new(failure_status(handler, code), whole(&image)).with("Content-Type", content_type)
}

fn failure_status(handler: &Handler, code: Code) -> u16 {
    if handler.precise_errors { code.precise_status() } else { 404 }
}

/// Formats the header fields of an image's responses for the memory cache.
fn header_templates(context: Context, policy: Policy, image: &EncodedImage) -> HeaderTemplates {
    let etag = quote(&image.sha256);
    // `Vary` depends on the options and `Cache-Control` on the token, so they are in neither template.
    let template = |outcome| {
        let representation = Representation::stored(image, &etag);
        build(context, false, None, outcome, None, representation).into_template()
    };
    HeaderTemplates {
        whole: template(Outcome::Full),
        not_modified: template(Outcome::NotModified),
        cache_control: policy.value.to_string(),
        etag,
    }
}

fn from_memory(context: Context, policy: Policy, cached: &CachedResponse) -> Response {
    let Context { request, clock, .. } = context;
    let image = &cached.image;
    let headers = cached.headers.get_or_init(|| header_templates(context, policy, image));
    let representation = Representation::of(image, &headers.etag, clock.now);
    // The templates have the stored date.
    let is_template_valid = representation.last_modified == image.last_modified;
    let mut response = match request.conditions.evaluate(representation.validators()) {
        Outcome::Full if is_template_valid => {
            Response::with_template(200, whole(image), &headers.whole)
        }
        Outcome::NotModified if is_template_valid => {
            Response::with_template(304, Body::None, &headers.not_modified)
        }
        outcome => {
            return build(
                context,
                request.varies,
                Some(&policy.granted(&request.grant, clock).to_string()),
                outcome,
                Some(whole(image)),
                representation,
            );
        }
    };
    if request.varies {
        response = response.with("Vary", "Accept");
    }
    if cache_policy::is_default(&request.grant) {
        response.with("Cache-Control", &headers.cache_control)
    } else {
        response.with("Cache-Control", &policy.granted(&request.grant, clock).to_string())
    }
}

/// From an entry that is too large for the memory cache. Its image is read only if it is sent.
fn from_disk(context: Context, policy: Policy, entry: Entry) -> Option<Response> {
    let Context { request, clock, .. } = context;
    let etag = quote(entry.sha256());
    let representation = Representation {
        etag: &etag,
        media_type: entry.media_type(),
        quality: entry.quality(),
        last_modified: not_after(clock.now, entry.last_modified()),
        length: entry.length(),
    };
    let outcome = request.conditions.evaluate(representation.validators());
    let body = match outcome {
        Outcome::Full if request.is_head => Some(Body::Length(entry.length())),
        Outcome::NotModified | Outcome::Unsatisfiable | Outcome::PreconditionFailed => None,
        Outcome::Full | Outcome::Partial(_) if is_streamed(entry.length()) => {
            let range = 0..entry.length();
            Some(Body::Entry(Arc::new(entry.into_body()?), range))
        }
        Outcome::Full | Outcome::Partial(_) => Some(whole(&Arc::new(entry.read()?))),
    };
    let cache_control = policy.granted(&request.grant, clock).to_string();
    Some(build(context, request.varies, Some(&cache_control), outcome, body, representation))
}

fn from_image(context: Context, policy: Policy, image: Arc<EncodedImage>) -> Response {
    let Context { request, clock, .. } = context;
    let etag = quote(&image.sha256);
    let representation = Representation::of(&image, &etag, clock.now);
    build(
        context,
        request.varies,
        Some(&policy.granted(&request.grant, clock).to_string()),
        request.conditions.evaluate(representation.validators()),
        Some(whole(&image)),
        representation,
    )
}

fn whole(image: &Arc<EncodedImage>) -> Body {
    Body::EncodedImage(Arc::clone(image), 0..image.bytes.len())
}

/// The metadata of an image in header fields (RFC 9110 §8).
#[derive(Clone, Copy)]
struct Representation<'i> {
    etag: &'i str,
    media_type: MediaType,
    quality: Option<Level>,
    /// Unix seconds, not after the `Date` of the response.
    last_modified: Option<u64>,
    length: u64,
}

impl<'i> Representation<'i> {
    /// With the stored date.
    fn stored(image: &EncodedImage, etag: &'i str) -> Representation<'i> {
        let EncodedImage { media_type, quality, last_modified, .. } = *image;
        let length = image.bytes.len() as u64;
        Representation { etag, media_type, quality, last_modified, length }
    }

    fn of(image: &EncodedImage, etag: &'i str, now: SystemTime) -> Representation<'i> {
        let last_modified = not_after(now, image.last_modified);
        Representation { last_modified, ..Representation::stored(image, etag) }
    }

    fn validators(&self) -> Validators<'i> {
        Validators { etag: self.etag, last_modified: self.last_modified, length: self.length }
    }
}

/// Builds the response for an outcome. `body` is the whole image if the outcome needs it.
fn build(
    context: Context,
    varies: bool,
    cache_control: Option<&str>,
    outcome: Outcome,
    body: Option<Body>,
    representation: Representation,
) -> Response {
    let length = representation.length;
    let content_type = representation.media_type.content_type();
    let finish = |response: Response| {
        let key = &context.request.name.key;
        with_handler_fields(response, context.handler, Some(key), varies)
    };
    let mut response = match (outcome, body) {
        (Outcome::NotModified, _) => Response::new(304, Body::None),
        (Outcome::Unsatisfiable, _) => {
            let response =
                Response::text(416, "range not satisfiable: it starts past the end of the image");
            return finish(response).with("Content-Range", &format!("bytes */{length}"));
        }
        (Outcome::PreconditionFailed, _) => {
            let response = Response::text(412, "precondition failed: the image has changed");
            return finish(response);
        }
        (Outcome::Partial(range), Some(Body::EncodedImage(image, _))) => {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            // Both ends lie inside the image, which is in memory.
            let range = range.start as usize..range.end as usize;
            Response::new(206, Body::EncodedImage(image, range))
                .with("Content-Type", content_type)
                .with("Content-Range", &content_range)
        }
        (Outcome::Partial(range), Some(Body::Entry(entry, _))) => {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            Response::new(206, Body::Entry(entry, range))
                .with("Content-Type", content_type)
                .with("Content-Range", &content_range)
        }
        (_, body) => {
            Response::new(200, body.unwrap_or(Body::None)).with("Content-Type", content_type)
        }
    };
    response = response.with("ETag", representation.etag).with("Accept-Ranges", "bytes");
    if let Some(seconds) = representation.last_modified {
        response = response.with("Last-Modified", &http_date(seconds));
    }
    if let Some(level) = representation.quality {
        response = response.with("X-Quality", &level.to_string());
    }
    response = finish(response);
    match cache_control {
        Some(cache_control) => response.with("Cache-Control", cache_control),
        None => response,
    }
}

/// Adds the header fields of every response of a handler, also of a 304, with which a cache updates what it has stored
/// (RFC 9111 §4.3.4).
fn with_handler_fields(
    mut response: Response,
    handler: &Handler,
    key: Option<&str>,
    varies: bool,
) -> Response {
    if let Some(origin) = &handler.cors_origin {
        response = response.with("Access-Control-Allow-Origin", origin);
    }
    for (name, value) in &handler.cdn.headers {
        response = response.with(name, value);
    }
    if let (Some(tags), Some(key)) = (&handler.cdn.cache_tags, key) {
        response = response.with(&tags.name, &tags.value(&handler.route, key));
    }
    if varies { response.with("Vary", "Accept") } else { response }
}

fn quote(sha256: &str) -> String {
    format!("\"{sha256}\"")
}

/// RFC 9110 §8.8.2.1: `Last-Modified` is never later than `Date`, which is the time when the head is written.
fn not_after(now: SystemTime, last_modified: Option<u64>) -> Option<u64> {
    last_modified.map(|time| time.min(unix_seconds(now)))
}

fn http_date(seconds: u64) -> String {
    /// The last second that an HTTP date can express: 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    httpdate::fmt_http_date(time)
}
