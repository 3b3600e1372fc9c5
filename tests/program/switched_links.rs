//! A directory behind a symbolic link, which a deployment switches: `current -> releases/2`.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::{self, GREEN, Image, RED, close};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

/// Two releases, green and red, and a link to the first.
fn releases() -> Directory {
    let directory = Directory::new()
        .with("releases/1/a.png", &images::png(images::solid(16, 16, GREEN)))
        .with("releases/2/a.png", &images::png(images::solid(16, 16, RED)));
    switch(&directory, "releases/1");
    directory
}

/// Replaces the link atomically, as `ln -s … next; mv -T next current`.
fn switch(directory: &Directory, target: &str) {
    let [next, current] = ["next", "current"].map(|name| directory.path().join(name));
    symlink(target, &next).unwrap();
    fs::rename(next, current).unwrap();
}

fn handler(directory: &Directory) -> Value {
    json!({"name": "h", "directory": directory.path().join("current"), "output_format": "png"})
}

fn cached(directory: &Directory, cache: &Directory, fields: Value) -> Value {
    merged(merged(handler(directory), json!({"cache_path": cache.path()})), fields)
}

#[track_caller]
fn is_red(answer: &Answer) -> bool {
    let pixel = Image::decode(&answer.body).at(50, 50);
    assert!(close(pixel, RED) || close(pixel, GREEN), "{pixel:?}");
    close(pixel, RED)
}

/// Requests images on several connections while `change` runs. Returns when each request was started, and whether its
/// image was red.
fn under_load(server: &Server, change: impl FnOnce()) -> Vec<(Instant, bool)> {
    /// Ends the requests, also if `change` panics.
    struct End<'f>(&'f AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    let request_all = |worker: usize| {
        let mut client = server.client();
        let mut results = Vec::new();
        for number in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let started = Instant::now();
            // Some are in the cache already.
            let width = 1 + (number * 4 + worker) % 60;
            let answer = client.get(&format!("/h/a.png?w={width}&e=true")).ok();
            results.push((started, is_red(&answer)));
        }
        results
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..4).map(|worker| scope.spawn(move || request_all(worker))).collect();
        let end = End(&is_over);
        thread::sleep(Duration::from_millis(300));
        change();
        drop(end);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn a_switched_link_is_followed_within_two_seconds_without_a_failed_request() {
    let cache = Directory::new();
    for is_cached in [false, true] {
        let directory = releases();
        let handler =
            if is_cached { cached(&directory, &cache, json!({})) } else { handler(&directory) };
        let server = Server::with_handler(handler);
        let mut switched = Instant::now();
        let results = under_load(&server, || {
            switch(&directory, "releases/2");
            switched = Instant::now();
            thread::sleep(Duration::from_millis(3000));
        });
        // A request may join one for the same variant that began within the two seconds.
        let in_force = switched + Duration::from_millis(2500);
        assert!(results.iter().any(|(started, red)| *started < switched && !red));
        assert!(results.iter().any(|(started, _)| *started > in_force), "{is_cached}");
        let late = results.iter().filter(|(started, red)| *started > in_force && !red);
        assert_eq!(late.count(), 0, "cached: {is_cached}");
        server.log.event_with("directory_switched", "releases/2");
        // The sandbox of the first renderer does not allow the second release.
        if server.log.count("not_sandboxed") == 0 {
            server.log.event("renderer_replaced");
        }
    }
}

#[test]
fn a_release_that_is_removed_at_once_fails_no_request() {
    let directory = releases();
    let server = Server::with_handler(handler(&directory));
    under_load(&server, || {
        switch(&directory, "releases/2");
        fs::remove_dir_all(directory.path().join("releases/1")).unwrap();
        let mut client = server.client();
        eventually("it is followed", || is_red(&client.get("/h/a.png").ok()));
    });
}

#[test]
fn a_link_may_be_switched_often() {
    let directory = releases();
    let server = Server::with_handler(handler(&directory));
    under_load(&server, || {
        let mut client = server.client();
        for number in 0..8 {
            switch(&directory, ["releases/2", "releases/1"][number % 2]);
            eventually("it is followed", || {
                is_red(&client.get("/h/a.png").ok()) == (number % 2 == 0)
            });
        }
    });
    assert!(!is_red(&server.get("/h/a.png").ok()));
}

#[test]
fn cached_variants_are_revalidated_by_the_files_of_the_new_release() {
    let directory = releases();
    let releases = directory.path().join("releases");
    // One file is the same, as `rsync --link-dest` keeps it; one is new, one is gone.
    fs::hard_link(releases.join("1/a.png"), releases.join("1/same.png")).unwrap();
    fs::hard_link(releases.join("1/a.png"), releases.join("2/same.png")).unwrap();
    fs::hard_link(releases.join("1/a.png"), releases.join("1/gone.png")).unwrap();
    fs::hard_link(releases.join("2/a.png"), releases.join("2/new.png")).unwrap();
    // A file that has just been written has no entity tag.
    thread::sleep(Duration::from_millis(50));
    for fields in [json!({}), json!({"stale_if_error": 600}), json!({"cache_time": 0})] {
        switch(&directory, "releases/1");
        let cache = Directory::new();
        let fields = merged(json!({"negative_cache_time": 600}), fields);
        let config = json!({"handlers": [cached(&directory, &cache, fields.clone())]});
        let server = Setup::new(config).check_interval(20).start();
        let cache_status = |target: &str| server.get(target).ok().expect("X-Cache").to_owned();
        for key in ["a.png", "same.png", "gone.png"] {
            server.get(&format!("/h/{key}")).ok();
        }
        eventually("they are served from the cache", || cache_status("/h/a.png") == "hit");
        server.get("/h/new.png").failed("not_found");
        let same = server.get("/h/same.png").ok();

        switch(&directory, "releases/2");
        server.log.event_with("directory_switched", "releases/2");
        let answer = server.get("/h/a.png").ok();
        assert!(is_red(&answer) && answer.expect("X-Cache") == "miss", "{fields}");
        let answer = server.get("/h/same.png").ok();
        assert_eq!(answer.expect("X-Cache"), "revalidated", "{fields}");
        assert_eq!(answer.body, same.body);
        assert!(is_red(&server.get("/h/new.png").ok()));
        server.get("/h/gone.png").failed("not_found");
        for key in ["a.png", "same.png", "new.png"] {
            assert_eq!(cache_status(&format!("/h/{key}")), "hit", "{fields} {key}");
        }
    }
}

#[test]
fn a_link_that_was_switched_while_the_server_was_down_is_noticed() {
    let directory = releases();
    let cache = Directory::new();
    let config = json!({"handlers": [cached(&directory, &cache, json!({}))]});
    let server = Server::start(config.clone());
    assert!(!is_red(&server.get("/h/a.png").ok()));
    drop(server);
    switch(&directory, "releases/2");
    let server = Server::start(config.clone());
    assert!(is_red(&server.get("/h/a.png").ok()));
    // A reload notices it as well, and forgets nothing that is valid.
    switch(&directory, "releases/1");
    server.reload_well(config.clone());
    assert!(!is_red(&server.get("/h/a.png").ok()));
    drop(server);
    let server = Server::start(config);
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "hit");
}

#[test]
fn links_on_the_way_and_a_link_that_leads_nowhere_for_a_while() {
    let directory = releases();
    let cache = Directory::new();
    for release in ["1", "2"] {
        let release = directory.path().join("releases").join(release);
        fs::create_dir(release.join("public")).unwrap();
        fs::copy(release.join("a.png"), release.join("public/a.png")).unwrap();
    }
    let handler = json!({
        "name": "h",
        "directory": directory.path().join("current/public"),
        "cache_path": cache.path(),
        "output_format": "png",
    });
    let server = Setup::new(json!({"handlers": [handler]})).check_interval(20).start();
    assert!(!is_red(&server.get("/h/a.png").ok()));
    fs::remove_file(directory.path().join("current")).unwrap();
    // What is cached is served; another size has no original.
    assert!(!is_red(&server.get("/h/a.png").ok()));
    server.get("/h/a.png?w=3").failed("origin_unreachable");
    switch(&directory, "releases/2");
    server.log.event_with("directory_switched", "releases/2/public");
    assert!(is_red(&server.get("/h/a.png").ok()));
    assert!(is_red(&server.get("/h/a.png?w=3").ok()));
}
