//! A renderer that has grown or has answered enough is replaced, and no request is lost over it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::request;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::images::{self, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::process::Process;
use crate::support::server::Server;

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// The lines about renderers that began to work.
fn started(server: &Server) -> usize {
    server.log.lines().iter().filter(|line| line.contains("event=renderer_ready")).count()
}

#[test]
fn a_renderer_is_replaced_after_so_many_answers() {
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
    server.log.line_with("renderer_max_renders is 3");
    assert!(started(&server) >= 5, "{:?}", server.log.lines());
    server.renderer();
    server.get("/h/a.png").ok();
}

#[test]
fn what_the_old_renderer_works_on_it_finishes() {
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
    eventually("there is another one", || Process::children_of(server.id()).len() == 2);
    server.get("/h/b.png").ok();
    assert!(old.lives());
    gate.open();
    assert_eq!(size_of(&client.read().ok().body), (40, 30));
    eventually("the old one is gone", || !old.lives());
    let fetched =
        origin.requests().iter().filter(|request| request.path().contains("held")).count();
    assert_eq!(fetched, 1);
}

#[test]
fn a_renderer_that_has_grown_is_replaced_but_not_all_the_time() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_limits(directory.handler(), json!({"renderer_max_rss": 1 << 20}));
    let mut seen = BTreeSet::new();
    let begun = Instant::now();
    let mut client = server.client();
    for width in 1.. {
        client.get(&format!("/h/a.png?w={}&h={}", 1 + width % 80, 1 + width / 80 % 60)).ok();
        if width % 20 == 0 {
            seen.extend(Process::children_of(server.id()).iter().map(|process| process.id));
        }
        if seen.len() >= 3 || begun.elapsed() > Duration::from_secs(25) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(seen.len() >= 3, "{:?}", server.log.lines());
    // The second replacement is not before five seconds after the first one.
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    server.log.line_with("bytes resident: limits.renderer_max_rss is 1048576");
}

#[test]
fn a_renderer_that_does_nothing_is_left_alone() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_limits(directory.handler(), json!({"renderer_max_rss": 1 << 20}));
    let renderer = server.renderer();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(server.renderer(), renderer);
    server.get("/h/a.png").ok();
    eventually("it is replaced once it has worked", || !renderer.lives());
}
