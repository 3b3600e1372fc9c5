//! A renderer that reaches `renderer_max_rss` or `renderer_max_renders` is replaced without failing a request.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::request;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::process::Process;
use crate::support::server::{Server, Setup};
use crate::support::{TIMEOUT, eventually};

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// A server whose renderers are all larger than `renderer_max_rss`, with checks every `interval` milliseconds.
fn over_max_rss(directory: &Directory, interval: u64) -> Server {
    let limits = json!({"renderer_max_rss": 1 << 20});
    let config = json!({"handlers": [directory.handler()], "limits": limits});
    Setup::new(config).check_interval(interval).start()
}

fn count_ready(server: &Server) -> usize {
    server.log.count("renderer_ready")
}

#[test]
fn renderer_is_replaced_after_renderer_max_renders_answers() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_limits(directory.handler(), json!({"renderer_max_renders": 3}));
    std::thread::scope(|scope| {
        for client in 0..6 {
            let server = &server;
            scope.spawn(move || {
                let mut connection = server.client();
                for n in 1..=20 {
                    let width = client * 20 + n;
                    assert_eq!(
                        size_of(&connection.get(&format!("/h/a.png?w={width}&e=true")).ok().body).0,
                        width
                    );
                }
            });
        }
    });
    server.log.event_with("renderer_replaced", "renderer_max_renders");
    // Each serves until the next one is ready, which takes as long as many renders.
    assert!(count_ready(&server) >= 3, "{:?}", server.log.lines());
    server.renderer();
    server.get("/h/a.png").ok();
}

#[test]
fn draining_renderer_finishes_its_requests() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::start(move |request, peer| {
        if request.path().contains("held") {
            held.pass();
        }
        peer.send(&object(&image()))
    });
    let server = Server::with_limits(origin.handler(), json!({"renderer_max_renders": 1}));
    let old = server.renderer();
    let mut client = server.client();
    client.send(&request("GET", "/h/held.png?w=40", &[]));
    origin.wait_for_requests(1);
    server.get("/h/a.png").ok();
    eventually("another renderer runs", || Process::children_of(server.id()).len() == 2);
    server.get("/h/b.png").ok();
    assert!(old.lives());
    gate.open();
    assert_eq!(size_of(&client.read().ok().body), (40, 30));
    eventually("the old renderer is gone", || !old.lives());
    let fetched =
        origin.requests().iter().filter(|request| request.path().contains("held")).count();
    assert_eq!(fetched, 1);
}

#[test]
fn renderer_is_replaced_at_renderer_max_rss_once_in_five_checks_at_most() {
    let directory = Directory::new().with("a.png", &image());
    let server = over_max_rss(&directory, 200);
    let mut seen = BTreeSet::new();
    let started = Instant::now();
    let mut client = server.client();
    for width in 1.. {
        client.get(&format!("/h/a.png?w={}&h={}", 1 + width % 80, 1 + width / 80 % 60)).ok();
        if width % 20 == 0 {
            seen.extend(Process::children_of(server.id()).iter().map(|process| process.id));
        }
        if seen.len() >= 3 || started.elapsed() > TIMEOUT {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(seen.len() >= 3, "{:?}", server.log.lines());
    // The second replacement is five checks after the first.
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    server.log.event_with("renderer_replaced", "renderer_max_rss");
}

#[test]
fn idle_renderer_above_renderer_max_rss_is_not_replaced() {
    let directory = Directory::new().with("a.png", &image());
    let server = over_max_rss(&directory, 100);
    let renderer = server.renderer();
    // Five checks.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.renderer(), renderer);
    server.get("/h/a.png").ok();
    eventually("the renderer is replaced after an answer", || !renderer.lives());
}
