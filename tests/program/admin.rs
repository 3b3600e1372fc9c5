//! The admin listener: its secret, its responses, its address.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::{Answer, Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::server::{Server, Setup};
use crate::support::skip::skip;
use crate::support::{eventually, merged};
use crate::token::example;

pub const SECRET: &str = "a-secret-that-is-hard-to-guess";

pub fn small_image() -> Vec<u8> {
    images::png(images::solid(10, 10, RED))
}

pub fn cached(handler: Value, cache: &Directory) -> Value {
    merged(handler, json!({"cache_path": cache.path()}))
}

pub fn config(handler: Value) -> Value {
    with_admin(json!({"handlers": [handler]}))
}

/// The configuration with an admin listener.
pub fn with_admin(config: Value) -> Value {
    merged(config, json!({"admin": {"address": "127.0.0.1:0", "secret": SECRET}}))
}

pub fn admin(server: &Server) -> SocketAddr {
    server.listening_on("admin ")
}

/// Sends a request with this secret on a new connection.
fn send_with(
    address: SocketAddr,
    secret: &str,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
) -> Answer {
    let mut client = Client::connect(address);
    let authorization = format!("Bearer {secret}");
    let fields = [&[("Authorization", &*authorization)], fields].concat();
    client.send(&request(method, target, &fields));
    client.try_read(method == "HEAD").unwrap().expect("an answer")
}

pub fn send(server: &Server, method: &str, target: &str) -> Answer {
    send_with_fields(server, method, target, &[])
}

pub fn send_with_fields(
    server: &Server,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
) -> Answer {
    send_with(admin(server), SECRET, method, target, fields)
}

#[track_caller]
pub fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.expect("Content-Type"), "application/json");
    assert_eq!(answer.expect("Cache-Control"), "no-store");
    serde_json::from_slice(&answer.body).unwrap()
}

/// A count of `GET /-/stats`.
#[track_caller]
pub fn stat(server: &Server, pointer: &str) -> u64 {
    let stats = send_ok(server, "GET", "/-/stats");
    stats.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {stats}"))
}

#[track_caller]
pub fn send_ok(server: &Server, method: &str, target: &str) -> Value {
    let answer = send(server, method, target);
    assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
    json_of(&answer)
}

pub fn cache_status(answer: &Answer) -> &str {
    answer.expect("X-Cache")
}

/// Requests a target until it is a hit, and once more, so that it is in the memory cache.
#[track_caller]
pub fn warm(server: &Server, target: &str) {
    let mut client = server.client();
    while cache_status(&client.get(target).ok()) == "miss" {}
    assert_eq!(cache_status(&client.get(target).ok()), "hit");
}

#[test]
fn admin_requires_its_secret() {
    let directory = Directory::new().with("a.png", &small_image());
    let cache = Directory::new();
    let server = Server::start(config(cached(directory.handler(), &cache)));
    warm(&server, "/h/a.png");
    let address = admin(&server);
    let with = |value: &str| [("Authorization", value.to_owned())];
    let right = format!("Bearer {SECRET}");
    let two = format!("Bearer {SECRET} {SECRET}");
    let mut refused: Vec<Vec<(&str, String)>> = vec![vec![]];
    for value in [
        "",
        "Bearer",
        "Bearer ",
        SECRET,
        &right[..right.len() - 1],
        &format!("{right}x"),
        &right.to_uppercase(),
        &format!("Basic {SECRET}"),
        &format!("Bearer\t{SECRET}"),
        &two,
        "Bearer x",
    ] {
        refused.push(with(value).to_vec());
    }
    refused.push([with(&right), with(&right)].concat());
    refused.push([with(&right), with("Bearer x")].concat());
    let everywhere = [
        ("POST", "/-/purge/h/a.png"),
        ("DELETE", "/-/purge/h/"),
        ("GET", "/-/health"),
        ("GET", "/h/a.png"),
        ("POST", "/-/purge/none/a.png"),
        ("BREW", "/"),
    ];
    for (method, target) in everywhere {
        for fields in &refused {
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut client = Client::connect(address);
            client.send(&request(method, target, &fields));
            let answer = client.read();
            assert_eq!(
                (answer.status, answer.body.len()),
                (401, 0),
                "{method} {target} {fields:?}"
            );
            assert_eq!(answer.expect("WWW-Authenticate"), "Bearer");
            assert_eq!(answer.header("Allow"), None);
        }
    }
    assert_eq!(cache_status(&server.get("/h/a.png").ok()), "hit", "it was not purged");
    for scheme in ["Bearer", "bearer", "BEARER ", "bEaReR  "] {
        let mut client = Client::connect(address);
        let answer =
            client.get_with("/-/health", &[("Authorization", &format!("{scheme} {SECRET}"))]);
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{scheme}");
    }
    // The log is complete now: one warning, and no secret or nearly correct one.
    server.log.access("/-/purge/none/a.png");
    let lines = server.log.lines();
    assert_eq!(server.log.count("admin_refused"), 1);
    let part = &SECRET[..SECRET.len() - 1];
    assert!(!lines.iter().any(|line| line.to_lowercase().contains(part)), "{lines:?}");
}

#[test]
fn admin_secret_may_come_from_the_environment_and_is_not_logged() {
    let directory = Directory::new().with("a.png", &small_image());
    let mut config = config(directory.handler());
    config["admin"]["secret"] = json!("$ADMIN_SECRET");
    let server = Setup::new(config).env("ADMIN_SECRET", SECRET).start();
    assert_eq!(send_ok(&server, "POST", "/-/purge/h/a.png"), nothing_purged());
    assert_eq!(
        send_with(admin(&server), "$ADMIN_SECRET", "POST", "/-/purge/h/a.png", &[]).status,
        401
    );
    server.log.access("/-/purge/h/a.png");
    assert!(!server.log.lines().iter().any(|line| line.contains(SECRET)));
}

pub fn nothing_purged() -> Value {
    json!({"renditions": 0, "original": false})
}

#[test]
fn admin_and_public_listeners_do_not_serve_each_others_paths() {
    let directory = Directory::new().with("a.png", &small_image());
    let cache = Directory::new();
    let config = merged(
        config(cached(directory.handler(), &cache)),
        json!({"http_port": 0, "address": "127.0.0.1", "http_socket": "http.sock"}),
    );
    let server = Setup::new(config).start();
    warm(&server, "/h/a.png");
    let authorization = [("Authorization", &*format!("Bearer {SECRET}"))];
    let socket = server.directory().path().join("http.sock");
    for target in ["/-/purge/h/a.png", "/-/purge/h/", "/%2D/purge/h/", "//-/purge/h/a.png"] {
        for (method, status) in [("POST", 405), ("DELETE", 405), ("GET", 404), ("HEAD", 404)] {
            let bytes = request(method, target, &authorization);
            for mut client in [server.client(), Client::connect_unix(&socket)] {
                client.send(&bytes);
                let answer = client.try_read(method == "HEAD").unwrap().unwrap();
                assert_eq!(answer.status, status, "{method} {target}");
                if status == 405 {
                    assert_eq!(answer.expect("Allow"), "GET, HEAD");
                }
                assert_eq!(answer.header("WWW-Authenticate"), None);
            }
        }
    }
    assert_eq!(cache_status(&server.get("/h/a.png").ok()), "hit");
    for target in ["/h/a.png", "/h/none.png", "/", "/-//", "/-/purge", "/-/purge/h"] {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            let answer = send(&server, method, target);
            assert_eq!((answer.status, answer.header("X-Cache")), (404, None), "{method} {target}");
            assert_eq!(answer.expect("Content-Type"), "application/json");
        }
    }
}

#[test]
fn admin_rejects_invalid_commands() {
    let directory = Directory::new().with("a.png", &small_image());
    let server = Server::start(config(directory.handler()));
    let long = format!("/-/purge/h/{}", "k".repeat(1025));
    for (method, target, status, allow) in [
        ("POST", "/-/purge/none/a.png", 404, None),
        ("POST", "/-/purge/none/a.png?render=1", 404, None),
        ("DELETE", "/-/purge/none/", 404, None),
        ("POST", "/-/purge/h/..", 400, None),
        ("POST", "/-/purge/h/a/%2e/b", 400, None),
        ("POST", "/-/purge/h/a%zz", 400, None),
        ("POST", &long, 400, None),
        ("DELETE", "/-/purge/h/../", 400, None),
        ("POST", "/-/purge/h/a.png?rendr=1", 400, None),
        ("GET", "/-/purge/h/a.png", 405, Some("POST")),
        ("DELETE", "/-/purge/h/a.png", 405, Some("POST")),
        ("PUT", "/-/purge/h/a/", 405, Some("POST, DELETE")),
        ("POST", "/-/purge/h/", 405, Some("DELETE")),
        ("POST", "/-/health", 405, Some("GET, HEAD, OPTIONS")),
        ("GET", "/-/image", 404, None),
        ("POST", "/-/sign", 404, None),
        ("GET", "/-/nothing", 404, None),
    ] {
        let answer = send(&server, method, target);
        assert_eq!((answer.status, answer.header("Allow")), (status, allow), "{method} {target}");
        assert!(json_of(&answer)["error"].is_string(), "{method} {target}");
    }
    let unknown = json_of(&send(&server, "GET", "/-/image"));
    assert_eq!(unknown["error"], "unknown path: docs/cache.md and docs/page.md list the paths");
    // An empty body is allowed, any other is rejected. All requests use one connection.
    let authorization = ("Authorization", &*format!("Bearer {SECRET}"));
    let mut client = Client::connect(admin(&server));
    for _ in 0..2 {
        client.send(&request(
            "POST",
            "/-/purge/h/a.png",
            &[authorization, ("Content-Length", "0")],
        ));
        assert_eq!(json_of(&client.read()), nothing_purged());
        client.send(&request("DELETE", "/-/purge/h/", &[authorization]));
        assert_eq!(json_of(&client.read()), json!({"renditions": 0, "originals": 0}));
    }
    client.send(&request("POST", "/-/purge/h/a.png", &[authorization, ("Content-Length", "1")]));
    assert_eq!(client.read().status, 413);
    client.expect_closed();
}

#[test]
fn admin_listener_follows_a_reload() {
    let directory = Directory::new().with("a.png", &small_image());
    let cache = Directory::new();
    let handler = cached(directory.handler(), &cache);
    let server = Server::with_handler(handler.clone());
    assert!(!server.log.lines().iter().any(|line| line.contains("admin")), "it is off by default");
    server.reload_well(config(handler.clone()));
    let first = admin(&server);
    let mut kept = Client::connect(first);
    let status_with = |client: &mut Client, secret: &str| {
        client.get_with("/-/health", &[("Authorization", &format!("Bearer {secret}"))]).status
    };
    assert_eq!(status_with(&mut kept, SECRET), 200);
    // A new secret at the same address.
    let other = "another-secret-for-this-test";
    let mut changed = config(handler.clone());
    changed["admin"]["secret"] = json!(other);
    server.reload_well(changed.clone());
    assert_eq!((status_with(&mut kept, SECRET), status_with(&mut kept, other)), (401, 200));
    // A new address.
    changed["admin"]["address"] = json!("127.0.0.2:0");
    server.reload_well(changed.clone());
    let second = server.listening_on("admin http://127.0.0.2:");
    assert_eq!(send_with(second, other, "POST", "/-/purge/h/a.png", &[]).status, 200);
    assert!(Client::try_connect(first).is_err(), "the old port is still open");
    // An address that is in use: the reload fails and changes nothing.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    changed["admin"]["address"] = json!(taken.local_addr().unwrap().to_string());
    let refused = server.reload(changed);
    assert!(
        refused.contains("admin.address: ") && refused.contains("is already in use"),
        "{refused}"
    );
    assert_eq!(send_with(second, other, "POST", "/-/purge/h/a.png", &[]).status, 200);
    // No listener: open connections are refused.
    server.reload_well(json!({"handlers": [handler]}));
    assert!(Client::try_connect(second).is_err(), "the old port is still open");
    assert_eq!(status_with(&mut kept, other), 401);
    server.get("/h/a.png").ok();
}

#[test]
fn admin_address_in_use_is_an_error_that_names_the_field() {
    let directory = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut config = config(directory.handler());
    config["admin"]["address"] = json!(address);
    let output = Setup::new(config).run();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("admin.address: {address} is already in use")), "{said}");
}

#[test]
fn admin_address_may_be_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("the machine has no IPv6");
    }
    let directory = Directory::new();
    let mut config = config(directory.handler());
    config["admin"]["address"] = json!("[::1]:0");
    let server = Server::start(config);
    let address = server.listening_on("admin http://[::1]:");
    assert_eq!(send_with(address, SECRET, "POST", "/-/purge/h/a.png", &[]).status, 200);
    server.log.line_with(" ::1 POST /-/purge/h/a.png 200 ");
}

#[test]
fn admin_ignores_proxies_and_redirects() {
    let directory = Directory::new().with("a.png", &small_image());
    let certificates = Certificates::new();
    let config = merged(
        config(directory.handler()),
        json!({
            "trusted_proxies": ["127.0.0.1"],
            "proxy_protocol": true,
            "https_enabled": true,
            "https_strict": true,
            "https_port": 0,
            "https_cert": "a.crt",
            "https_key": "a.key",
            "https_hsts": 100,
        }),
    );
    let leaf = certificates.issue(&["localhost"]);
    let setup = Setup::new(config)
        .file("a.crt", leaf.chain_pem.as_bytes())
        .file("a.key", leaf.key_pem.as_bytes());
    let server = setup.start();
    let authorization = ("Authorization", &*format!("Bearer {SECRET}"));
    let mut client = Client::connect(admin(&server));
    client.send(&request(
        "POST",
        "/-/purge/h/a.png",
        &[authorization, ("X-Forwarded-For", "192.0.2.1")],
    ));
    let answer = client.read();
    assert_eq!(
        (json_of(&answer), answer.header("Strict-Transport-Security")),
        (nothing_purged(), None)
    );
    assert_eq!(server.log.access("/-/purge/h/a.png")[1], "127.0.0.1");
    // A PROXY header is an invalid request there.
    let mut client = Client::connect(admin(&server));
    client.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n");
    client.send(&request("POST", "/-/purge/h/a.png", &[authorization]));
    assert_eq!(client.read().status, 400);
}

#[test]
fn admin_does_not_accept_the_token_of_an_image() {
    let directory = Directory::new().with("a.png", &small_image());
    let cache = Directory::new();
    // A program with a validator function serves every connection on a thread.
    let proxies = json!({"trusted_proxies": ["127.0.0.1"], "proxy_protocol": true});
    let config = merged(config(cached(directory.handler(), &cache)), proxies);
    let server = Setup::new(config).program(example()).start();
    assert_eq!(send_ok(&server, "POST", "/-/purge/h/a.png"), nothing_purged());
    assert_eq!(
        send_with(admin(&server), "letmein", "POST", "/-/purge/h/a.png?t=letmein", &[]).status,
        401
    );
}

#[test]
fn admin_connections_are_limited_per_address() {
    let directory = Directory::new().with("a.png", &small_image());
    let limits = json!({"connections": 20, "connections_per_address": 3});
    // A trusted proxy is exempt on the public listeners, but not here.
    let config = merged(
        config(directory.handler()),
        json!({"limits": limits, "trusted_proxies": ["127.0.0.1"]}),
    );
    let server = Server::start(config);
    let address = admin(&server);
    let mut kept: Vec<Client> = (0..3).map(|_| Client::connect(address)).collect();
    for client in &mut kept {
        assert_eq!(client.get("/-/health").status, 401);
    }
    let mut refused = Client::connect(address);
    let answer = refused.read();
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    server.get("/h/a.png").ok();
    drop(kept);
    eventually("a connection is free again", || send(&server, "GET", "/-/health").status == 200);
}
