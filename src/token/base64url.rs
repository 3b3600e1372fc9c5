//! base64url without padding (RFC 4648 §5), strictly: each sequence of bytes has exactly one spelling.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The spelling of these bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            let index = (bits >> (18 - 6 * place)) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// The bytes of a spelling. `None` for padding, for characters of another alphabet, for a length that no bytes have, and
/// for bits that are left over and not zero (§3.5).
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for character in group {
            bits = bits << 6 | value(*character)?;
        }
        bits <<= 6 * (4 - group.len());
        // Four characters are three bytes, three are two, two are one; one is none.
        let length = group.len() * 6 / 8;
        let [_, rest @ ..] = bits.to_be_bytes();
        let (whole, left_over) = rest.split_at_checked(length)?;
        if length == 0 || left_over.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(whole);
    }
    Some(bytes)
}

fn value(character: u8) -> Option<u32> {
    let from = |first: u8, offset: u32| Some(u32::from(character - first) + offset);
    match character {
        b'A'..=b'Z' => from(b'A', 0),
        b'a'..=b'z' => from(b'a', 26),
        b'0'..=b'9' => from(b'0', 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vectors_of_the_rfc_hold() {
        // RFC 4648 §10, and the two characters that are not those of plain base64.
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"fooba", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xfb\xff\xbf", "-_-_"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn every_byte_survives_in_every_place() {
        for byte in 0..=255 {
            for length in 1..=7 {
                let bytes = vec![byte; length];
                assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
            }
        }
    }

    #[test]
    fn no_bytes_have_a_second_spelling() {
        for text in [
            "Z", "Zm9vZ", "Zg==", "Zm8=", "Zh", "Zm9", "Zm9vYh", "+/+/", "Zm9v\n", " Zm9v",
            "Zm 9v", "Zm9ü",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
        // Of the 64 last characters that one byte could have, four are right.
        let last = ALPHABET.iter().filter(|last| decode(&[b'Z', **last]).is_some()).count();
        assert_eq!(last, 4);
    }
}
