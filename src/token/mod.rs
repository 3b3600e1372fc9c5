//! Checks tokens against the `token` field of a handler: signed URLs (HMAC) and JSON Web Tokens. Nothing here blocks.

mod hmac;
mod json;
mod jwt;
mod keys;
mod sign;

use std::fmt;

use base64::engine::{GeneralPurpose, general_purpose};

pub use jwt::MaxSize;
use keys::Keys;
pub use sign::sign;

use crate::config::{Token, TokenKind};
use crate::options::Query;

/// base64url without padding (RFC 4648 §5). Strict: no padding and no trailing bits (§3.5), so that each sequence of
/// bytes has exactly one spelling.
const BASE64URL: GeneralPurpose = general_purpose::URL_SAFE_NO_PAD;

/// The token check of one handler.
#[derive(Debug)]
pub struct Tokens {
    keys: Keys,
    kind: TokenKind,
    required: bool,
}

/// The parts of a request that a token is checked against.
#[derive(Debug)]
pub struct TokenRequest<'r> {
    /// Decoded.
    pub route: &'r str,
    /// Decoded.
    pub key: &'r str,
    pub query: &'r Query,
    pub bearer: Bearer<'r>,
}

/// The bearer token in `Authorization` (RFC 6750 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'r> {
    /// No such field, or another scheme.
    None,
    Token(&'r [u8]),
    /// The field occurs more than once.
    Ambiguous,
}

/// The permissions that a token grants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    /// The Unix time at which the permission ends.
    pub expires: Option<u64>,
    /// Whether the token was in a header field, so that the response must not be shared (RFC 9111 §3.5).
    pub is_private: bool,
    pub max_size: MaxSize,
    /// Whether it is for one URL only, so that no client can ask for what takes long with other options.
    pub binds_url: bool,
}

/// Why a token is not accepted. It is logged, and not sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no token.
    Absent,
    /// It has the wrong syntax.
    Malformed,
    /// No secret verifies its signature for this request.
    Signature,
    Expired,
    /// `nbf` is in the future.
    NotYet,
    /// It has no `exp`, which is required.
    NoExpiry,
    /// `alg` is not HS256.
    Algorithm,
    /// The header has `crit`, an extension that must be understood.
    Critical,
    /// `iss` is not the configured issuer.
    Issuer,
    /// `aud` does not contain the configured audience.
    Audience,
    /// A claim has the wrong type or is out of range.
    Claim,
    /// `path` does not cover the key.
    Path,
    /// `w` or `h` permits smaller images only, and no part of the original that the request chooses.
    Size,
    /// The request has two different tokens.
    Ambiguous,
    /// The program's [`crate::TokenValidator`] rejected it.
    Validator,
}

impl Refusal {
    /// The number of variants.
    pub const COUNT: usize = Refusal::ALL.len();

    pub const ALL: &[Refusal] = &[
        Refusal::Absent,
        Refusal::Malformed,
        Refusal::Signature,
        Refusal::Expired,
        Refusal::NotYet,
        Refusal::NoExpiry,
        Refusal::Algorithm,
        Refusal::Critical,
        Refusal::Issuer,
        Refusal::Audience,
        Refusal::Claim,
        Refusal::Path,
        Refusal::Size,
        Refusal::Ambiguous,
        Refusal::Validator,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Absent => "absent",
            Refusal::Malformed => "malformed",
            Refusal::Signature => "signature",
            Refusal::Expired => "expired",
            Refusal::NotYet => "not_yet",
            Refusal::NoExpiry => "no_expiry",
            Refusal::Algorithm => "algorithm",
            Refusal::Critical => "critical",
            Refusal::Issuer => "issuer",
            Refusal::Audience => "audience",
            Refusal::Claim => "claim",
            Refusal::Path => "path",
            Refusal::Size => "size",
            Refusal::Ambiguous => "ambiguous",
            Refusal::Validator => "validator",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Absent => "it is missing",
            Refusal::Malformed => "it is malformed",
            Refusal::Signature => "its signature does not match this request",
            Refusal::Expired => "it has expired",
            Refusal::NotYet => "it is not valid yet",
            Refusal::NoExpiry => "it has no exp",
            Refusal::Algorithm => "its alg is not HS256",
            Refusal::Critical => "its header has a crit",
            Refusal::Issuer => "its iss is not the issuer",
            Refusal::Audience => "its aud is not the audience",
            Refusal::Claim => "a claim is malformed",
            Refusal::Path => "its path does not cover the key",
            Refusal::Size => {
                "its w or h permits smaller images only, without crop, min-w and min-h"
            }
            Refusal::Ambiguous => "the request has two different tokens",
            Refusal::Validator => "the validator rejected it",
        })
    }
}

impl Tokens {
    pub fn new(token: &Token) -> Tokens {
        Tokens {
            keys: Keys::new(&token.secrets),
            kind: token.kind.clone(),
            required: token.required,
        }
    }

    /// Checks a request at this Unix time.
    pub fn check(&self, request: &TokenRequest, now: u64) -> Result<Grant, Refusal> {
        let TokenRequest { route, key, query, bearer } = *request;
        let absent = || if self.required { Err(Refusal::Absent) } else { Ok(Grant::default()) };
        match &self.kind {
            TokenKind::Hmac => match query.token() {
                Some(token) => hmac::check(&self.keys, route, key, query, token, now),
                // A URL with an expiry was meant to be signed, even where a token is optional.
                None if query.expires() != Ok(None) => Err(Refusal::Absent),
                None => absent(),
            },
            TokenKind::Jwt(rules) => {
                let (token, is_private) = match (query.token(), bearer) {
                    (_, Bearer::Ambiguous) => return Err(Refusal::Ambiguous),
                    (Some(one), Bearer::Token(two)) if one.as_bytes() != two => {
                        return Err(Refusal::Ambiguous);
                    }
                    (_, Bearer::Token(token)) => (token, true),
                    (Some(token), Bearer::None) => (token.as_bytes(), false),
                    (None, Bearer::None) => return absent(),
                };
                let grant = jwt::check(&self.keys, rules, token, key, now)?;
                Ok(Grant { is_private, ..grant })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    #[test]
    fn base64url_has_one_spelling() {
        assert_eq!(BASE64URL.encode(b"\xfb\xff\xbffo"), "-_-_Zm8");
        assert_eq!(BASE64URL.decode("-_-_Zm8").as_deref(), Ok(&b"\xfb\xff\xbffo"[..]));
        for text in [
            "Z", "Zm9vZ", "Zg==", "Zm8=", "Zh", "Zm9", "Zm9vYh", "+/+/", "Zm9v\n", " Zm9v",
            "Zm 9v", "Zm9ü",
        ] {
            BASE64URL.decode(text).expect_err(text);
        }
        // Two characters encode one byte, which leaves 2 of the 6 bits of the second.
        let is_valid = |last: &u8| BASE64URL.decode([b'Z', *last]).is_ok();
        assert_eq!((0..=255).filter(is_valid).count(), 4);
    }
}
