//! Pipelining without end, and without reading responses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{HIT, LONG, narrow, start};
use crate::support::client::request;
use crate::support::set_on_drop::SetOnDrop;
use crate::support::vitals::Vitals;
use crate::support::{TIMEOUT, eventually};

const MANY: usize = 100_000;

#[test]
fn hundred_thousand_pipelined_requests_are_answered_in_order() {
    const WIDTHS: usize = 7;
    let server = start(json!({}));
    let targets: Vec<String> = (1..=WIDTHS).map(|width| format!("/h/a.png?w={width}")).collect();
    let tags: Vec<String> =
        targets.iter().map(|target| server.get(target).ok().expect("ETag").to_owned()).collect();
    let vitals = Vitals::of(&server, HIT);
    let socket = connect(server.http());
    let mut writer = socket.try_clone().unwrap();
    let reader = BufReader::new(socket);
    thread::scope(|scope| {
        scope.spawn(move || {
            let requests: Vec<u8> =
                targets.iter().flat_map(|target| request("HEAD", target, &[])).collect();
            let mut left = MANY;
            while left >= WIDTHS {
                writer.write_all(&requests).unwrap();
                left -= WIDTHS;
            }
            for target in &targets[..left] {
                writer.write_all(&request("HEAD", target, &[])).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let answers = scope.spawn(move || {
            let mut answered = Vec::new();
            for line in reader.lines().map(Result::unwrap) {
                assert!(!line.starts_with("HTTP/1.1 ") || line == "HTTP/1.1 200 OK", "{line}");
                if let Some(tag) = line.strip_prefix("ETag: ") {
                    answered.push(
                        tags.iter()
                            .position(|known| known == tag)
                            .expect("an ETag of these images"),
                    );
                }
            }
            answered
        });
        while !answers.is_finished() {
            vitals.answers_at_once();
            vitals.holds_at_most(16 << 20);
            thread::sleep(Duration::from_millis(50));
        }
        let answered = answers.join().unwrap();
        assert_eq!(answered.len(), MANY);
        assert!(answered.iter().enumerate().all(|(number, which)| *which == number % WIDTHS));
    });
    vitals.are_back();
}

#[test]
fn endless_pipelining_does_not_monopolise_a_poller() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    // One flood and one other client for each poller.
    let pollers = thread::available_parallelism().unwrap().get().max(2);
    let mut others: Vec<_> = (0..pollers).map(|_| server.client()).collect();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetOnDrop(&enough);
        let enough = &enough;
        for _ in 0..pollers {
            let mut writer = connect(server.http());
            let mut reader = writer.try_clone().unwrap();
            scope.spawn(move || {
                let requests = request("HEAD", HIT, &[]).repeat(500);
                while !enough.load(Ordering::Relaxed) {
                    writer.write_all(&requests).unwrap();
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                while reader.read(&mut buffer).unwrap() > 0 {}
            });
        }
        server.process().wait_until_at_work();
        // A single monopolised poller would fail this.
        for _ in 0..5 {
            for client in &mut others {
                vitals.answers_at_once_on(client);
            }
        }
    });
    drop(others);
    vitals.are_back();
}

#[test]
fn pipelined_requests_with_unread_responses_do_not_fill_memory() {
    let server = start(json!({"write_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    thread::scope(|scope| {
        let floods: Vec<_> = (0..4)
            .map(|number| {
                let address = server.http();
                // With small and with large receive buffers.
                let mut socket = if number % 2 == 0 { narrow(address) } else { connect(address) };
                scope.spawn(move || {
                    let started = Instant::now();
                    let requests = request("GET", HIT, &[]).repeat(100);
                    // Until the server closes the connection.
                    let cut = (0..MANY / 100).any(|_| socket.write_all(&requests).is_err());
                    assert!(cut, "{MANY} requests were taken");
                    started.elapsed()
                })
            })
            .collect();
        while !floods.iter().all(|flood| flood.is_finished()) {
            vitals.answers_at_once();
            vitals.holds_at_most(16 << 20);
            thread::sleep(Duration::from_millis(20));
        }
        for flood in floods {
            let took = flood.join().unwrap();
            assert!(took < LONG, "{took:?}");
        }
    });
    vitals.are_back();
}

#[test]
fn min_write_rate_applies_across_pipelined_responses() {
    // Each response is read within write_timeout, but all together far below min_write_rate.
    let server = start(json!({"write_timeout": 1, "min_write_rate": 1 << 20}));
    let vitals = Vitals::of(&server, HIT);
    let mut socket = narrow(server.http());
    let requests = request("GET", HIT, &[]).repeat(100);
    // Fills the buffers of both sides, so that a thread of the server blocks.
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while socket.write_all(&requests).is_ok() {}
    let started = Instant::now();
    let mut answers = [0; 2000];
    while !matches!(socket.read(&mut answers), Ok(0) | Err(_)) {
        assert!(started.elapsed() < LONG, "still served");
        thread::sleep(Duration::from_millis(100));
    }
    eventually("its thread is gone", || vitals.more_threads() == 0);
    vitals.are_back();
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.set_write_timeout(Some(TIMEOUT)).unwrap();
    socket
}
