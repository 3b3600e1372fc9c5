//! Heads that dribble, never end or are malformed; bytes after a malformed head must not be parsed as a request.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{HIT, LONG, crowd, start};
use crate::support::TIMEOUT;
use crate::support::client::{Client, request};
use crate::support::server::Server;
use crate::support::vitals::Vitals;

#[test]
fn head_timeout_cuts_dribbling_heads_while_others_are_served() {
    let server = start(json!({"head_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let heads: [&[u8]; 5] = [
        b"G",
        b"GET /h/a.png?x=",
        b"GET /h/a.png HTTP/1.1\r\nX-",
        b"GET /h/a.png HTTP/1.1\r\nHost: ",
        b"GET /h/a.png HTTP/1.1\r\nHost: x\r\nX: ",
    ];
    let mut clients: Vec<(usize, Client)> = crowd(&server, 80).into_iter().enumerate().collect();
    for (number, client) in &mut clients {
        if *number % 2 == 0 {
            client.get(HIT).ok();
        }
        client.send(heads[*number % heads.len()]);
    }
    let started = Instant::now();
    while !clients.is_empty() {
        assert!(started.elapsed() < LONG, "{} heads are still being read", clients.len());
        clients.retain_mut(|(_, client)| client.try_send(b"x").is_ok());
        vitals.answers_at_once();
        thread::sleep(Duration::from_millis(50));
    }
    assert!(started.elapsed() > Duration::from_millis(700), "cut after {:?}", started.elapsed());
    vitals.are_back();
}

#[test]
fn endless_heads_are_cut() {
    let server = start(json!({"head_timeout": 1, "idle_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    // (start, repeated part, expected statuses)
    let endless: [(&str, &str, &[u16]); 14] = [
        ("", "G", &[414]),
        ("GET /", "x", &[414]),
        ("GET /h/a.png?", "x", &[414]),
        ("GET /", "%00", &[414]),
        ("GET /h/a.png HTTP/1.1", "1", &[414]),
        ("GET /h/a.png HTTP/1.1\r\n", "X", &[431]),
        ("GET /h/a.png HTTP/1.1\r\nHost: x\r\nX:", " ", &[431]),
        ("GET /h/a.png HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", &[431]),
        ("GET /h/a.png HTTP/1.1\r\nHost: x\r\n", "X: y\n", &[431]),
        ("GET /h/a.png HTTP/1.1\r\nHost: x\r\nX: y", "\r\n folded", &[431]),
        ("", "\0", &[414]),
        ("", " ", &[414]),
        ("", "\r", &[400]),
        // Empty lines are skipped (RFC 9112 §2.2) and do not begin a request, so that idle_timeout applies.
        ("", "\r\n", &[]),
    ];
    let floods: Vec<_> = endless
        .map(|(start, again, expected)| {
            let mut client = server.client();
            let mut socket = TcpStream::connect(server.http()).unwrap();
            socket.set_write_timeout(Some(TIMEOUT)).unwrap();
            let bytes = format!("{start}{}", again.repeat((32 << 10) / again.len())).into_bytes();
            thread::spawn(move || {
                // One client reads the response, the other only sends.
                let _ = client.try_send(&bytes);
                if expected.is_empty() {
                    client.expect_closed();
                } else {
                    let answer = client.try_read(false).unwrap();
                    let status = answer.map(|answer| answer.status);
                    assert!(
                        status.is_some_and(|status| expected.contains(&status)),
                        "{start:?} {again:?}: {status:?}"
                    );
                    assert!(client.ended());
                }
                let started = Instant::now();
                while socket.write_all(&bytes).is_ok() {
                    assert!(started.elapsed() < LONG, "{start:?} {again:?} is read for ever");
                }
            })
        })
        .into_iter()
        .collect();
    while !floods.iter().all(|flood| flood.is_finished()) {
        vitals.answers_at_once();
        vitals.holds_at_most(16 << 20);
        thread::sleep(Duration::from_millis(20));
    }
    for flood in floods {
        flood.join().unwrap();
    }
    vitals.are_back();
}

#[test]
fn over_a_hundred_header_fields_are_431() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    let with_fields = |count: usize| {
        let fields: String = (1..count).map(|number| format!("X-{number}: y\r\n")).collect();
        format!("GET {HIT} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes()
    };
    server.send(&with_fields(100)).ok();
    for count in [101, 102, 1000] {
        assert_eq!(only_answer(&server, &with_fields(count)), 431, "{count} fields");
    }
    vitals.are_back();
}

/// Sends a malformed head followed by valid requests, first alone and then after a valid request. Returns the status of
/// its response; fails if any later request is answered.
#[track_caller]
fn only_answer(server: &Server, head: &[u8]) -> u16 {
    let shown = head.escape_ascii().to_string();
    let behind = request("GET", HIT, &[]).repeat(3);
    let mut alone = server.client();
    let _ = alone.try_send(&[head, &behind].concat());
    let refusal = alone.read();
    assert_eq!(refusal.header("Connection"), Some("close"), "{shown}");
    assert!(
        matches!(alone.try_read(false), Ok(None) | Err(_)),
        "{shown}: a later request was answered"
    );

    let mut after = server.client();
    let _ = after.try_send(&[&request("GET", HIT, &[]), head, &behind].concat());
    after.read().ok();
    assert_eq!(after.read().status, refusal.status, "{shown}");
    assert!(
        matches!(after.try_read(false), Ok(None) | Err(_)),
        "{shown}: a later request was answered"
    );
    refusal.status
}

#[test]
fn malformed_request_line_ends_the_connection() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    for (line, expected) in [
        (" GET /h/a.png HTTP/1.1", 400),
        ("\tGET /h/a.png HTTP/1.1", 400),
        ("GET\t/h/a.png HTTP/1.1", 400),
        ("GET /h/a.png\tHTTP/1.1", 400),
        ("GET /h/a.png  HTTP/1.1", 400),
        ("GET /h/a.png HTTP/1.1 ", 400),
        ("GET /h/a.png HTTP/1.1\t", 400),
        ("GET /h/a.png HTTP/1.1 x", 400),
        ("GET /h/a.png http/1.1", 400),
        ("GET /h/a.png HTTP/1", 400),
        ("GET /h/a.png HTTP/11", 400),
        ("GET /h/a.png HTTP/1.10", 400),
        ("GET /h/a.png HTTP/01.1", 400),
        ("GET /h/a.png HTTP/1.1x", 400),
        ("GET /h/a.png HTTP/-1.1", 400),
        ("GET /h/a.png HTTP/1,1", 400),
        ("GET /h/a.png HTTP /1.1", 400),
        ("GET /h/a.png HTTPS/1.1", 400),
        ("GET /h/a.png ICY/1.1", 400),
        ("GET /h/a.png", 400),
        ("GET HTTP/1.1", 400),
        ("GET", 400),
        ("/h/a.png HTTP/1.1", 400),
        ("GET /h/a.png HTTP/0.9", 505),
        ("GET /h/a.png HTTP/1.2", 505),
        ("GET /h/a.png HTTP/9.9", 505),
        ("(GET) /h/a.png HTTP/1.1", 400),
        ("G/T /h/a.png HTTP/1.1", 400),
        ("G\0T /h/a.png HTTP/1.1", 400),
        ("GET: /h/a.png HTTP/1.1", 400),
        ("\"GET\" /h/a.png HTTP/1.1", 400),
        ("GET /h/a\u{7f}.png HTTP/1.1", 400),
        ("GET /h/a\0.png HTTP/1.1", 400),
        ("GET /h/a\u{b}.png HTTP/1.1", 400),
        ("GET /h/a\u{c}.png HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET ** HTTP/1.1", 400),
        ("GET ?w=1 HTTP/1.1", 400),
        ("GET #x HTTP/1.1", 400),
        ("GET h HTTP/1.1", 400),
        ("GET a:b@c HTTP/1.1", 400),
        ("GET x:443 HTTP/1.1", 400),
        ("CONNECT x:443 HTTP/1.1", 400),
        ("CONNECT [::1]:443 HTTP/1.1", 400),
        ("GET http: HTTP/1.1", 400),
        ("GET http:// HTTP/1.1", 400),
        ("GET http:///h/a.png HTTP/1.1", 400),
        ("GET http:/h/a.png HTTP/1.1", 400),
        ("GET http://x\\@y/h/a.png HTTP/1.1", 400),
        ("GET http://x:port/h/a.png HTTP/1.1", 400),
        ("GET http://[::1/h/a.png HTTP/1.1", 400),
        ("GET ws://x/h/a.png HTTP/1.1", 400),
        ("GET file:///etc/passwd HTTP/1.1", 400),
        ("GET \\h\\a.png HTTP/1.1", 400),
    ] {
        let head = format!("{line}\r\nHost: x\r\n\r\n");
        assert_eq!(only_answer(&server, head.as_bytes()), expected, "{line:?}");
    }
    assert_eq!(only_answer(&server, b"GET /h/\xff.png HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    vitals.are_back();
}

#[test]
fn malformed_header_field_ends_the_connection() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    for (field, expected) in [
        // Framing of a body, which other parsers might accept.
        ("Content-Length: 5", 413),
        ("content-length:5", 413),
        ("CONTENT-LENGTH:\t5\t", 413),
        ("Content-Length: 00000005", 413),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 5;", 400),
        ("Content-Length: 5,", 400),
        ("Content-Length: ,5", 400),
        ("Content-Length: 5.0", 400),
        ("Content-Length: 1e1", 400),
        ("Content-Length: 0_0", 400),
        ("Content-Length: \"5\"", 400),
        ("Content-Length: \u{665}", 400),
        ("Content-Length: five", 400),
        ("Content-Length : 5", 400),
        ("Content-Length\t: 5", 400),
        ("Content-Length\0: 5", 400),
        ("Content-Length: 5\0", 400),
        ("Content-Length: \u{b}5", 400),
        ("Content-Length: 0\r\nContent-Length: 5", 413),
        ("Content-Length: 5\r\nContent-Length: 5", 413),
        ("Content-Length: 0\r\ncontent-length: 0", 400),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", 413),
        ("Transfer-Encoding: chunked", 413),
        ("transfer-encoding:CHUNKED", 413),
        ("Transfer-Encoding: \tchunked", 413),
        ("Transfer-Encoding: chunked, identity", 413),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 413),
        ("Transfer-Encoding: \"chunked\"", 413),
        ("Transfer-Encoding: ;chunked", 413),
        ("Transfer-Encoding:", 413),
        ("Transfer-Encoding: \u{b}chunked", 400),
        ("Transfer-Encoding: chunked\0", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\t: chunked", 400),
        ("\tTransfer-Encoding: chunked", 400),
        (" Transfer-Encoding: chunked", 400),
        ("Transfer-Encoding\r\n: chunked", 400),
        ("Transfer-Encoding:\r\n chunked", 400),
        ("X: y\nTransfer-Encoding: chunked", 400),
        ("X: y\rTransfer-Encoding: chunked", 400),
        ("X: y\r\r\nTransfer-Encoding: chunked", 400),
        ("X: y\n\r\nTransfer-Encoding: chunked", 400),
        // A second Host.
        ("Host: x", 400),
        ("host: y", 400),
        // Lines that are not fields.
        ("X", 400),
        (":", 400),
        (": y", 400),
        ("X Y: z", 400),
        ("X(Y): z", 400),
        ("X/Y: z", 400),
        ("\"X\": y", 400),
        ("X\u{7f}: y", 400),
        ("\u{fc}: y", 400),
        ("X\0: y", 400),
        ("X: \0", 400),
        ("X: \u{1}", 400),
        ("X: \u{7f}", 400),
        ("X: y\r\n\tz", 400),
    ] {
        for version in ["1.1", "1.0"] {
            let head = format!(
                "GET {HIT} HTTP/{version}\r\nHost: x\r\n{field}\r\nConnection: keep-alive\r\n\r\n"
            );
            assert_eq!(
                only_answer(&server, head.as_bytes()),
                expected,
                "{field:?} in HTTP/{version}"
            );
        }
    }
    for host in [
        "a b", "a/b", "a?b", "a#b", "a@b", "a\\b", "\"a\"", "<a>", "a:b", "a:80:80", ":80", "[::1",
        "::1", "[::1]x", "[x]", "a\0", "a\u{7f}", "a%", "a%0", "a%zz",
    ] {
        let head = format!("GET {HIT} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(only_answer(&server, head.as_bytes()), 400, "Host: {host:?}");
    }
    vitals.are_back();
}

#[test]
fn malformed_line_ending_ends_the_connection() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    for head in [
        "GET /h/a.png HTTP/1.1\nHost: x\n\n",
        "GET /h/a.png HTTP/1.1\nHost: x\r\n\r\n",
        "GET /h/a.png HTTP/1.1\r\nHost: x\n\r\n",
        "GET /h/a.png HTTP/1.1\r\nHost: x\r\n\n",
        "GET /h/a.png HTTP/1.1\rHost: x\r\r\n\r\n",
        "GET /h/a.png HTTP/1.1\r\r\nHost: x\r\n\r\n",
        "GET /h/a.png HTTP/1.1\r\nHost: x\r\r\n\r\n",
        "\nGET /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        "\rGET /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\nGET /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n GET /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        "\0GET /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
        "\u{feff}GET /h/a.png HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        assert_eq!(only_answer(&server, head.as_bytes()), 400, "{head:?}");
    }
    vitals.are_back();
}

#[test]
fn upgrade_and_expect_are_ignored() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    let mut client = server.client();
    for fields in [
        &[
            ("Upgrade", "h2c"),
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ][..],
        &[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        &[("Expect", "100-continue")],
        &[("Content-Length", "0"), ("Expect", "100-continue")],
        &[("TE", "trailers, chunked"), ("Trailer", "Content-Length")],
        // Names that only resemble framing fields.
        &[
            ("Content_Length", "5"),
            ("Transfer_Encoding", "chunked"),
            ("XTransfer-Encoding", "chunked"),
        ],
        &[("X-HTTP-Method-Override", "DELETE"), ("X-Original-URL", "/etc/passwd")],
    ] {
        assert_eq!(client.get_with(HIT, fields).ok().expect("X-Cache"), "hit", "{fields:?}");
    }
    drop(client);
    vitals.are_back();
}
