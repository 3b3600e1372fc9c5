//! Who gets in: the check that the program was built with, then the handler's own `token`.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use crate::TokenValidator;
use crate::config::Handler;
use crate::edge::http::bearer::bearer;
use crate::edge::http::request::Request;
use crate::log::RateLimited;
use crate::options::Query;
use crate::time::unix_seconds;
use crate::token::{Bearer, Grant, Refusal, TokenRequest, Tokens};

/// The authorizer of one handler. Whoever is kept out has cost a hash, and learns nothing: what there is behind it is looked
/// for later.
#[derive(Debug)]
pub struct Authorizer {
    validator: Option<TokenValidator>,
    tokens: Option<Tokens>,
    /// One for each reason, so that a frequent one does not hide the others.
    complaints: [RateLimited; Refusal::COUNT],
}

/// A request at the authorizer.
#[derive(Clone, Copy, Debug)]
pub struct AuthRequest<'r> {
    /// The request.
    pub request: &'r Request<'r>,
    /// The decoded key.
    pub key: &'r str,
    /// Its parameters.
    pub query: &'r Query,
    /// Who asks.
    pub client: Option<IpAddr>,
}

impl Authorizer {
    /// The authorizer of this handler.
    pub fn new(handler: &Handler, validator: Option<TokenValidator>) -> Authorizer {
        let tokens = handler.token.as_ref().map(Tokens::new);
        Authorizer { validator, tokens, complaints: std::array::from_fn(|_| RateLimited::new()) }
    }

    /// What a request may have. One that may not have anything is told to the operator.
    pub fn admit(&self, route: &str, auth_request: AuthRequest) -> Result<Grant, Refusal> {
        self.check(route, auth_request)
            .inspect_err(|refusal| self.complain(route, auth_request.client, *refusal))
    }

    fn check(&self, route: &str, auth_request: AuthRequest) -> Result<Grant, Refusal> {
        let AuthRequest { request, key, query, .. } = auth_request;
        if let Some(validator) = self.validator {
            let token = query.token().unwrap_or_default();
            // The panic's own message is on stderr.
            if !catch_unwind(AssertUnwindSafe(|| validator(token))).unwrap_or(false) {
                return Err(Refusal::Validator);
            }
        }
        let Some(tokens) = &self.tokens else { return Ok(Grant::default()) };
        let asked = TokenRequest { route, key, query, bearer: authorization(request) };
        tokens.check(&asked, unix_seconds(SystemTime::now()))
    }

    /// Says, once in a while for each reason, why somebody is kept out. Never with what.
    pub fn complain(&self, route: &str, client: Option<IpAddr>, refusal: Refusal) {
        let Some(warning) = self.complaints.get(refusal as usize) else { return };
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

/// The token in `Authorization`. Other schemes are somebody else's business, such as a proxy's.
fn authorization<'r>(request: &Request<'r>) -> Bearer<'r> {
    let mut fields = request.raw("authorization");
    match (fields.next(), fields.next()) {
        (None, _) => Bearer::None,
        (Some(field), None) => bearer(field).map_or(Bearer::None, Bearer::Token),
        (Some(_), Some(_)) => Bearer::Ambiguous,
    }
}
