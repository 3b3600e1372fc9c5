//! HTTPS, and the redirect of `https_strict`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring::cipher_suite;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, HandshakeKind, ProtocolVersion,
    SupportedCipherSuite,
};
use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::handshake::Handshake;
use crate::support::images;
use crate::support::server::{Server, Setup};
use crate::support::{TIMEOUT, merged};

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

fn start(certificates: &Certificates, directory: &Directory, fields: Value) -> Server {
    let config = json!({
        "handlers": [directory.handler()],
        "https_enabled": true,
        "https_port": 0,
        "https_cert": "bundle.crt",
        "https_key": "cert.key",
    });
    Setup::new(merged(config, fields))
        .file("bundle.crt", certificates.chain_pem.as_bytes())
        .file("cert.key", certificates.key_pem.as_bytes())
        .start()
}

#[test]
fn images_are_served_over_tls_1_3_and_1_2() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({}));
    let plain = server.get("/h/a.png?w=40").ok();
    for version in [&TLS13, &TLS12] {
        for name in ["localhost", "127.0.0.1"] {
            let mut client =
                Client::connect_tls(server.https(), name, certificates.client(&[version])).unwrap();
            for _ in 0..3 {
                assert_eq!(client.get("/h/a.png?w=40").ok().body, plain.body);
            }
            client.get("/h/missing.png").failed("not_found");
            let both =
                [request("GET", "/h/a.png?w=1", &[]), request("GET", "/-/health", &[])].concat();
            client.send(&both);
            client.read().ok();
            assert_eq!(client.read().status, 200);
            client.get_with("/h/a.png", &[("Connection", "close")]).ok();
            // `None` is an end with close_notify; without it reading fails.
            assert!(matches!(client.try_read(false), Ok(None)), "the end looks like a truncation");
        }
    }
}

#[test]
fn large_image_is_sent_completely_over_tls() {
    let certificates = Certificates::new();
    let directory = Directory::new().with("noise.png", &images::png(images::noise(700, 700)));
    let server = start(&certificates, &directory, json!({}));
    let mut client =
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    let answer = client.get("/h/noise.png").ok();
    assert!(answer.body.len() > 1_000_000);
    assert_eq!(images::size_of(&answer.body), (700, 700));
}

#[test]
fn client_with_another_root_certificate_fails_the_handshake() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({}));
    let other = Certificates::new();
    assert!(Client::connect_tls(server.https(), "localhost", other.client(&[&TLS13])).is_err());
    let client = certificates.client(&[&TLS13]);
    assert!(Client::connect_tls(server.https(), "elsewhere.test", client.clone()).is_err());
    // The chain is complete, and the failed handshakes did no harm.
    let mut good = Client::connect_tls(server.https(), "localhost", client).unwrap();
    good.get("/h/a.png").ok();
}

#[test]
fn https_port_closes_connections_that_are_not_tls() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({"limits": {"head_timeout": 0.5}}));
    for bytes in [&request("GET", "/h/a.png", &[])[..], b"\x16\x03\x01\xff\xff", b"\0", b""] {
        let mut client = Client::connect(server.https());
        let _ = client.try_send(bytes);
        // `head_timeout` covers the handshake.
        assert!(client.ended(), "{bytes:?}");
    }
    let mut good =
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    good.get("/h/a.png").ok();
}

#[test]
fn https_port_closes_refused_connections_without_a_plain_response() {
    let certificates = Certificates::new();
    let directory = directory();
    let limits = json!({"limits": {"connections_per_address": 1}});
    let server = start(&certificates, &directory, limits);
    let client = certificates.client(&[&TLS13]);
    let mut within = Client::connect_tls(server.https(), "localhost", client).unwrap();
    within.get("/h/a.png").ok();
    let mut over = Client::connect(server.https());
    assert!(!matches!(over.try_read(false), Ok(Some(_))));
    assert!(over.ended());
    within.get("/h/a.png").ok();
}

#[test]
fn tls_sessions_are_resumed_with_and_without_tickets() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({}));
    for (version, tls_1_2) in [
        (&TLS13, Tls12Resumption::Disabled),
        (&TLS12, Tls12Resumption::SessionIdOnly),
        (&TLS12, Tls12Resumption::SessionIdOrTickets),
    ] {
        let mut config = certificates.client_config(&[version]);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(tls_1_2);
        let config = Arc::new(config);
        let kind =
            |name| Handshake::new(server.https(), name, Arc::clone(&config)).unwrap().finish();
        assert_eq!(kind("localhost"), HandshakeKind::Full, "{version:?} {tls_1_2:?}");
        for _ in 0..3 {
            assert_eq!(kind("localhost"), HandshakeKind::Resumed, "{version:?} {tls_1_2:?}");
        }
    }
    // Early data could be replayed, so it is refused.
    let mut config = certificates.client_config(&[&TLS13]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    Handshake::new(server.https(), "localhost", Arc::clone(&config)).unwrap().finish();
    let resumed = Handshake::new(server.https(), "localhost", config).unwrap();
    assert!(!resumed.connection.is_early_data_accepted());
    assert_eq!(resumed.finish(), HandshakeKind::Resumed);
}

#[test]
fn alpn_negotiates_http_1_1_and_refuses_clients_with_http_2_only() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({}));
    for version in [&TLS13, &TLS12] {
        let connect = |protocols: &[&[u8]]| {
            let mut config = certificates.client_config(&[version]);
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Handshake::new(server.https(), "localhost", Arc::new(config))
        };
        let both = connect(&[b"h2", b"http/1.1"]).unwrap();
        assert_eq!(both.connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        both.finish();
        connect(&[]).unwrap().finish();
        let error = connect(&[b"h2"]).err().unwrap().to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    }
}

/// A ClientHello without extensions.
fn hello(version: [u8; 2], suites: &[CipherSuite]) -> Vec<u8> {
    let mut body =
        [&version[..], &[7; 32], &[0, 0, u8::try_from(suites.len() * 2).unwrap()]].concat();
    body.extend(suites.iter().flat_map(|suite| u16::from(*suite).to_be_bytes()));
    body.extend([1, 0]);
    [&[1, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

/// Reads records until the server closes.
fn records(socket: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    loop {
        let Some(record) = record(socket) else { return records };
        records.push(record);
    }
}

/// Reads a record: its type and content; `None` if the server has closed.
fn record(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    socket.read_exact(&mut head).ok()?;
    let mut content = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    socket.read_exact(&mut content).unwrap();
    Some((head[0], content))
}

const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;

#[test]
fn tls_versions_before_1_2_get_an_alert() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({}));
    let suites = [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
        CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA,
    ];
    for version in [[3, 2], [3, 1], [3, 0], [2, 0]] {
        let hello = hello(version, &suites);
        let head = [22, 3, 1, 0, u8::try_from(hello.len()).unwrap()];
        let mut socket = TcpStream::connect(server.https()).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.write_all(&[&head[..], &hello].concat()).unwrap();
        let answer = records(&mut socket);
        assert!(
            matches!(&answer[..], [(ALERT, content)] if content[0] == 2),
            "{version:?}: {answer:?}"
        );
    }
    Handshake::new(server.https(), "localhost", certificates.client(&[&TLS12])).unwrap().finish();
}

#[test]
fn head_timeout_cuts_a_dribbling_handshake() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({"limits": {"head_timeout": 1}}));
    let mut client = Client::connect(server.https());
    // A record of 16 KiB, sent byte by byte, each long before the deadline.
    let mut bytes = [22, 3, 1, 64, 0, 1, 0, 63, 252].into_iter().chain(std::iter::repeat(0));
    let started = Instant::now();
    while client.try_send(&[bytes.next().unwrap()]).is_ok() {
        assert!(started.elapsed() < TIMEOUT, "still open");
        thread::sleep(Duration::from_millis(100));
    }
    Handshake::new(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap().finish();
}

#[test]
fn tls_renegotiation_is_refused() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({}));
    // rustls does not renegotiate, so the records are encrypted here with the keys of its handshake.
    let suite = cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let SupportedCipherSuite::Tls12(inner) = suite else { panic!("a suite of TLS 1.2") };
    let mut config = certificates.client_config_with(&[&TLS12], vec![suite]);
    config.enable_secret_extraction = true;
    let Handshake { connection, mut socket } =
        Handshake::new(server.https(), "localhost", Arc::new(config)).unwrap();
    let (mut number, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
        panic!("{}", number)
    };
    let mut encrypter = inner.aead_alg.encrypter(key, iv.as_ref(), &[]);
    let mut send = |socket: &mut TcpStream, typ, content: &[u8]| {
        let payload = OutboundChunks::Single(content);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        socket.write_all(&encrypter.encrypt(message, number).unwrap().encode()).unwrap();
        number += 1;
    };
    let hello = hello([3, 3], &[suite.suite()]);

    // The first attempt gets a warning alert and the connection stays open.
    send(&mut socket, ContentType::Handshake, &hello);
    assert_eq!(record(&mut socket).unwrap().0, ALERT);
    send(&mut socket, ContentType::ApplicationData, &request("GET", "/-/health", &[]));
    assert_eq!(record(&mut socket).unwrap().0, APPLICATION_DATA);
    // The second attempt closes it.
    send(&mut socket, ContentType::Handshake, &hello);
    assert!(records(&mut socket).iter().all(|(kind, _)| *kind == ALERT));
    Handshake::new(server.https(), "localhost", certificates.client(&[&TLS12])).unwrap().finish();
}

#[test]
fn limits_apply_over_tls() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({"limits": {"idle_timeout": 0.5}}));
    let connect = || {
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap()
    };
    let mut idle = connect();
    idle.get("/h/a.png").ok();
    assert!(idle.ended());
    let mut client = connect();
    client.send(&[b"GET /h/a.png HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 20_000]].concat());
    assert_eq!(client.read().status, 431);
}

#[test]
fn hsts_is_sent_over_https_only_and_if_configured() {
    let certificates = Certificates::new();
    let directory = directory();
    for (fields, expected) in [
        (json!({}), None),
        (json!({"https_hsts": 31_536_000}), Some("max-age=31536000")),
        // RFC 6797 §6.1.1: zero tells the browser to forget the policy.
        (json!({"https_hsts": 0}), Some("max-age=0")),
    ] {
        let server = start(&certificates, &directory, fields);
        let mut client =
            Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13]))
                .unwrap();
        for target in ["/h/a.png", "/h/missing.png", "/-/health"] {
            assert_eq!(
                client.get(target).header("Strict-Transport-Security"),
                expected,
                "{target}"
            );
            assert_eq!(server.get(target).header("Strict-Transport-Security"), None, "{target}");
        }
    }
}

#[test]
fn https_strict_redirects_to_the_same_host_path_and_query() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({"https_strict": true}));
    let port = server.https().port();
    for (host, expected) in [
        ("images.example", format!("https://images.example:{port}")),
        ("images.example:8080", format!("https://images.example:{port}")),
        ("127.0.0.1:80", format!("https://127.0.0.1:{port}")),
        ("[::1]", format!("https://[::1]:{port}")),
        ("[::1]:8080", format!("https://[::1]:{port}")),
    ] {
        for target in ["/h/a.png?w=40&f=auto", "/h/a%20b%2F%25.png", "/", "/nowhere?x=%2F"] {
            let answer =
                server.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
            assert_eq!(answer.status, 301, "{host} {target}");
            assert_eq!(answer.expect("Location"), format!("{expected}{target}"));
        }
    }
    let head = server.head_with("/h/a.png", &[]);
    assert_eq!((head.status, head.body.len()), (301, 0));
    let absolute = b"GET http://other.example/h/a.png?w=1 HTTP/1.1\r\nHost: images.example\r\n\r\n";
    let location = server.send(absolute).expect("Location").to_owned();
    assert!(location.ends_with(&format!(":{port}/h/a.png?w=1")), "{location}");

    // Health checks in plain HTTP are not redirected, nor is anything over TLS.
    assert_eq!(server.get("/-/health").status, 200);
    let mut client =
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    client.get("/h/a.png").ok();
    assert_eq!(client.get("/-/health").status, 200);
}

#[test]
fn https_redirect_refuses_an_invalid_host() {
    let certificates = Certificates::new();
    let directory = directory();
    let server = start(&certificates, &directory, json!({"https_strict": true}));
    for host in [
        "evil.example/path",
        "a@evil.example",
        "a b",
        "x\"y",
        "evil.example#",
        "evil.example?",
        "<script>",
    ] {
        let mut client = server.client();
        client.send(format!("GET /h/a.png HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let answer = client.read();
        assert_eq!(answer.status, 400, "{host}: {:?}", answer.headers);
    }
}

#[test]
fn without_https_strict_plain_requests_are_served() {
    let certificates = Certificates::new();
    let directory = directory();
    start(&certificates, &directory, json!({"https_strict": false})).get("/h/a.png").ok();
}
