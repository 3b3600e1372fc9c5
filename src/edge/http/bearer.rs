//! Bearer tokens in `Authorization` (RFC 6750 §2.1), and the secret of the admin listener.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use rustls::crypto::ring;
use sha2::Sha256;

use crate::edge::http::request::Request;

/// A secret, compared by its HMAC under a random key, so that the time of a comparison reveals neither its bytes nor
/// its length.
#[derive(Clone)]
pub struct Secret {
    keyed: Hmac<Sha256>,
    tag: [u8; 32],
}

// Leaves out the secret.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub fn new(secret: &str) -> Secret {
        // One block of SHA-256, which HMAC uses unchanged (RFC 2104 §2).
        let mut key = [0; 64];
        // If this fails the comparison still takes constant time.
        let _ = ring::default_provider().secure_random.fill(&mut key);
        let keyed = Hmac::new(&key.into());
        let tag = keyed.clone().chain_update(secret).finalize().into_bytes().into();
        Secret { keyed, tag }
    }

    /// Whether a request carries it as a bearer token.
    pub fn authorizes(&self, request: &Request) -> bool {
        only_field(request).and_then(bearer_token).is_some_and(|token| self.matches(token))
    }

    /// Whether a request carries it as the password of any user, for clients that can send no bearer token.
    pub fn authorizes_as_password(&self, request: &Request) -> bool {
        let password = only_field(request).and_then(basic_password);
        password.is_some_and(|password| self.matches(&password))
    }

    fn matches(&self, token: &[u8]) -> bool {
        self.keyed.clone().chain_update(token).verify_slice(&self.tag).is_ok()
    }
}

/// The value of `Authorization`. With two fields it would be ambiguous which one applies.
fn only_field<'r>(request: &Request<'r>) -> Option<&'r [u8]> {
    let mut fields = request.raw("authorization");
    fields.next().filter(|_| fields.next().is_none())
}

/// The password of `Basic 1*SP base64(user:password)` (RFC 7617 §2): what follows the first colon.
fn basic_password(field: &[u8]) -> Option<Vec<u8>> {
    let decoded = BASE64_STANDARD.decode(credentials(field, b"Basic")?).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded.get(colon + 1..)?.to_vec())
}

/// The token of `Bearer 1*SP token` (RFC 9110 §11.4), whose scheme is case-insensitive (§11.1).
pub fn bearer_token(field: &[u8]) -> Option<&[u8]> {
    credentials(field, b"Bearer")
}

/// What follows a scheme.
fn credentials<'f>(field: &'f [u8], expected: &[u8]) -> Option<&'f [u8]> {
    let (scheme, rest) = field.split_at_checked(expected.len())?;
    let token = rest.trim_ascii_start();
    let has_space = rest.first() == Some(&b' ');
    (scheme.eq_ignore_ascii_case(expected) && has_space && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::request::{Head, parse};

    const SECRET: &str = "0123456789abcdef";

    fn is_authorized(fields: &str) -> bool {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let Ok(Head::Complete(request, _)) = parse(text.as_bytes()) else { panic!("{fields:?}") };
        Secret::new(SECRET).authorizes(&request)
    }

    #[test]
    fn bearer_secret_authorizes_a_request() {
        for scheme in ["Bearer ", "bearer ", "BEARER ", "bEaReR   "] {
            assert!(is_authorized(&format!("Authorization: {scheme}{SECRET}\r\n")), "{scheme}");
        }
        assert!(is_authorized(&format!("authorization:Bearer {SECRET}  \r\n")));
    }

    #[test]
    fn other_credentials_do_not_authorize_a_request() {
        let long = SECRET.repeat(500);
        for value in [
            "",
            "Bearer",
            "Bearer ",
            SECRET,
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789ABCDEF",
            "Bearer 0123456789abcdef 0123456789abcdef",
            "Bearer \"0123456789abcdef\"",
            "Bearer,0123456789abcdef",
            "Bearer\t0123456789abcdef",
            "Bearer0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearers 0123456789abcdef",
            "Beare\u{ff} 0123456789abcdef",
            long.as_str(),
        ] {
            assert!(!is_authorized(&format!("Authorization: {value}\r\n")), "{value}");
        }
        assert!(!is_authorized(""));
        assert!(!is_authorized(&format!("Proxy-Authorization: Bearer {SECRET}\r\n")));
        let right = format!("Authorization: Bearer {SECRET}\r\n");
        assert!(!is_authorized(&right.repeat(2)));
        assert!(!is_authorized(&format!("{right}Authorization: x\r\n")));
    }

    #[test]
    fn the_secret_authorizes_as_the_password_of_any_user() {
        let is_authorized = |value: &str| {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{value}\r\n");
            let Ok(Head::Complete(request, _)) = parse(text.as_bytes()) else { panic!("{value}") };
            Secret::new(SECRET).authorizes_as_password(&request)
        };
        let basic = |scheme: &str, text: &str| {
            format!("Authorization: {scheme} {}\r\n", BASE64_STANDARD.encode(text))
        };
        for user in ["", "sns", "a b", "\u{fc}"] {
            assert!(is_authorized(&basic("Basic", &format!("{user}:{SECRET}"))), "{user}");
            assert!(is_authorized(&basic("bASIC", &format!("{user}:{SECRET}"))), "{user}");
        }
        for text in ["", SECRET, &format!("{SECRET}:"), &format!("u:x:{SECRET}"), "u:", ":"] {
            assert!(!is_authorized(&basic("Basic", text)), "{text}");
        }
        let right = basic("Basic", &format!("uv:{SECRET}"));
        for value in [
            String::new(),
            right.repeat(2),
            basic("Bearer", &format!("u:{SECRET}")),
            format!("Authorization: Basic u:{SECRET}\r\n"),
            "Authorization: Basic\r\n".to_owned(),
            format!("Authorization: Bearer {SECRET}\r\n"),
            right.replace("==", ""),
        ] {
            assert!(!is_authorized(&value), "{value}");
        }
    }

    #[test]
    fn debug_output_hides_the_bearer_secret() {
        let shown = format!("{:?}", Secret::new(SECRET));
        assert_eq!(shown, "Secret");
    }
}
