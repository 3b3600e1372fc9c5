//! A crowd that wants one thing gets it for the price of one.

use serde_json::json;

use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images;
use crate::support::merged;
use crate::support::origin::{RawOrigin, answer, object};
use crate::support::server::{Server, Setup};
use crate::support::{client::Client, eventually};

/// How many ask at once.
const CROWD: usize = 500;

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// Sends one request on each of so many connections, and waits until all of them have been read by the server.
fn ask(server: &Server, target: &str) -> Vec<Client> {
    let request = crate::support::client::request("GET", target, &[]);
    let mut clients: Vec<Client> = (0..CROWD).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&request));
    clients
}

#[test]
fn a_crowd_costs_one_get_and_one_render() {
    let gate = Gate::new();
    let closed = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        closed.pass();
        peer.send(&object(&image()))
    });
    let cache = Directory::new();
    let handler = merged(origin.handler(), json!({"cache_path": cache.path()}));
    // A renderer that has made two images is replaced by another process.
    let server = Setup::new(json!({
        "handlers": [handler],
        "limits": {"renderer_max_renders": 2, "renderer_max_rss": 1_u64 << 40},
    }))
    .start();
    let renderer = server.renderer().id;
    let mut clients = ask(&server, "/h/a.png?w=20");
    origin.wait_for_requests(1);
    // Half of them go away before there is anything; the first one is surely among those.
    let stay = clients.split_off(CROWD / 2);
    drop(clients);
    gate.open();
    let mut etags: Vec<String> =
        stay.into_iter().map(|mut client| client.read().ok().expect("ETag").to_owned()).collect();
    etags.dedup();
    assert_eq!(etags.len(), 1);
    assert_eq!(origin.requests().len(), 1);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(server.renderer().id, renderer, "one image was made");
    server.get("/h/a.png?w=21").ok();
    eventually("the second one ends the renderer", || server.renderer().id != renderer);
}

#[test]
fn a_crowd_whose_origin_fails_is_told_so_once_and_all_together() {
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
    let clients = ask(&server, "/h/a.png?w=20");
    origin.wait_for_requests(1);
    eventually("all have been read", || server.process().threads() >= before + CROWD);
    // A thread that is there has yet to join the others; one that comes too late asks anew, as it should.
    std::thread::sleep(std::time::Duration::from_millis(500));
    gate.open();
    for mut client in clients {
        client.read().failed("origin_error");
    }
    // A 5xx is asked about a second time, by the one who asks for all.
    assert_eq!(origin.requests().len(), 2);
}
