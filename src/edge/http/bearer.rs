//! Who may use the admin listener: whoever sends `Authorization: Bearer` with its secret (RFC 6750 §2.1).

use hmac::{Hmac, Mac};
use rustls::crypto::ring;
use sha2::Sha256;

use crate::edge::http::request::Request;

/// The secret as it is compared: not with itself, but by its HMAC under a key that nobody knows. So the comparison takes
/// as long whatever is sent, and tells not even the secret's length.
#[derive(Clone)]
pub struct Secret {
    keyed: Hmac<Sha256>,
    tag: [u8; 32],
}

// Nothing that would help to guess it.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A secret to be asked for.
    pub fn new(secret: &str) -> Secret {
        // A block of SHA-256 is what HMAC takes as it is (RFC 2104 §2).
        let mut key = [0; 64];
        // Without randomness it is compared in constant time all the same.
        let _ = ring::default_provider().secure_random.fill(&mut key);
        let keyed = Hmac::new(&key.into());
        let tag = keyed.clone().chain_update(secret).finalize().into_bytes().into();
        Secret { keyed, tag }
    }

    /// Whether a request has it.
    pub fn is_in(&self, request: &Request) -> bool {
        let mut fields = request.raw("authorization");
        // Of two, nobody knows which one counts.
        match (fields.next(), fields.next()) {
            (Some(field), None) => bearer(field).is_some_and(|token| self.is(token)),
            _ => false,
        }
    }

    fn is(&self, token: &[u8]) -> bool {
        self.keyed.clone().chain_update(token).verify_slice(&self.tag).is_ok()
    }
}

/// The token of `Bearer 1*SP token` (RFC 9110 §11.4), whose scheme is of either case (§11.1).
pub fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = field.split_at_checked(b"Bearer".len())?;
    let token = rest.trim_ascii_start();
    let is_apart = rest.first() == Some(&b' ');
    (scheme.eq_ignore_ascii_case(b"Bearer") && is_apart && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::request::{Head, parse};

    const SECRET: &str = "0123456789abcdef";

    fn is_let_in(fields: &str) -> bool {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let Ok(Head::Whole(request, _)) = parse(text.as_bytes()) else { panic!("{fields:?}") };
        Secret::new(SECRET).is_in(&request)
    }

    #[test]
    fn whoever_has_the_secret_is_let_in() {
        for scheme in ["Bearer ", "bearer ", "BEARER ", "bEaReR   "] {
            assert!(is_let_in(&format!("Authorization: {scheme}{SECRET}\r\n")), "{scheme}");
        }
        assert!(is_let_in(&format!("authorization:Bearer {SECRET}  \r\n")));
    }

    #[test]
    fn nobody_else_is() {
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
            assert!(!is_let_in(&format!("Authorization: {value}\r\n")), "{value}");
        }
        assert!(!is_let_in(""));
        assert!(!is_let_in(&format!("Proxy-Authorization: Bearer {SECRET}\r\n")));
        let right = format!("Authorization: Bearer {SECRET}\r\n");
        assert!(!is_let_in(&right.repeat(2)));
        assert!(!is_let_in(&format!("{right}Authorization: x\r\n")));
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", Secret::new(SECRET));
        assert_eq!(shown, "Secret");
    }
}
