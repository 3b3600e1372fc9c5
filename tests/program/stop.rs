//! Shutdown: requests in flight are finished, new connections refused, and the processes exit.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::request;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::images::{self, RED};
use crate::support::origin::{RawOrigin, object};
use crate::support::process;
use crate::support::server::Server;

fn image() -> Vec<u8> {
    images::png(images::solid(8, 8, RED))
}

fn gated(gate: &Gate) -> RawOrigin {
    let held = gate.clone();
    RawOrigin::start(move |_, peer| {
        held.pass();
        peer.send(&object(&image()))
    })
}

#[test]
fn shutdown_of_an_idle_server_by_sigterm_or_sigint_exits_with_status_0() {
    let directory = Directory::new().with("a.png", &image());
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::with_handler(directory.handler());
        let mut kept = server.client();
        kept.get("/h/a.png").ok();
        let renderer = server.renderer();
        let started = Instant::now();
        process::send(server.id(), signal);
        assert_eq!(server.wait().code(), Some(0));
        // An idle keep-alive connection must not delay the exit until stop_timeout.
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert!(kept.ended());
        eventually("the renderer is gone", || !renderer.lives());
    }
}

#[test]
fn shutdown_finishes_requests_in_flight_and_refuses_new_connections() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let mut server = Server::with_handler(origin.handler());
    let mut kept = server.client();
    assert_eq!(kept.get("/-/health").status, 200);
    let mut working = server.client();
    working.send(&request("GET", "/h/a.png", &[]));
    origin.wait_for_requests(1);

    server.terminate();
    eventually("the port is closed", || TcpStream::connect(server.http()).is_err());
    assert!(server.lives(), "a request is in flight");
    // On a connection that is open already, health reports the shutdown.
    let health = kept.get("/-/health");
    assert_eq!((health.status, health.text().trim()), (503, "stopping"));

    gate.open();
    working.read().ok();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn shutdown_ends_requests_in_flight_after_stop_timeout() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let limits =
        json!({"stop_timeout": 0.6, "origin_first_byte_timeout": 60, "origin_timeout": 60});
    let mut server = Server::with_limits(origin.handler(), limits);
    let mut working = server.client();
    working.send(&request("GET", "/h/a.png", &[]));
    origin.wait_for_requests(1);
    let started = Instant::now();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(working.ended());
    gate.open();
}

#[test]
fn shutdown_exits_at_once_after_a_second_signal() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let limits = json!({"stop_delay": 60, "origin_first_byte_timeout": 60, "origin_timeout": 60});
    let mut server = Server::with_limits(origin.handler(), limits);
    let mut working = server.client();
    working.send(&request("GET", "/h/a.png", &[]));
    origin.wait_for_requests(1);
    server.terminate();
    eventually("health answers 503", || server.get("/-/health").status == 503);
    let started = Instant::now();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    gate.open();
}

#[test]
fn shutdown_with_stop_delay_keeps_serving_while_health_answers_503() {
    let directory = Directory::new().with("a.png", &image());
    let mut server = Server::with_limits(directory.handler(), json!({"stop_delay": 3}));
    assert_eq!(server.get("/-/health").status, 200);
    let started = Instant::now();
    server.terminate();
    eventually("health answers 503", || server.get("/-/health").status == 503);
    // Until load balancers have noticed, new connections are served as well.
    let answer = server.get("/-/health");
    assert_eq!((answer.status, answer.text().trim()), (503, "stopping"));
    server.get("/h/a.png").ok();
    assert!(started.elapsed() < Duration::from_secs(3), "the machine is too slow for this test");
    assert_eq!(server.wait().code(), Some(0));
    assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn shutdown_serves_open_connections_until_requests_in_flight_are_done() {
    let gate = Gate::new();
    let origin = {
        let held = gate.clone();
        RawOrigin::start(move |request, peer| {
            if request.path().contains("held") {
                held.pass();
            }
            peer.send(&object(&image()))
        })
    };
    let mut server = Server::with_handler(origin.handler());
    let mut one = server.client();
    let mut two = server.client();
    one.get("/h/first.png").ok();
    two.send(&request("GET", "/h/held.png", &[]));
    origin.wait_for_requests(2);
    server.terminate();
    eventually("the port is closed", || TcpStream::connect(server.http()).is_err());
    one.get("/h/second.png").ok();
    gate.open();
    two.read().ok();
    assert_eq!(server.wait().code(), Some(0));
}
