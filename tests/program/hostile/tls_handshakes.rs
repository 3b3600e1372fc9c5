//! Malformed and unfinished handshakes, plain HTTP on the HTTPS port, and TLS on the HTTP port.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedProtocolVersion};
use serde_json::{Value, json};

use super::{HIT, LONG, narrow, setup};
use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::handshake::Handshake;
use crate::support::server::Server;
use crate::support::vitals::Vitals;
use crate::support::{TIMEOUT, eventually};

pub(super) fn start(certificates: &Certificates, limits: Value) -> Server {
    let server = setup(json!({
        "limits": limits,
        "https_enabled": true,
        "https_port": 0,
        "https_cert": "bundle.crt",
        "https_key": "cert.key",
    }))
    .file("bundle.crt", certificates.chain_pem.as_bytes())
    .file("cert.key", certificates.key_pem.as_bytes())
    .start();
    tls(&server, certificates).get(HIT).ok();
    server
}

pub(super) fn tls(server: &Server, certificates: &Certificates) -> Client {
    Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.set_write_timeout(Some(TIMEOUT)).unwrap();
    socket
}

/// A client and its ClientHello.
fn client_hello(
    certificates: &Certificates,
    version: &'static SupportedProtocolVersion,
) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(certificates.client(&[version]), name).unwrap();
    let bytes = flight(&mut client);
    (client, bytes)
}

/// The bytes that a client wants to send.
fn flight(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// An unencrypted record.
pub(super) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// Whether the server closes, after sending anything.
pub(super) fn is_closed(socket: &mut TcpStream) -> bool {
    Client::over(socket.try_clone().unwrap()).ended()
}

#[test]
fn malformed_client_hellos_close_the_connection() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"head_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let (_, hello) = client_hello(&certificates, &TLS13);
    let body = &hello[5..];
    let mut damaged: Vec<Vec<u8>> = vec![
        vec![0; 100],
        vec![0xff; 70_000],
        (0..20_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        // SSL 2.0, an unknown version, content types that can't come first, an unknown one.
        [&[0x80, 0x2e, 1, 0, 2][..], &[0; 43]].concat(),
        [&[22, 9, 9][..], &hello[3..]].concat(),
        record(20, &[1]),
        record(21, &[1, 0]),
        record(21, &[2, 40]),
        record(23, b"GET / HTTP/1.1\r\n\r\n"),
        record(24, &[1, 0xff, 0xff]),
        record(99, &[0]),
        // Empty, too long, and wrong lengths.
        record(22, &[]),
        [&[22, 3, 1, 0xff, 0xff][..], &[1; 66_000]].concat(),
        record(22, &[1, 0xff, 0xff, 0xff]),
        record(22, &[1, 0, 0, 0]),
        record(22, &[2, 0, 0, 0]),
        record(22, &[20, 0, 0, 12]),
        record(22, &[&[1, 0, 0, 4][..], &[3, 3, 0, 0], &[0; 9000]].concat()),
        // Floods of alerts, ChangeCipherSpec and empty records.
        record(21, &[1, 90]).repeat(3000),
        record(20, &[1]).repeat(3000),
        record(22, &[]).repeat(3000),
        [&hello[..], &record(20, &[1]).repeat(3000)].concat(),
        [&hello[..], &record(21, &[1, 90]).repeat(3000)].concat(),
        [&hello[..], &record(22, &[]).repeat(3000)].concat(),
        [&hello[..], &hello[..]].concat(),
        // A handshake of 16 MB in pieces of 16 KB.
        [record(22, &[1, 0xff, 0xff, 0xff]), record(22, &[0; 16_000]).repeat(40)].concat(),
    ];
    // One byte a record, and single bit errors.
    damaged.push(body.iter().flat_map(|byte| record(22, &[*byte])).take(400).collect());
    damaged.extend((0..hello.len()).step_by(7).map(|at| {
        let mut bytes = hello.clone();
        bytes[at] ^= 0x10;
        bytes
    }));
    let sockets: Vec<_> = damaged
        .into_iter()
        .map(|bytes| {
            let mut socket = connect(server.https());
            // The server may close before all is written.
            let _ = socket.write_all(&bytes);
            (bytes, socket)
        })
        .collect();
    vitals.answers_at_once();
    vitals.holds_at_most(16 << 20);
    for (bytes, mut socket) in sockets {
        let start = bytes[..bytes.len().min(30)].escape_ascii().to_string();
        assert!(is_closed(&mut socket), "{start}… of {} bytes", bytes.len());
    }
    tls(&server, &certificates).get(HIT).ok();
    vitals.are_back();
}

#[test]
fn head_timeout_cuts_unfinished_handshakes() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"head_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let mut sockets = Vec::new();
    for version in [&TLS13, &TLS12] {
        // Parts of the first flight.
        let (_, hello) = client_hello(&certificates, version);
        for length in [0, 1, 4, 5, 6, 9, hello.len() / 2, hello.len() - 1] {
            let mut socket = connect(server.https());
            socket.write_all(&hello[..length]).unwrap();
            sockets.push(socket);
        }
        // Parts of the second: nothing, a byte, all but a byte.
        for part in [|_| 0, |_| 1, |length| length - 1] {
            let (mut client, hello) = client_hello(&certificates, version);
            let mut socket = connect(server.https());
            socket.write_all(&hello).unwrap();
            while !client.wants_write() {
                client.read_tls(&mut socket).unwrap();
                client.process_new_packets().unwrap();
            }
            let second = flight(&mut client);
            socket.write_all(&second[..part(second.len())]).unwrap();
            sockets.push(socket);
        }
        // A client that never reads the server's flight.
        let mut socket = narrow(server.https());
        socket.write_all(&client_hello(&certificates, version).1).unwrap();
        sockets.push(socket);
    }
    assert!(vitals.more_threads() > 0, "no thread waits for them");
    let started = Instant::now();
    vitals.answers_at_once();
    tls(&server, &certificates).get(HIT).ok();
    eventually("no thread waits for them", || vitals.more_threads() == 0);
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    for socket in &mut sockets {
        assert!(is_closed(socket));
    }
    vitals.are_back();
}

#[test]
fn clients_that_disconnect_in_a_handshake_are_released_at_once() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"head_timeout": 3600, "idle_timeout": 3600}));
    let vitals = Vitals::of(&server, HIT);
    let (_, hello) = client_hello(&certificates, &TLS13);
    for length in [0, 3, hello.len() - 1, hello.len()] {
        for reset in [true, false] {
            let mut client = Client::connect(server.https());
            client.send(&hello[..length]);
            thread::sleep(Duration::from_millis(5));
            if reset {
                client.reset();
            }
        }
        let mut client = Client::connect(server.https());
        client.send(&hello[..length]);
        client.finish_sending();
        assert!(client.ended(), "still open");
    }
    vitals.are_back();
}

#[test]
fn plain_http_on_the_https_port_is_400_and_ends_the_connection() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"head_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    for bytes in
        [request("GET", HIT, &[]).repeat(3), b"GET".to_vec(), b"POST / HTTP/1.0\r\n\r\nx".to_vec()]
    {
        let mut client = Client::connect(server.https());
        client.send(&bytes);
        let answer = client.read();
        assert_eq!((answer.status, answer.header("Connection")), (400, Some("close")));
        assert!(answer.text().contains("HTTPS"), "{}", answer.text());
        assert!(matches!(client.try_read(false), Ok(None) | Err(_)));
    }
    vitals.are_back();
}

#[test]
fn tls_on_the_http_port_closes_the_connection() {
    let certificates = Certificates::new();
    let server = start(&certificates, json!({"head_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    for version in [&TLS13, &TLS12] {
        let error = Handshake::new(server.http(), "localhost", certificates.client(&[version]));
        assert!(error.is_err());
    }
    vitals.are_back();
}
