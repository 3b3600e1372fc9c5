//! Who may have an image, as the `token` of its handler says. Nothing here waits for anything.

mod hmac;
mod json;
mod jwt;
mod keys;
mod sign;

use std::fmt;

use base64::engine::{GeneralPurpose, general_purpose};

pub use jwt::Bounds;
use keys::Keys;
pub use sign::sign;

use crate::config::{Token, TokenKind};
use crate::options::Query;

/// base64url without padding (RFC 4648 §5). Strict: no padding and no trailing bits (§3.5), so that each sequence of
/// bytes has exactly one spelling.
const BASE64URL: GeneralPurpose = general_purpose::URL_SAFE_NO_PAD;

/// The check of one handler.
#[derive(Debug)]
pub struct Tokens {
    keys: Keys,
    kind: TokenKind,
    required: bool,
}

/// A request, as far as it concerns a token.
#[derive(Debug)]
pub struct Asked<'r> {
    /// The decoded route.
    pub route: &'r str,
    /// The decoded key.
    pub key: &'r str,
    /// Its parameters.
    pub query: &'r Query,
    /// What its header fields say.
    pub bearer: Bearer<'r>,
}

/// What `Authorization` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'r> {
    /// Nothing, or nothing about a bearer.
    None,
    /// A token.
    Token(&'r [u8]),
    /// It is there more than once, and nobody knows which one counts.
    Unclear,
}

/// What a request may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    /// The Unix time from which on it may not have it any more.
    pub expires: Option<u64>,
    /// Whether the token was in a header field, so that no other client may be given the answer (RFC 9111 §3.5).
    pub is_private: bool,
    /// The largest image that it may have.
    pub bounds: Bounds,
}

/// Why a token is not accepted. The operator is told; the client is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Absent,
    /// It has not the form of one.
    Malformed,
    /// No secret has made its signature for this request.
    Signature,
    /// It is too late.
    Expired,
    /// It is too early.
    NotYet,
    /// It never expires, and must.
    NoExpiry,
    /// It is signed with something else than HS256.
    Algorithm,
    /// It wants something to be understood that is not.
    Critical,
    /// It is not of the issuer.
    Issuer,
    /// It is not for us.
    Audience,
    /// A claim has not the form that it must have.
    Claim,
    /// It is for other keys.
    Path,
    /// It is for smaller images.
    Size,
    /// There are two.
    Ambiguous,
    /// The program's own check does not accept it.
    Validator,
}

impl Refusal {
    /// How many reasons there are.
    pub const COUNT: usize = Refusal::Validator as usize + 1;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Absent => "there is none",
            Refusal::Malformed => "it is malformed",
            Refusal::Signature => "no secret has signed this request with it",
            Refusal::Expired => "it has expired",
            Refusal::NotYet => "it is not valid yet",
            Refusal::NoExpiry => "it has no exp",
            Refusal::Algorithm => "its alg is not HS256",
            Refusal::Critical => "its header has a crit",
            Refusal::Issuer => "its iss is not the issuer",
            Refusal::Audience => "its aud is not the audience",
            Refusal::Claim => "one of its claims is malformed",
            Refusal::Path => "its path is not that of the key",
            Refusal::Size => "its w or h allows smaller images only",
            Refusal::Ambiguous => "there are two that differ",
            Refusal::Validator => "the validator has refused it",
        })
    }
}

impl Tokens {
    /// The check that a handler's `token` asks for.
    pub fn new(token: &Token) -> Tokens {
        Tokens {
            keys: Keys::new(&token.secrets),
            kind: token.kind.clone(),
            required: token.required,
        }
    }

    /// What the request may have at this Unix time.
    pub fn check(&self, asked: &Asked, now: u64) -> Result<Grant, Refusal> {
        let Asked { route, key, query, bearer } = *asked;
        let absent = || if self.required { Err(Refusal::Absent) } else { Ok(Grant::default()) };
        match &self.kind {
            TokenKind::Hmac => match query.token() {
                Some(token) => hmac::check(&self.keys, route, key, query, token, now),
                // Who signs an expiry and loses the signature did not mean to let everybody in.
                None if query.expires() != Ok(None) => Err(Refusal::Absent),
                None => absent(),
            },
            TokenKind::Jwt(rules) => {
                let (token, is_private) = match (query.token(), bearer) {
                    (_, Bearer::Unclear) => return Err(Refusal::Ambiguous),
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
