//! `Content-Disposition` (RFC 6266, RFC 8187).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The value of an attachment without a name, which is saved under the last segment of its path.
pub const ATTACHMENT: &str = "attachment";

/// What is escaped in `filename*`: all but `attr-char` (RFC 8187 §3.2.1).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The value of an attachment with a name, which has no control characters.
///
/// A name beyond ASCII, or with a `%`, is also in `filename*`, which recipients prefer (RFC 6266 §4.3). Its
/// `filename` has underscores in their place, because recipients read other encodings, and escapes, there (Appendix D).
pub fn attachment(name: &str) -> String {
    let is_plain = |c: char| (c == ' ' || c.is_ascii_graphic()) && !"\"\\%".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == name {
        return format!("{ATTACHMENT}; filename=\"{plain}\"");
    }
    let encoded = utf8_percent_encode(name, ESCAPED);
    format!("{ATTACHMENT}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_ascii_are_quoted() {
        assert_eq!(attachment("a.jpg"), "attachment; filename=\"a.jpg\"");
        assert_eq!(attachment("it's (1); b, c=d"), "attachment; filename=\"it's (1); b, c=d\"");
    }

    #[test]
    fn other_names_have_an_extended_value_and_a_fallback() {
        // The example of RFC 6266 §5.
        let rates = attachment("\u{20ac} rates");
        assert_eq!(rates, "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates");
        let percent = attachment("50%41 'a'");
        assert_eq!(
            percent,
            "attachment; filename=\"50_41 'a'\"; filename*=UTF-8''50%2541%20%27a%27"
        );
    }

    #[test]
    fn no_name_ends_its_value() {
        for name in ["a\"; x=\"b", "a\\", "a\r\nX: y", "a\0b", "\u{202e}gpj.exe"] {
            let value = attachment(name);
            let quoted = value.strip_prefix("attachment; filename=\"").unwrap();
            let (plain, rest) = quoted.split_once('"').unwrap();
            assert!(
                plain.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && !plain.contains('\\')
            );
            let encoded = rest.strip_prefix("; filename*=UTF-8''").unwrap();
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "!#$&+-.^_`|~%".contains(c);
            assert!(encoded.chars().all(is_allowed), "{value}");
        }
    }
}
