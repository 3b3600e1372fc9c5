//! The commands of the admin listener.

use crate::edge::http::request::{Method, Request};
use crate::edge::serve::{readiness, router};
use crate::health;
use crate::key;

const PURGE: &str = "/-/purge/";
/// The deprecated name of [`PURGE`], still accepted.
const REFRESH: &str = "/-/refresh/";
const STATS: &str = "/-/stats";
const METRICS: &str = "/-/metrics";
const PAGE: &str = "/-/";
const STATUS: &str = "/-/status";
const KEYS: &str = "/-/keys/";
/// The only path whose requests may have a body.
pub const EVENTS: &str = "/-/events";
/// Followed by the path of an image.
const IMAGE: &str = "/-/image";
/// Followed by the path and query of an image.
const SIGN: &str = "/-/sign";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `GET /-/health`, or `OPTIONS`
    Health,
    /// `GET /-/ready`, or `OPTIONS`
    Ready,
    /// `GET /-/stats`
    Stats,
    /// `GET /-/metrics`
    Metrics,
    /// `GET /-/`
    Page,
    /// `GET /-/status`
    Status,
    /// `GET /-/keys/{handler}`
    Keys(String),
    /// `GET /-/image/{handler}/{key}?{options}`, with the path after `/-/image`.
    Image(String),
    /// `POST /-/sign/{handler}/{key}?{options}`, with the target after `/-/sign`.
    Sign(String),
    /// `POST /-/events`
    Events,
    Purge(PurgeTarget),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeTarget {
    /// `POST /-/purge/{handler}/{key}`, optionally with `?render=1`.
    Key {
        route: String,
        key: String,
        /// Whether the purged variants are made again.
        render: bool,
    },
    /// `DELETE /-/purge/{handler}/{prefix}/`
    Prefix {
        route: String,
        /// Ends with a slash, or is empty and stands for all keys of the handler.
        prefix: String,
    },
}

/// The error response for an invalid command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    pub status: u16,
    /// The value of `Allow` in a 405.
    pub allow: Option<&'static str>,
    pub sentence: &'static str,
}

const fn error(status: u16, sentence: &'static str) -> CommandError {
    CommandError { status, allow: None, sentence }
}

fn method_not_allowed(allow: &'static str, sentence: &'static str) -> CommandError {
    CommandError { status: 405, allow: Some(allow), sentence }
}

impl Command {
    pub fn parse(request: &Request) -> Result<Command, CommandError> {
        let path = request.path();
        if path == health::PATH || path == readiness::PATH {
            let command = if path == health::PATH { Command::Health } else { Command::Ready };
            return match request.method {
                Method::Get | Method::Head | Method::Options => Ok(command),
                _ => {
                    let sentence = "only GET, HEAD and OPTIONS are supported";
                    Err(method_not_allowed(router::HEALTH_METHODS, sentence))
                }
            };
        }
        let get = |command| match request.method {
            Method::Get | Method::Head => Ok(command),
            _ => Err(method_not_allowed("GET, HEAD", "only GET and HEAD are supported")),
        };
        let post = |command| match request.method {
            Method::Post => Ok(command),
            _ => Err(method_not_allowed("POST", "only POST is supported")),
        };
        match path {
            PAGE => return get(Command::Page),
            STATS => return get(Command::Stats),
            METRICS => return get(Command::Metrics),
            STATUS => return get(Command::Status),
            EVENTS => return post(Command::Events),
            _ => {}
        }
        if let Some(route) = path.strip_prefix(KEYS) {
            return match key::split_path(&format!("/{route}/")) {
                Some((route, key)) if key.is_empty() => get(Command::Keys(route)),
                _ => Err(error(400, "the path must be /-/keys/{handler}")),
            };
        }
        let image = |prefix| path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'));
        if let Some(path) = image(IMAGE) {
            return get(Command::Image(path.to_owned()));
        }
        if image(SIGN).is_some() {
            return post(Command::Sign(request.target[SIGN.len()..].to_owned()));
        }
        let Some(rest) = path
            .strip_prefix(PURGE)
            .or_else(|| path.strip_prefix(REFRESH))
            .filter(|rest| rest.contains('/'))
        else {
            return Err(error(404, "unknown path: docs/cache.md and docs/page.md list the paths"));
        };
        let split = key::split_path(&path[path.len() - rest.len() - 1..]);
        let (route, key) = split.ok_or(error(400, "the path must be percent-encoded UTF-8"))?;
        match request.method {
            Method::Post if !key.is_empty() => {
                let render = parse_render(request.query())?;
                check(&key)?;
                Ok(Command::Purge(PurgeTarget::Key { route, key, render }))
            }
            Method::Delete if is_prefix(&key) => {
                if !request.query().is_empty() {
                    return Err(error(400, "DELETE takes no parameters"));
                }
                if !key.is_empty() {
                    check(&key)?;
                }
                Ok(Command::Purge(PurgeTarget::Prefix { route, prefix: key }))
            }
            _ if key.is_empty() => {
                Err(method_not_allowed("DELETE", "POST purges a key, and the key is missing"))
            }
            _ if is_prefix(&key) => {
                Err(method_not_allowed("POST, DELETE", "only POST and DELETE are supported"))
            }
            Method::Delete => Err(method_not_allowed(
                "POST",
                "DELETE purges a prefix, which must end with a slash",
            )),
            _ => Err(method_not_allowed("POST", "only POST is supported")),
        }
    }
}

fn is_prefix(key: &str) -> bool {
    key.is_empty() || key.ends_with('/')
}

fn check(key: &str) -> Result<(), CommandError> {
    if key::is_valid(key) {
        Ok(())
    } else {
        Err(error(400, "the key is too long, or has a . or .. segment or a NUL"))
    }
}

/// Parses the query of a purge. An unknown parameter is an error, because a misspelt one would be ignored silently.
fn parse_render(query: &str) -> Result<bool, CommandError> {
    match query {
        "" | "render=0" => Ok(false),
        "render=1" => Ok(true),
        _ => Err(error(400, "the only parameter is render=1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::request::{Head, parse};

    fn command(line: &str) -> Result<Command, (u16, Option<&'static str>)> {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Head::Complete(request, _)) = parse(text.as_bytes()) else { panic!("{line}") };
        Command::parse(&request).map_err(|error| (error.status, error.allow))
    }

    fn key(key: &str, render: bool) -> Result<Command, (u16, Option<&'static str>)> {
        Ok(Command::Purge(PurgeTarget::Key { route: "h".into(), key: key.into(), render }))
    }

    fn prefix(prefix: &str) -> Result<Command, (u16, Option<&'static str>)> {
        Ok(Command::Purge(PurgeTarget::Prefix { route: "h".into(), prefix: prefix.into() }))
    }

    #[test]
    fn admin_commands_are_parsed() {
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
            ("OPTIONS /-/health", Ok(Command::Health)),
            ("GET /-/ready?x", Ok(Command::Ready)),
            ("OPTIONS /-/ready", Ok(Command::Ready)),
            ("GET /-/stats", Ok(Command::Stats)),
            ("HEAD /-/metrics?name[]=x", Ok(Command::Metrics)),
            ("GET /-/", Ok(Command::Page)),
            ("HEAD /-/?a", Ok(Command::Page)),
            ("GET /-/status", Ok(Command::Status)),
            ("GET /-/keys/%68", Ok(Command::Keys("h".into()))),
            ("GET /-/image/h/a%20b.jpg?w=3", Ok(Command::Image("/h/a%20b.jpg".into()))),
            ("POST /-/sign/h/a.jpg?w=3", Ok(Command::Sign("/h/a.jpg?w=3".into()))),
            ("POST /-/events", Ok(Command::Events)),
            ("POST /-/events?a", Ok(Command::Events)),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn admin_rejects_unknown_commands() {
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
            ("POST /-/", 405, Some("GET, HEAD")),
            ("OPTIONS /-/status", 405, Some("GET, HEAD")),
            ("POST /-/image/h/a.jpg", 405, Some("GET, HEAD")),
            ("GET /-/sign/h/a.jpg", 405, Some("POST")),
            ("HEAD /-/events", 405, Some("POST")),
            ("PUT /-/events", 405, Some("POST")),
            ("POST /-/events/", 404, None),
            ("GET /-/keys/h/", 400, None),
            ("GET /-/keys/%zz", 400, None),
            ("GET /-/imageh/a.jpg", 404, None),
            ("GET /-/page.js", 404, None),
            ("POST /-/purge/h/", 405, Some("DELETE")),
            ("DELETE /-/purge/h/a", 405, Some("POST")),
            ("GET /-/purge/h/a", 405, Some("POST")),
            ("HEAD /-/purge/h/a/", 405, Some("POST, DELETE")),
            ("PUT /-/purge/h/a", 405, Some("POST")),
            ("post /-/purge/h/a", 405, Some("POST")),
            ("POST /-/health", 405, Some("GET, HEAD, OPTIONS")),
            ("POST /-/ready", 405, Some("GET, HEAD, OPTIONS")),
            ("OPTIONS /-/stats", 405, Some("GET, HEAD")),
            ("POST /-/metrics", 405, Some("GET, HEAD")),
            ("GET /-/metrics/", 404, None),
            ("POST /-/purge/h", 404, None),
            ("POST /-/purge/", 404, None),
            ("POST /-/purge", 404, None),
            ("POST /-/Purge/h/a", 404, None),
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
