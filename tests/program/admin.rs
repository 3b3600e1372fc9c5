//! The admin listener: who may use it, and that a refresh holds from the moment it is answered.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::{Answer, Client, request};
use crate::support::folder::Folder;
use crate::support::gate::Gate;
use crate::support::origin::{RawOrigin, object};
use crate::support::pictures::{self, BLUE, RED, size_of};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

const SECRET: &str = "a-secret-that-nobody-guesses";

fn small() -> Vec<u8> {
    pictures::png(pictures::solid(10, 10, RED))
}

fn large() -> Vec<u8> {
    pictures::png(pictures::solid(20, 20, BLUE))
}

fn cached(handler: Value, cache: &Folder) -> Value {
    merged(handler, json!({"cache_path": cache.path()}))
}

fn config(handler: Value) -> Value {
    json!({"handlers": [handler], "admin": {"address": "127.0.0.1:0", "secret": SECRET}})
}

fn admin(server: &Server) -> SocketAddr {
    server.listening_on("admin ")
}

/// A request with this secret on a connection of its own.
fn order_with(address: SocketAddr, secret: &str, method: &str, target: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(&request(method, target, &[("Authorization", &format!("Bearer {secret}"))]));
    client.try_read(method == "HEAD").unwrap().expect("an answer")
}

fn order(server: &Server, method: &str, target: &str) -> Answer {
    order_with(admin(server), SECRET, method, target)
}

#[track_caller]
fn said(answer: &Answer) -> Value {
    assert_eq!(answer.expect("Content-Type"), "application/json");
    assert_eq!(answer.expect("Cache-Control"), "no-store");
    serde_json::from_slice(&answer.body).unwrap()
}

#[track_caller]
fn done(server: &Server, method: &str, target: &str) -> Value {
    let answer = order(server, method, target);
    assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
    said(&answer)
}

fn state(answer: &Answer) -> &str {
    answer.expect("X-Cache")
}

/// Asks until it is a hit, and once more so that it comes from memory.
#[track_caller]
fn warm(server: &Server, target: &str) {
    let mut client = server.client();
    while state(&client.get(target).ok()) == "miss" {}
    assert_eq!(state(&client.get(target).ok()), "hit");
}

#[test]
fn only_the_secret_opens() {
    let (folder, cache) = (Folder::new().with("a.png", &small()), Folder::new());
    let server = Server::start(config(cached(folder.handler(), &cache)));
    warm(&server, "/h/a.png");
    let address = admin(&server);
    let with = |value: &str| [("Authorization", value.to_owned())];
    let (right, two) = (format!("Bearer {SECRET}"), format!("Bearer {SECRET} {SECRET}"));
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
        ("POST", "/-/refresh/h/a.png"),
        ("DELETE", "/-/refresh/h/"),
        ("GET", "/-/health"),
        ("GET", "/h/a.png"),
        ("POST", "/-/refresh/none/a.png"),
        ("BREW", "/"),
    ];
    for (method, target) in everywhere {
        for fields in &refused {
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut client = Client::connect(address);
            client.send(&request(method, target, &fields));
            let answer = client.read();
            assert_eq!((answer.status, answer.body.len()), (401, 0), "{method} {target} {fields:?}");
            assert_eq!(answer.expect("WWW-Authenticate"), "Bearer");
            assert_eq!(answer.header("Allow"), None);
        }
    }
    assert_eq!(state(&server.get("/h/a.png").ok()), "hit", "somebody has refreshed it");
    for scheme in ["Bearer", "bearer", "BEARER ", "bEaReR  "] {
        let mut client = Client::connect(address);
        let answer = client.get_with("/-/health", &[("Authorization", &format!("{scheme} {SECRET}"))]);
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{scheme}");
    }
    // Everything is in the log by now, once; and nowhere the secret, of those who had it or almost.
    server.log.access("/-/refresh/none/a.png");
    let lines = server.log.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("admin: 127.0.0.1 was refused")).count(), 1);
    let part = &SECRET[..SECRET.len() - 1];
    assert!(!lines.iter().any(|line| line.to_lowercase().contains(part)), "{lines:?}");
}

#[test]
fn the_secret_may_come_from_the_environment_and_is_in_no_log() {
    let folder = Folder::new().with("a.png", &small());
    let mut config = config(folder.handler());
    config["admin"]["secret"] = json!("$ADMIN_SECRET");
    let server = Setup::new(config).env("ADMIN_SECRET", SECRET).start();
    assert_eq!(done(&server, "POST", "/-/refresh/h/a.png"), zero());
    assert_eq!(order_with(admin(&server), "$ADMIN_SECRET", "POST", "/-/refresh/h/a.png").status, 401);
    server.log.access("/-/refresh/h/a.png");
    assert!(!server.log.lines().iter().any(|line| line.contains(SECRET)));
}

fn zero() -> Value {
    json!({"renditions": 0, "original": false})
}

#[test]
fn nothing_of_it_is_on_the_public_ports_and_nothing_public_on_it() {
    let (folder, cache) = (Folder::new().with("a.png", &small()), Folder::new());
    let config = merged(
        config(cached(folder.handler(), &cache)),
        json!({"http_port": 0, "address": "127.0.0.1", "http_socket": "http.sock"}),
    );
    let server = Setup::new(config).start();
    warm(&server, "/h/a.png");
    let authorization = [("Authorization", &*format!("Bearer {SECRET}"))];
    let socket = server.folder().path().join("http.sock");
    for target in ["/-/refresh/h/a.png", "/-/refresh/h/", "/%2D/refresh/h/", "//-/refresh/h/a.png"] {
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
    assert_eq!(state(&server.get("/h/a.png").ok()), "hit");
    for target in ["/h/a.png", "/h/none.png", "/", "/-/", "/-/refresh", "/-/refresh/h", "/-/metrics"] {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            let answer = order(&server, method, target);
            assert_eq!((answer.status, answer.header("X-Cache")), (404, None), "{method} {target}");
            assert_eq!(answer.expect("Content-Type"), "application/json");
        }
    }
}

#[test]
fn what_can_not_be_done_is_told() {
    let folder = Folder::new().with("a.png", &small());
    let server = Server::start(config(folder.handler()));
    let long = format!("/-/refresh/h/{}", "k".repeat(1025));
    for (method, target, status, allow) in [
        ("POST", "/-/refresh/none/a.png", 404, None),
        ("POST", "/-/refresh/none/a.png?render=1", 404, None),
        ("DELETE", "/-/refresh/none/", 404, None),
        ("POST", "/-/refresh/h/..", 400, None),
        ("POST", "/-/refresh/h/a/%2e/b", 400, None),
        ("POST", "/-/refresh/h/a%zz", 400, None),
        ("POST", &long, 400, None),
        ("DELETE", "/-/refresh/h/../", 400, None),
        ("POST", "/-/refresh/h/a.png?rendr=1", 400, None),
        ("GET", "/-/refresh/h/a.png", 405, Some("POST")),
        ("DELETE", "/-/refresh/h/a.png", 405, Some("POST")),
        ("PUT", "/-/refresh/h/a/", 405, Some("POST, DELETE")),
        ("POST", "/-/refresh/h/", 405, Some("DELETE")),
        ("POST", "/-/health", 405, Some("GET, HEAD")),
    ] {
        let answer = order(&server, method, target);
        assert_eq!((answer.status, answer.header("Allow")), (status, allow), "{method} {target}");
        assert!(said(&answer)["error"].is_string(), "{method} {target}");
    }
    // A body of nothing is none, one that is something is refused; on one connection as on many.
    let authorization = ("Authorization", &*format!("Bearer {SECRET}"));
    let mut client = Client::connect(admin(&server));
    for _ in 0..2 {
        client.send(&request("POST", "/-/refresh/h/a.png", &[authorization, ("Content-Length", "0")]));
        assert_eq!(said(&client.read()), zero());
        client.send(&request("DELETE", "/-/refresh/h/", &[authorization]));
        assert_eq!(said(&client.read()), json!({"renditions": 0, "originals": 0}));
    }
    client.send(&request("POST", "/-/refresh/h/a.png", &[authorization, ("Content-Length", "1")]));
    assert_eq!(client.read().status, 413);
    client.expect_closed();
}

#[test]
fn a_refreshed_key_is_served_anew_at_once_and_no_other_is() {
    let (folder, cache) = (Folder::new(), Folder::new());
    for key in ["a b.png", "b.png"] {
        folder.put(key, &small());
    }
    let server = Server::start(config(cached(folder.handler(), &cache)));
    let renditions = ["/h/a%20b.png", "/h/a%20b.png?f=webp", "/h/a%20b.png?w=5"];
    for target in renditions.into_iter().chain(["/h/b.png"]) {
        warm(&server, target);
    }
    for round in 0..6 {
        let (picture, size) = if round % 2 == 0 { (large(), (20, 20)) } else { (small(), (10, 10)) };
        folder.put("a b.png", &picture);
        folder.put("b.png", &picture);
        assert_eq!(state(&server.get(renditions[0]).ok()), "hit", "nobody knows yet");
        let answer = done(&server, "POST", "/-/refresh/h/a%20b.png");
        assert_eq!(answer, json!({"renditions": 3, "original": false}));
        for target in renditions {
            assert_eq!(state(&server.get(target).ok()), "miss", "{target}");
            assert_eq!(state(&server.get(target).ok()), "hit", "{target}");
        }
        let anew = server.get(renditions[0]).ok();
        assert_eq!((state(&anew), size_of(&anew.body)), ("hit", size));
        let other = server.get("/h/b.png").ok();
        assert_eq!((state(&other), size_of(&other.body)), ("hit", (10, 10)));
    }
    assert_eq!(done(&server, "POST", "/-/refresh/h/unknown.png"), zero());
}

#[test]
fn a_refresh_that_can_not_be_done_whole_says_so() {
    let (folder, cache) = (Folder::new().with("a.png", &small()), Folder::new());
    let server = Server::start(config(cached(folder.handler(), &cache)));
    cache.put("v1", b"not a folder");
    for (method, target) in [("POST", "/-/refresh/h/a.png"), ("DELETE", "/-/refresh/h/")] {
        let answer = order(&server, method, target);
        assert_eq!(answer.status, 500);
        assert!(said(&answer)["error"].as_str().unwrap().starts_with("not everything could be removed"));
    }
    server.log.line_with("admin: a refresh is not complete");
}

#[test]
fn renditions_are_made_again_before_anybody_asks() {
    let (folder, cache) = (Folder::new().with("a.png", &small()), Folder::new());
    let server = Server::start(config(cached(folder.handler(), &cache)));
    let renditions = ["/h/a.png", "/h/a.png?f=webp", "/h/a.png?q=50&f=jpg"];
    renditions.iter().for_each(|target| warm(&server, target));
    folder.put("a.png", &large());
    let answer = done(&server, "POST", "/-/refresh/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 3, "original": false, "rendered": 3, "failed": 0}));
    for target in renditions {
        let answer = server.get(target).ok();
        assert_eq!((state(&answer), size_of(&answer.body)), ("hit", (20, 20)), "{target}");
    }
    // What is not there any more can't be made again, and is not served any more.
    std::fs::remove_file(folder.path().join("a.png")).unwrap();
    let answer = done(&server, "POST", "/-/refresh/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 3, "original": false, "rendered": 0, "failed": 3}));
    server.get(renditions[0]).failed("not_found");
    let answer = done(&server, "POST", "/-/refresh/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 0, "original": false, "rendered": 0, "failed": 0}));
}

#[test]
fn the_renditions_that_were_asked_for_last_are_made_again() {
    let (folder, cache) = (Folder::new().with("a.png", &small()), Folder::new());
    // Without memory, so that each hit is known at once.
    let config = merged(config(cached(folder.handler(), &cache)), json!({"memory_cache": 0}));
    let server = Server::start(config);
    let target = |number: u32| format!("/h/a.png?f=jpg&q={number}");
    (1..=20).for_each(|number| drop(server.get(&target(number)).ok()));
    // What is asked for in one sixteenth of a second can't be told apart.
    thread::sleep(Duration::from_millis(200));
    (1..=16).for_each(|number| assert_eq!(state(&server.get(&target(number)).ok()), "hit"));
    folder.put("a.png", &large());
    let answer = done(&server, "POST", "/-/refresh/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 20, "original": false, "rendered": 16, "failed": 0}));
    for number in 1..=20 {
        let answer = server.get(&target(number)).ok();
        let expected = if number <= 16 { "hit" } else { "miss" };
        assert_eq!((state(&answer), size_of(&answer.body)), (expected, (20, 20)), "{number}");
    }
}

#[test]
fn a_prefix_is_every_key_below_it_and_nothing_beside_it() {
    let origin = RawOrigin::always(object(&small()));
    let cache = Folder::new();
    let other = merged(origin.handler(), json!({"name": "i"}));
    let config = merged(
        config(origin.handler()),
        json!({"handlers": [cached(origin.handler(), &cache), cached(other, &cache)]}),
    );
    let server = Server::start(config);
    let below = ["/h/a/1", "/h/a/b/2", "/h/a/b/2?f=webp", "/h/a/%C3%BC"];
    let beside = ["/h/a", "/h/ab/1", "/h/b/a/1", "/h/A/1", "/h//a/1"];
    let others = ["/i/a/1", "/i/x"];
    for target in below.into_iter().chain(beside).chain(others) {
        warm(&server, target);
    }
    let of = |target: &str| state(&server.get(target).ok()).to_owned();
    assert_eq!(done(&server, "DELETE", "/-/refresh/h/a/"), json!({"renditions": 4, "originals": 0}));
    beside.iter().chain(&others).for_each(|target| assert_eq!(of(target), "hit", "{target}"));
    below.iter().for_each(|target| assert_eq!(of(target), "miss", "{target}"));
    below.iter().for_each(|target| assert_eq!(of(target), "hit", "{target}"));
    assert_eq!(done(&server, "DELETE", "/-/refresh/h/a/b%2F"), json!({"renditions": 2, "originals": 0}));
    assert_eq!(of("/h/a/1"), "hit");
    assert_eq!(done(&server, "DELETE", "/-/refresh/h/"), json!({"renditions": 7, "originals": 0}));
    others.iter().for_each(|target| assert_eq!(of(target), "hit", "{target}"));
    below.iter().chain(&beside).for_each(|target| assert_eq!(of(target), "miss", "{target}"));
}

/// An origin that holds its first answer back until the gate opens and then says how it was before.
fn slow_once(gate: &Gate) -> RawOrigin {
    let held = gate.clone();
    RawOrigin::start(move |request, peer| {
        if request.number > 0 {
            return peer.send(&object(&large()));
        }
        held.pass();
        peer.send(&object(&small()))
    })
}

#[test]
fn a_refresh_is_not_undone_by_a_request_in_flight() {
    for (method, target) in [("POST", "/-/refresh/h/a/b.png"), ("DELETE", "/-/refresh/h/a/")] {
        for reload in ["none", "before", "after"] {
            let gate = Gate::new();
            let (origin, cache) = (slow_once(&gate), Folder::new());
            let config = config(cached(origin.handler(), &cache));
            let server = Server::start(config.clone());
            let address = server.http();
            let early = thread::spawn(move || Client::connect(address).get("/h/a/b.png"));
            origin.wait_for_requests(1);
            if reload == "before" {
                server.reload_well(config.clone());
            }
            assert_eq!(order(&server, method, target).status, 200);
            if reload == "after" {
                server.reload_well(config);
            }
            // Who asks from now on does not wait for what was asked for before.
            let answer = server.get("/h/a/b.png").ok();
            assert_eq!((state(&answer), size_of(&answer.body)), ("miss", (20, 20)));
            gate.open();
            assert_eq!(size_of(&early.join().unwrap().ok().body), (10, 10));
            for _ in 0..5 {
                assert_eq!(size_of(&server.get("/h/a/b.png").ok().body), (20, 20), "{method} {reload}");
            }
            assert_eq!(state(&server.get("/h/a/b.png").ok()), "hit");
        }
    }
}

#[test]
fn what_was_in_flight_leaves_nothing_behind() {
    for reloads in [false, true] {
        let gate = Gate::new();
        let (origin, cache) = (slow_once(&gate), Folder::new());
        let config = config(cached(origin.handler(), &cache));
        let server = Server::start(config.clone());
        let address = server.http();
        let early = thread::spawn(move || Client::connect(address).get("/h/a.png"));
        origin.wait_for_requests(1);
        if reloads {
            server.reload_well(config);
        }
        assert_eq!(done(&server, "POST", "/-/refresh/h/a.png"), zero());
        gate.open();
        early.join().unwrap().ok();
        assert_eq!(cache.files(), Vec::<std::path::PathBuf>::new(), "{reloads}");
    }
}

#[test]
fn what_another_server_brings_back_is_not_served() {
    for reloads in [false, true] {
        let gate = Gate::new();
        let (origin, cache) = (slow_once(&gate), Folder::new());
        let config = config(cached(origin.handler(), &cache));
        let (server, other) = (Server::start(config.clone()), Server::start(config.clone()));
        let address = other.http();
        let early = thread::spawn(move || Client::connect(address).get("/h/a.png"));
        origin.wait_for_requests(1);
        assert_eq!(done(&server, "POST", "/-/refresh/h/a.png"), zero());
        if reloads {
            server.reload_well(config);
        }
        gate.open();
        assert_eq!(size_of(&early.join().unwrap().ok().body), (10, 10));
        assert_eq!(cache.files().len(), 1);
        for expected in ["miss", "hit", "hit"] {
            let answer = server.get("/h/a.png").ok();
            assert_eq!((state(&answer), size_of(&answer.body)), (expected, (20, 20)), "{reloads}");
        }
    }
}

#[test]
fn the_listener_comes_and_goes_with_the_configuration() {
    let (folder, cache) = (Folder::new().with("a.png", &small()), Folder::new());
    let handler = cached(folder.handler(), &cache);
    let server = Server::with_handler(handler.clone());
    assert!(
        !server.log.lines().iter().any(|line| line.contains("admin")),
        "it is off unless it is asked for"
    );
    server.reload_well(config(handler.clone()));
    let first = admin(&server);
    let mut kept = Client::connect(first);
    let ask = |client: &mut Client, secret: &str| {
        client.get_with("/-/health", &[("Authorization", &format!("Bearer {secret}"))]).status
    };
    assert_eq!(ask(&mut kept, SECRET), 200);
    // Another secret at the same address.
    let other = "another-secret-for-everybody";
    let mut changed = config(handler.clone());
    changed["admin"]["secret"] = json!(other);
    server.reload_well(changed.clone());
    assert_eq!((ask(&mut kept, SECRET), ask(&mut kept, other)), (401, 200));
    // Another address.
    changed["admin"]["address"] = json!("127.0.0.2:0");
    server.reload_well(changed.clone());
    let second = server.listening_on("admin http://127.0.0.2:");
    assert_eq!(order_with(second, other, "POST", "/-/refresh/h/a.png").status, 200);
    assert!(Client::try_connect(first).is_err(), "the old port is still open");
    // One that can't be had changes nothing.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    changed["admin"]["address"] = json!(taken.local_addr().unwrap().to_string());
    let refused = server.reload(changed);
    assert!(refused.contains("admin.address: ") && refused.contains("is already in use"), "{refused}");
    assert_eq!(order_with(second, other, "POST", "/-/refresh/h/a.png").status, 200);
    // None: the connections that are left are of no use.
    server.reload_well(json!({"handlers": [handler]}));
    assert!(Client::try_connect(second).is_err(), "the old port is still open");
    assert_eq!(ask(&mut kept, other), 401);
    server.get("/h/a.png").ok();
}

#[test]
fn an_address_that_can_not_be_had_is_an_error_that_names_its_field() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut config = config(folder.handler());
    config["admin"]["address"] = json!(address);
    let output = Setup::new(config).run();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("admin.address: {address} is already in use")), "{said}");
}

#[test]
fn an_address_may_be_of_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let folder = Folder::new();
    let mut config = config(folder.handler());
    config["admin"]["address"] = json!("[::1]:0");
    let server = Server::start(config);
    let address = server.listening_on("admin http://[::1]:");
    assert_eq!(order_with(address, SECRET, "POST", "/-/refresh/h/a.png").status, 200);
    server.log.line_with(" ::1 POST /-/refresh/h/a.png 200 ");
}

#[test]
fn proxies_and_redirects_are_of_the_public_ports() {
    let folder = Folder::new().with("a.png", &small());
    let certificates = Certificates::new();
    let config = merged(
        config(folder.handler()),
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
    let setup =
        Setup::new(config).file("a.crt", leaf.chain_pem.as_bytes()).file("a.key", leaf.key_pem.as_bytes());
    let server = setup.start();
    let authorization = ("Authorization", &*format!("Bearer {SECRET}"));
    let mut client = Client::connect(admin(&server));
    client.send(&request("POST", "/-/refresh/h/a.png", &[authorization, ("X-Forwarded-For", "192.0.2.1")]));
    let answer = client.read();
    assert_eq!((said(&answer), answer.header("Strict-Transport-Security")), (zero(), None));
    assert_eq!(server.log.access("/-/refresh/h/a.png")[1], "127.0.0.1");
    // What starts as a PROXY header is no request there.
    let mut client = Client::connect(admin(&server));
    client.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n");
    client.send(&request("POST", "/-/refresh/h/a.png", &[authorization]));
    assert_eq!(client.read().status, 400);
}

#[test]
fn its_connections_count_as_all_others_do() {
    let folder = Folder::new().with("a.png", &small());
    let limits = json!({"connections": 20, "connections_per_address": 3});
    // The cap for an address holds for a proxy too, which is none there.
    let config =
        merged(config(folder.handler()), json!({"limits": limits, "trusted_proxies": ["127.0.0.1"]}));
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
    eventually("there is room again", || order(&server, "GET", "/-/health").status == 200);
}
