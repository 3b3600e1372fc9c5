//! Clients that read responses slowly, or not at all.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{HIT, LARGE, LONG, narrow, start_with_large};
use crate::support::client::request;
use crate::support::eventually;
use crate::support::set_on_drop::SetOnDrop;
use crate::support::vitals::Vitals;

/// Reads pieces with a pause after each, and returns the number of bytes read until the server closes.
fn read_slowly(socket: &mut TcpStream, piece: usize, pause: Duration) -> usize {
    let mut total = 0;
    let mut bytes = vec![0; piece];
    while let Ok(length @ 1..) = socket.read(&mut bytes) {
        total += length;
        thread::sleep(pause);
    }
    total
}

fn last_request(target: &str) -> Vec<u8> {
    request("GET", target, &[("Connection", "close")])
}

#[test]
fn write_timeout_cuts_clients_that_never_read() {
    let (server, _) = start_with_large(json!({"write_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let mut sockets: Vec<TcpStream> = (0..8).map(|_| narrow(server.http())).collect();
    for socket in &mut sockets {
        socket.write_all(&request("GET", LARGE, &[]).repeat(3)).unwrap();
    }
    vitals.answers_at_once();
    // The clients still have unread bytes; the server has released everything.
    vitals.are_back();
    // No connection is left that would be served once its client reads.
    eventually("all connections are closed", || vitals.more_descriptors() == 0);
    let started = Instant::now();
    for socket in &mut sockets {
        // The kernel discards what they did not read.
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut total = 0;
        let mut bytes = [0; 16 << 10];
        let end = loop {
            match socket.read(&mut bytes) {
                Ok(length) => {
                    assert!(length > 0, "the kernel sent everything: {total} bytes");
                    total += length;
                }
                // The kernel may ignore a reset while its buffer is full; sending a byte provokes another.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(started.elapsed() < LONG, "the kernel keeps the connection");
                    if let Err(error) = socket.write_all(b"x") {
                        break error;
                    }
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(end.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{end}");
        assert!(total < 1 << 20, "{total} bytes");
    }
}

#[test]
fn min_write_rate_cuts_a_client_that_reads_a_byte_a_second() {
    let (server, _) = start_with_large(json!({"write_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let mut socket = narrow(server.http());
    socket.write_all(&last_request(LARGE)).unwrap();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetOnDrop(&enough);
        // The bytes in the client's own buffer would last for an hour.
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed)
                && socket.read(&mut [0]).is_ok_and(|length| length > 0)
            {
                thread::sleep(Duration::from_secs(1));
            }
        });
        eventually("a thread is blocked on the reader", || vitals.more_threads() == 1);
        let started = Instant::now();
        while vitals.more_threads() > 0 {
            assert!(started.elapsed() < LONG);
            vitals.answers_at_once();
            thread::sleep(Duration::from_millis(20));
        }
        vitals.are_back();
    });
}

#[test]
fn min_write_rate_cuts_a_steady_slow_reader() {
    let (server, length) = start_with_large(json!({"write_timeout": 1, "min_write_rate": 2 << 20}));
    let vitals = Vitals::of(&server, HIT);
    let mut socket = narrow(server.http());
    socket.write_all(&last_request(LARGE)).unwrap();
    let started = Instant::now();
    // A tenth of min_write_rate.
    let total = read_slowly(&mut socket, 2 << 10, Duration::from_millis(10));
    assert!(total < length, "served completely");
    assert!(
        started.elapsed() > Duration::from_secs(1) && started.elapsed() < LONG,
        "{:?}",
        started.elapsed()
    );
    vitals.are_back();
}

#[test]
fn min_write_rate_lets_a_slow_reader_finish() {
    let (server, length) =
        start_with_large(json!({"write_timeout": 0.4, "min_write_rate": 64 << 10}));
    let vitals = Vitals::of(&server, HIT);
    let started = Instant::now();
    thread::scope(|scope| {
        for pause in [1, 2] {
            let mut socket = narrow(server.http());
            scope.spawn(move || {
                socket.write_all(&last_request(LARGE)).unwrap();
                let total = read_slowly(&mut socket, 16 << 10, Duration::from_millis(pause));
                assert!(
                    total > length,
                    "{total} of {length} bytes and a head, with a pause of {pause} ms"
                );
            });
        }
        eventually("a thread is blocked on a reader", || vitals.more_threads() > 0);
        vitals.answers_at_once();
    });
    assert!(started.elapsed() > Duration::from_secs(1), "the readers were not slow");
    vitals.are_back();
}
