//! Sends the purge hooks of handlers. The edge, which decides when, connects to nothing but this process.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use ureq::http::{Request, StatusCode};
use ureq::{Agent, Error};

use super::http::agent;
use crate::cache_tag::PurgeScope;
use crate::config::{Config, HookBody, PurgeHook, Purged};
use crate::key;
use crate::wire::HookAnswer;

/// How much of a response is read, so that its connection can be used again.
const MAX_RESPONSE: u64 = 64 << 10;

/// The hooks by route.
pub struct PurgeHooks {
    hooks: HashMap<String, PurgeHook>,
    agent: Option<Arc<Agent>>,
}

impl PurgeHooks {
    /// An error is a sentence.
    pub fn new(config: &Config) -> Result<PurgeHooks, String> {
        let hook = |handler: &crate::config::Handler| {
            Some((handler.route.clone(), handler.cdn.purge_hook.clone()?))
        };
        let hooks: HashMap<_, _> = config.handlers.iter().filter_map(hook).collect();
        let agent =
            if hooks.is_empty() { None } else { Some(agent::shared(None, &config.limits)?) };
        Ok(PurgeHooks { hooks, agent })
    }

    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Sends the hook of the handler with this route, as in a URL. Sentences name no secret.
    pub fn send(&self, route: &str, scopes: &[PurgeScope]) -> HookAnswer {
        let route = key::split_path(&format!("/{route}/")).map(|(route, _)| route);
        let found = route.and_then(|route| self.hooks.get_key_value(&route));
        let (Some((route, hook)), Some(agent)) = (found, &self.agent) else {
            return HookAnswer::Refused("there is no such hook".to_owned());
        };
        if scopes.is_empty() {
            return HookAnswer::Refused("nothing was purged".to_owned());
        }
        let place = hook.origin();
        match send(agent, hook, &Purged { route, scopes }) {
            Ok(status) => answer(status, place),
            // These errors have the URL or a field in their text.
            Err(Error::BadUri(_) | Error::Http(_)) => {
                HookAnswer::Refused(format!("{place}: the request is not valid"))
            }
            Err(error) => HookAnswer::Retry(format!("{place}: {error}")),
        }
    }
}

fn answer(status: StatusCode, place: &str) -> HookAnswer {
    let code = status.as_u16();
    if status.is_success() {
        HookAnswer::Done
    } else if status.is_redirection() {
        HookAnswer::Refused(format!("{place}: status {code}, and redirects are not followed"))
    } else if status.is_server_error() || matches!(code, 408 | 425 | 429) {
        HookAnswer::Retry(format!("{place}: status {code}"))
    } else {
        HookAnswer::Refused(format!("{place}: status {code}"))
    }
}

fn send(agent: &Agent, hook: &PurgeHook, purged: &Purged) -> Result<StatusCode, Error> {
    let mut request = Request::builder().method(hook.method).uri(hook.url.percent_encoded(purged));
    for (name, value) in &hook.headers {
        request = request.header(name, value.field_value(purged));
    }
    let has_type = hook.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let (media_type, body) = match &hook.body {
        None => (None, Vec::new()),
        Some(HookBody::Text(text)) => {
            (Some("text/plain; charset=utf-8"), text.percent_encoded(purged).into_bytes())
        }
        Some(HookBody::Json(json)) => {
            (Some("application/json"), json.fill(purged).to_string().into_bytes())
        }
    };
    if let Some(media_type) = media_type.filter(|_| !has_type) {
        request = request.header("Content-Type", media_type);
    }
    let timeout = Some(hook.timeout);
    let response = if hook.method == "GET" {
        let request = request.body(()).map_err(Error::Http)?;
        agent.run(configured(agent, request, timeout))?
    } else {
        let request = request.body(body).map_err(Error::Http)?;
        agent.run(configured(agent, request, timeout))?
    };
    let status = response.status();
    // A body that can't be read changes nothing.
    let _ = response.into_body().into_reader().take(MAX_RESPONSE).read_to_end(&mut Vec::new());
    Ok(status)
}

/// The agent's own timeouts are those of origins.
fn configured<B: ureq::AsSendBody>(
    agent: &Agent,
    request: Request<B>,
    timeout: Option<std::time::Duration>,
) -> Request<B> {
    agent
        .configure_request(request)
        .allow_non_standard_methods(true)
        .timeout_global(timeout)
        .timeout_send_request(timeout)
        .timeout_send_body(timeout)
        .timeout_recv_response(timeout)
        .timeout_recv_body(timeout)
        .build()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use serde_json::{Value, json};

    use super::*;
    use crate::config;

    /// A server that answers one request with this response. Returns its address and, at its end, the request.
    fn server(response: &'static str) -> (String, thread::JoinHandle<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = move || {
            let (socket, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(socket);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
            }
            let length = head.to_ascii_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(response.as_bytes()).unwrap();
            (head, String::from_utf8(body).unwrap())
        };
        (address, thread::spawn(serve))
    }

    fn hooks(hook: Value) -> PurgeHooks {
        let aws = json!({"bucket_name": "b", "anonymous": true});
        let handler = json!({"name": "a b", "aws": aws, "purge_hook": hook});
        let text = json!({"handlers": [handler]}).to_string();
        PurgeHooks::new(&config::parse(&text, "test").unwrap()).unwrap()
    }

    fn key(key: &str) -> PurgeScope {
        PurgeScope::Key(key.to_owned())
    }

    #[test]
    fn a_json_body_holds_any_key() {
        let (address, server) = server("HTTP/1.1 204 x\r\n\r\n");
        let hooks = hooks(json!({
            "url": format!("http://{address}/purge/{{handler}}?k={{key}}"),
            "headers": {"Authorization": "secret", "X-Path": "{path}", "X-Key": "{key}"},
            "body": {"key": "{key}", "all": [1, true, null, "{{{tag}}}"], "n": 1.5},
        }));
        let scope = key("\"}\r\nX: y\\ü&{tag}");
        assert_eq!(hooks.send("a%20b", std::slice::from_ref(&scope)), HookAnswer::Done);
        let (head, body) = server.join().unwrap();
        let encoded = "%22%7D%0D%0AX%3A%20y%5C%C3%BC%26%7Btag%7D";
        assert!(head.starts_with(&format!("POST /purge/a%20b?k={encoded} HTTP/1.1\r\n")), "{head}");
        let lower = head.to_ascii_lowercase();
        for line in ["authorization: secret", "content-type: application/json"] {
            assert!(lower.contains(&format!("\r\n{line}\r\n")), "{head}");
        }
        assert!(
            lower.contains(&format!("\r\nx-key: {}\r\n", encoded.to_ascii_lowercase())),
            "{head}"
        );
        let tag = scope.tag("a b");
        let expected = json!({
            "key": "\"}\r\nX: y\\ü&{tag}", "all": [1, true, null, format!("{{{tag}}}")], "n": 1.5,
        });
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn several_tags_are_a_list_in_json_and_words_in_a_field() {
        let (address, server) = server("HTTP/1.1 200 x\r\nContent-Length: 2\r\n\r\n{}");
        let hooks = hooks(json!({
            "url": format!("http://{address}/"),
            "method": "PURGE",
            "headers": {"Surrogate-Key": "{tags}", "Content-Type": "application/x"},
            "body": {"tags": "{tags}", "more": ["x", "{tags}"], "text": "{tags}!"},
        }));
        let scopes = [key("a"), PurgeScope::Prefix("s/".into())];
        assert_eq!(hooks.send("a%20b", &scopes), HookAnswer::Done);
        let (head, body) = server.join().unwrap();
        let [a, s] = [scopes[0].tag("a b"), scopes[1].tag("a b")];
        assert!(head.starts_with("PURGE / HTTP/1.1\r\n"), "{head}");
        assert!(
            head.to_ascii_lowercase().contains(&format!("surrogate-key: {a} {s}\r\n")),
            "{head}"
        );
        assert!(!head.contains("application/json"), "{head}");
        let expected = json!({"tags": [a, s], "more": ["x", a, s], "text": format!("{a} {s}!")});
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn answers_tell_whether_to_try_again_and_name_no_secret() {
        for (response, expected) in [
            ("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", HookAnswer::Retry("status 503".into())),
            ("HTTP/1.1 429 x\r\nContent-Length: 0\r\n\r\n", HookAnswer::Retry("status 429".into())),
            (
                "HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n",
                HookAnswer::Refused("status 403".into()),
            ),
            (
                "HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                HookAnswer::Refused("status 302, and redirects are not followed".into()),
            ),
        ] {
            let (address, server) = server(response);
            let url = format!("http://{address}/secret?token=secret");
            let hooks = hooks(json!({"url": url, "method": "GET", "headers": {"A": "secret"}}));
            let answer = hooks.send("a%20b", &[key("a")]);
            let (head, body) = server.join().unwrap();
            assert!(head.starts_with("GET /secret?token=secret HTTP/1.1\r\n"), "{head}");
            assert_eq!(body, "");
            match (answer, expected) {
                (HookAnswer::Retry(got), HookAnswer::Retry(end))
                | (HookAnswer::Refused(got), HookAnswer::Refused(end)) => {
                    assert_eq!(got, format!("http://{address}: {end}"));
                }
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_server_that_is_down_or_slow_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/secret");
        let slow = hooks(json!({"url": url, "timeout": 0.1}));
        let HookAnswer::Retry(sentence) = slow.send("a%20b", &[key("a")]) else { panic!() };
        assert!(sentence.contains("timeout") && !sentence.contains("secret"), "{sentence}");
        drop(listener);
        let down = hooks(json!({"url": url}));
        let HookAnswer::Retry(sentence) = down.send("a%20b", &[key("a")]) else { panic!() };
        assert!(!sentence.contains("secret"), "{sentence}");
        let refused = |route: &str, scopes: &[PurgeScope]| {
            matches!(down.send(route, scopes), HookAnswer::Refused(_))
        };
        assert!(
            refused("other", &[key("a")]) && refused("%", &[key("a")]) && refused("a%20b", &[])
        );
    }
}
