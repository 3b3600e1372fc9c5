//! Responses for images, from memory, from disk or from the renderer, and responses with an error image.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::image_request::ImageRequest;
use crate::cache::{CacheTime, EncodedImage, Entry};
use crate::config::Handler;
use crate::edge::http::conditional::{Outcome, Validators};
use crate::edge::http::response::{Body, Response};
use crate::edge::variants::memory_cache::{CachedResponse, HeaderTemplates};
use crate::edge::variants::{CacheStatus, Content, Variant};
use crate::error::Code;
use crate::format::Format;
use crate::time::unix_seconds;
use crate::token::Grant;

/// The `max-age` of an image that never expires: RFC 9111 has no value for that, so a year.
const MAX_AGE_FOREVER: u64 = 31_536_000;

/// The age of a variant, and the time of this age.
#[derive(Clone, Copy)]
struct Clock {
    age: u64,
    now: SystemTime,
}

/// The response for a variant from the renderer.
pub fn respond(
    handler: &Handler,
    request: &ImageRequest,
    variant: Variant<Arc<EncodedImage>>,
) -> Response {
    let Variant { content, cache_status, age, now } = variant;
    let response = from_image(handler, request, Clock { age, now }, content);
    with_cache_fields(response, handler, request, cache_status, age)
}

/// The response for a cached variant. `None` if its entry on disk turns out to be damaged.
pub fn respond_from_cache(
    handler: &Handler,
    request: &ImageRequest,
    variant: Variant<Content>,
) -> Option<Response> {
    let Variant { content, cache_status, age, now } = variant;
    let clock = Clock { age, now };
    let response = match content {
        Content::Memory(cached) => from_memory(handler, request, clock, &cached),
        Content::Disk(entry) => from_disk(handler, request, clock, *entry)?,
    };
    Some(with_cache_fields(response, handler, request, cache_status, age))
}

fn with_cache_fields(
    mut response: Response,
    handler: &Handler,
    request: &ImageRequest,
    cache_status: CacheStatus,
    age: u64,
) -> Response {
    // A browser's cache must not serve a private image to a request with another token.
    if request.grant.is_private {
        response = response.with("Vary", "Authorization");
    }
    // RFC 9111 §5.1. `Age` is left out where it changes nothing: the image never expires, and no token limits it.
    let never_expires = handler.cache_time == CacheTime::Forever;
    if !never_expires || !has_default_cache_control(&request.grant) {
        response = response.with("Age", &age.to_string());
    }
    response.with("X-Cache", cache_status.as_str())
}

/// The response for a failure, with the handler's error image.
pub fn error(
    handler: &Handler,
    varies: bool,
    code: Code,
    image: Option<Arc<EncodedImage>>,
) -> Response {
    let status = if handler.precise_errors { code.precise_status() } else { 404 };
    let response = match image {
        Some(image) => {
            let media_type = image.format.media_type();
            Response::new(status, whole(&image)).with("Content-Type", media_type)
        }
        None => Response::new(status, Body::Text(String::new())),
    };
    with_handler_fields(response, handler, varies)
        .with("Cache-Control", "no-store")
        .with("X-Error", code.public_name())
}

/// Whether the token leaves `Cache-Control` as it is without a token.
fn has_default_cache_control(grant: &Grant) -> bool {
    grant.expires.is_none() && !grant.is_private
}

/// The value of `Cache-Control` for an image.
fn granted_cache_control(handler: &Handler, grant: &Grant, Clock { age, now }: Clock) -> String {
    let default = max_age(handler.cache_time);
    let left = grant.expires.map(|expires| expires.saturating_sub(next_second(now)));
    let max_age = match (default, left) {
        // A cache subtracts `Age` from `max-age` (RFC 9111 §4.2.3).
        (Some(default), Some(left)) => Some(default.min(left.saturating_add(age))),
        (default, _) => default,
    };
    cache_control(max_age, grant.is_private)
}

/// Formats the header fields of an image's responses for the memory cache.
fn header_templates(handler: &Handler, image: &EncodedImage) -> HeaderTemplates {
    let etag = quote(&image.sha256);
    // `Vary` depends on the options and `Cache-Control` on the token, so they are in neither template.
    let template = |outcome| {
        let representation = Representation::stored(image, &etag);
        build(handler, false, None, outcome, None, representation).into_template()
    };
    HeaderTemplates {
        whole: template(Outcome::Full),
        not_modified: template(Outcome::NotModified),
        cache_control: cache_control(max_age(handler.cache_time), false),
        etag,
    }
}

fn from_memory(
    handler: &Handler,
    request: &ImageRequest,
    clock: Clock,
    cached: &CachedResponse,
) -> Response {
    let image = &cached.image;
    let headers = cached.headers.get_or_init(|| header_templates(handler, image));
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
                handler,
                request.varies,
                Some(&granted_cache_control(handler, &request.grant, clock)),
                outcome,
                Some(whole(image)),
                representation,
            );
        }
    };
    if request.varies {
        response = response.with("Vary", "Accept");
    }
    if has_default_cache_control(&request.grant) {
        response.with("Cache-Control", &headers.cache_control)
    } else {
        let value = granted_cache_control(handler, &request.grant, clock);
        response.with("Cache-Control", &value)
    }
}

/// From an entry that is too large for the memory cache. Its image is read only if it is sent.
fn from_disk(
    handler: &Handler,
    request: &ImageRequest,
    clock: Clock,
    entry: Entry,
) -> Option<Response> {
    let etag = quote(entry.sha256());
    let representation = Representation {
        etag: &etag,
        format: entry.format(),
        last_modified: not_after(clock.now, entry.last_modified()),
        length: entry.length(),
    };
    let outcome = request.conditions.evaluate(representation.validators());
    let body = match outcome {
        Outcome::Full if request.is_head => Some(Body::Length(entry.length())),
        Outcome::NotModified | Outcome::Unsatisfiable | Outcome::PreconditionFailed => None,
        Outcome::Full | Outcome::Partial(_) => Some(whole(&Arc::new(entry.read()?))),
    };
    Some(build(
        handler,
        request.varies,
        Some(&granted_cache_control(handler, &request.grant, clock)),
        outcome,
        body,
        representation,
    ))
}

fn from_image(
    handler: &Handler,
    request: &ImageRequest,
    clock: Clock,
    image: Arc<EncodedImage>,
) -> Response {
    let etag = quote(&image.sha256);
    let representation = Representation::of(&image, &etag, clock.now);
    build(
        handler,
        request.varies,
        Some(&granted_cache_control(handler, &request.grant, clock)),
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
    format: Format,
    /// Unix seconds, not after the `Date` of the response.
    last_modified: Option<u64>,
    length: u64,
}

impl<'i> Representation<'i> {
    /// With the stored date.
    fn stored(image: &EncodedImage, etag: &'i str) -> Representation<'i> {
        let EncodedImage { format, last_modified, .. } = *image;
        Representation { etag, format, last_modified, length: image.bytes.len() as u64 }
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
    handler: &Handler,
    varies: bool,
    cache_control: Option<&str>,
    outcome: Outcome,
    body: Option<Body>,
    representation: Representation,
) -> Response {
    let length = representation.length;
    let media_type = representation.format.media_type();
    let mut response = match (outcome, body) {
        (Outcome::NotModified, _) => Response::new(304, Body::None),
        (Outcome::Unsatisfiable, _) => {
            let response =
                Response::text(416, "range not satisfiable: it starts past the end of the image");
            return with_handler_fields(response, handler, varies)
                .with("Content-Range", &format!("bytes */{length}"));
        }
        (Outcome::PreconditionFailed, _) => {
            let response = Response::text(412, "precondition failed: the image has changed");
            return with_handler_fields(response, handler, varies);
        }
        (Outcome::Partial(range), Some(Body::EncodedImage(image, _))) => {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            // Both ends lie inside the image, which is in memory.
            let range = range.start as usize..range.end as usize;
            Response::new(206, Body::EncodedImage(image, range))
                .with("Content-Type", media_type)
                .with("Content-Range", &content_range)
        }
        (_, body) => {
            Response::new(200, body.unwrap_or(Body::None)).with("Content-Type", media_type)
        }
    };
    response = response.with("ETag", representation.etag).with("Accept-Ranges", "bytes");
    if let Some(seconds) = representation.last_modified {
        response = response.with("Last-Modified", &http_date(seconds));
    }
    response = with_handler_fields(response, handler, varies);
    match cache_control {
        Some(cache_control) => response.with("Cache-Control", cache_control),
        None => response,
    }
}

/// Adds the header fields of every response of a handler.
fn with_handler_fields(response: Response, handler: &Handler, varies: bool) -> Response {
    let response = match &handler.cors_origin {
        Some(origin) => response.with("Access-Control-Allow-Origin", origin),
        None => response,
    };
    if varies { response.with("Vary", "Accept") } else { response }
}

/// `now` in seconds since 1970, rounded up, so that no cached image outlives its token.
fn next_second(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() + u64::from(since.subsec_nanos() > 0)
}

/// The `max-age` of an image in seconds; `None` if it must not be stored.
fn max_age(time: CacheTime) -> Option<u64> {
    match time {
        CacheTime::Seconds(seconds) => Some(seconds),
        CacheTime::Forever => Some(MAX_AGE_FOREVER),
        CacheTime::Never => None,
    }
}

fn cache_control(max_age: Option<u64>, is_private: bool) -> String {
    match max_age {
        Some(seconds) if is_private => format!("private, max-age={seconds}"),
        Some(seconds) => format!("public, max-age={seconds}"),
        None => "no-store".into(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn max_age_is_rounded_down_to_the_expiry_of_a_token() {
        let at = |nanoseconds| next_second(UNIX_EPOCH + Duration::from_nanos(nanoseconds));
        assert_eq!(
            [at(0), at(1), at(999_999_999), at(1_000_000_000), at(1_000_000_001)],
            [0, 1, 1, 1, 2]
        );
    }

    #[test]
    fn max_age_of_a_variant_that_never_expires_is_as_documented() {
        assert_eq!(MAX_AGE_FOREVER, 365 * 86_400);
        assert_says("docs/configuration.md", "it never expires (`max-age` is a year)");
    }
}
