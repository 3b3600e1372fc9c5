//! The router of the public listeners: health and readiness, the redirect to HTTPS, images.

use super::answer::{Answer, Reply};
use super::image_handler::ImageJob;
use super::readiness::{self, Audience, Readiness};
use super::running_config::RunningConfig;
use super::shutdown::Shutdown;
use crate::edge::http::forwarded::Client;
use crate::edge::http::request::{Method, Request};
use crate::edge::http::response::{Body, Response};
use crate::health;

/// Answers a request, or returns the job that waits for the renderer.
pub fn answer(
    request: &Request,
    client: Client,
    running: &RunningConfig,
    shutdown: &Shutdown,
    readiness: &Readiness,
) -> Reply<ImageJob> {
    if request.path() == health::PATH {
        return Reply::Ready(Answer::plain(health(request.method, shutdown)));
    }
    if request.path() == readiness::PATH {
        let response = ready(request.method, shutdown, readiness, Audience::Public);
        return Reply::Ready(Answer::plain(response));
    }
    if !matches!(request.method, Method::Get | Method::Head) {
        let response =
            Response::text(405, "only GET and HEAD are supported").with("Allow", "GET, HEAD");
        return Reply::Ready(Answer::plain(response));
    }
    if !client.secure
        && let Some(port) = running.https_redirect
    {
        return Reply::Ready(Answer::plain(redirect(request, port)));
    }
    running.images.lookup(request, client.address)
}

/// The methods of the checks of health and readiness. OPTIONS is the method of HAProxy's `option httpchk` (RFC 9110 §9.3.7).
pub const HEALTH_METHODS: &str = "GET, HEAD, OPTIONS";

/// 503 while the server drains, so that a load balancer sends no more requests.
pub fn health(method: Method, shutdown: &Shutdown) -> Response {
    check(method, "ok", stopping(shutdown))
}

/// 503 while the server drains, or can't make images or store them.
pub fn ready(
    method: Method,
    shutdown: &Shutdown,
    readiness: &Readiness,
    audience: Audience,
) -> Response {
    check(method, "ready", stopping(shutdown).or_else(|| readiness.failure(audience)))
}

fn stopping(shutdown: &Shutdown) -> Option<String> {
    shutdown.is_stopping().then(|| "stopping".to_owned())
}

/// The response of a check that has this failure, if any.
fn check(method: Method, good: &str, failure: Option<String>) -> Response {
    match (method, failure) {
        (Method::Get | Method::Head | Method::Options, Some(failure)) => {
            Response::text(503, &failure)
        }
        (Method::Get | Method::Head, None) => Response::text(200, good),
        (Method::Options, None) => Response::new(204, Body::None).with("Allow", HEALTH_METHODS),
        (Method::Post | Method::Delete | Method::Other, _) => {
            Response::text(405, "only GET, HEAD and OPTIONS are supported")
                .with("Allow", HEALTH_METHODS)
        }
    }
}

/// Redirects to the same host, path and query on HTTPS.
fn redirect(request: &Request, port: u16) -> Response {
    let Some(host) = host_without_port(request.host) else {
        return Response::text(400, "the Host header is not a valid host name");
    };
    let location = match port {
        443 => format!("https://{host}{}", request.target),
        port => format!("https://{host}:{port}{}", request.target),
    };
    Response::text(301, "moved to HTTPS").with("Location", &location)
}

/// The host of `host[:port]`; `None` if it is neither a host name nor an address.
fn host_without_port(host: &str) -> Option<&str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let is_ipv6 = |name: &str| {
        let inside = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inside.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())
    };
    (is_name(name) || is_ipv6(name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_accepts_only_host_names_and_addresses_and_drops_the_port() {
        for (host, expected) in [
            ("example.com", Some("example.com")),
            ("example.com:8080", Some("example.com")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":80", None),
            ("a b", None),
            ("evil.com/path", None),
            ("user@evil.com", None),
            ("::1", None),
            ("[x]", None),
        ] {
            assert_eq!(host_without_port(host), expected, "{host}");
        }
    }
}
