//! The fields of a handler for a CDN in front of the server: cache tags, `Cache-Control`, fixed response fields, and the
//! hook that is called after a purge.

mod cache_control;
mod field;
mod purge_hook;
mod template;

#[cfg(test)]
pub use cache_control::TABLE as CACHE_CONTROL_TABLE;
pub use cache_control::{CachePolicy, MAX_AGE_FOREVER};
#[cfg(test)]
pub use purge_hook::TABLE as PURGE_HOOK_TABLE;
pub use purge_hook::{HookBody, PurgeHook};
pub use template::Purged;

use jsonc_parser::ast::ObjectProp;

use super::error::Result;
use super::fields::{Fields, TextOrFields};
use super::schema::{Optional, map, object, table, text, text_or_object};
use crate::cache::CacheTime;
use crate::cache_tag;

/// Fixed fields of a handler.
const MAX_HEADERS: usize = 32;
/// Bytes of all fixed fields together, as they are sent.
const MAX_HEADER_BYTES: usize = 4 << 10;
/// Bytes of `: ` and the line's end.
const LINE: usize = 4;
/// Tags between spaces: Fastly's field and that of Varnish's xkey. Other CDNs take commas.
const BETWEEN_SPACES: [&str; 2] = ["Surrogate-Key", "xkey"];

table! {
    pub TABLE;
    /// The response field with [cache tags](cdn.md#tags): `Surrogate-Key`, `Cache-Tag`, `Edge-Cache-Tag` or another name.
    CACHE_TAGS: Optional<&'static str> = text("cache_tags").absent("none");
    /// What `Cache-Control` says besides `public` and `max-age`, or `"origin"` to send the original's.
    CACHE_CONTROL: Optional<TextOrFields<'static>> =
        text_or_object("cache_control", cache_control::TABLE).absent("`max-age` is `cache_time`");
    /// Further fields of every response for an image, at most 32 with 4096 bytes. None that the server sends itself.
    HEADERS: Optional<&'static [ObjectProp<'static>]> = map("headers", "strings", &[]).absent("none");
    /// A request that is sent after each [purge](cache.md#purge), to purge a CDN, too.
    PURGE_HOOK: Optional<Fields<'static>> =
        object("purge_hook", purge_hook::TABLE).absent("none");
}

/// What a handler does for a CDN.
#[derive(Clone, Debug, Default)]
pub struct Cdn {
    pub cache_tags: Option<CacheTags>,
    pub cache_policy: CachePolicy,
    /// Names and values of fixed response fields.
    pub headers: Vec<(String, String)>,
    pub purge_hook: Option<PurgeHook>,
}

/// The response field with cache tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTags {
    pub name: String,
    separator: &'static str,
}

impl CacheTags {
    /// The value for a key.
    pub fn value(&self, route: &str, key: &str) -> String {
        let mut value = String::with_capacity(cache_tag::MAX_BYTES);
        for tag in cache_tag::tags(route, key) {
            if !value.is_empty() {
                value.push_str(self.separator);
            }
            value.push_str(&tag);
        }
        value
    }
}

impl Cdn {
    pub(super) fn read(
        fields: &Fields,
        cache_time: CacheTime,
        shares_results: bool,
    ) -> Result<Cdn> {
        let cache_tags = cache_tags(fields)?;
        Ok(Cdn {
            cache_policy: CachePolicy::read(fields, &CACHE_CONTROL, cache_time)?,
            headers: headers(fields, cache_tags.as_ref())?,
            purge_hook: fields
                .optional(&PURGE_HOOK)?
                .map(|hook| PurgeHook::read(&hook, shares_results))
                .transpose()?,
            cache_tags,
        })
    }

    /// The most bytes that the fields take in a response, without `Cache-Control`.
    pub fn field_bytes(&self) -> usize {
        let tags =
            self.cache_tags.as_ref().map_or(0, |tags| tags.name.len() + cache_tag::MAX_BYTES);
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + LINE);
        tags + headers.sum::<usize>()
    }
}

fn cache_tags(fields: &Fields) -> Result<Option<CacheTags>> {
    let Some(name) = fields.optional(&CACHE_TAGS)? else { return Ok(None) };
    if let Some(problem) = field::name_problem(name) {
        return Err(fields.error(CACHE_TAGS.name(), problem));
    }
    let is_name = |known: &&str| known.eq_ignore_ascii_case(name);
    let separator = if BETWEEN_SPACES.iter().any(is_name) { " " } else { "," };
    Ok(Some(CacheTags { name: name.to_owned(), separator }))
}

fn headers(fields: &Fields, tags: Option<&CacheTags>) -> Result<Vec<(String, String)>> {
    let written = fields.optional(&HEADERS)?.unwrap_or_default();
    if written.len() > MAX_HEADERS {
        let message = format!("must have at most {MAX_HEADERS} fields");
        return Err(fields.error(HEADERS.name(), message));
    }
    let headers = field::read_all(fields, HEADERS.name(), written, field::name_problem)?;
    if let Some(tags) = tags
        && let Some((name, _)) =
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(&tags.name))
    {
        let path = format!("{}.{name}", HEADERS.name());
        return Err(fields.error(&path, "is the field of cache_tags"));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len() + LINE).sum();
    if bytes > MAX_HEADER_BYTES {
        let message = format!("must have at most {MAX_HEADER_BYTES} bytes together, not {bytes}");
        return Err(fields.error(HEADERS.name(), message));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
