//! The key of an original: how it is read from a path and written back into one.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a path segment must not carry as it is (RFC 3986 §3.3, `pchar`), besides `/`, which keys may contain.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Splits `/{route}/{key}` and decodes both. `None` for a path with fewer segments, an escape that is not
/// two hexadecimal digits, or bytes that are not UTF-8 (S3 keys are UTF-8).
///
/// The key is decoded once and never normalised: `a//b`, `a+b` and `a%2Bb` (sent as `a%252Bb`) are keys of
/// their own.
pub fn split_path(path: &str) -> Option<(String, String)> {
    let (route, key) = path.strip_prefix('/')?.split_once('/')?;
    Some((decode(route)?, decode(key)?))
}

/// The path of a key at a route; [`split_path`] reads it back.
pub fn to_path(route: &str, key: &str) -> String {
    format!("/{}/{}", utf8_percent_encode(route, PATH), utf8_percent_encode(key, PATH))
}

/// Whether the key can name an object. `.` and `..` segments are refused because URL libraries and file
/// systems resolve them: signed for one place, they would fetch from another.
pub fn is_valid(key: &str) -> bool {
    /// S3's limit for a key, in bytes of UTF-8.
    const LONGEST: usize = 1024;
    !key.is_empty()
        && key.len() <= LONGEST
        && !key.contains('\0')
        && !key.split('/').any(|segment| segment == "." || segment == "..")
}

/// The part of the last segment after its last dot, in lower case; `None` for a key without one.
pub fn extension(key: &str) -> Option<String> {
    let name = key.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
}

/// Percent-decoding that takes no malformed escape for plain text, as a second decoder might not.
fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = bytes.get(at + 1..at + 3)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            at += 2;
        }
        at += 1;
    }
    percent_decode_str(text).decode_utf8().ok().map(|decoded| decoded.into_owned())
}

/// Decodes a name or a value of a query: `+` is a space there (WHATWG URL, urlencoded parsing).
pub fn decode_query(text: &str) -> Option<String> {
    if text.contains('+') { decode(&text.replace('+', "%20")) } else { decode(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_once_and_kept_byte_exact() {
        let key = |path| split_path(path).map(|(_, key)| key);
        assert_eq!(key("/h/a%20b.jpg").as_deref(), Some("a b.jpg"));
        assert_eq!(key("/h/a+b.jpg").as_deref(), Some("a+b.jpg"));
        assert_eq!(key("/h/a%252Bb.jpg").as_deref(), Some("a%2Bb.jpg"));
        assert_eq!(key("/h//a//b.jpg").as_deref(), Some("/a//b.jpg"));
        assert_eq!(key("/h/%C3%BC%3F%23=.jpg").as_deref(), Some("ü?#=.jpg"));
        assert_eq!(split_path("/h%2Fx/k"), Some(("h/x".into(), "k".into())));
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in ["", "h/a", "/h", "/h/%", "/h/%4", "/h/%zz", "/h/%ff", "/h/%+1"] {
            assert_eq!(split_path(path), None, "{path}");
        }
    }

    #[test]
    fn every_key_survives_the_way_through_a_path() {
        for key in [
            "a b",
            "a+b",
            "a%2Bb",
            "%",
            "?",
            "#x",
            "ü/日本",
            "=&;",
            "//",
            "/a",
            "a/",
            "\"<>\\^`{|}[]",
            "\u{1}",
        ] {
            let path = to_path("h", key);
            assert!(path.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{path}");
            assert_eq!(split_path(&path), Some(("h".into(), key.into())));
        }
    }

    #[test]
    fn dot_segments_are_not_valid() {
        for key in ["", ".", "..", "a/../b", "../a", "a/..", "./a", "a/./b", "a\0b"] {
            assert!(!is_valid(key), "{key:?}");
        }
        for key in ["a", "...", "a..b", ".a", "a/.b", "/", "a//b"] {
            assert!(is_valid(key), "{key:?}");
        }
        assert!(is_valid(&"k".repeat(1024)) && !is_valid(&"k".repeat(1025)));
    }

    #[test]
    fn extensions_are_of_the_last_segment() {
        assert_eq!(extension("a/b.JPG").as_deref(), Some("jpg"));
        assert_eq!(extension("a.b/c"), None);
        assert_eq!(extension(".jpg"), None);
        assert_eq!(extension("a."), None);
    }
}
