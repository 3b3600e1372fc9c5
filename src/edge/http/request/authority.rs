//! The authority of a URL, `host[:port]`, as in `Host` and the absolute form of a target (RFC 3986 §3.2).

use std::net::Ipv6Addr;

/// The value of a `Host` field if it is valid. It may be empty, for a URL without an authority (RFC 9112 §3.2).
pub fn host_field(value: &[u8]) -> Option<&str> {
    if value.is_empty() { Some("") } else { authority(value) }
}

/// Splits a target in absolute form into authority and origin form (RFC 9112 §3.2.2).
pub fn split(target: &str) -> Option<(&str, &str)> {
    let rest = strip_prefix_ignore_case(target, "http://")
        .or_else(|| strip_prefix_ignore_case(target, "https://"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // An empty path is `/` (RFC 9110 §4.2.3). Its query is dropped, since nothing is served there.
    Some((authority, if path.starts_with('/') { path } else { "/" }))
}

/// The authority if it is valid: it has a host, and no userinfo (RFC 9110 §4.2.4).
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

/// Whether it matches `reg-name` (RFC 3986 §3.2.2), as an IPv4 address does.
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

fn strip_prefix_ignore_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_is_a_host_and_an_optional_port() {
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
    fn host_field_may_be_empty_and_an_authority_may_not() {
        assert_eq!(host_field(b""), Some(""));
        assert_eq!(host_field(b":80"), None);
        assert_eq!(authority(b""), None);
    }

    #[test]
    fn absolute_form_is_split_into_authority_and_origin_form() {
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
