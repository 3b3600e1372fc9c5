//! Purging: what is cached of a key is gone from the moment that it is answered, and does not come back.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::admin::{cached, config, done, order, said, small, state, warm, zero};
use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, BLUE, size_of};
use crate::support::merged;
use crate::support::origin::{self, RawOrigin, object};
use crate::support::server::Server;

fn large() -> Vec<u8> {
    images::png(images::solid(20, 20, BLUE))
}

#[test]
fn a_purged_key_is_served_anew_at_once_and_no_other_is() {
    let (directory, cache) = (Directory::new(), Directory::new());
    for key in ["a b.png", "b.png"] {
        directory.put(key, &small());
    }
    let server = Server::start(config(cached(directory.handler(), &cache)));
    let variants = ["/h/a%20b.png", "/h/a%20b.png?f=webp", "/h/a%20b.png?w=5"];
    for target in variants.into_iter().chain(["/h/b.png"]) {
        warm(&server, target);
    }
    for round in 0..6 {
        let (image, size) = if round % 2 == 0 { (large(), (20, 20)) } else { (small(), (10, 10)) };
        directory.put("a b.png", &image);
        directory.put("b.png", &image);
        assert_eq!(state(&server.get(variants[0]).ok()), "hit", "nobody knows yet");
        let answer = done(&server, "POST", "/-/purge/h/a%20b.png");
        assert_eq!(answer, json!({"renditions": 3, "original": false}));
        for target in variants {
            assert_eq!(state(&server.get(target).ok()), "miss", "{target}");
            assert_eq!(state(&server.get(target).ok()), "hit", "{target}");
        }
        let anew = server.get(variants[0]).ok();
        assert_eq!((state(&anew), size_of(&anew.body)), ("hit", size));
        let other = server.get("/h/b.png").ok();
        assert_eq!((state(&other), size_of(&other.body)), ("hit", (10, 10)));
    }
    assert_eq!(done(&server, "POST", "/-/purge/h/unknown.png"), zero());
}

#[test]
fn a_purge_that_can_not_be_done_whole_says_so() {
    let (directory, cache) = (Directory::new().with("a.png", &small()), Directory::new());
    let server = Server::start(config(cached(directory.handler(), &cache)));
    cache.put("v1", b"not a directory");
    for (method, target) in [("POST", "/-/purge/h/a.png"), ("DELETE", "/-/purge/h/")] {
        let answer = order(&server, method, target);
        assert_eq!(answer.status, 500);
        assert!(
            said(&answer)["error"].as_str().unwrap().starts_with("not everything could be removed")
        );
    }
    server.log.event("purge_incomplete");
}

#[test]
fn variants_are_made_again_before_anybody_asks() {
    let (directory, cache) = (Directory::new().with("a.png", &small()), Directory::new());
    let server = Server::start(config(cached(directory.handler(), &cache)));
    let variants = ["/h/a.png", "/h/a.png?f=webp", "/h/a.png?q=50&f=jpg"];
    variants.iter().for_each(|target| warm(&server, target));
    directory.put("a.png", &large());
    let answer = done(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 3, "original": false, "rendered": 3, "failed": 0}));
    for target in variants {
        let answer = server.get(target).ok();
        assert_eq!((state(&answer), size_of(&answer.body)), ("hit", (20, 20)), "{target}");
    }
    // What is not there any more can't be made again, and is not served any more.
    std::fs::remove_file(directory.path().join("a.png")).unwrap();
    let answer = done(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 3, "original": false, "rendered": 0, "failed": 3}));
    server.get(variants[0]).failed("not_found");
    let answer = done(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 0, "original": false, "rendered": 0, "failed": 0}));
}

#[test]
fn the_variants_that_were_asked_for_last_are_made_again() {
    let (directory, cache) = (Directory::new().with("a.png", &small()), Directory::new());
    // Without memory, so that each hit is known at once.
    let config = merged(config(cached(directory.handler(), &cache)), json!({"memory_cache": 0}));
    let server = Server::start(config);
    let target = |number: u32| format!("/h/a.png?f=jpg&q={number}");
    (1..=20).for_each(|number| drop(server.get(&target(number)).ok()));
    // What is asked for in one sixteenth of a second can't be told apart.
    thread::sleep(Duration::from_millis(200));
    (1..=16).for_each(|number| assert_eq!(state(&server.get(&target(number)).ok()), "hit"));
    directory.put("a.png", &large());
    let answer = done(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 20, "original": false, "rendered": 16, "failed": 0}));
    for number in 1..=20 {
        let answer = server.get(&target(number)).ok();
        let expected = if number <= 16 { "hit" } else { "miss" };
        assert_eq!((state(&answer), size_of(&answer.body)), (expected, (20, 20)), "{number}");
    }
}

#[test]
fn a_prefix_is_every_key_below_it_and_nothing_beside_it() {
    let origin = RawOrigin::always(object(&small()));
    let cache = Directory::new();
    let other = merged(origin.handler(), json!({"name": "i"}));
    let config = merged(
        config(origin.handler()),
        json!({"handlers": [cached(origin.handler(), &cache), cached(other, &cache)]}),
    );
    let server = Server::start(config);
    let below = ["/h/a/1", "/h/a/b/2", "/h/a/b/2?f=webp", "/h/a/%C3%BC"];
    let beside = ["/h/a", "/h/ab/1", "/h/b/a/1", "/h/A/1", "/h//a/1"];
    let others = ["/i/a/1", "/i/x"];
    for target in below.into_iter().chain(beside).chain(others) {
        warm(&server, target);
    }
    let of = |target: &str| state(&server.get(target).ok()).to_owned();
    assert_eq!(done(&server, "DELETE", "/-/purge/h/a/"), json!({"renditions": 4, "originals": 0}));
    beside.iter().chain(&others).for_each(|target| assert_eq!(of(target), "hit", "{target}"));
    below.iter().for_each(|target| assert_eq!(of(target), "miss", "{target}"));
    below.iter().for_each(|target| assert_eq!(of(target), "hit", "{target}"));
    assert_eq!(
        done(&server, "DELETE", "/-/purge/h/a/b%2F"),
        json!({"renditions": 2, "originals": 0})
    );
    assert_eq!(of("/h/a/1"), "hit");
    assert_eq!(done(&server, "DELETE", "/-/purge/h/"), json!({"renditions": 7, "originals": 0}));
    others.iter().for_each(|target| assert_eq!(of(target), "hit", "{target}"));
    below.iter().chain(&beside).for_each(|target| assert_eq!(of(target), "miss", "{target}"));
}

/// An origin that holds its first answer back until the gate opens and then says how it was before.
/// How many entries there are; purges are written down beside them.
fn entries(cache: &Directory) -> usize {
    cache.files().iter().filter(|file| !file.ends_with(".purged")).count()
}

fn slow_once(gate: &Gate) -> RawOrigin {
    let held = gate.clone();
    RawOrigin::start(move |request, peer| {
        if request.number > 0 {
            return peer.send(&object(&large()));
        }
        held.pass();
        peer.send(&object(&small()))
    })
}

#[test]
fn a_purge_is_not_undone_by_a_request_in_flight() {
    for (method, target) in [("POST", "/-/purge/h/a/b.png"), ("DELETE", "/-/purge/h/a/")] {
        for reload in ["none", "before", "after"] {
            let gate = Gate::new();
            let (origin, cache) = (slow_once(&gate), Directory::new());
            let config = config(cached(origin.handler(), &cache));
            let server = Server::start(config.clone());
            let address = server.http();
            let early = thread::spawn(move || Client::connect(address).get("/h/a/b.png"));
            origin.wait_for_requests(1);
            if reload == "before" {
                server.reload_well(config.clone());
            }
            assert_eq!(order(&server, method, target).status, 200);
            if reload == "after" {
                server.reload_well(config);
            }
            // Who asks from now on does not wait for what was asked for before.
            let answer = server.get("/h/a/b.png").ok();
            assert_eq!((state(&answer), size_of(&answer.body)), ("miss", (20, 20)));
            gate.open();
            // Nor is who asked before given what the origin said before.
            assert_eq!(size_of(&early.join().unwrap().ok().body), (20, 20));
            for _ in 0..5 {
                assert_eq!(
                    size_of(&server.get("/h/a/b.png").ok().body),
                    (20, 20),
                    "{method} {reload}"
                );
            }
            assert_eq!(state(&server.get("/h/a/b.png").ok()), "hit");
        }
    }
}

#[test]
fn what_was_in_flight_leaves_nothing_behind() {
    for reloads in [false, true] {
        let gate = Gate::new();
        let (origin, cache) = (slow_once(&gate), Directory::new());
        let config = config(cached(origin.handler(), &cache));
        let server = Server::start(config.clone());
        let address = server.http();
        let early = thread::spawn(move || Client::connect(address).get("/h/a.png"));
        origin.wait_for_requests(1);
        if reloads {
            server.reload_well(config);
        }
        assert_eq!(done(&server, "POST", "/-/purge/h/a.png"), zero());
        gate.open();
        assert_eq!(size_of(&early.join().unwrap().ok().body), (20, 20));
        // The one that is there is the new one.
        assert_eq!(entries(&cache), 1, "{reloads}");
        assert_eq!(state(&server.get("/h/a.png").ok()), "hit");
    }
}

#[test]
fn what_another_server_brings_back_is_not_served() {
    for reloads in [false, true] {
        let gate = Gate::new();
        let (origin, cache) = (slow_once(&gate), Directory::new());
        let config = config(cached(origin.handler(), &cache));
        let (server, other) = (Server::start(config.clone()), Server::start(config.clone()));
        let address = other.http();
        let early = thread::spawn(move || Client::connect(address).get("/h/a.png"));
        origin.wait_for_requests(1);
        assert_eq!(done(&server, "POST", "/-/purge/h/a.png"), zero());
        if reloads {
            server.reload_well(config);
        }
        gate.open();
        assert_eq!(size_of(&early.join().unwrap().ok().body), (10, 10));
        assert_eq!(entries(&cache), 1);
        for expected in ["miss", "hit", "hit"] {
            let answer = server.get("/h/a.png").ok();
            assert_eq!((state(&answer), size_of(&answer.body)), (expected, (20, 20)), "{reloads}");
        }
    }
}

#[test]
fn what_was_kept_for_an_outage_is_dropped_as_well() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::start(move |request, peer| match request.number {
        0 => peer.send(&object(&images::png(images::solid(10, 10, BLUE)))),
        _ => {
            held.pass();
            peer.send(&origin::answer(500, &[], b"<Error><Code>InternalError</Code></Error>"))
        }
    });
    let cache = Directory::new();
    let config = config(merged(cached(origin.handler(), &cache), json!({"cache_time": 1})));
    let server = Server::start(config);
    server.get("/h/a.png").ok();
    thread::sleep(Duration::from_millis(1100));
    let address = server.http();
    let early = thread::spawn(move || Client::connect(address).get("/h/a.png"));
    origin.wait_for_requests(2);
    order(&server, "POST", "/-/purge/h/a.png");
    gate.open();
    early.join().unwrap().failed("origin_error");
}

#[test]
fn what_a_killed_server_left_is_no_older_than_its_purges() {
    for (method, target) in [("POST", "/-/purge/h/a/b.png"), ("DELETE", "/-/purge/h/a/")] {
        let origin = RawOrigin::always(object(&images::png(images::solid(10, 10, BLUE))));
        let cache = Directory::new();
        let config = config(cached(origin.handler(), &cache));
        let server = Server::start(config.clone());
        for key in ["a/b.png", "c.png"] {
            server.get(&format!("/h/{key}")).ok();
        }
        let entries: Vec<_> =
            cache.files().into_iter().map(|file| (std::fs::read(&file).unwrap(), file)).collect();
        assert_eq!(order(&server, method, target).status, 200);
        // Killed.
        drop(server);
        // Its renderer had not heard of that yet, and has stored what it had asked for before.
        for (bytes, file) in entries {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
        let server = Server::start(config);
        assert_eq!(state(&server.get("/h/a/b.png").ok()), "miss");
        assert_eq!(state(&server.get("/h/a/b.png").ok()), "hit");
        assert_eq!(state(&server.get("/h/c.png").ok()), "hit");
    }
}
