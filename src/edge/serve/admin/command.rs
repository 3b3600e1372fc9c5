//! What a request on the admin listener asks to be done.

use crate::edge::http::request::{Method, Request};
use crate::health;
use crate::key;

/// Where keys are purged.
const PURGE: &str = "/-/purge/";
/// The deprecated name of [`PURGE`], still accepted.
const REFRESH: &str = "/-/refresh/";
/// What there is and what was done.
const STATS: &str = "/-/stats";

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `GET /-/health`
    Health,
    /// `GET /-/stats`
    Stats,
    /// Something is purged.
    PurgeTarget(PurgeTarget),
}

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeTarget {
    /// `POST /-/purge/{handler}/{key}`, perhaps with `?render=1`.
    Key {
        /// The handler.
        route: String,
        /// The original's key.
        key: String,
        /// Whether what was there is made again.
        render: bool,
    },
    /// `DELETE /-/purge/{handler}/{prefix}/`
    Prefix {
        /// The handler.
        route: String,
        /// Ends with a slash; or is empty, which is everything of the handler.
        prefix: String,
    },
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The methods that are answered there, of a 405.
    pub allow: Option<&'static str>,
    /// The sentence for whoever asked.
    pub sentence: &'static str,
}

const fn refused(status: u16, sentence: &'static str) -> Refused {
    Refused { status, allow: None, sentence }
}

impl Command {
    /// Reads it from method, path and query.
    pub fn of(request: &Request) -> Result<Command, Refused> {
        let path = request.path();
        for (known, command) in [(health::PATH, Command::Health), (STATS, Command::Stats)] {
            if path == known {
                return match request.method {
                    Method::Get | Method::Head => Ok(command),
                    _ => Err(other_method("GET, HEAD", "only GET and HEAD are answered here")),
                };
            }
        }
        let Some(rest) = path
            .strip_prefix(PURGE)
            .or_else(|| path.strip_prefix(REFRESH))
            .filter(|rest| rest.contains('/'))
        else {
            return Err(refused(
                404,
                "nothing is done at this path: it is /-/purge/{handler}/{key}",
            ));
        };
        let split = key::split_path(&path[path.len() - rest.len() - 1..]);
        let (route, key) = split.ok_or(refused(400, "the path must be percent-encoded UTF-8"))?;
        match request.method {
            Method::Post if !key.is_empty() => {
                let render = is_to_render(request.query())?;
                check(&key)?;
                Ok(Command::PurgeTarget(PurgeTarget::Key { route, key, render }))
            }
            Method::Delete if is_prefix(&key) => {
                if !request.query().is_empty() {
                    return Err(refused(400, "DELETE takes no parameters"));
                }
                if !key.is_empty() {
                    check(&key)?;
                }
                Ok(Command::PurgeTarget(PurgeTarget::Prefix { route, prefix: key }))
            }
            _ if key.is_empty() => {
                Err(other_method("DELETE", "POST purges a key, and there is none"))
            }
            _ if is_prefix(&key) => {
                Err(other_method("POST, DELETE", "only POST and DELETE are answered here"))
            }
            Method::Delete => Err(other_method(
                "POST",
                "DELETE is for everything below a prefix, which ends with a slash",
            )),
            _ => Err(other_method("POST", "only POST is answered here")),
        }
    }
}

fn other_method(allow: &'static str, sentence: &'static str) -> Refused {
    Refused { status: 405, allow: Some(allow), sentence }
}

fn is_prefix(key: &str) -> bool {
    key.is_empty() || key.ends_with('/')
}

fn check(key: &str) -> Result<(), Refused> {
    match key::is_valid(key) {
        true => Ok(()),
        false => Err(refused(400, "the key is too long, or has a . or .. segment or a NUL")),
    }
}

/// A parameter that is not known is refused: one that is misspelt would do nothing, and nobody would notice.
fn is_to_render(query: &str) -> Result<bool, Refused> {
    match query {
        "" | "render=0" => Ok(false),
        "render=1" => Ok(true),
        _ => Err(refused(400, "the one parameter is render=1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::request::{Head, parse};

    fn command(line: &str) -> Result<Command, (u16, Option<&'static str>)> {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Head::Complete(request, _)) = parse(text.as_bytes()) else { panic!("{line}") };
        Command::of(&request).map_err(|refused| (refused.status, refused.allow))
    }

    fn key(key: &str, render: bool) -> Result<Command, (u16, Option<&'static str>)> {
        Ok(Command::PurgeTarget(PurgeTarget::Key { route: "h".into(), key: key.into(), render }))
    }

    fn prefix(prefix: &str) -> Result<Command, (u16, Option<&'static str>)> {
        Ok(Command::PurgeTarget(PurgeTarget::Prefix { route: "h".into(), prefix: prefix.into() }))
    }

    #[test]
    fn keys_and_prefixes_are_those_of_the_public_port() {
        for (line, expected) in [
            ("POST /-/purge/h/a.jpg", key("a.jpg", false)),
            ("POST /-/purge/h/a.jpg?render=1", key("a.jpg", true)),
            ("POST /-/refresh/h/a.jpg?render=1", key("a.jpg", true)),
            ("DELETE /-/refresh/h/a/", prefix("a/")),
            ("POST /-/purge/h/a.jpg?render=0", key("a.jpg", false)),
            ("POST /-/purge/h/a.jpg?", key("a.jpg", false)),
            ("POST /-/purge/h/a/b%20c%3F.jpg", key("a/b c?.jpg", false)),
            ("POST /-/purge/h//a", key("/a", false)),
            ("POST /-/purge/h/a/", key("a/", false)),
            ("POST /-/purge/%68/%C3%BC", key("\u{fc}", false)),
            ("DELETE /-/purge/h/", prefix("")),
            ("DELETE /-/purge/h/a/", prefix("a/")),
            ("DELETE /-/purge/h/a/b%2F", prefix("a/b/")),
            ("DELETE /-/purge/h//", prefix("/")),
            ("GET /-/health", Ok(Command::Health)),
            ("HEAD /-/health", Ok(Command::Health)),
            ("GET /-/stats", Ok(Command::Stats)),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("POST /-/purge/h/{}", "k".repeat(1025));
        let long_prefix = format!("DELETE /-/purge/h/{}/", "k".repeat(1024));
        for (line, status, allow) in [
            ("POST /-/purge/h/.", 400, None),
            ("POST /-/purge/h/a/../b", 400, None),
            ("POST /-/purge/h/a/%2e%2E/b", 400, None),
            ("POST /-/purge/h/a%00", 400, None),
            ("POST /-/purge/h/a%", 400, None),
            ("POST /-/purge/h/a%ff", 400, None),
            ("POST /-/purge/h/a?render=2", 400, None),
            ("POST /-/purge/h/a?rendr=1", 400, None),
            ("POST /-/purge/h/a?render=1&render=1", 400, None),
            ("DELETE /-/purge/h/../", 400, None),
            ("DELETE /-/purge/h/a/?render=1", 400, None),
            (&long, 400, None),
            (&long_prefix, 400, None),
            ("POST /-/stats", 405, Some("GET, HEAD")),
            ("POST /-/purge/h/", 405, Some("DELETE")),
            ("DELETE /-/purge/h/a", 405, Some("POST")),
            ("GET /-/purge/h/a", 405, Some("POST")),
            ("HEAD /-/purge/h/a/", 405, Some("POST, DELETE")),
            ("PUT /-/purge/h/a", 405, Some("POST")),
            ("post /-/purge/h/a", 405, Some("POST")),
            ("POST /-/health", 405, Some("GET, HEAD")),
            ("POST /-/purge/h", 404, None),
            ("POST /-/purge/", 404, None),
            ("POST /-/purge", 404, None),
            ("POST /-/PurgeTarget/h/a", 404, None),
            ("POST //-/purge/h/a", 404, None),
            ("GET /-/health/", 404, None),
            ("GET /", 404, None),
            ("GET /h/a.jpg", 404, None),
            ("OPTIONS *", 404, None),
        ] {
            assert_eq!(command(line), Err((status, allow)), "{line}");
        }
    }
}
