//! A request for an image, with its resolved options.

use std::sync::Arc;

use crate::cache::Need;
use crate::config::Handler;
use crate::edge::http::request::{Method, Request};
use crate::edge::variants::HandlerState;
use crate::error::{Code, Failure};
use crate::key;
use crate::options::{BadQuery, Options, Query};
use crate::token::Grant;

#[derive(Debug)]
pub struct ImageRequest<'r> {
    pub request: &'r Request<'r>,
    pub handler: &'r Arc<HandlerState>,
    pub options: Options,
    /// Whether the options depend on `Accept`.
    pub varies: bool,
    pub grant: Grant,
    /// Whether this thread may wait for the renderer.
    pub may_wait: bool,
}

impl ImageRequest<'_> {
    /// Whether the whole image is needed. A conditional request is usually answered by 304, which needs only its
    /// description.
    pub fn need(&self) -> Need {
        let has = |name| self.request.all(name).next().is_some();
        if self.request.method == Method::Head || has("if-none-match") || has("if-modified-since") {
            Need::Header
        } else {
            Need::Image
        }
    }
}

/// Resolves the options of a query within the handler's size policy. Returns also whether they depend on `Accept`.
pub fn resolve_options(
    query: &Query,
    request: &Request,
    handler: &Handler,
) -> Result<(Options, bool), BadQuery> {
    let with_preset = handler.size_policy.with_preset(query)?;
    let varies = with_preset.varies();
    let accept = if varies { request.list("accept").unwrap_or_default() } else { String::new() };
    let options = Options::resolve(&with_preset, &accept, handler.defaults())?;
    handler.size_policy.check_size(query, &with_preset)?;
    Ok((options, varies))
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
