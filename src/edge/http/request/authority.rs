//! The authority of a URL, `host[:port]`: what `Host` and the absolute form of a target may say (RFC 3986 §3.2).

use std::net::Ipv6Addr;

/// The value of a `Host` field if it is one. It may be empty: a URL without an authority has none to name
/// (RFC 9112 §3.2).
pub fn host_field(value: &[u8]) -> Option<&str> {
    if value.is_empty() { Some("") } else { authority(value) }
}

/// The authority and the origin form of a target in absolute form (RFC 9112 §3.2.2).
pub fn split(target: &str) -> Option<(&str, &str)> {
    let rest = without_prefix(target, "http://").or_else(|| without_prefix(target, "https://"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // An empty path is `/` (RFC 9110 §4.2.3). Nothing is served there, whatever its query says.
    Some((authority, if path.starts_with('/') { path } else { "/" }))
}

/// `host[:port]` with a host, and without the user that RFC 9110 §4.2.4 forbids.
pub fn authority(value: &[u8]) -> Option<&str> {
    let (is_host, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            (is_ipv6(&rest[..end]), &rest[end + 1..])
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            (is_name(&value[..end]), &value[end..])
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_host && is_port { std::str::from_utf8(value).ok() } else { None }
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// RFC 3986 §3.2.2, `reg-name`, which an IPv4 address is as well.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (byte, _) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => after,
            _ => return false,
        };
    }
    !name.is_empty()
}

fn without_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_a_host_and_perhaps_a_port() {
        for valid in [
            "example.com",
            "example.com:8080",
            "example.com:",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:443",
            "under_score.example",
            "xn--bcher-kva.example.",
            "b%C3%BCcher.example",
        ] {
            assert_eq!(authority(valid.as_bytes()), Some(valid));
        }
        for invalid in [
            "",
            ":80",
            "a b",
            "a\tb",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "<a>",
            "\"a\"",
            "user@example.com",
            "user:secret@example.com",
            "example.com:80:80",
            "example.com:http",
            "example.com:-1",
            "::1",
            "[::1",
            "[]",
            "[::1]80",
            "[::1%25eth0]",
            "[v1.x]",
            "[example.com]",
            "a%2",
            "a%zz",
            "bücher.example",
        ] {
            assert_eq!(authority(invalid.as_bytes()), None, "{invalid}");
        }
        assert_eq!(authority(b"caf\xe9"), None);
    }

    #[test]
    fn host_may_be_empty_and_a_url_may_not_be_without_one() {
        assert_eq!(host_field(b""), Some(""));
        assert_eq!(host_field(b":80"), None);
        assert_eq!(authority(b""), None);
    }

    #[test]
    fn the_absolute_form_is_taken_apart() {
        for (target, expected) in [
            ("http://x/a?b", Some(("x", "/a?b"))),
            ("HTTPS://x:1/a", Some(("x:1", "/a"))),
            ("http://x", Some(("x", "/"))),
            ("http://x?/a", Some(("x", "/"))),
            ("http://a@x/", Some(("a@x", "/"))),
            ("http:///a", Some(("", "/a"))),
            ("http://", Some(("", "/"))),
            ("http:/x/", None),
            ("ftp://x/", None),
            ("/http://x/", None),
            ("httpä", None),
            ("", None),
        ] {
            assert_eq!(split(target), expected, "{target}");
        }
    }
}
