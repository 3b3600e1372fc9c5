//! The secrets of a handler's `token`.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// HMAC-SHA256 keys. The first one signs, every one verifies: to rotate a secret, put the new one first, and remove the
/// old one when everything signed with it has expired.
#[derive(Clone)]
pub struct Keys(Vec<Hmac<Sha256>>);

// Keys must not reach a log.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    pub fn new(secrets: &[String]) -> Keys {
        // HMAC accepts keys of any length (RFC 2104 §2), so that none is dropped here.
        Keys(
            secrets
                .iter()
                .filter_map(|secret| Hmac::new_from_slice(secret.as_bytes()).ok())
                .collect(),
        )
    }

    #[cfg(test)]
    pub fn of_bytes(secret: &[u8]) -> Keys {
        Keys(Hmac::new_from_slice(secret).into_iter().collect())
    }

    /// Whether one of the keys verifies the code of a message. The time does not depend on which key it is, nor on how
    /// much of the code is right.
    pub fn verify(&self, message: &[u8], code: &[u8]) -> bool {
        let verifies =
            |key: &Hmac<Sha256>| key.clone().chain_update(message).verify_slice(code).is_ok();
        self.0.iter().fold(false, |is_valid, key| is_valid | verifies(key))
    }

    /// The code of a message by the first key.
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 32]> {
        Some(self.0.first()?.clone().chain_update(message).finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[&str]) -> Keys {
        Keys::new(&secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_secret_verifies_and_the_first_signs() {
        let old = keys(&["old"]).sign(b"m").unwrap();
        let new = keys(&["new"]).sign(b"m").unwrap();
        let both = keys(&["new", "old"]);
        assert_eq!(both.sign(b"m"), Some(new));
        assert!(both.verify(b"m", &old) && both.verify(b"m", &new));
        assert!(!keys(&["new"]).verify(b"m", &old) && !both.verify(b"n", &new));
        assert!(!both.verify(b"m", &new[..31]) && !both.verify(b"m", b""));
        assert!(!keys(&[]).verify(b"m", b"") && keys(&[]).sign(b"m").is_none());
    }

    #[test]
    fn codes_are_hmac_sha256() {
        // RFC 4231 §4.3
        let code = keys(&["Jefe"]).sign(b"what do ya want for nothing?").unwrap();
        assert!(code.starts_with(&[0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]), "{code:x?}");
    }

    #[test]
    fn debug_output_has_no_secret() {
        assert_eq!(format!("{:?}", keys(&["hidden-secret"])), "Keys(1)");
    }
}
