//! An origin that is a web server: `http`.

use std::io::Write;
use std::net::TcpListener;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Fake, expect_colour, expire, handler, image};
use crate::support::certificates::Certificates;
use crate::support::directory::Directory;
use crate::support::images::{GREEN, RED, size_of};
use crate::support::merged;
use crate::support::origin::{self, RawOrigin, Then, answer, object};
use crate::support::server::{Server, Setup};

fn url(origin: &RawOrigin) -> String {
    format!("http://{}/base/", origin.address())
}

/// A handler with this web server as its only origin.
fn web(origin: &RawOrigin, fields: Value) -> Value {
    let http = merged(json!({"url": url(origin), "allow_private": true}), fields);
    json!({"name": "h", "http": http, "output_format": "png"})
}

#[test]
fn a_web_server_may_be_the_only_origin() {
    let origin = RawOrigin::always(object(&image(RED)));
    let headers = json!({"headers": {"Authorization": "$TOKEN_OF_LEGACY"}});
    let server = Setup::new(json!({"handlers": [web(&origin, headers)]}))
        .env("TOKEN_OF_LEGACY", "Bearer hush")
        .start();
    let found = server.get("/h/a%20b/c.png?w=8").ok();
    assert_eq!(size_of(&found.body), (8, 8));
    assert_eq!(found.expect("Last-Modified"), "Tue, 14 Apr 2020 09:00:00 GMT");
    let request = origin.requests().remove(0);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/base/a%20b/c.png"));
    assert_eq!(request.header("authorization"), Some("Bearer hush"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert!(server.log.lines().iter().all(|line| !line.contains("hush")));
}

#[test]
fn certificates_of_web_servers_are_verified() {
    let certificates = Certificates::new();
    let bytes = object(&image(RED));
    let origin = RawOrigin::start_tls(certificates.server(), move |_, peer| peer.send(&bytes));
    let directory = Directory::new();
    let ca_file = directory.put("ca.pem", certificates.root_pem.as_bytes());
    let at = |host: &str, fields: Value| {
        let url = format!("https://{host}:{}/", origin.address().port());
        let http = merged(json!({"url": url, "allow_private": true}), fields);
        Server::with_handler(json!({"name": "h", "http": http}))
    };
    at("localhost", json!({"ca_file": ca_file})).get("/h/a.png").ok();
    let untrusted = at("localhost", json!({}));
    untrusted.get("/h/a.png").failed("origin_unreachable");
    let said = untrusted.log.event("image_failed");
    assert!(said.contains("not trusted") && said.contains("handlers[0].http.ca_file"), "{said}");
    // A certificate for another name.
    let other = certificates.server_with(&certificates.issue(&["elsewhere.example"]));
    let origin = RawOrigin::start_tls(other, |_, _| Then::Close);
    let http = json!({
        "url": format!("https://localhost:{}/", origin.address().port()),
        "allow_private": true,
        "ca_file": ca_file,
    });
    let server = Server::with_handler(json!({"name": "h", "http": http}));
    server.get("/h/a.png").failed("origin_unreachable");
    assert!(origin.requests().is_empty());
}

#[test]
fn names_and_addresses_that_are_not_public_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "127.1"] {
        let http = format!("http://{host}:{port}/");
        let server = Server::with_handler(json!({"name": "h", "http": http}));
        server.get("/h/a.png").failed("origin_unreachable");
        let said = server.log.event("image_failed");
        let advice = "is not public; to connect to it all the same, set handlers[0].http.allow_private to true";
        assert!(said.contains(advice), "{host}: {said}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nothing has connected");
}

fn decode_often(path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..5 {
        path = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
    }
    path
}

#[test]
fn no_request_chooses_host_or_directory() {
    let origin = RawOrigin::always(answer(404, &[], b""));
    let elsewhere = RawOrigin::always(object(&image(RED)));
    let server = Server::start(json!({"handlers": [web(&origin, json!({}))]}));
    let other = elsewhere.address();
    let host = origin.address().to_string();
    for path in [
        format!("//{other}/a"),
        format!("/{other}/a"),
        format!("@{other}/a"),
        format!("http://{other}/a"),
        format!("a%3Fx@{other}"),
        "a//b".into(),
        "a%23b".into(),
        "a%3Fb".into(),
        "a%252fb".into(),
        "a%2fb".into(),
        "%5C%5C".into(),
        "a%0d%0aHost:%20x".into(),
        "..a/b..".into(),
        "a%00b".into(),
        "..".into(),
        "../a".into(),
        "a/%2e%2e/%2e%2e/b".into(),
        "..%2f..%2fb".into(),
        "%252e%252e/b".into(),
        "..%5c..%5cb".into(),
        "..;/b".into(),
        "..%3b/b".into(),
    ] {
        let target = format!("/h/{path}");
        let before = origin.requests().len();
        let head = format!("GET {target} HTTP/1.1\r\nHost: {other}\r\n\r\n");
        let answered = server.send(head.as_bytes());
        assert_ne!(answered.status, 200, "{path}");
        for request in &origin.requests()[before..] {
            let below = request.target.strip_prefix("/base/").unwrap_or_else(|| panic!("{path}"));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
            assert!(below.bytes().all(plain), "{path}: {below}");
            // As the least careful server would read it.
            let decoded = decode_often(below);
            let mut segments = decoded.split(['/', '\\']);
            let is_dots = |segment: &str| segment.split(';').next() == Some("..");
            assert!(!segments.any(is_dots), "{path}: {below}");
            assert_eq!(request.header("host"), Some(host.as_str()), "{path}");
        }
    }
    assert_eq!(elsewhere.accepted(), 0);
    assert!(origin.requests().len() > 8, "{} requests", origin.requests().len());
}

#[test]
fn redirects_are_followed_below_the_directory_only() {
    let elsewhere = RawOrigin::always(object(&image(RED)));
    let other = elsewhere.address();
    let bytes = object(&image(GREEN));
    let origin = RawOrigin::start(move |request, peer| {
        let location = match request.target.as_str() {
            "/base/moved" => "/base/here".to_owned(),
            "/base/here" => return peer.send(&bytes),
            "/base/loop" => "/base/loop".to_owned(),
            "/base/host" => format!("http://{other}/base/here"),
            "/base/relative-host" => format!("//{other}/base/here"),
            "/base/out" => "/here".to_owned(),
            "/base/dots" => "/base/../here".to_owned(),
            "/base/encoded-dots" => "/base/%2e%2e/here".to_owned(),
            "/base/metadata" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            _ => "file:///etc/passwd".to_owned(),
        };
        peer.send(&answer(302, &[("Location", &location)], b"elsewhere"))
    });
    let server = Server::start(json!({"handlers": [web(&origin, json!({}))]}));
    expect_colour(&server.get("/h/moved").ok(), GREEN);
    for key in ["host", "relative-host", "out", "dots", "encoded-dots", "metadata", "file"] {
        server.get(&format!("/h/{key}")).failed("origin_error");
        let said = server.log.line_with(&format!("key \"{key}\""));
        assert!(said.contains("answered 302: a redirect"), "{said}");
    }
    server.get("/h/loop").failed("origin_error");
    let requests = origin.requests();
    assert_eq!(requests.iter().filter(|request| request.target == "/base/loop").count(), 4);
    assert!(requests.iter().all(|request| request.target.starts_with("/base/")));
    assert_eq!(elsewhere.accepted(), 0);
}

#[test]
fn bodies_are_whole_and_within_their_limit() {
    let whole = object(&image(RED));
    let length = image(RED).len();
    let origin = RawOrigin::start(move |request, peer| {
        let answer = match request.target.as_str() {
            "/base/cut" => whole[..whole.len() - 1].to_vec(),
            "/base/long" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", length * 100);
                [head.as_bytes(), &image(RED)].concat()
            }
            "/base/huge" => b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
            "/base/endless" => {
                let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = peer.write(head);
                while peer.write(&chunk).is_ok() {}
                return Then::Close;
            }
            "/base/no-length" => [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &image(RED)].concat(),
            _ => origin::answer(410, &[], b"gone"),
        };
        let _ = peer.write(&answer);
        Then::Close
    });
    let limits = json!({"origin_max_bytes": 100_000});
    let server = Server::with_limits(web(&origin, json!({})), limits);
    for (key, code) in [
        ("cut", "origin_truncated"),
        ("long", "origin_truncated"),
        ("huge", "too_large"),
        ("endless", "too_large"),
        ("no-length", "origin_error"),
        ("gone", "not_found"),
    ] {
        server.get(&format!("/h/{key}")).failed(code);
    }
}

#[test]
fn a_gzipped_image_is_decoded() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&image(GREEN)).unwrap();
    let bytes = encoder.finish().unwrap();
    let origin = RawOrigin::always(answer(200, &[("Content-Encoding", "gzip")], &bytes));
    let server = Server::start(json!({"handlers": [web(&origin, json!({}))]}));
    expect_colour(&server.get("/h/a.png").ok(), GREEN);
}

#[test]
fn a_stale_variant_is_revalidated_by_date_without_an_entity_tag() {
    let bytes = image(GREEN);
    let origin = RawOrigin::start(move |request, peer| {
        let date = "Tue, 14 Apr 2020 09:00:00 GMT";
        let fields = [("Last-Modified", date), ("Date", "Tue, 14 Apr 2020 10:00:00 GMT")];
        match request.header("if-modified-since") {
            Some(since) if since == date => peer.send(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
            _ => peer.send(&answer(200, &fields, &bytes)),
        }
    });
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1});
    let server = Server::with_handler(merged(web(&origin, json!({})), fields));
    server.get("/h/a.png").ok();
    expire();
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "revalidated");
    assert_eq!(origin.requests().len(), 2);
    assert_eq!(origin.requests()[1].header("if-none-match"), None);
}

#[test]
fn originals_of_a_web_server_can_be_cached() {
    let fake = Fake::start(2);
    let directories = Directory::new();
    let fields = json!({
        "cache_path": directories.path().join("variants"),
        "originals_cache": {"path": directories.path().join("originals")},
    });
    let http = json!({"url": format!("http://{}", fake.raw.address()), "allow_private": true});
    let server = Server::with_handler(handler(json!([{"http": http}]), fields));
    for width in 1..=3 {
        server.get(&format!("/h/a.png?w={width}")).ok();
    }
    assert_eq!(fake.count(), 1);
}
