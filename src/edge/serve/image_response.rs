//! Responses that carry an image, from memory, from disk or from the renderer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::image_request::ImageRequest;
use crate::cache::{CacheTime, EncodedImage, Entry, EntryStamp};
use crate::config::Handler;
use crate::edge::http::conditional::{Outcome, Validators, evaluate};
use crate::edge::http::request::Method;
use crate::edge::http::response::{Body, Response};
use crate::edge::variants::memory_cache::{CachedResponse, HeaderTemplates};
use crate::edge::variants::{Content, Variant};
use crate::format::Format;
use crate::token::Grant;

/// The `max-age` of an image that never expires: RFC 9111 has no value for that, so a year.
const MAX_AGE_FOREVER: u64 = 31_536_000;

/// The response for a variant. `None` if its entry on disk turns out to be damaged.
pub fn respond(image_request: &ImageRequest, variant: Variant) -> Option<Response> {
    let mut response = match variant.content {
        Content::Memory(cached) => from_memory(image_request, variant.age, &cached),
        Content::Disk(entry) => from_disk(image_request, variant.age, *entry)?,
        Content::Image(image) => from_image(image_request, variant.age, image),
    };
    // A browser's cache must not serve a private image to a request with another token.
    if image_request.grant.is_private {
        response = response.with("Vary", "Authorization");
    }
    // RFC 9111 §5.1. `Age` is left out where it changes nothing: the image never expires, and no token limits it.
    let never_expires = image_request.handler.config.cache_time == CacheTime::Forever;
    if !never_expires || !image_request.has_default_cache_control() {
        response = response.with("Age", &variant.age.to_string());
    }
    Some(response.with("X-Cache", variant.cache_status.as_str()))
}

impl ImageRequest<'_> {
    /// Whether the token leaves `Cache-Control` as it is without a token.
    fn has_default_cache_control(&self) -> bool {
        self.grant.expires.is_none() && !self.grant.is_private
    }

    /// The value of `Cache-Control` for an image of this age.
    fn cache_control(&self, age: u64) -> String {
        let Grant { expires, is_private, .. } = self.grant;
        let default = max_age(self.handler.config.cache_time);
        let left = expires.map(|expires| expires.saturating_sub(next_second(SystemTime::now())));
        let max_age = match (default, left) {
            // A cache subtracts `Age` from `max-age` (RFC 9111 §4.2.3).
            (Some(default), Some(left)) => Some(default.min(left.saturating_add(age))),
            (default, _) => default,
        };
        cache_control(max_age, is_private)
    }
}

/// Formats the header fields of an image's responses for the memory cache.
pub fn prepare(
    handler: &Handler,
    image: Arc<EncodedImage>,
    stamp: EntryStamp,
) -> Arc<CachedResponse> {
    let etag = quote(&image.sha256);
    // `Cache-Control` depends on the token, so it is in neither template.
    let fields = |outcome, body| {
        let representation = Representation::of(&image, &etag);
        build(handler, false, None, outcome, Some(body), representation).into_fields()
    };
    let headers = HeaderTemplates {
        whole: fields(Outcome::Full, Body::None),
        not_modified: fields(Outcome::NotModified, Body::None),
        cache_control: cache_control(max_age(handler.cache_time), false),
    };
    Arc::new(CachedResponse::new(image, etag, headers, stamp))
}

fn from_memory(image_request: &ImageRequest, age: u64, cached: &Arc<CachedResponse>) -> Response {
    let representation = Representation::of(&cached.image, &cached.etag);
    let mut response = match evaluate(image_request.request, representation.validators()) {
        Outcome::Full => Response::from_cached(200, cached),
        Outcome::NotModified => Response::from_cached(304, cached),
        outcome => {
            let whole = 0..cached.image.bytes.len();
            let body = Body::EncodedImage(Arc::clone(&cached.image), whole);
            return build(
                &image_request.handler.config,
                image_request.varies,
                Some(&image_request.cache_control(age)),
                outcome,
                Some(body),
                representation,
            );
        }
    };
    if image_request.varies {
        response = response.with("Vary", "Accept");
    }
    if image_request.has_default_cache_control() {
        response.with("Cache-Control", &cached.headers.cache_control)
    } else {
        response.with("Cache-Control", &image_request.cache_control(age))
    }
}

/// From an entry that is too large for the memory cache. Its image is read only if it is sent.
fn from_disk(image_request: &ImageRequest, age: u64, entry: Entry) -> Option<Response> {
    let etag = quote(entry.sha256());
    let representation = Representation {
        etag: &etag,
        format: entry.format(),
        last_modified: entry.last_modified(),
        length: entry.length(),
    };
    let outcome = evaluate(image_request.request, representation.validators());
    let is_head = image_request.request.method == Method::Head;
    let body = match outcome {
        Outcome::Full if is_head => Some(Body::Length(entry.length())),
        Outcome::NotModified | Outcome::Unsatisfiable | Outcome::PreconditionFailed => None,
        Outcome::Full | Outcome::Partial(_) => {
            let image = entry.read()?;
            let whole = 0..image.bytes.len();
            Some(Body::EncodedImage(Arc::new(image), whole))
        }
    };
    Some(build(
        &image_request.handler.config,
        image_request.varies,
        Some(&image_request.cache_control(age)),
        outcome,
        body,
        representation,
    ))
}

fn from_image(image_request: &ImageRequest, age: u64, image: Arc<EncodedImage>) -> Response {
    let etag = quote(&image.sha256);
    let representation = Representation::of(&image, &etag);
    let outcome = evaluate(image_request.request, representation.validators());
    let body = Body::EncodedImage(Arc::clone(&image), 0..image.bytes.len());
    build(
        &image_request.handler.config,
        image_request.varies,
        Some(&image_request.cache_control(age)),
        outcome,
        Some(body),
        representation,
    )
}

/// The metadata of an image in header fields (RFC 9110 §8).
#[derive(Clone, Copy)]
struct Representation<'i> {
    etag: &'i str,
    format: Format,
    last_modified: Option<u64>,
    length: u64,
}

impl<'i> Representation<'i> {
    fn of(image: &EncodedImage, etag: &'i str) -> Representation<'i> {
        Representation {
            etag,
            format: image.format,
            last_modified: image.last_modified,
            length: image.bytes.len() as u64,
        }
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
pub fn with_handler_fields(response: Response, handler: &Handler, varies: bool) -> Response {
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

fn http_date(seconds: u64) -> String {
    /// The last second that an HTTP date can express: 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    httpdate::fmt_http_date(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_rounded_down_to_the_expiry_of_a_token() {
        let at = |nanoseconds| next_second(UNIX_EPOCH + Duration::from_nanos(nanoseconds));
        assert_eq!(
            [at(0), at(1), at(999_999_999), at(1_000_000_000), at(1_000_000_001)],
            [0, 1, 1, 1, 2]
        );
    }
}
