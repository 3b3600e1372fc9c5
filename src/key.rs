//! Keys of originals, in URL paths and by themselves.

use percent_encoding::{
    AsciiSet, CONTROLS, percent_decode, percent_decode_str, utf8_percent_encode,
};

/// S3's limit for a key, in bytes of UTF-8.
const MAX_LENGTH: usize = 1024;

/// The characters to escape in a path: all but `pchar` (RFC 3986 §3.3) and `/`, which keys may contain.
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

/// Splits `/{route}/{key}` and decodes both. `None` for a path with fewer segments, an escape that is not two
/// hexadecimal digits, or bytes that are not UTF-8 (S3 keys are UTF-8).
///
/// The key is decoded once and never normalised: `a//b`, `a+b` and `a%2Bb` (sent as `a%252Bb`) are distinct keys.
pub fn split_path(path: &str) -> Option<(String, String)> {
    let (route, key) = path.strip_prefix('/')?.split_once('/')?;
    Some((decode(route)?, decode(key)?))
}

/// The path of a key at a route, the inverse of [`split_path`].
pub fn to_path(route: &str, key: &str) -> String {
    format!("/{}/{}", utf8_percent_encode(route, PATH), utf8_percent_encode(key, PATH))
}

/// Whether the key can name an object. `.` and `..` segments are rejected because URL libraries and file systems
/// resolve them: the signature would be of one path and the request for another.
pub fn is_valid(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= MAX_LENGTH
        && !key.contains('\0')
        && !key.split('/').any(|segment| segment == "." || segment == "..")
}

/// Whether a path stays below its first segment at every server: none of its segments is `.` or `..`, also after it was
/// decoded several times, as by a proxy and the server behind it, where `\` separates segments as well, or where a segment
/// has parameters (RFC 3986 §3.3).
pub fn is_below(path: &str) -> bool {
    let mut path = path.as_bytes().to_vec();
    loop {
        let mut segments = path.split(|byte| b"/\\".contains(byte));
        if segments.any(is_dot_segment) {
            return false;
        }
        let decoded: Vec<u8> = percent_decode(&path).collect();
        if decoded.len() == path.len() {
            return true;
        }
        path = decoded;
    }
}

fn is_dot_segment(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    name == b"." || name == b".."
}

/// The extension of the last segment in lower case.
pub fn extension(key: &str) -> Option<String> {
    let name = key.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
}

/// Percent-decodes text. A malformed escape is an error and not plain text, since other decoders may differ.
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

/// Decodes a name or a value of a query, in which `+` is a space (WHATWG URL, application/x-www-form-urlencoded).
pub fn decode_query(text: &str) -> Option<String> {
    if text.contains('+') { decode(&text.replace('+', "%20")) } else { decode(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;
    use crate::error::Code;

    #[test]
    fn keys_are_decoded_once_and_not_normalised() {
        let key = |path| split_path(path).map(|(_, key)| key);
        assert_eq!(key("/h/a%20b.jpg").as_deref(), Some("a b.jpg"));
        assert_eq!(key("/h/a+b.jpg").as_deref(), Some("a+b.jpg"));
        assert_eq!(key("/h/a%252Bb.jpg").as_deref(), Some("a%2Bb.jpg"));
        assert_eq!(key("/h//a//b.jpg").as_deref(), Some("/a//b.jpg"));
        assert_eq!(key("/h/%C3%BC%3F%23=.jpg").as_deref(), Some("ü?#=.jpg"));
        assert_eq!(split_path("/h%2Fx/k"), Some(("h/x".into(), "k".into())));
    }

    #[test]
    fn malformed_paths_are_rejected() {
        for path in ["", "h/a", "/h", "/h/%", "/h/%4", "/h/%zz", "/h/%ff", "/h/%+1"] {
            assert_eq!(split_path(path), None, "{path}");
        }
    }

    #[test]
    fn keys_are_read_back_from_paths() {
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
    fn keys_with_dot_segments_are_invalid() {
        for key in ["", ".", "..", "a/../b", "../a", "a/..", "./a", "a/./b", "a\0b"] {
            assert!(!is_valid(key), "{key:?}");
        }
        for key in ["a", "...", "a..b", ".a", "a/.b", "/", "a//b"] {
            assert!(is_valid(key), "{key:?}");
        }
        assert!(is_valid(&"k".repeat(1024)) && !is_valid(&"k".repeat(1025)));
    }

    #[test]
    fn paths_with_dot_segments_in_any_encoding_are_not_below() {
        for path in [
            "..",
            ".",
            "a/..",
            "../a",
            "a/./b",
            "a\\..\\b",
            "..\\a",
            "%2e%2e/a",
            "%2E./a",
            "a%2f..%2fb",
            "..%5ca",
            "%252e%252e/a",
            "a%25252f..%25252fb",
            "..;/a",
            "a/..;x=1/b",
            "..%3b/a",
            ".%2e;/a",
        ] {
            assert!(!is_below(path), "{path}");
        }
        for path in [
            "", "a", "...", "a..b", "..a/b", ".a", "a.", "//a", "%", "%zz", "100%25", "a;..",
            "..%20/a", "é/%c3",
        ] {
            assert!(is_below(path), "{path}");
        }
    }

    #[test]
    fn extensions_are_those_of_the_last_segment() {
        assert_eq!(extension("a/b.JPG").as_deref(), Some("jpg"));
        assert_eq!(extension("a.b/c"), None);
        assert_eq!(extension(".jpg"), None);
        assert_eq!(extension("a."), None);
    }

    #[test]
    fn maximum_key_length_is_as_documented() {
        let meaning = Code::InvalidKey.meaning();
        let limit = format!("longer than {MAX_LENGTH} bytes");
        assert!(meaning.contains(&limit), "not {limit:?} in src/error.rs: {meaning}");
        assert_says("docs/http.md", &format!("Keys have at most {MAX_LENGTH} bytes"));
    }
}
