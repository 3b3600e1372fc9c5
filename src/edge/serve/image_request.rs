//! A request for an image, as far as its response depends on it.

use std::borrow::Cow;

use crate::cache::{Name, Need};
use crate::config::Handler;
use crate::edge::http::conditional::Conditions;
use crate::edge::http::request::Request;
use crate::error::{Code, Failure};
use crate::key;
use crate::options::{BadQuery, Download, Options, Query, Raw};
use crate::token::Grant;

/// An authorized request with its resolved options. It borrows only header fields.
#[derive(Debug)]
pub struct ImageRequest<'r> {
    pub name: Name,
    pub options: Options,
    /// Whether the options depend on `Accept`.
    pub varies: bool,
    pub grant: Grant,
    /// The name with which it is saved.
    pub download: Option<Download>,
    pub is_head: bool,
    pub conditions: Conditions<'r>,
}

impl ImageRequest<'_> {
    pub fn into_owned(self) -> ImageRequest<'static> {
        let ImageRequest { name, options, varies, grant, download, is_head, conditions } = self;
        let conditions = conditions.into_owned();
        ImageRequest { name, options, varies, grant, download, is_head, conditions }
    }

    /// Whether the whole image is needed. A conditional request is usually answered by 304, which needs only the header
    /// of the entry.
    pub fn need(&self) -> Need {
        if self.is_head || self.conditions.allow_not_modified() {
            Need::Header
        } else {
            Need::Image
        }
    }
}

/// Resolves the options of a query within the handler's size policy. Returns also whether they depend on `Accept`.
///
/// A file that is passed through is the same for every valid query, so it gets one set of options.
pub fn resolve_options(
    query: &Query,
    key: &str,
    request: &Request,
    handler: &Handler,
    grant: &Grant,
) -> Result<(Options, bool), BadQuery> {
    if query.limits_bytes() && !grant.binds_url {
        const SENTENCE: &str = "max_bytes: only allowed in a preset and in a signed URL, \
            because it may take five encodings";
        return Err(BadQuery(SENTENCE.to_owned()));
    }
    let with_preset = handler.size_policy.with_preset(query)?;
    let varies = with_preset.varies();
    let accept = if varies { request.list("accept") } else { None };
    let accept = accept.unwrap_or(Cow::Borrowed(""));
    let options = Options::resolve(&with_preset, &accept, handler.defaults())?;
    if let Some(description) = options.description().filter(|_| !handler.info) {
        return Err(BadQuery(format!("f: {} is not allowed here", description.name())));
    }
    handler.size_policy.check_size(query, &with_preset)?;
    handler.as_is.check(&options)?;
    match handler.as_is.passthrough(key) {
        Some(file_type) if options.raw == Raw::No => {
            Ok((Options::as_it_is(Raw::File(file_type))?, false))
        }
        _ => Ok((options, varies)),
    }
}

pub fn check_key(key: &str, handler: &Handler) -> Result<(), Failure> {
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
