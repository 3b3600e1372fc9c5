//! Purging: once a purge is answered, nothing older than it is served.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::admin::{
    cache_status, cached, config, json_of, nothing_purged, send, send_ok, small_image, warm,
};
use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, BLUE, size_of};
use crate::support::merged;
use crate::support::origin::{self, RawOrigin, object};
use crate::support::server::Server;

fn large_image() -> Vec<u8> {
    images::png(images::solid(20, 20, BLUE))
}

#[test]
fn purge_of_a_key_takes_effect_at_once_and_on_no_other_key() {
    let directory = Directory::new();
    let cache = Directory::new();
    for key in ["a b.png", "b.png"] {
        directory.put(key, &small_image());
    }
    let server = Server::start(config(cached(directory.handler(), &cache)));
    let variants = ["/h/a%20b.png", "/h/a%20b.png?f=webp", "/h/a%20b.png?w=5"];
    for target in variants.into_iter().chain(["/h/b.png"]) {
        warm(&server, target);
    }
    for round in 0..6 {
        let (image, size) =
            if round % 2 == 0 { (large_image(), (20, 20)) } else { (small_image(), (10, 10)) };
        directory.put("a b.png", &image);
        directory.put("b.png", &image);
        assert_eq!(cache_status(&server.get(variants[0]).ok()), "hit", "not purged yet");
        let answer = send_ok(&server, "POST", "/-/purge/h/a%20b.png");
        assert_eq!(answer, json!({"renditions": 3, "original": false}));
        for target in variants {
            assert_eq!(cache_status(&server.get(target).ok()), "miss", "{target}");
            assert_eq!(cache_status(&server.get(target).ok()), "hit", "{target}");
        }
        let new = server.get(variants[0]).ok();
        assert_eq!((cache_status(&new), size_of(&new.body)), ("hit", size));
        let other = server.get("/h/b.png").ok();
        assert_eq!((cache_status(&other), size_of(&other.body)), ("hit", (10, 10)));
    }
    assert_eq!(send_ok(&server, "POST", "/-/purge/h/unknown.png"), nothing_purged());
}

#[test]
fn purge_that_is_incomplete_is_an_error() {
    let directory = Directory::new().with("a.png", &small_image());
    let cache = Directory::new();
    let server = Server::start(config(cached(directory.handler(), &cache)));
    cache.put("v1", b"not a directory");
    for (method, target) in [("POST", "/-/purge/h/a.png"), ("DELETE", "/-/purge/h/")] {
        let answer = send(&server, method, target);
        assert_eq!(answer.status, 500);
        assert!(
            json_of(&answer)["error"]
                .as_str()
                .unwrap()
                .starts_with("not everything could be removed")
        );
    }
    server.log.event("purge_incomplete");
}

#[test]
fn purge_with_render_makes_the_variants_again() {
    let directory = Directory::new().with("a.png", &small_image());
    let cache = Directory::new();
    let server = Server::start(config(cached(directory.handler(), &cache)));
    let variants = ["/h/a.png", "/h/a.png?f=webp", "/h/a.png?q=50&f=jpg"];
    variants.iter().for_each(|target| warm(&server, target));
    directory.put("a.png", &large_image());
    let answer = send_ok(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 3, "original": false, "rendered": 3, "failed": 0}));
    for target in variants {
        let answer = server.get(target).ok();
        assert_eq!((cache_status(&answer), size_of(&answer.body)), ("hit", (20, 20)), "{target}");
    }
    // The variants of a deleted original can't be made again and are not served.
    std::fs::remove_file(directory.path().join("a.png")).unwrap();
    let answer = send_ok(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 3, "original": false, "rendered": 0, "failed": 3}));
    server.get(variants[0]).failed("not_found");
    let answer = send_ok(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 0, "original": false, "rendered": 0, "failed": 0}));
}

#[test]
fn purge_with_render_prefers_the_most_recently_used_variants() {
    let directory = Directory::new().with("a.png", &small_image());
    let cache = Directory::new();
    // Without the memory cache, each hit is recorded at once.
    let config = merged(config(cached(directory.handler(), &cache)), json!({"memory_cache": 0}));
    let server = Server::start(config);
    let target = |number: u32| format!("/h/a.png?f=jpg&q={number}");
    (1..=20).for_each(|number| drop(server.get(&target(number)).ok()));
    // Last uses are recorded in sixteenths of a second.
    thread::sleep(Duration::from_millis(200));
    (1..=16).for_each(|number| assert_eq!(cache_status(&server.get(&target(number)).ok()), "hit"));
    directory.put("a.png", &large_image());
    let answer = send_ok(&server, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(answer, json!({"renditions": 20, "original": false, "rendered": 16, "failed": 0}));
    for number in 1..=20 {
        let answer = server.get(&target(number)).ok();
        let expected = if number <= 16 { "hit" } else { "miss" };
        assert_eq!(
            (cache_status(&answer), size_of(&answer.body)),
            (expected, (20, 20)),
            "{number}"
        );
    }
}

#[test]
fn purge_of_a_prefix_includes_every_key_below_it_and_no_other() {
    let origin = RawOrigin::always(object(&small_image()));
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
    let status = |target: &str| cache_status(&server.get(target).ok()).to_owned();
    assert_eq!(
        send_ok(&server, "DELETE", "/-/purge/h/a/"),
        json!({"renditions": 4, "originals": 0})
    );
    beside.iter().chain(&others).for_each(|target| assert_eq!(status(target), "hit", "{target}"));
    below.iter().for_each(|target| assert_eq!(status(target), "miss", "{target}"));
    below.iter().for_each(|target| assert_eq!(status(target), "hit", "{target}"));
    assert_eq!(
        send_ok(&server, "DELETE", "/-/purge/h/a/b%2F"),
        json!({"renditions": 2, "originals": 0})
    );
    assert_eq!(status("/h/a/1"), "hit");
    assert_eq!(send_ok(&server, "DELETE", "/-/purge/h/"), json!({"renditions": 7, "originals": 0}));
    others.iter().for_each(|target| assert_eq!(status(target), "hit", "{target}"));
    below.iter().chain(&beside).for_each(|target| assert_eq!(status(target), "miss", "{target}"));
}

/// The number of entries, without the purge journal.
fn entries(cache: &Directory) -> usize {
    cache.files().iter().filter(|file| !file.ends_with(".purges")).count()
}

/// An origin whose first answer is the small image, once the gate is open; its other answers are the large image.
fn slow_once(gate: &Gate) -> RawOrigin {
    let held = gate.clone();
    RawOrigin::start(move |request, peer| {
        if request.number > 0 {
            return peer.send(&object(&large_image()));
        }
        held.pass();
        peer.send(&object(&small_image()))
    })
}

#[test]
fn purge_is_not_undone_by_a_request_in_flight() {
    for (method, target) in [("POST", "/-/purge/h/a/b.png"), ("DELETE", "/-/purge/h/a/")] {
        for reload in ["none", "before", "after"] {
            let gate = Gate::new();
            let origin = slow_once(&gate);
            let cache = Directory::new();
            let config = config(cached(origin.handler(), &cache));
            let server = Server::start(config.clone());
            let address = server.http();
            let early = thread::spawn(move || Client::connect(address).get("/h/a/b.png"));
            origin.wait_for_requests(1);
            if reload == "before" {
                server.reload_well(config.clone());
            }
            assert_eq!(send(&server, method, target).status, 200);
            if reload == "after" {
                server.reload_well(config);
            }
            // A new request does not wait for the one from before the purge.
            let answer = server.get("/h/a/b.png").ok();
            assert_eq!((cache_status(&answer), size_of(&answer.body)), ("miss", (20, 20)));
            gate.open();
            // The request from before the purge gets the new image too.
            assert_eq!(size_of(&early.join().unwrap().ok().body), (20, 20));
            for _ in 0..5 {
                assert_eq!(
                    size_of(&server.get("/h/a/b.png").ok().body),
                    (20, 20),
                    "{method} {reload}"
                );
            }
            assert_eq!(cache_status(&server.get("/h/a/b.png").ok()), "hit");
        }
    }
}

#[test]
fn purge_leaves_no_entry_of_a_request_in_flight() {
    for reloads in [false, true] {
        let gate = Gate::new();
        let origin = slow_once(&gate);
        let cache = Directory::new();
        let config = config(cached(origin.handler(), &cache));
        let server = Server::start(config.clone());
        let address = server.http();
        let early = thread::spawn(move || Client::connect(address).get("/h/a.png"));
        origin.wait_for_requests(1);
        if reloads {
            server.reload_well(config);
        }
        assert_eq!(send_ok(&server, "POST", "/-/purge/h/a.png"), nothing_purged());
        gate.open();
        assert_eq!(size_of(&early.join().unwrap().ok().body), (20, 20));
        // The only entry has the new image.
        assert_eq!(entries(&cache), 1, "{reloads}");
        assert_eq!(cache_status(&server.get("/h/a.png").ok()), "hit");
    }
}

#[test]
fn purge_hides_older_entries_that_another_server_stores() {
    for reloads in [false, true] {
        let gate = Gate::new();
        let origin = slow_once(&gate);
        let cache = Directory::new();
        let config = config(cached(origin.handler(), &cache));
        let server = Server::start(config.clone());
        let other = Server::start(config.clone());
        let address = other.http();
        let early = thread::spawn(move || Client::connect(address).get("/h/a.png"));
        origin.wait_for_requests(1);
        assert_eq!(send_ok(&server, "POST", "/-/purge/h/a.png"), nothing_purged());
        if reloads {
            server.reload_well(config);
        }
        gate.open();
        assert_eq!(size_of(&early.join().unwrap().ok().body), (10, 10));
        assert_eq!(entries(&cache), 1);
        for expected in ["miss", "hit", "hit"] {
            let answer = server.get("/h/a.png").ok();
            assert_eq!(
                (cache_status(&answer), size_of(&answer.body)),
                (expected, (20, 20)),
                "{reloads}"
            );
        }
    }
}

#[test]
fn purge_removes_stale_images_too() {
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
    send(&server, "POST", "/-/purge/h/a.png");
    gate.open();
    early.join().unwrap().failed("origin_error");
}

#[test]
fn purge_journal_outlives_a_killed_server() {
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
        assert_eq!(send(&server, method, target).status, 200);
        // Kills the server.
        drop(server);
        // As if its renderer had stored images that it had made before the purge.
        for (bytes, file) in entries {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
        let server = Server::start(config);
        assert_eq!(cache_status(&server.get("/h/a/b.png").ok()), "miss");
        assert_eq!(cache_status(&server.get("/h/a/b.png").ok()), "hit");
        assert_eq!(cache_status(&server.get("/h/c.png").ok()), "hit");
    }
}
