//! Coalescing: concurrent requests for one variant cost one fetch and one render.

use serde_json::json;

use crate::admin::{config, stat};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images;
use crate::support::merged;
use crate::support::origin::{RawOrigin, answer, object};
use crate::support::server::Server;
use crate::support::{client::Client, eventually};

/// Number of concurrent clients.
const CLIENTS: usize = 500;

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// Sends the same request on [`CLIENTS`] connections.
fn send_all(server: &Server, target: &str) -> Vec<Client> {
    let request = crate::support::client::request("GET", target, &[]);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&request));
    clients
}

#[test]
fn coalesced_requests_cost_one_get_and_one_render() {
    let gate = Gate::new();
    let closed = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        closed.pass();
        peer.send(&object(&image()))
    });
    let cache = Directory::new();
    let handler = merged(origin.handler(), json!({"cache_path": cache.path()}));
    let server = Server::start(config(handler));
    let mut clients = send_all(&server, "/h/a.png?w=20");
    origin.wait_for_requests(1);
    // Half of the clients disconnect before the response, among them the leader.
    let remaining = clients.split_off(CLIENTS / 2);
    drop(clients);
    gate.open();
    let mut etags: Vec<String> = remaining
        .into_iter()
        .map(|mut client| client.read().ok().expect("ETag").to_owned())
        .collect();
    etags.dedup();
    assert_eq!(etags.len(), 1);
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(stat(&server, "/rendered"), 1);
}

#[test]
fn coalesced_requests_share_a_failure_of_the_origin() {
    let gate = Gate::new();
    let closed = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        closed.pass();
        peer.send(&answer(500, &[], b"<Error><Code>InternalError</Code></Error>"))
    });
    let cache = Directory::new();
    let handler = merged(origin.handler(), json!({"cache_path": cache.path()}));
    let server = Server::with_handler(handler);
    let before = server.process().threads();
    let clients = send_all(&server, "/h/a.png?w=20");
    origin.wait_for_requests(1);
    eventually("every request has a thread", || server.process().threads() >= before + CLIENTS);
    // A thread that has not joined the call yet is running; it would ask the origin again.
    eventually("every thread waits", || server.process().is_asleep());
    gate.open();
    for mut client in clients {
        client.read().failed("origin_error");
    }
    // The leader retries a 5xx once.
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn requests_that_begin_while_a_coalesced_call_ends_do_not_ask_the_origin_again() {
    let origin = RawOrigin::start(|request, peer| {
        if request.target.contains("missing") {
            peer.send(&answer(404, &[], b"<Error><Code>NoSuchKey</Code></Error>"))
        } else {
            peer.send(&object(&image()))
        }
    });
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "negative_cache_time": 3600});
    let server = Server::with_handler(merged(origin.handler(), fields));
    // Some requests begin before the call, some during it, and some after it.
    for mut client in send_all(&server, "/h/a.png?w=20") {
        client.read().ok();
    }
    assert_eq!(origin.requests().len(), 1);
    for mut client in send_all(&server, "/h/missing.png?w=20") {
        client.read().failed("not_found");
    }
    assert_eq!(origin.requests().len(), 2);
}
