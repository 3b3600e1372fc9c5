//! The secrets of a handler's token.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Secrets, as HMAC-SHA256 takes them in. The first is signed with, every one verifies: a secret is replaced by putting the
/// new one before it and taking it out when what it has signed has expired.
#[derive(Clone)]
pub struct Keys(Vec<Hmac<Sha256>>);

// Nothing that would help to guess one.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// The keys of these secrets.
    pub fn new(secrets: &[String]) -> Keys {
        // A key of any length is taken (RFC 2104 §2), so that none is left out here.
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

    /// Whether one of them has made this code for the message. Every one is tried, and each takes the same time however
    /// much of the code is right.
    pub fn verify(&self, message: &[u8], code: &[u8]) -> bool {
        let verifies =
            |key: &Hmac<Sha256>| key.clone().chain_update(message).verify_slice(code).is_ok();
        self.0.iter().fold(false, |found, key| found | verifies(key))
    }

    /// The first one's code for the message.
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
        let (old, new) = (keys(&["old"]).sign(b"m").unwrap(), keys(&["new"]).sign(b"m").unwrap());
        let both = keys(&["new", "old"]);
        assert_eq!(both.sign(b"m"), Some(new));
        assert!(both.verify(b"m", &old) && both.verify(b"m", &new));
        assert!(!keys(&["new"]).verify(b"m", &old) && !both.verify(b"n", &new));
        assert!(!both.verify(b"m", &new[..31]) && !both.verify(b"m", b""));
        assert!(!keys(&[]).verify(b"m", b"") && keys(&[]).sign(b"m").is_none());
    }

    #[test]
    fn they_are_hmac_sha256() {
        // RFC 4231 §4.3
        let code = keys(&["Jefe"]).sign(b"what do ya want for nothing?").unwrap();
        assert!(code.starts_with(&[0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]), "{code:x?}");
    }

    #[test]
    fn they_are_not_shown() {
        assert_eq!(format!("{:?}", keys(&["hidden-secret"])), "Keys(1)");
    }
}
