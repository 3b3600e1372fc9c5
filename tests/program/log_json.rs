//! The log with `"log_format": "json"`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::server::{Log, Server, Setup};
use crate::support::unused_port::UnusedPort;
use crate::support::{eventually, images, merged};

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

/// A configuration with one handler and lines in JSON.
fn config(handler: Value) -> Value {
    json!({"handlers": [handler], "log_format": "json"})
}

/// A line, which must be a JSON object with documented fields and without control characters.
#[track_caller]
fn parse(line: &str) -> Value {
    assert!(!line.contains(char::is_control), "{line:?}");
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let documented = documented();
    for name in value.as_object().expect("an object").keys() {
        assert!(documented.contains(name), "{name} is not documented: {line}");
    }
    for name in ["@timestamp", "log.level", "event.action"] {
        assert!(value[name].is_string(), "{name}: {line}");
    }
    // No field occurs twice: the parser would have kept the last one. Control characters have more than one spelling.
    if !line.contains("\\u") {
        assert_eq!(value.to_string().len(), line.len(), "{line}");
    }
    value
}

/// Every line so far.
#[track_caller]
fn parse_all(log: &Log) -> Vec<Value> {
    log.lines().iter().map(|line| parse(line)).collect()
}

/// The fields of the table in docs/http.md.
fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http.md");
    let page = fs::read_to_string(path).unwrap();
    let table = page.split_once("<!-- generated:log_fields -->").unwrap().1;
    let table = table.split_once("<!-- /generated -->").unwrap().0;
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    table.lines().filter_map(name).collect()
}

#[test]
fn every_line_of_both_processes_is_a_json_object() {
    let directory = directory().with("text.png", b"no image");
    let mut server = Setup::new(config(directory.handler())).check_interval(20).start();
    server.get("/h/a.png").ok();
    server.get("/h/text.png").failed("unsupported_format");
    server.reload_well(config(directory.handler()));
    server.reload_text("{\"handlers\": \"\u{7f}\"}");
    server.renderer().signal(Signal::KILL);
    server.log.event("renderer_exited");
    server.terminate();
    server.wait();
    server.log.event("stopped");
    let lines = parse_all(&server.log);
    let level = |event: &str| {
        let line = lines.iter().find(|line| line["event.action"] == event);
        line.unwrap_or_else(|| panic!("{event}: {lines:#?}"))["log.level"].clone()
    };
    for (event, expected) in [
        ("listening", "info"),
        ("renderer_ready", "info"),
        ("image_failed", "warn"),
        ("reload_ok", "info"),
        ("reload_failed", "error"),
        ("renderer_exited", "warn"),
        ("stopping", "info"),
        ("stopped", "info"),
    ] {
        assert_eq!(level(event), expected, "{event}");
    }
}

#[test]
fn a_start_that_fails_is_reported_in_json() {
    let directory = directory();
    let port = UnusedPort::new();
    let _listener = std::net::TcpListener::bind(port.address());
    let taken = json!({"http_port": port.address().port(), "log_format": "json"});
    let setup = Setup::new(merged(config(directory.handler()), taken));
    let output = setup.run();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let last = parse(stderr.lines().last().unwrap());
    assert_eq!(last["event.action"], "start_failed", "{stderr}");
    assert!(last["message"].as_str().unwrap().contains("http_port: "), "{stderr}");
    stderr.lines().for_each(|line| drop(parse(line)));
}

#[test]
fn a_reload_changes_the_format_of_the_log() {
    let directory = directory();
    let text = merged(config(directory.handler()), json!({"log_format": "text"}));
    let mut server = Server::start(text.clone());
    server.reload_well(config(directory.handler()));
    eventually("lines are JSON", || server.log.lines().last().unwrap().starts_with('{'));
    server.reload_well(text);
    server.terminate();
    server.wait();
    server.log.event("stopped");
    let lines = server.log.lines();
    let is_json: Vec<bool> = lines.iter().map(|line| line.starts_with('{')).collect();
    let first = is_json.iter().position(|is_json| *is_json).unwrap();
    let last = is_json.iter().rposition(|is_json| *is_json).unwrap();
    assert!(first > 0 && last + 1 < lines.len(), "{lines:?}");
    assert!(is_json[first..=last].iter().all(|is_json| *is_json), "{lines:?}");
}

/// The lines of requests with this target.
fn requests(log: &Log, target: &str) -> Vec<Value> {
    let lines = parse_all(log).into_iter();
    lines.filter(|line| line["url.original"] == target).collect()
}

/// Waits for the line of a request.
#[track_caller]
fn request_line(server: &Server, target: &str) -> Value {
    let mut found = Vec::new();
    eventually(target, || {
        found = requests(&server.log, target);
        !found.is_empty()
    });
    found.remove(0)
}

#[test]
fn request_lines_have_the_phases_of_a_miss_and_none_of_a_hit() {
    let directory = directory();
    let cache = Directory::new();
    let server =
        Server::start(config(merged(directory.handler(), json!({"cache_path": cache.path()}))));
    let miss = server.get("/h/a.png?w=40&f=webp&t=secret").ok();
    let line = request_line(&server, "/h/a.png?w=40&f=webp&t=[redacted]");
    for (name, expected) in [
        ("event.action", json!("request")),
        ("log.level", json!("info")),
        ("http.request.id", json!(miss.expect("X-Request-Id"))),
        ("client.ip", json!("127.0.0.1")),
        ("http.request.method", json!("GET")),
        ("http.response.status_code", json!(200)),
        ("http.response.body.bytes", json!(miss.body.len())),
        ("image.cache", json!("miss")),
        ("image.handler", json!("h")),
        ("image.key", json!("a.png")),
        ("image.fetch.outcome", json!("fetched")),
        ("image.fetch.bytes", json!(fs::read(directory.path().join("a.png")).unwrap().len())),
        ("image.input.format", json!("png")),
        ("image.input.pixels", json!(80 * 60)),
        ("image.output.format", json!("webp")),
        ("image.output.bytes", json!(miss.body.len())),
        ("image.output.pixels", json!(40 * 30)),
    ] {
        assert_eq!(line[name], expected, "{name}: {line:#}");
    }
    let options = line["image.options"].as_str().unwrap();
    assert!(options.contains("w=40") && !options.contains("secret"), "{options}");
    let took = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name}: {line:#}"));
    let parts = ["fetch", "decode", "encode", "queue", "write"]
        .map(|phase| took(&format!("image.{phase}.duration")));
    assert!(parts.iter().sum::<u64>() <= took("event.duration"), "{line:#}");
    // The connection, and with it a variant in memory.
    let target = "/h/a.png?w=40&f=webp&hit";
    server.head_with(target, &[]);
    let line = request_line(&server, target);
    assert_eq!(
        (&line["image.cache"], &line["http.response.body.bytes"]),
        (&json!("hit"), &json!(0))
    );
    assert_eq!(line["image.output.bytes"], miss.body.len());
    assert!(!line.to_string().contains("image.fetch") && !line.to_string().contains("pixels"));
    server.get("/h/none.png?w=9").failed("not_found");
    let line = request_line(&server, "/h/none.png?w=9");
    assert_eq!(
        (&line["error.code"], &line["image.fetch.outcome"]),
        (&json!("not_found"), &json!("not_found"))
    );
    assert!(line["image.output.format"].is_null(), "{line:#}");
    server.get("/h/a.png?w=0");
    let line = request_line(&server, "/h/a.png?w=0");
    assert_eq!((&line["error.code"], &line["image.handler"]), (&json!("bad_request"), &json!("h")));
}

#[test]
fn a_request_id_is_in_the_response_and_in_the_lines_of_both_processes() {
    let directory = directory().with("text.png", b"no image");
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path().join("cache")}));
    let more = json!({"trusted_proxies": ["127.0.0.1"]});
    let server = Server::start(merged(config(handler), more));
    std::fs::remove_dir_all(cache.path().join("cache")).unwrap();
    std::fs::write(cache.path().join("cache"), b"").unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let ids = |id| [("X-Request-Id", id), ("traceparent", traceparent.as_str())];
    let answer = server.get_with("/h/a.png?w=40", &ids("proxy-1")).ok();
    assert_eq!(answer.expect("X-Request-Id"), "proxy-1");
    let line = request_line(&server, "/h/a.png?w=40");
    assert_eq!((&line["http.request.id"], &line["trace.id"]), (&json!("proxy-1"), &json!(trace)));
    assert_eq!(line["span.id"], "00f067aa0ba902b7");
    let answer = server.get_with("/h/text.png", &ids("proxy-2")).failed("unsupported_format");
    assert_eq!(answer.expect("X-Request-Id"), "proxy-2");
    let event = parse(&server.log.event("image_failed"));
    assert_eq!((&event["http.request.id"], &event["trace.id"]), (&json!("proxy-2"), &json!(trace)));
    // Edge and renderer find something in place of the cache, and log it.
    let events = |line: &Value| line["event.action"] == "entry_unreadable";
    let events: Vec<Value> = parse_all(&server.log).into_iter().filter(events).collect();
    let of_both: BTreeSet<bool> = events.iter().map(|line| line["trace.id"].is_string()).collect();
    assert_eq!(of_both, [true, false].into(), "the renderer does not get the trace: {events:#?}");
    assert!(events.iter().any(|line| line["http.request.id"] == "proxy-1"), "{events:#?}");
    assert!(events.iter().all(|line| line["http.request.id"].is_string()), "{events:#?}");
    // An event that is not about a request.
    assert!(parse(&server.log.event("listening"))["http.request.id"].is_null());
}

#[test]
fn ids_of_untrusted_peers_are_ignored() {
    let directory = directory();
    let config = merged(config(directory.handler()), json!({"trusted_proxies": ["192.0.2.0/24"]}));
    let server = Server::start(config);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let fields = [
        ("X-Request-Id", "from-a-client"),
        ("traceparent", traceparent),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    let answer = server.get_with("/h/a.png", &fields);
    let id = answer.expect("X-Request-Id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let line = request_line(&server, "/h/a.png");
    assert_eq!(line["http.request.id"], id);
    assert!(line["trace.id"].is_null() && line["span.id"].is_null(), "{line:#}");
    assert_ne!(server.get_with("/h/a.png", &fields).expect("X-Request-Id"), id);
}

#[test]
fn every_response_to_a_request_has_an_id_of_its_own() {
    let directory = directory();
    let server = Server::start(config(directory.handler()));
    let mut ids = BTreeSet::new();
    for (number, request) in [
        &b"GET /h/a.png HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"HEAD /h/a.png HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /-/health HTTP/1.0\r\n\r\n",
        b"OPTIONS /-/health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /h/a.png HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\n\r\n",
        b"not http\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = server.client();
        client.send(request);
        let is_head = request.starts_with(b"HEAD");
        let answer = client.try_read(is_head).unwrap().unwrap();
        ids.insert(answer.expect("X-Request-Id").to_owned());
        assert_eq!(ids.len(), number + 1, "{answer:?}");
    }
    eventually("all are logged", || {
        let lines = parse_all(&server.log);
        let logged = lines.iter().filter(|line| line["event.action"] == "request");
        let logged: BTreeSet<String> =
            logged.map(|line| line["http.request.id"].as_str().unwrap().to_owned()).collect();
        logged == ids
    });
}

#[test]
fn hostile_requests_stay_inside_their_fields() {
    let directory = directory();
    let config = merged(config(directory.handler()), json!({"trusted_proxies": ["127.0.0.1"]}));
    let server = Server::start(config);
    for target in [
        "/h/x%22,%22forged%22:%22.png",
        "/h/x\",\"forged\":\"a.png?w=1&\",\"event.action\":\"forged",
        "/h/x\\.png?\\=\\",
        "/h/x%0A%7B%22forged%22:1%7D.png",
        "/h/%1B%5B31m%00%7F%C2%85%E2%80%A8.png",
        "/h/%F0%9F%98%80.png?w=%22",
        "/\"/\\",
    ] {
        server.get(target);
        let line = request_line(&server, target);
        assert_eq!(line["event.action"], "request", "{line:#}");
    }
    for id in ["a\",\"forged\":\"b", "\\", "a b", "\u{e9}", "{}", &"x".repeat(129)] {
        let answer = server.get_with("/h/id.png", &[("X-Request-Id", id), ("traceparent", id)]);
        assert_eq!(answer.expect("X-Request-Id").len(), 32, "{id}");
    }
    for id in ["a", &"x".repeat(128)] {
        let answer = server.get_with("/h/id.png", &[("X-Request-Id", id)]);
        assert_eq!(answer.expect("X-Request-Id"), id);
    }
    // A head that no line can hold, and bytes that are no UTF-8.
    let long = format!("/h/{}.png?{}", "\"".repeat(4000), "\\".repeat(11_000));
    server.get(&long);
    request_line(&server, &long);
    server.send(b"GET /h/\xff\"a\n\x1b HTTP/1.1\r\nHost: a\r\n\r\n");
    server.get("/h/last.png");
    request_line(&server, "/h/last.png");
    for line in parse_all(&server.log) {
        assert!(line.get("forged").is_none() && line["event.action"] != "forged", "{line:#}");
    }
}

#[test]
fn configured_secrets_and_tokens_are_never_logged() {
    let directory = directory().with("text.png", b"no image");
    let cache = Directory::new();
    let aws = json!({"bucket_name": "b", "aws_access": "AKLIFE", "aws_secret": "life-secret",
        "session_token": "life-session", "endpoint": "http://127.0.0.1:1"});
    let token = json!({"type": "hmac", "secrets": ["life-token-key-of-32-characters-or-more"]});
    let handlers = json!([
        merged(directory.handler(), json!({"cache_path": cache.path()})),
        {"name": "s", "aws": aws},
        merged(directory.handler(), json!({"name": "t", "token": token})),
    ]);
    let admin = json!({"address": "127.0.0.1:0", "secret": "life-admin-secret-0123456789abcdef"});
    let config =
        json!({"handlers": handlers, "admin": admin, "log_format": "json", "log_level": "debug"});
    let mut server = Server::start(config.clone());
    let bearer = [("Authorization", "Bearer life-bearer"), ("Cookie", "life-cookie")];
    for target in [
        "/h/a.png?t=life-query",
        "/h/a.png?t=life-query&w=20",
        "/h/text.png?w=3&T=life-query",
        "/s/a.png?%74=life-query",
        "/t/a.png?t=life-query",
        "/t/a.png?w=x&amp;t=life-query",
        "/absent/a.png?t=life-query",
    ] {
        server.get_with(target, &bearer);
    }
    let mut client = crate::support::client::Client::connect(server.listening_on("admin http://"));
    client.get_with("/-/stats", &[("Authorization", "Bearer life-wrong")]);
    client.get_with("/-/stats", &[("Authorization", "Bearer life-admin-secret-0123456789abcdef")]);
    server.reload_well(config);
    server.get_with("/s/b.png?t=life-query", &bearer);
    server.reload_text("{\"admin\": {\"secret\": \"life-unread\"}}");
    server.terminate();
    server.wait();
    server.log.event("stopped");
    let lines = parse_all(&server.log);
    let count = |event: &str| lines.iter().filter(|line| line["event.action"] == event).count();
    assert!(count("request") >= 10 && count("image_failed") >= 2, "{lines:#?}");
    assert!(count("token_refused") == 2 && count("admin_refused") == 1, "{lines:#?}");
    let log = server.log.lines().join("\n");
    assert!(!log.contains("life-") && !log.contains("AKLIFE"), "{log}");
}

#[test]
fn lines_dropped_are_reported_in_json() {
    let directory = directory();
    let setup =
        Setup::new(merged(config(directory.handler()), json!({"http_socket": "http.sock"})));
    let mut child = setup.command().stderr(std::process::Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let socket = setup.directory().path().join("http.sock");
    eventually("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let mut client = crate::support::client::Client::connect_unix(&socket);
    let target = format!("/-/health?{}", "x".repeat(3000));
    for _ in 0..1000 {
        client.get(&target);
    }
    let log = Log::of(stderr);
    let dropped = parse(&log.event("log_lines_dropped"));
    assert_eq!(dropped["log.level"], "warn");
    child.kill().unwrap();
    child.wait().unwrap();
    parse_all(&log);
}
