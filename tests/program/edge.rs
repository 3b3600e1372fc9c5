//! Requests, connections and limits of the edge, as a client sees them.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use serde_json::json;

use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, RED, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::server::{PROGRAM, Server, Setup};
use crate::support::{eventually, merged};

/// Longer than any deadline of the server.
const LONG: Duration = Duration::from_secs(20);

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

#[test]
fn other_methods_are_405_with_allow() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW", "get"]
    {
        for (target, allowed) in [
            ("/h/a.png", "GET, HEAD"),
            ("/", "GET, HEAD"),
            ("/-/health/", "GET, HEAD"),
            ("/-/health", "GET, HEAD, OPTIONS"),
        ] {
            if method == "OPTIONS" && target == "/-/health" {
                continue;
            }
            let answer = server.ask(method, target);
            assert_eq!(answer.status, 405, "{method} {target}");
            assert_eq!(answer.expect("Allow"), allowed, "{method} {target}");
        }
    }
    // RFC 9110 §9.3.7: the asterisk form.
    assert_eq!(server.ask("OPTIONS", "*").status, 405);
}

#[test]
fn request_body_is_413_and_is_never_parsed_as_a_request() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let smuggled = "GET /h/a.png?w=7 HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = smuggled.len();
    for (head, expected) in [
        (format!("Content-Length: {length}"), &[413][..]),
        ("Content-Length: 1000000000000".to_owned(), &[413]),
        ("Content-Length: 99999999999999999999999999".to_owned(), &[413, 400]),
        ("Transfer-Encoding: chunked".to_owned(), &[413, 400]),
        ("Transfer-Encoding: identity, chunked".to_owned(), &[413, 400, 501]),
        ("Transfer-Encoding: xchunked".to_owned(), &[413, 400, 501]),
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), &[413, 400]),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"), &[413, 400]),
        (format!("Content-Length: {length}\r\nContent-Length: 0"), &[400, 413]),
        (format!("Content-Length: 0\r\nContent-Length: {length}"), &[400, 413]),
        (format!("Content-Length: 0, {length}"), &[400]),
        (format!("Content-Length: +{length}"), &[400]),
        ("Content-Length: -1".to_owned(), &[400]),
        ("Content-Length: 0x0".to_owned(), &[400]),
        ("Content-Length:".to_owned(), &[400]),
    ] {
        let mut client = server.client();
        client.send(
            format!("GET /h/a.png HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{smuggled}").as_bytes(),
        );
        let answer = client.read();
        assert!(expected.contains(&answer.status), "{head}: {}", answer.status);
        assert!(
            matches!(client.try_read(false), Ok(None) | Err(_)),
            "{head}: the body was parsed as a request"
        );
    }
    server.get_with("/h/a.png", &[("Content-Length", "0")]).ok();
}

#[test]
fn path_over_4_kib_is_414_and_a_long_query_is_not() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let path = |length: usize| format!("/h/{}", "a".repeat(length - 3));
    assert_eq!(server.get(&path(4097)).status, 414);
    assert_eq!(server.get(&path(9000)).status, 414);
    server.get(&path(4096)).failed("invalid_key");
    server.get(&format!("/h/a.png?padding={}", "x".repeat(6000))).ok();
}

#[test]
fn request_head_over_16_kib_is_431() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let padded = |total: usize| {
        let empty = request("GET", "/h/a.png", &[("X-Padding", "")]);
        request("GET", "/h/a.png", &[("X-Padding", &"x".repeat(total - empty.len()))])
    };
    for total in [16_385, 20_000, 60_000] {
        let mut client = server.client();
        let _ = client.try_send(&padded(total));
        assert_eq!(client.read().status, 431, "{total} bytes");
        assert!(client.ended());
    }
    server.send(&padded(16_384)).ok();
    // Heads without an end are refused too.
    let mut client = server.client();
    let _ =
        client.try_send(&[b"GET /h/a.png HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 20_000]].concat());
    assert_eq!(client.read().status, 431);
    let mut client = server.client();
    let _ = client.try_send(&[b"GET /".as_slice(), &[b'x'; 20_000]].concat());
    assert!([414, 431].contains(&client.read().status));
    // About as many fields as a browser behind three proxies sends.
    let names: Vec<String> = (0..60).map(|n| format!("X-Header-{n}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "value")).collect();
    server.get_with("/h/a.png", &headers).ok();
}

#[test]
fn malformed_requests_are_400_and_close_the_connection() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let malformed: [&[u8]; 22] = [
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /h/a.png\r\n\r\n",
        b"GET  /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /h/a b.png HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\nNoColon\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        b"GET h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /h/\x01.png HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /h/a.png HTTP/1.x\r\nHost: x\r\n\r\n",
        b"GET /h/a.png FTP/1.1\r\nHost: x\r\n\r\n",
        b"G\xc3\x84T /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS ClientHello\r\n\r\n",
    ];
    let mut wrong = Vec::new();
    for bytes in malformed {
        let mut client = server.client();
        client.send(bytes);
        let answer = client.read();
        if (answer.status, answer.header("Connection")) != (400, Some("close")) {
            wrong.push((answer.status, String::from_utf8_lossy(bytes)));
        }
        assert!(client.ended());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    server.get("/h/a.png").ok();
}

#[test]
fn unsupported_http_versions_are_505() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    for bytes in [
        &b"GET /h/a.png HTTP/2.0\r\nHost: x\r\n\r\n"[..],
        b"GET /h/a.png HTTP/3.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = server.client();
        client.send(bytes);
        assert_eq!(client.read().status, 505, "{:?}", String::from_utf8_lossy(bytes));
        client.expect_closed();
    }
}

#[test]
fn request_forms_that_rfc_9112_requires_are_accepted() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    for bytes in [
        // The absolute form (§3.2.2), an empty line before the request (§2.2), field names in any case, no space.
        &b"GET http://images.test/h/a.png HTTP/1.1\r\nHost: images.test\r\n\r\n"[..],
        b"\r\nGET /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nhOST:x\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /h/a.png HTTP/1.1\r\nHost: x:8080\r\nX-Obs: caf\xe9\r\n\r\n",
    ] {
        server.send(bytes).ok();
    }
    // HTTP/1.0 has no Host and no keep-alive.
    let mut client = server.client();
    client.send(b"GET /h/a.png HTTP/1.0\r\n\r\n");
    client.read().ok();
    client.expect_closed();
}

#[test]
fn keep_alive_lasts_until_connection_close() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    for width in 1..=30 {
        client.get(&format!("/h/a.png?w={width}")).ok();
        client.get("/h/missing.png").failed("not_found");
        assert_eq!(client.get("/nowhere/x").status, 404);
        assert_eq!(client.get("/-/health").status, 200);
    }
    for value in ["close", "Close", "foo, close"] {
        let mut client = server.client();
        let answer = client.get_with("/h/a.png", &[("Connection", value)]).ok();
        assert!(answer.expect("Connection").eq_ignore_ascii_case("close"));
        client.expect_closed();
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let directory = directory();
    let cache = Directory::new();
    let server =
        Server::with_handler(merged(directory.handler(), json!({"cache_path": cache.path()})));
    server.get("/h/a.png?w=5").ok();
    let mut client = server.client();
    let mut bytes = Vec::new();
    // A mix of misses, hits, errors and HEAD requests.
    for round in 0..20 {
        bytes.extend(request("GET", &format!("/h/a.png?w={}", 40 + round), &[]));
        bytes.extend(request("GET", "/h/a.png?w=5", &[]));
        bytes.extend(request("GET", "/h/missing.png", &[]));
        bytes.extend(request("HEAD", "/h/a.png?w=6", &[]));
        bytes.extend(request("GET", "/-/health", &[]));
    }
    client.send(&bytes);
    for round in 0..20 {
        assert_eq!(size_of(&client.read().ok().body).0, 40 + round);
        assert_eq!(size_of(&client.read().ok().body).0, 5);
        client.read().failed("not_found");
        assert_eq!(client.try_read(true).unwrap().unwrap().status, 200);
        assert_eq!(client.read().text().trim(), "ok");
    }
    assert!(client.is_quiet_for(Duration::from_millis(50)));
}

#[test]
fn request_head_may_arrive_in_pieces() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    for byte in request("GET", "/h/a.png", &[("X-Header", "value")]) {
        client.send(&[byte]);
    }
    client.read().ok();
    // The rest of one request together with the start of the next.
    let both = [request("GET", "/h/a.png?w=3", &[]), request("GET", "/h/a.png?w=4", &[])].concat();
    let middle = both.len() / 2 + 9;
    client.send(&both[..middle]);
    assert_eq!(size_of(&client.read().ok().body).0, 3);
    client.send(&both[middle..]);
    assert_eq!(size_of(&client.read().ok().body).0, 4);
}

#[test]
fn requests_after_connection_close_are_not_answered() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    client.send(
        &[request("GET", "/h/a.png", &[("Connection", "close")]), request("GET", "/h/a.png", &[])]
            .concat(),
    );
    client.read().ok();
    assert!(matches!(client.try_read(false), Ok(None) | Err(_)));
}

#[test]
fn half_closed_client_gets_its_response() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    client.send(&request("GET", "/h/a.png", &[]));
    client.finish_sending();
    client.read().ok();
    client.expect_closed();
}

#[test]
fn head_timeout_cuts_a_head_that_keeps_dribbling() {
    let directory = directory();
    let server =
        Server::with_limits(directory.handler(), json!({"head_timeout": 0.6, "idle_timeout": 60}));
    let mut stuck = server.client();
    stuck.send(b"GET /h/a.png HTTP/1.1\r\nHost: x\r\n");
    let mut dribbling = server.client();
    dribbling.send(b"GET /h/a.png HTTP/1.1\r\nX: ");
    let started = Instant::now();
    while dribbling.try_send(b"x").is_ok() && started.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < LONG, "an endless head was read for {:?}", started.elapsed());
    if let Ok(Some(answer)) = stuck.try_read(false) {
        assert_eq!(answer.status, 408);
    }
    assert!(stuck.ended());
    server.get("/h/a.png").ok();
}

#[test]
fn idle_timeout_closes_an_idle_connection() {
    let directory = directory();
    let server =
        Server::with_limits(directory.handler(), json!({"idle_timeout": 0.5, "head_timeout": 60}));
    let mut used = server.client();
    used.get("/h/a.png").ok();
    let mut unused = server.client();
    let started = Instant::now();
    used.expect_closed();
    unused.expect_closed();
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
}

#[test]
fn idle_timeout_does_not_apply_to_an_active_request() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        held.pass();
        peer.send(&object(&images::png(images::solid(4, 4, RED))))
    });
    let server =
        Server::with_limits(origin.handler(), json!({"idle_timeout": 0.2, "head_timeout": 0.2}));
    let mut client = server.client();
    client.send(&request("GET", "/h/a.png", &[]));
    let mut idle = server.client();
    idle.get("/-/health");
    idle.expect_closed();
    assert!(client.is_open_and_quiet(), "closed during a request");
    gate.open();
    client.read().ok();
}

#[test]
fn write_timeout_closes_a_connection_whose_client_does_not_read() {
    // Ten responses of 3 MB each exceed every socket buffer.
    let directory = directory().with("noise.png", &images::png(images::noise(1000, 1000)));
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let server = Server::with_limits(handler, json!({"write_timeout": 0.5, "connections": 1}));
    server.client().get_with("/h/noise.png", &[("Connection", "close")]).ok();
    let mut client = server.client();
    eventually("the first connection is closed", || {
        client = server.client();
        client.try_send(&request("GET", "/-/health", &[])).is_ok()
            && matches!(client.try_read(false), Ok(Some(answer)) if answer.status == 200)
    });
    client.send(&request("GET", "/h/noise.png", &[]).repeat(10));
    // That client holds the only connection until it times out.
    eventually("a client that does not read is disconnected", || {
        let mut other = server.client();
        other.try_send(&request("GET", "/h/a.png", &[])).is_ok()
            && matches!(other.try_read(false), Ok(Some(answer)) if answer.status == 200)
    });
}

#[test]
fn full_connection_table_closes_the_longest_idle_connection() {
    let directory = directory();
    let server = Server::with_limits(directory.handler(), json!({"connections": 3}));
    let mut within: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut within {
        client.get("/h/a.png").ok();
        std::thread::sleep(Duration::from_millis(10));
    }
    // A request on the first makes the second the longest idle connection.
    within[0].get("/h/a.png").ok();
    std::thread::sleep(Duration::from_millis(10));
    let mut next = server.client();
    next.get("/h/a.png").ok();
    within.remove(1).expect_closed();
    within.push(next);
    for client in &mut within {
        client.get("/h/a.png").ok();
    }
}

#[test]
fn full_connection_table_of_busy_connections_refuses_the_next_with_503() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let server = Server::with_limits(origin.handler(), json!({"connections": 3}));
    let mut busy: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for (n, client) in busy.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/h/held-{n}.png"), &[]));
    }
    origin.wait_for_requests(3);
    let mut over = server.client();
    let _ = over.try_send(&request("GET", "/-/health", &[]));
    let answer = over.read();
    assert_eq!(answer.status, 503);
    assert!(answer.expect("Retry-After").parse::<u64>().is_ok());
    over.expect_closed();
    gate.open();
    for client in &mut busy {
        client.read().ok();
    }
    // Now there are idle connections to close.
    server.get("/h/free.png").ok();
}

#[test]
fn connections_per_address_does_not_apply_to_trusted_proxies() {
    let directory = directory();
    for (trusted, expected) in [(json!(["192.0.2.0/24"]), 503), (json!(["127.0.0.0/8"]), 200)] {
        let server = Server::start(json!({
            "handlers": [directory.handler()],
            "limits": {"connections_per_address": 2},
            "trusted_proxies": trusted,
        }));
        let mut within: Vec<Client> = (0..2).map(|_| server.client()).collect();
        for client in &mut within {
            client.get("/h/a.png").ok();
        }
        let mut over = server.client();
        let _ = over.try_send(&request("GET", "/h/a.png", &[]));
        let answer = over.read();
        assert_eq!(answer.status, expected);
        if expected == 503 {
            assert!(answer.text().contains("from your address"), "{}", answer.text());
            server.log.event_with("connection_refused", "limits.connections_per_address");
        }
        for client in &mut within {
            client.get("/h/a.png").ok();
        }
        drop((within, over));
        eventually("a connection is accepted", || {
            let mut next = server.client();
            next.try_send(&request("GET", "/h/a.png", &[])).is_ok()
                && matches!(next.try_read(false), Ok(Some(answer)) if answer.status == 200)
        });
    }
}

#[test]
fn every_refused_connection_gets_its_503_and_no_reset() {
    const REFUSED: usize = 200;
    let directory = directory();
    let server = Server::start(json!({
        "handlers": [directory.handler()],
        "limits": {"connections_per_address": 2},
    }));
    let mut within: Vec<Client> = (0..2).map(|_| server.client()).collect();
    for client in &mut within {
        client.get("/h/a.png").ok();
    }
    let mut refused: Vec<Client> = (0..REFUSED).map(|_| server.client()).collect();
    for (n, client) in refused.iter_mut().enumerate() {
        // Half of them send their request after the server has answered.
        if n % 2 == 0 {
            client.wait_for_first_bytes();
        }
        client.send(&request("GET", "/h/a.png", &[]));
    }
    for client in &mut refused {
        let answer = client.read();
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
        assert!(client.try_read(false).unwrap().is_none());
    }
    within[0].get("/h/a.png").ok();
}

/// An origin that answers `free*` at once, and other requests when the gate opens.
fn gated(gate: &Gate) -> RawOrigin {
    let held = gate.clone();
    RawOrigin::start(move |request, peer| {
        if !request.path().starts_with("/bucket/free") {
            held.pass();
        }
        peer.send(&object(&images::png(images::solid(4, 4, RED))))
    })
}

#[test]
fn full_queue_is_503_for_misses_and_still_serves_hits() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let cache = Directory::new();
    let handler = merged(origin.handler(), json!({"cache_path": cache.path()}));
    let limits =
        json!({"fetches_at_once": 1, "renders_at_once": 1, "queue_length": 0, "queue_timeout": 30});
    let server = Server::with_limits(handler, limits);
    server.get("/h/free.png").ok();
    let mut first = server.client();
    first.send(&request("GET", "/h/held.png", &[]));
    origin.wait_for_requests(2);
    let refused = server.get("/h/other.png");
    assert_eq!(refused.status, 503);
    assert!(refused.expect("Retry-After").parse::<u64>().is_ok());
    assert!(refused.cache_control().contains(&"no-store"), "{:?}", refused.headers);
    assert_eq!(server.get("/h/free.png").ok().expect("X-Cache"), "hit");
    assert_eq!(server.get("/-/health").status, 200);
    gate.open();
    first.read().ok();
    server.get("/h/other.png").ok();
}

#[test]
fn queue_timeout_is_503() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let limits = json!({"fetches_at_once": 1, "renders_at_once": 1, "queue_length": 5, "queue_timeout": 0.4});
    let server = Server::with_limits(origin.handler(), limits);
    let mut first = server.client();
    first.send(&request("GET", "/h/held.png", &[]));
    origin.wait_for_requests(1);
    let started = Instant::now();
    let refused = server.get("/h/other.png");
    assert_eq!(refused.status, 503);
    assert!(refused.header("Retry-After").is_some());
    assert!(
        started.elapsed() >= Duration::from_millis(400) && started.elapsed() < LONG,
        "{:?}",
        started.elapsed()
    );
    gate.open();
    first.read().ok();
}

#[test]
fn queued_requests_are_served_in_turn() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let limits = json!({"fetches_at_once": 1, "renders_at_once": 1, "queue_length": 10, "queue_timeout": 30});
    let server = Server::with_limits(origin.handler(), limits);
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/h/held{n}.png"), &[]));
    }
    origin.wait_for_requests(1);
    gate.open();
    for client in &mut clients {
        client.read().ok();
    }
}

#[test]
fn reset_connections_leave_the_connection_table() {
    let directory = directory();
    let server = Server::with_limits(directory.handler(), json!({"connections": 20}));
    for round in 0..60 {
        let socket = std::net::TcpStream::connect(server.http()).unwrap();
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        let bytes = request("GET", &format!("/h/a.png?w={}", round % 50 + 1), &[]);
        let part = if round % 2 == 0 { bytes.len() } else { bytes.len() / 2 };
        std::io::Write::write_all(&mut &socket, &bytes[..part]).unwrap();
    }
    eventually("every connection is released", || {
        let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
        clients.iter_mut().all(|client| {
            client.try_send(&request("GET", "/-/health", &[])).is_ok()
                && matches!(client.try_read(false), Ok(Some(answer)) if answer.status == 200)
        })
    });
}

#[test]
fn hundreds_of_idle_connections_do_not_delay_requests() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let idle: Vec<Client> = (0..300).map(|_| server.client()).collect();
    for width in 1..=20 {
        server.get(&format!("/h/a.png?w={width}")).ok();
    }
    drop(idle);
}

#[test]
fn server_recovers_from_running_out_of_descriptors() {
    let directory = directory();
    let wrapper = Directory::new();
    let script = wrapper
        .put("limited", format!("#!/bin/sh\nulimit -n 80\nexec '{PROGRAM}' \"$@\"\n").as_bytes());
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = json!({"handlers": [directory.handler()], "limits": {"connections": 1000}});
    let server = Setup::new(config).program(script).start();
    server.get("/h/a.png?w=5").ok();
    let crowd: Vec<Client> = (0..150).map(|_| server.client()).collect();
    drop(crowd);
    eventually("the server accepts again", || {
        let mut client = server.client();
        client.try_send(&request("GET", "/h/a.png?w=6", &[])).is_ok()
            && matches!(client.try_read(false), Ok(Some(answer)) if answer.status == 200)
    });
}
