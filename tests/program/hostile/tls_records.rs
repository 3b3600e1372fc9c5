//! Hostile TLS records after the handshake.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring::cipher_suite;
use rustls::version::{TLS12, TLS13};
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};
use serde_json::json;

use super::tls_handshakes::{is_closed, record, start, tls};
use super::{HIT, LARGE, LONG};
use crate::support::certificates::Certificates;
use crate::support::client::request;
use crate::support::handshake::Handshake;
use crate::support::server::Server;
use crate::support::vitals::Vitals;

/// A connection whose records the test encrypts.
struct Records {
    socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Records {
    fn new(server: &Server, certificates: &Certificates) -> Records {
        let suite = cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
        let SupportedCipherSuite::Tls13(inner) = suite else { panic!("a suite of TLS 1.3") };
        let mut config = certificates.client_config_with(&[&TLS13], vec![suite]);
        config.enable_secret_extraction = true;
        let Handshake { connection, socket } =
            Handshake::new(server.https(), "localhost", Arc::new(config)).unwrap();
        let (number, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("{number}")
        };
        Records { socket, encrypter: inner.aead_alg.encrypter(key, iv), number }
    }

    fn seal(&mut self, typ: ContentType, content: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(content);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload };
        let bytes = self.encrypter.encrypt(message, self.number).unwrap().encode();
        self.number += 1;
        bytes
    }
}

#[test]
fn tls_records_without_a_request_do_not_monopolise_a_poller() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"idle_timeout": 2}));
    let vitals = Vitals::of(&server, HIT);
    // One more than there are pollers.
    let pollers = thread::available_parallelism().unwrap().get().max(2);
    let floods: Vec<_> = (0..=pollers)
        .map(|_| {
            let mut records = Records::new(&server, &certificates);
            thread::spawn(move || {
                let started = Instant::now();
                loop {
                    let bytes: Vec<u8> = (0..1000)
                        .flat_map(|_| records.seal(ContentType::ApplicationData, b"\r\n"))
                        .collect();
                    if records.socket.write_all(&bytes).is_err() {
                        return;
                    }
                    assert!(started.elapsed() < LONG, "still being read");
                }
            })
        })
        .collect();
    while !floods.iter().all(|flood| flood.is_finished()) {
        vitals.answers_at_once();
        tls(&server, &certificates).get(HIT).ok();
        thread::sleep(Duration::from_millis(20));
    }
    for flood in floods {
        flood.join().unwrap();
    }
    vitals.are_back();
}

#[test]
fn endless_tls_records_without_plaintext_close_the_connection() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({}));
    let vitals = Vitals::of(&server, HIT);
    let handshake = ContentType::Handshake;
    let alert = ContentType::Alert;
    // Empty data, a KeyUpdate that requests another one, a warning alert, a second ClientHello, ChangeCipherSpec.
    let floods: [(ContentType, &[u8]); 5] = [
        (ContentType::ApplicationData, b""),
        (handshake, &[24, 0, 0, 1, 1]),
        (alert, &[1, 90]),
        (handshake, &[1, 0, 0, 2, 3, 3]),
        (ContentType::ChangeCipherSpec, &[1]),
    ];
    for (kind, content) in floods {
        let mut records = Records::new(&server, &certificates);
        let started = Instant::now();
        loop {
            let bytes = records.seal(kind, content);
            if records.socket.write_all(&bytes).is_err() {
                break;
            }
            assert!(started.elapsed() < LONG, "{kind:?} is still being read");
        }
    }
    // Records that can't be decrypted.
    for bytes in [record(23, &[0; 100]), record(23, &[0; 3]), record(22, &[0; 40]), vec![0; 10]] {
        let mut records = Records::new(&server, &certificates);
        records.socket.write_all(&bytes).unwrap();
        assert!(is_closed(&mut records.socket), "{bytes:?}");
    }
    vitals.are_back();
}

#[test]
fn close_notify_ends_a_connection_after_its_requests_are_answered() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"head_timeout": 3600, "idle_timeout": 3600}));
    server.get(LARGE).ok();
    let vitals = Vitals::of(&server, HIT);
    for version in [&TLS13, &TLS12] {
        for (sent, answered) in [
            (vec![], 0),
            (b"GET /h/a.png HTTP/1.1\r\nHo".to_vec(), 0),
            (request("GET", HIT, &[]), 1),
            (request("GET", HIT, &[]).repeat(2), 2),
            (request("GET", "/h/a.png?w=17", &[]), 1),
            (request("GET", LARGE, &[]), 1),
        ] {
            let handshake =
                Handshake::new(server.https(), "localhost", certificates.client(&[version]))
                    .unwrap();
            let Handshake { mut connection, mut socket } = handshake;
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            stream.write_all(&sent).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            let mut answers = Vec::new();
            stream.read_to_end(&mut answers).unwrap();
            let count = answers.windows(15).filter(|part| part == b"HTTP/1.1 200 OK").count();
            assert_eq!(count, answered, "{version:?} {:?}", sent.escape_ascii().to_string());
        }
    }
    vitals.are_back();
}

#[test]
fn dribbling_tls_record_uses_no_cpu_and_is_cut() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"idle_timeout": 3, "head_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let mut dribbling: Vec<_> = (0..10)
        .map(|_| {
            let mut records = Records::new(&server, &certificates);
            let first = records.seal(ContentType::ApplicationData, &request("GET", HIT, &[]));
            records.socket.write_all(&first).unwrap();
            records.socket.read_exact(&mut [0; 100]).unwrap();
            let bytes = records.seal(ContentType::ApplicationData, &[b'x'; 16 << 10]);
            (records.socket, bytes.into_iter())
        })
        .collect();
    // First only the start of the record,
    for (socket, bytes) in &mut dribbling {
        socket.write_all(&bytes.by_ref().take(9).collect::<Vec<u8>>()).unwrap();
    }
    vitals.uses_no_cpu();
    // then the rest byte by byte.
    let started = Instant::now();
    while !dribbling.is_empty() {
        assert!(started.elapsed() < LONG, "{} are still being read", dribbling.len());
        dribbling.retain_mut(|(socket, bytes)| socket.write_all(&[bytes.next().unwrap()]).is_ok());
        vitals.answers_at_once();
        thread::sleep(Duration::from_millis(20));
    }
    vitals.are_back();
}
