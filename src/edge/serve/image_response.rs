//! The answers that carry an image, from wherever it was got.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cache::{CacheTime, EncodedImage, Entry, EntryStamp};
use crate::config::Handler;
use crate::edge::http::conditional::{Outcome, Validators, evaluate};
use crate::edge::http::request::{Method, Request};
use crate::edge::http::response::{Body, Response};
use crate::edge::variants::memory::{Hot, Prepared};
use crate::edge::variants::{Found, Got};
use crate::format::Format;
use crate::token::Grant;

/// What `Cache-Control` says for an image that never expires: RFC 9111 knows no "for ever", so a year.
const A_YEAR: u64 = 31_536_000;

/// For whom an image is, and how.
#[derive(Clone, Copy)]
pub struct Wish<'r> {
    /// The request.
    pub request: &'r Request<'r>,
    /// Whose image it is.
    pub handler: &'r Handler,
    /// Whether the image depends on `Accept`.
    pub varies: bool,
    /// What its token allows.
    pub grant: &'r Grant,
}

/// The answer with what was found. `None` if that turns out to be damaged.
pub fn response(wish: Wish, found: Found) -> Option<Response> {
    let response = match found.got {
        Got::Hot(hot) => from_memory(wish, found.age, &hot),
        Got::Entry(entry) => from_disk(wish, found.age, *entry)?,
        Got::EncodedImage(image) => fresh(wish, found.age, image),
    };
    // One who has another token must not be shown it by the cache of the same browser.
    let response =
        if wish.grant.is_private { response.with("Vary", "Authorization") } else { response };
    // RFC 9111 §5.1. What never expires is never older than its `max-age` either; what ends with a token is.
    let response = match wish.handler.cache_time {
        CacheTime::Forever if wish.is_usual() => response,
        _ => response.with("Age", &found.age.to_string()),
    };
    Some(response.with("X-Cache", found.source.as_str()))
}

impl Wish<'_> {
    /// Whether the header fields of the answer are those of everybody's.
    fn is_usual(&self) -> bool {
        self.grant.expires.is_none() && !self.grant.is_private
    }

    /// What `Cache-Control` says of an image of this age.
    fn keep(&self, age: u64) -> String {
        let Grant { expires, is_private, .. } = *self.grant;
        let usual = max_age(self.handler.cache_time);
        // A cache counts from where `Age` is (RFC 9111 §4.2.3).
        let left = expires.map(|expires| expires.saturating_sub(next_second(SystemTime::now())));
        let most = match (usual, left) {
            (Some(usual), Some(left)) => Some(usual.min(left.saturating_add(age))),
            (usual, _) => usual,
        };
        cache_control(most, is_private)
    }
}

/// A result with the header fields of its answers.
pub fn ready(handler: &Handler, image: Arc<EncodedImage>, stamp: EntryStamp) -> Arc<Hot> {
    let etag = quoted(&image.sha256);
    // How long an answer may be kept depends on who asks, so that is in no field that is written for all.
    let fields = |outcome, body| {
        respond(handler, false, None, outcome, Some(body), described(&image, &etag)).into_fields()
    };
    let whole = fields(Outcome::Whole, Body::None);
    let not_modified = fields(Outcome::NotModified, Body::None);
    let keep = cache_control(max_age(handler.cache_time), false);
    Arc::new(Hot::new(image, etag, Prepared { whole, not_modified, keep }, stamp))
}

fn from_memory(wish: Wish, age: u64, hot: &Arc<Hot>) -> Response {
    let described = described(&hot.image, &hot.etag);
    let response = match evaluate(wish.request, described.validators()) {
        Outcome::Whole => Response::hot(200, hot),
        Outcome::NotModified => Response::hot(304, hot),
        outcome => {
            let body = Body::EncodedImage(Arc::clone(&hot.image), 0..hot.image.bytes.len());
            let keep = Some(wish.keep(age));
            return respond(
                wish.handler,
                wish.varies,
                keep.as_deref(),
                outcome,
                Some(body),
                described,
            );
        }
    };
    let response = if wish.varies { response.with("Vary", "Accept") } else { response };
    match wish.is_usual() {
        true => response.with("Cache-Control", &hot.prepared.keep),
        false => response.with("Cache-Control", &wish.keep(age)),
    }
}

/// From a cache entry that is too large for memory. Its image is read only if it is sent.
fn from_disk(wish: Wish, age: u64, entry: Entry) -> Option<Response> {
    let etag = quoted(entry.sha256());
    let described = Described {
        etag: &etag,
        format: entry.format(),
        last_modified: entry.last_modified(),
        length: entry.length(),
    };
    let outcome = evaluate(wish.request, described.validators());
    let body = match outcome {
        Outcome::Whole if wish.request.method == Method::Head => Some(Body::Length(entry.length())),
        Outcome::NotModified | Outcome::Unsatisfiable | Outcome::PreconditionFailed => None,
        Outcome::Whole | Outcome::Part(_) => {
            let image = entry.read()?;
            let whole = 0..image.bytes.len();
            Some(Body::EncodedImage(Arc::new(image), whole))
        }
    };
    Some(respond(wish.handler, wish.varies, Some(&wish.keep(age)), outcome, body, described))
}

fn fresh(wish: Wish, age: u64, image: Arc<EncodedImage>) -> Response {
    let etag = quoted(&image.sha256);
    let described = described(&image, &etag);
    let outcome = evaluate(wish.request, described.validators());
    let body = Body::EncodedImage(Arc::clone(&image), 0..image.bytes.len());
    respond(wish.handler, wish.varies, Some(&wish.keep(age)), outcome, Some(body), described)
}

/// What an answer says about an image.
#[derive(Clone, Copy)]
struct Described<'p> {
    etag: &'p str,
    format: Format,
    last_modified: Option<u64>,
    length: u64,
}

fn described<'p>(image: &EncodedImage, etag: &'p str) -> Described<'p> {
    let (format, last_modified) = (image.format, image.last_modified);
    Described { etag, format, last_modified, length: image.bytes.len() as u64 }
}

impl<'p> Described<'p> {
    fn validators(&self) -> Validators<'p> {
        Validators { etag: self.etag, last_modified: self.last_modified, length: self.length }
    }
}

/// The answer for an image and an outcome; `body` is the whole image where the outcome needs it.
fn respond(
    handler: &Handler,
    varies: bool,
    keep: Option<&str>,
    outcome: Outcome,
    body: Option<Body>,
    described: Described,
) -> Response {
    let length = described.length;
    let typed = |response: Response| response.with("Content-Type", described.format.media_type());
    let response = match (outcome, body) {
        (Outcome::NotModified, _) => Response::new(304, Body::None),
        (Outcome::Unsatisfiable, _) => {
            let response = Response::text(416, "the range starts behind the end of the image");
            return common(handler, varies, response)
                .with("Content-Range", &format!("bytes */{length}"));
        }
        (Outcome::PreconditionFailed, _) => {
            let response = Response::text(412, "the image is not the one of the condition");
            return common(handler, varies, response);
        }
        (Outcome::Part(range), Some(Body::EncodedImage(image, _))) => {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            // Both ends lie inside the image, which is in memory.
            let range = range.start as usize..range.end as usize;
            typed(Response::new(206, Body::EncodedImage(image, range)))
                .with("Content-Range", &content_range)
        }
        (_, body) => typed(Response::new(200, body.unwrap_or(Body::None))),
    };
    let response = response.with("ETag", described.etag).with("Accept-Ranges", "bytes");
    let response = match described.last_modified {
        Some(seconds) => response.with("Last-Modified", &http_date(seconds)),
        None => response,
    };
    let response = common(handler, varies, response);
    match keep {
        Some(keep) => response.with("Cache-Control", keep),
        None => response,
    }
}

/// What every answer of a handler carries.
pub fn common(handler: &Handler, varies: bool, response: Response) -> Response {
    let response = match &handler.cors_origin {
        Some(origin) => response.with("Access-Control-Allow-Origin", origin),
        None => response,
    };
    if varies { response.with("Vary", "Accept") } else { response }
}

/// The first whole second that is not before this time: what may be kept until then has no part of a second too much.
fn next_second(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() + u64::from(since.subsec_nanos() > 0)
}

/// For how many seconds an image may be kept; `None` if not at all.
fn max_age(time: CacheTime) -> Option<u64> {
    match time {
        CacheTime::Seconds(seconds) => Some(seconds),
        CacheTime::Forever => Some(A_YEAR),
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

fn quoted(sha256: &str) -> String {
    format!("\"{sha256}\"")
}

fn http_date(seconds: u64) -> String {
    /// The last second that an HTTP date can write: 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    httpdate::fmt_http_date(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_token_is_not_rounded_up() {
        let at = |nanoseconds| next_second(UNIX_EPOCH + Duration::from_nanos(nanoseconds));
        assert_eq!(
            [at(0), at(1), at(999_999_999), at(1_000_000_000), at(1_000_000_001)],
            [0, 1, 1, 1, 2]
        );
    }
}
