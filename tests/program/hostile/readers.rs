//! Clients that take their answers slowly, or not at all.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{AtEnd, HIT, LARGE, LONG, narrow, start_with_large};
use crate::support::client::request;
use crate::support::eventually;
use crate::support::vitals::Vitals;

/// Reads this much at a time with a pause between, and returns how much came until the server closed.
fn read_slowly(socket: &mut TcpStream, piece: usize, pause: Duration) -> usize {
    let (mut total, mut bytes) = (0, vec![0; piece]);
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
fn who_never_reads_a_large_answer_is_cut() {
    let (server, _) = start_with_large(json!({"write_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let mut sockets: Vec<TcpStream> = (0..8).map(|_| narrow(server.http())).collect();
    for socket in &mut sockets {
        socket.write_all(&request("GET", LARGE, &[]).repeat(3)).unwrap();
    }
    vitals.answers_at_once();
    // What they have not read is still open on their side; on the server's nothing is.
    vitals.are_back();
    // Not one is left that would be served after all as soon as it reads.
    eventually("all of them are cut", || vitals.more_descriptors() == 0);
    let started = Instant::now();
    for socket in &mut sockets {
        // And the kernel does not keep what they did not take.
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let (mut total, mut bytes) = (0, [0; 16 << 10]);
        let end = loop {
            match socket.read(&mut bytes) {
                Ok(length) => {
                    assert!(length > 0, "all of it was sent after the end: {total} bytes");
                    total += length;
                }
                // A reset that meets a full buffer may be taken for a stray one, until something is sent.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(started.elapsed() < LONG, "the kernel holds on to it");
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
fn who_reads_a_byte_a_second_is_cut() {
    let (server, _) = start_with_large(json!({"write_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    let mut socket = narrow(server.http());
    socket.write_all(&last_request(LARGE)).unwrap();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = AtEnd(&enough);
        // What is in its own kernel would take it an hour.
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed)
                && socket.read(&mut [0]).is_ok_and(|length| length > 0)
            {
                thread::sleep(Duration::from_secs(1));
            }
        });
        eventually("a thread waits for the reader", || vitals.more_threads() == 1);
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
fn who_reads_slower_than_min_write_rate_is_cut_however_steadily() {
    let (server, length) = start_with_large(json!({"write_timeout": 1, "min_write_rate": 2 << 20}));
    let vitals = Vitals::of(&server, HIT);
    let mut socket = narrow(server.http());
    socket.write_all(&last_request(LARGE)).unwrap();
    let started = Instant::now();
    // A tenth of what is asked for.
    let total = read_slowly(&mut socket, 2 << 10, Duration::from_millis(10));
    assert!(total < length, "it was served whole");
    assert!(
        started.elapsed() > Duration::from_secs(1) && started.elapsed() < LONG,
        "{:?}",
        started.elapsed()
    );
    vitals.are_back();
}

#[test]
fn who_is_slow_but_fast_enough_is_served_whole() {
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
                    "{total} of {length} bytes, and a head, with a pause of {pause} ms"
                );
            });
        }
        thread::sleep(Duration::from_millis(300));
        vitals.answers_at_once();
    });
    assert!(started.elapsed() > Duration::from_secs(1), "that was not slow");
    vitals.are_back();
}
