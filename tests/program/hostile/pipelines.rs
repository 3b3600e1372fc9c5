//! Requests by the hundred thousand, without waiting for an answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{AtEnd, HIT, LONG, narrow, start};
use crate::support::client::request;
use crate::support::vitals::Vitals;
use crate::support::{TIMEOUT, eventually};

const MANY: usize = 100_000;

#[test]
fn a_hundred_thousand_requests_are_all_answered_in_their_order() {
    const WIDTHS: usize = 7;
    let server = start(json!({}));
    let targets: Vec<String> = (1..=WIDTHS).map(|width| format!("/h/a.png?w={width}")).collect();
    let tags: Vec<String> =
        targets.iter().map(|target| server.get(target).ok().expect("ETag").to_owned()).collect();
    let vitals = Vitals::of(&server, HIT);
    let socket = connect(server.http());
    let (mut writer, reader) = (socket.try_clone().unwrap(), BufReader::new(socket));
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
                    answered.push(tags.iter().position(|known| known == tag).expect("one of ours"));
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
fn who_asks_and_asks_and_reads_keeps_no_poller_from_the_others() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    // On both pollers, and on more if there are more.
    let pollers = thread::available_parallelism().unwrap().get().max(2);
    let mut bystanders: Vec<_> = (0..pollers).map(|_| server.client()).collect();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let (_end, enough) = (AtEnd(&enough), &enough);
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
        thread::sleep(Duration::from_millis(300));
        // One poller that has no time for anybody else would be enough.
        for _ in 0..5 {
            for client in &mut bystanders {
                vitals.answers_at_once_on(client);
            }
        }
    });
    drop(bystanders);
    vitals.are_back();
}

#[test]
fn a_hundred_thousand_requests_whose_answers_nobody_reads_fill_no_memory() {
    let server = start(json!({"write_timeout": 1}));
    let vitals = Vitals::of(&server, HIT);
    thread::scope(|scope| {
        let floods: Vec<_> = (0..4)
            .map(|number| {
                let address = server.http();
                // Some with little room for answers and some with much.
                let mut socket = if number % 2 == 0 { narrow(address) } else { connect(address) };
                scope.spawn(move || {
                    let started = Instant::now();
                    let requests = request("GET", HIT, &[]).repeat(100);
                    // Until the server has had enough of it.
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
fn who_takes_one_small_answer_now_and_then_does_not_stay_for_hours() {
    // Each answer comes within write_timeout, and all of them together far below min_write_rate.
    let server = start(json!({"write_timeout": 1, "min_write_rate": 1 << 20}));
    let vitals = Vitals::of(&server, HIT);
    let mut socket = narrow(server.http());
    let requests = request("GET", HIT, &[]).repeat(100);
    // As much as is taken without reading anything: from here on a thread waits for us.
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
