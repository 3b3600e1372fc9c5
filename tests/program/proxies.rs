//! Trusted proxies: `X-Forwarded-For`, `Forwarded`, `X-Forwarded-Proto` and the PROXY protocol.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::merged;
use crate::support::server::{Server, Setup};

/// A network that contains the tests' clients.
const TRUSTED: &str = "127.0.0.0/8";
/// A network that does not.
const ELSEWHERE: &str = "198.51.100.0/24";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

fn start(directory: &Directory, more: Value) -> Server {
    Server::start(merged(json!({"handlers": [directory.handler()]}), more))
}

/// A server with HTTPS, and the certificates that its clients trust.
fn start_tls(directory: &Directory, more: Value) -> (Server, Certificates) {
    let certificates = Certificates::new();
    let config = merged(
        json!({
            "handlers": [directory.handler()],
            "https_enabled": true,
            "https_port": 0,
            "https_cert": "0.crt",
            "https_key": "0.key",
        }),
        more,
    );
    let setup = Setup::new(config)
        .file("0.crt", certificates.chain_pem.as_bytes())
        .file("0.key", certificates.key_pem.as_bytes());
    (setup.start(), certificates)
}

/// A version 2 header: version and command, family and protocol, addresses and extensions.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, rest].concat()
}

/// From 192.0.2.33, with an extension (PP2_TYPE_NOOP).
fn v2_of_ipv4() -> Vec<u8> {
    v2(0x21, 0x11, &[192, 0, 2, 33, 127, 0, 0, 1, 0x30, 0x39, 0, 80, 4, 0, 3, 1, 2, 3])
}

/// From 2001:db8::33.
fn v2_of_ipv6() -> Vec<u8> {
    let mut rest = [0; 36];
    rest[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    rest[15] = 0x33;
    v2(0x21, 0x21, &rest)
}

#[test]
fn access_log_shows_the_client_named_by_a_trusted_proxy() {
    const CASES: &[(&[(&str, &str)], &str)] = &[
        (&[], "127.0.0.1"),
        (&[("X-Forwarded-For", "192.0.2.7")], "192.0.2.7"),
        (&[("X-Forwarded-For", "192.0.2.7:4711")], "192.0.2.7"),
        (&[("X-Forwarded-For", "2001:db8::7")], "2001:db8::7"),
        (&[("X-Forwarded-For", "[2001:db8::7]:4711")], "2001:db8::7"),
        // Proxies append, so the first address may be forged.
        (&[("X-Forwarded-For", "203.0.113.9, 192.0.2.7")], "192.0.2.7"),
        (&[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "192.0.2.7")], "192.0.2.7"),
        (&[("X-Forwarded-For", "192.0.2.7, 127.0.0.9")], "192.0.2.7"),
        (&[("X-Forwarded-For", "garbage, 192.0.2.7, 127.0.0.9, 127.8.8.8")], "192.0.2.7"),
        (&[("X-Forwarded-For", "192.0.2.7, garbage")], "127.0.0.1"),
        (&[("X-Forwarded-For", "\u{1f600}")], "127.0.0.1"),
        (&[("X-Forwarded-For", "a b\\nGET /forged")], "127.0.0.1"),
        (&[("Forwarded", "for=192.0.2.7;proto=https")], "192.0.2.7"),
        (&[("Forwarded", "for=\"[2001:db8::7]:1\", for=127.0.0.3")], "2001:db8::7"),
        (&[("Forwarded", "for=unknown")], "127.0.0.1"),
        (&[("Forwarded", "for=\"203.0.113.9"), ("Forwarded", "for=192.0.2.7")], "192.0.2.7"),
        // One of them may be forged.
        (&[("Forwarded", "for=203.0.113.9"), ("X-Forwarded-For", "192.0.2.7")], "127.0.0.1"),
        (&[("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "192.0.2.7")], "192.0.2.7"),
    ];
    let directory = directory();
    for trusted in [true, false] {
        let networks =
            if trusted { json!([ELSEWHERE, TRUSTED]) } else { json!([ELSEWHERE, "::/0"]) };
        let server = start(&directory, json!({"trusted_proxies": networks}));
        let mut client = server.client();
        for (number, (fields, named)) in CASES.iter().enumerate() {
            let target = format!("/h/a.png?{number}");
            client.get_with(&target, fields).ok();
            let expected = if trusted { named } else { "127.0.0.1" };
            assert_eq!(server.log.access(&target)[1], expected, "{fields:?}");
        }
    }
}

#[test]
fn https_strict_accepts_forwarded_https_from_a_trusted_proxy() {
    let directory = directory();
    for (trusted, is_trusted) in [(TRUSTED, true), (ELSEWHERE, false)] {
        let more = json!({"https_strict": true, "https_hsts": 600, "trusted_proxies": [trusted]});
        let (server, certificates) = start_tls(&directory, more);
        let mut plain = server.client();
        for (fields, secure) in [
            (&[("X-Forwarded-Proto", "https")][..], true),
            (&[("X-Forwarded-Proto", "HTTPS")], true),
            (&[("Forwarded", "for=192.0.2.7;proto=https")], true),
            (&[("X-Forwarded-Proto", "http, https")], true),
            (&[], false),
            (&[("X-Forwarded-Proto", "http")], false),
            (&[("X-Forwarded-Proto", "https, http")], false),
            (&[("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")], false),
            (&[("X-Forwarded-Proto", "https"), ("Forwarded", "proto=http")], false),
            (&[("X-Forwarded-Proto", "ftp")], false),
            (&[("X-Forwarded-Proto", "")], false),
            (&[("X-Forwarded-Protocol", "https"), ("X-Forwarded-Ssl", "on")], false),
        ] {
            let answer = plain.get_with("/h/a.png", fields);
            let expected = if secure && is_trusted { 200 } else { 301 };
            assert_eq!(answer.status, expected, "{trusted} {fields:?}");
            let hsts = answer.header("Strict-Transport-Security");
            assert_eq!(hsts.is_some(), expected == 200, "{fields:?}");
        }
        // A request over HTTPS is redirected only if a trusted proxy says that it received plain HTTP.
        let mut secure =
            Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13]))
                .unwrap();
        let answer = secure.get_with("/h/a.png", &[("X-Forwarded-Proto", "http")]);
        assert_eq!(answer.status, if is_trusted { 301 } else { 200 });
        secure.get("/h/a.png").ok();
    }
}

/// Sends bytes in pieces, with a pause between them.
fn send_slowly(client: &mut Client, bytes: &[u8], pieces: usize) {
    for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
        client.send(piece);
        thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn proxy_header_names_the_client_even_if_it_arrives_in_pieces() {
    let directory = directory();
    let more = json!({"trusted_proxies": [TRUSTED], "proxy_protocol": true});
    let (server, certificates) = start_tls(&directory, more);
    let cases: [(&[u8], &str); 8] = [
        (b"PROXY TCP4 192.0.2.33 127.0.0.1 12345 80\r\n", "192.0.2.33"),
        (b"PROXY TCP6 2001:db8::33 ::1 12345 80\r\n", "2001:db8::33"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
        (&v2_of_ipv4(), "192.0.2.33"),
        (&v2_of_ipv6(), "2001:db8::33"),
        // LOCAL: a connection of the proxy itself, whose addresses are ignored.
        (&v2(0x20, 0x11, &[192, 0, 2, 33, 127, 0, 0, 1, 0, 1, 0, 2]), "127.0.0.1"),
        (&v2(0x21, 0x00, b"whatever"), "127.0.0.1"),
    ];
    for (number, (header, expected)) in cases.into_iter().enumerate() {
        let shown = String::from_utf8_lossy(header).into_owned();
        let target = |how: &str| format!("/h/a.png?{how}{number}");
        let get = |how| request("GET", &target(how), &[]);
        let is_logged =
            |how: &str| assert_eq!(server.log.access(&target(how))[1], expected, "{how} {shown:?}");
        // In one segment with two requests.
        let mut client = server.client();
        client.send(&[header, &get("whole"), &get("second")].concat());
        client.read().ok();
        client.read().ok();
        // The client stays the same for the whole connection.
        client.get(&target("third")).ok();
        ["whole", "second", "third"].into_iter().for_each(is_logged);
        // In pieces, down to single bytes.
        for (how, pieces) in [("two", 2), ("bytes", header.len())] {
            let mut client = server.client();
            send_slowly(&mut client, header, pieces);
            client.get(&target(how)).ok();
            is_logged(how);
        }
        // In one segment with a part of the request.
        let mut client = server.client();
        let whole = [header, &get("part")].concat();
        client.send(&whole[..header.len() + 9]);
        thread::sleep(Duration::from_millis(3));
        client.send(&whole[header.len() + 9..]);
        client.read().ok();
        is_logged("part");
        // Before the TLS handshake.
        let config = certificates.client(&[&TLS13]);
        let mut client =
            Client::connect_tls_after(server.https(), header, "localhost", config).unwrap();
        client.get(&target("tls")).ok();
        is_logged("tls");
    }
}

#[test]
fn forwarding_fields_of_a_client_behind_a_proxy_header_are_ignored() {
    let directory = directory();
    let server = start(&directory, json!({"trusted_proxies": [TRUSTED], "proxy_protocol": true}));
    let mut client = server.client();
    client.send(b"PROXY TCP4 192.0.2.33 127.0.0.1 12345 80\r\n");
    client.get_with("/h/a.png?one", &[("X-Forwarded-For", "203.0.113.9")]).ok();
    assert_eq!(server.log.access("/h/a.png?one")[1], "192.0.2.33");
    // Unless the PROXY header names another trusted proxy.
    let mut client = server.client();
    client.send(b"PROXY TCP4 127.0.0.5 127.0.0.1 12345 80\r\n");
    client.get_with("/h/a.png?two", &[("X-Forwarded-For", "203.0.113.9")]).ok();
    assert_eq!(server.log.access("/h/a.png?two")[1], "203.0.113.9");
}

/// Whether the server closes the connection without a response.
fn is_closed_silently(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut client = Client::connect(address);
    let _ = client.try_send(bytes);
    match client.try_read(false) {
        Ok(None) => true,
        Ok(Some(answer)) => panic!("{bytes:?} was answered {}", answer.status),
        Err(error) => {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        }
    }
}

#[test]
fn missing_proxy_header_closes_the_connection_and_is_logged_once() {
    let directory = directory();
    let more = json!({"trusted_proxies": [TRUSTED], "proxy_protocol": true});
    let (server, certificates) = start_tls(&directory, more);
    let get = request("GET", "/h/a.png?never", &[]);
    let mut too_long = b"PROXY TCP4 192.0.2.33 127.0.0.1 12345 80".to_vec();
    too_long.resize(200, b' ');
    for bytes in [
        &get[..],
        b"PROXY TCP4 192.0.2.33 127.0.0.1 12345 80\n",
        b"PROXY TCP4 192.0.2.256 127.0.0.1 12345 80\r\n",
        b"PROXY TCP4 192.0.2.33 127.0.0.1 12345 65536\r\n",
        b"PROXY TCP4 2001:db8::33 ::1 12345 80\r\n",
        b"PROXY UDP4 192.0.2.33 127.0.0.1 12345 80\r\n",
        b"proxy TCP4 192.0.2.33 127.0.0.1 12345 80\r\n",
        &too_long,
        &v2(0x31, 0x11, &[0; 12]),
        &v2(0x22, 0x11, &[0; 12]),
        &v2(0x21, 0x77, &[0; 12]),
        &v2(0x21, 0x11, &[0; 11]),
        &v2(0x21, 0x11, &[0; 60_000]),
        b"\r\n\r\n\0\r\nQUIT\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let with_a_request = [bytes, &get].concat();
        assert!(
            is_closed_silently(server.http(), &with_a_request),
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        assert!(
            is_closed_silently(server.https(), &with_a_request),
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert!(
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).is_err()
    );
    // A health check that only connects is not logged.
    drop(server.client());
    server.log.event("proxy_header_invalid");
    let mut client = server.client();
    client.send(b"PROXY UNKNOWN\r\n");
    client.get("/h/a.png?last").ok();
    server.log.access("/h/a.png?last");
    let lines = server.log.lines();
    assert_eq!(server.log.count("proxy_header_invalid"), 1, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("never")), "{lines:?}");
}

#[test]
fn proxy_header_from_an_untrusted_peer_is_400() {
    let directory = directory();
    let v1 = b"PROXY TCP4 192.0.2.33 127.0.0.1 12345 80\r\n";
    for more in [
        json!({"trusted_proxies": [ELSEWHERE], "proxy_protocol": true}),
        json!({"trusted_proxies": [TRUSTED], "proxy_protocol": false}),
        json!({}),
    ] {
        let (server, certificates) = start_tls(&directory, more);
        for header in [&v1[..], &v2_of_ipv4(), &v2_of_ipv6()] {
            let mut client = server.client();
            client.send(&[header, &request("GET", "/h/a.png?never", &[])].concat());
            let answer = client.read();
            assert_eq!(answer.status, 400);
            client.expect_closed();
            let config = certificates.client(&[&TLS13]);
            assert!(
                Client::connect_tls_after(server.https(), header, "localhost", config).is_err()
            );
        }
        // Requests without a header are served.
        server.get("/h/a.png?good").ok();
        server.log.access("/h/a.png?good");
        let lines = server.log.lines();
        assert!(
            !lines.iter().any(|line| line.contains("192.0.2.33") || line.contains("never")),
            "{lines:?}"
        );
    }
}

#[test]
fn plain_http_on_the_https_port_is_400_after_a_proxy_header() {
    let directory = directory();
    let more = json!({"https_hsts": 60, "trusted_proxies": [TRUSTED], "proxy_protocol": true});
    let (server, _) = start_tls(&directory, more);
    let mut client = Client::connect(server.https());
    client.send(&[&v2_of_ipv4(), &request("GET", "/h/a.png", &[])[..]].concat());
    let answer = client.read();
    assert_eq!((answer.status, answer.text().trim()), (400, "this port speaks HTTPS"));
    // RFC 6797 §7.2: not over plain HTTP.
    assert_eq!(answer.header("Strict-Transport-Security"), None);
    client.expect_closed();
}

#[test]
fn head_timeout_cuts_a_dribbling_proxy_header() {
    const LONG: Duration = Duration::from_secs(20);
    let directory = directory();
    let more = json!({
        "trusted_proxies": [TRUSTED],
        "proxy_protocol": true,
        "limits": {"head_timeout": 0.3, "idle_timeout": 60},
    });
    let server = start(&directory, more);
    let mut extended = v2_of_ipv4();
    extended[14..16].copy_from_slice(&4000_u16.to_be_bytes());
    for (start, rest) in [(&b""[..], &b""[..]), (b"PROXY UNKNOWN ", b"x"), (&extended, b"x")] {
        let started = Instant::now();
        let mut client = server.client();
        client.send(start);
        while client.try_send(rest).is_ok() && started.elapsed() < LONG {
            if rest.is_empty() {
                client.expect_closed();
                break;
            }
            // At most 80 bytes a second, which stays below the maximum of either header.
            thread::sleep(Duration::from_millis(12));
        }
        assert!(started.elapsed() < LONG, "{start:?}");
        assert!(
            started.elapsed() >= Duration::from_millis(250),
            "{start:?}: {:?}",
            started.elapsed()
        );
    }
    // After the header, idle_timeout applies until the request.
    let mut client = server.client();
    client.send(b"PROXY UNKNOWN\r\n");
    thread::sleep(Duration::from_millis(400));
    client.get("/h/a.png").ok();
}

#[test]
fn connections_without_a_proxy_header_make_room_for_others() {
    let directory = directory();
    let more = json!({
        "trusted_proxies": [TRUSTED],
        "proxy_protocol": true,
        "limits": {"connections": 4, "head_timeout": 60},
    });
    let server = start(&directory, more);
    let _quiet: Vec<Client> = (0..4).map(|_| server.client()).collect();
    // After a second without a header they count as slow.
    thread::sleep(Duration::from_millis(1200));
    let mut client = server.client();
    client.send(b"PROXY UNKNOWN\r\n");
    client.get("/h/a.png").ok();
}

#[test]
fn connections_per_address_does_not_count_clients_of_a_trusted_proxy() {
    let directory = directory();
    let more = json!({
        "trusted_proxies": [TRUSTED],
        "proxy_protocol": true,
        "limits": {"connections_per_address": 2},
    });
    let server = start(&directory, more);
    let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(&v2_of_ipv4());
        client.get("/h/a.png").ok();
    }
    for client in &mut clients {
        client.get("/h/a.png").ok();
    }
}
