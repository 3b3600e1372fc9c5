//! Request ids: the value of `X-Request-Id`, from a trusted proxy or made here.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The longest id that a proxy may give.
pub const MAX_BYTES: usize = 128;
/// What an id may contain besides letters and digits: nothing that needs an escape in a log line or a header field.
pub const PUNCTUATION: &[u8] = b"-_.:/+=@";

/// 1 to [`MAX_BYTES`] letters, digits and [`PUNCTUATION`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// 128 bits in hexadecimal.
    Made([u8; 32]),
    Given(Arc<str>),
}

impl RequestId {
    /// A new id. It is no secret, and unique for all practical purposes: two keyed hashes of a counter, with random
    /// keys of each thread. A system call for each request would cost ten times as much.
    pub fn random() -> RequestId {
        thread_local! {
            static SOURCE: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
        }
        let halves = SOURCE.with(|(keys, counter)| {
            let number = counter.get();
            counter.set(number.wrapping_add(1));
            [0_u8, 1].map(|half| keys.hash_one((number, half)))
        });
        let mut digits = [0; 32];
        let bytes = halves.iter().flat_map(|half| half.to_be_bytes());
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        RequestId::Made(digits)
    }

    /// `None` if a character is not allowed, or the length is not.
    pub fn parse(value: &[u8]) -> Option<RequestId> {
        let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || PUNCTUATION.contains(byte);
        let is_valid = (1..=MAX_BYTES).contains(&value.len()) && value.iter().all(is_allowed);
        let text = std::str::from_utf8(value).ok().filter(|_| is_valid)?;
        Some(RequestId::Given(text.into()))
    }

    pub fn as_str(&self) -> &str {
        match self {
            RequestId::Made(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            RequestId::Given(text) => text,
        }
    }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + (value - 10) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn made_ids_are_128_bits_in_hexadecimal_and_differ() {
        let make = || (0..1000).map(|_| RequestId::random().as_str().to_owned()).collect();
        let other: Vec<String> = std::thread::spawn(make).join().unwrap();
        let ids: HashSet<String> = make().into_iter().chain(other).collect();
        assert_eq!(ids.len(), 2000);
        for id in &ids {
            assert!(id.len() == 32 && id.bytes().all(|b| b"0123456789abcdef".contains(&b)), "{id}");
        }
        // Each bit is set in about half of them.
        for digit in 0..32 {
            let digits: HashSet<u8> = ids.iter().map(|id| id.as_bytes()[digit]).collect();
            assert_eq!(digits.len(), 16);
        }
    }

    #[test]
    fn given_ids_have_allowed_characters_and_lengths_only() {
        let longest = "x".repeat(MAX_BYTES);
        for id in [
            "a",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "7e9d1d84-e7f5-4bd3-9c0f-6a4b1f1b1b1b",
            "Root=1-67891233-abcdef012345678912345678",
            "a_b.c:d/e+f@g",
            &longest,
        ] {
            assert_eq!(RequestId::parse(id.as_bytes()).unwrap().as_str(), id);
        }
        let too_long = "x".repeat(MAX_BYTES + 1);
        for id in [
            "", " ", "a b", "a,b", "a;b", "a\"", "a\\", "a'", "<a>", "{a}", "a\n", "\u{e9}", "a\0",
            &too_long,
        ] {
            assert_eq!(RequestId::parse(id.as_bytes()), None, "{id:?}");
        }
        assert_eq!(RequestId::parse(b"a\xff"), None);
    }

    #[test]
    fn rules_for_given_ids_are_as_documented() {
        let punctuation: Vec<String> =
            PUNCTUATION.iter().map(|byte| format!("`{}`", char::from(*byte))).collect();
        let sentence = format!("1 to {MAX_BYTES} letters, digits and {}", punctuation.join(" "));
        assert_says("docs/http.md", &sentence);
    }
}
