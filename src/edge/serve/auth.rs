//! The authorizer: the program's token validator, then the handler's `token`.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use crate::TokenValidator;
use crate::config::Handler;
use crate::edge::http::bearer::bearer_token;
use crate::edge::http::request::Request;
use crate::log::RateLimited;
use crate::metrics::{HandlerMetrics, METRICS};
use crate::options::Query;
use crate::time::unix_seconds;
use crate::token::{Bearer, Grant, Refusal, TokenRequest, Tokens};

/// The authorizer of one handler. It runs before any cache lookup, so a refused client costs one hash and does not
/// learn which images exist.
#[derive(Debug)]
pub struct Authorizer {
    validator: Option<TokenValidator>,
    tokens: Option<Tokens>,
    /// One per reason, so that a frequent reason does not hide the others.
    warnings: [RateLimited; Refusal::COUNT],
    metrics: Arc<HandlerMetrics>,
}

#[derive(Clone, Copy, Debug)]
pub struct AuthRequest<'r> {
    pub request: &'r Request<'r>,
    /// The decoded key.
    pub key: &'r str,
    pub query: &'r Query,
    pub client: Option<IpAddr>,
}

impl Authorizer {
    pub fn new(handler: &Handler, validator: Option<TokenValidator>) -> Authorizer {
        Authorizer {
            validator,
            tokens: handler.token.as_ref().map(Tokens::new),
            warnings: std::array::from_fn(|_| RateLimited::new()),
            metrics: METRICS.handlers.find(&handler.route),
        }
    }

    /// Returns the permissions that the request's token grants. A refusal is logged.
    pub fn authorize(&self, route: &str, auth_request: AuthRequest) -> Result<Grant, Refusal> {
        self.check(route, auth_request)
            .inspect_err(|refusal| self.log_refusal(route, auth_request.client, *refusal))
    }

    fn check(&self, route: &str, auth_request: AuthRequest) -> Result<Grant, Refusal> {
        let AuthRequest { request, key, query, .. } = auth_request;
        if let Some(validator) = self.validator {
            let token = query.token().unwrap_or_default();
            // The panic handler has printed the message of a panic.
            if !catch_unwind(AssertUnwindSafe(|| validator(token))).unwrap_or(false) {
                return Err(Refusal::Validator);
            }
        }
        let Some(tokens) = &self.tokens else { return Ok(Grant::default()) };
        let asked = TokenRequest { route, key, query, bearer: authorization(request) };
        tokens.check(&asked, unix_seconds(SystemTime::now()))
    }

    /// Counts a refused request, and logs the reason, rate-limited per reason and without the token.
    pub fn log_refusal(&self, route: &str, client: Option<IpAddr>, refusal: Refusal) {
        self.metrics.refusals.get(refusal).add(1);
        let Some(warning) = self.warnings.get(refusal as usize) else { return };
        match client {
            Some(client) => {
                warning.warn("token_refused", format_args!("{route}: refused {client}: {refusal}"))
            }
            None => {
                warning.warn("token_refused", format_args!("{route}: refused a token: {refusal}"))
            }
        }
    }
}

/// The bearer token in `Authorization`. Other schemes are ignored: they may be for a proxy.
fn authorization<'r>(request: &Request<'r>) -> Bearer<'r> {
    let mut fields = request.raw("authorization");
    match (fields.next(), fields.next()) {
        (None, _) => Bearer::None,
        (Some(field), None) => bearer_token(field).map_or(Bearer::None, Bearer::Token),
        (Some(_), Some(_)) => Bearer::Ambiguous,
    }
}
