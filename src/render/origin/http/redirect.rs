//! Redirects of a web server: followed below its directory, refused elsewhere.
//!
//! The server chooses the target, so it could point into the network of this one.

use ureq::http::StatusCode;

use crate::config::{Http, is_web_origin, without_default_port};
use crate::key;

/// The longest target that is followed, in bytes.
const MAX_TARGET: usize = 8192;

/// RFC 9110 §15.4: those that name another place for the same GET.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The target, a path and perhaps a query, that a response to a request for `target` redirects to. An error is the rest
/// of a sentence.
pub(super) fn follow(
    config: &Http,
    target: &str,
    location: Option<&str>,
) -> Result<String, String> {
    let location = location.ok_or("a redirect without a valid Location")?;
    // A fragment is not sent.
    let location = location.split('#').next().unwrap_or_default();
    let found = resolve(config, target, location)?;
    let path = found.split('?').next().unwrap_or_default();
    // RFC 3986: what a path and a query may have. Anything else could be changed on the way.
    let is_valid =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    if found.len() > MAX_TARGET || !found.bytes().all(is_valid) {
        return Err("a redirect to an invalid address".to_owned());
    }
    if !path.starts_with(&config.path) || !key::is_below(path) {
        return Err(format!("a redirect out of {}, which is not followed", config.base()));
    }
    Ok(found)
}

/// RFC 3986 §5.2, without the removal of dot segments, which are refused.
fn resolve(config: &Http, target: &str, location: &str) -> Result<String, String> {
    let scheme = config.server.split("//").next().unwrap_or_default();
    let absolute = match location.strip_prefix("//") {
        Some(rest) => Some(format!("{scheme}//{rest}")),
        None => has_scheme(location).then(|| location.to_owned()),
    };
    if let Some(absolute) = absolute {
        let after_scheme = absolute.find("://").map_or(absolute.len(), |at| at + 3);
        let (_, rest) = absolute.split_at(after_scheme);
        let end = rest.find(['/', '?']).map_or(absolute.len(), |at| after_scheme + at);
        let (server, rest) = absolute.split_at(end);
        let server = server.to_ascii_lowercase();
        if without_default_port(&server) != config.server {
            let named = if is_web_origin(&server) { server.as_str() } else { "another server" };
            return Err(format!("a redirect to {named}, which is not followed"));
        }
        return Ok(if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") });
    }
    let path = target.split('?').next().unwrap_or_default();
    Ok(match location.bytes().next() {
        Some(b'/') => location.to_owned(),
        None | Some(b'?') => format!("{path}{location}"),
        Some(_) => {
            let (directory, _) = path.rsplit_once('/').unwrap_or_default();
            format!("{directory}/{location}")
        }
    })
}

/// RFC 3986 §3.1.
fn has_scheme(location: &str) -> bool {
    let Some((scheme, _)) = location.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::origin::testing;

    #[test]
    fn redirects_below_the_directory_are_followed() {
        let config = testing::http(r#""https://h.example/images/""#);
        let from = "/images/a/b.jpg?x";
        for (location, target) in [
            ("/images/c.jpg", "/images/c.jpg"),
            ("/images/c.jpg?v=1&w#top", "/images/c.jpg?v=1&w"),
            ("https://h.example/images/c%20d", "/images/c%20d"),
            ("HTTPS://H.Example:443/images/c", "/images/c"),
            ("//h.example/images/c", "/images/c"),
            ("c.jpg", "/images/a/c.jpg"),
            ("?y", "/images/a/b.jpg?y"),
            ("", "/images/a/b.jpg"),
            ("/images//c", "/images//c"),
            ("/images/", "/images/"),
        ] {
            assert_eq!(follow(&config, from, Some(location)).as_deref(), Ok(target), "{location}");
        }
    }

    #[test]
    fn other_redirects_are_refused() {
        let config = testing::http(r#""https://h.example/images/""#);
        let long = format!("/images/{}", "x".repeat(MAX_TARGET));
        for (location, problem) in [
            ("https://evil.example/images/c", "a redirect to https://evil.example, which"),
            ("//evil.example/images/c", "a redirect to https://evil.example, which"),
            ("http://h.example/images/c", "a redirect to http://h.example, which"),
            ("https://h.example:444/images/c", "a redirect to https://h.example:444, which"),
            ("https://h.example.evil.example/images/c", "a redirect to https://h.example.evil"),
            ("https://h.example@evil.example/images/c", "a redirect to another server"),
            ("https://evil.example?/images/c", "a redirect to https://evil.example, which"),
            ("https:/images/c", "a redirect to another server"),
            ("https:images/c", "a redirect to another server"),
            ("file:///etc/passwd", "a redirect to another server"),
            ("javascript:alert(1)", "a redirect to another server"),
            ("https://h.example", "a redirect out of https://h.example/images/"),
            ("https://h.example?/images/", "a redirect out of https://h.example/images/"),
            ("/", "a redirect out of"),
            ("/imagesx/c", "a redirect out of"),
            ("/images", "a redirect out of"),
            ("/images/../etc", "a redirect out of"),
            ("/images/%2e%2E/etc", "a redirect out of"),
            ("/images/%252e%252e/etc", "a redirect out of"),
            ("/images/..%2fetc", "a redirect out of"),
            ("../../etc", "a redirect out of"),
            ("./c", "a redirect out of"),
            ("/images/a\\..\\c", "a redirect to an invalid address"),
            ("/images/a b", "a redirect to an invalid address"),
            ("/images/\t", "a redirect to an invalid address"),
            (&long, "a redirect to an invalid address"),
        ] {
            let got = follow(&config, "/images/a", Some(location)).unwrap_err();
            assert!(got.starts_with(problem), "{location}: {got}");
        }
        assert!(follow(&config, "/images/a", None).is_err());
    }
}
