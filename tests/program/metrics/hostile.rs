//! What clients, names and load can't do to the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use super::{assert_promtool_accepts, directory, expect, scrape, value};
use crate::admin::{cached, config, send_with_fields, with_admin};
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::server::Server;
use crate::support::{merged, settled};

/// The series of a scrape with their values.
fn series(text: &str) -> BTreeMap<&str, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(series, value)| (series, value.parse().unwrap())).collect()
}

#[test]
fn no_client_can_add_a_series() {
    let (directory, cache) = (directory(), Directory::new());
    let server = Server::start(config(cached(directory.handler(), &cache)));
    let attack = |round: usize| {
        let mut client = server.client();
        for target in [
            format!("/h/a.png?w={}", round + 1),
            format!("/h/absent-{round}.png"),
            format!("/handler-{round}/a.png"),
            format!("/h/a.png?unknown{round}=1"),
            format!("/-/unknown-{round}"),
        ] {
            let cache = format!("X-{round}");
            client.get_with(&target, &[("X-Cache", &cache), ("X-Error", &cache)]);
        }
        let method = format!("M{round}");
        assert_eq!(server.ask(&method, "/h/a.png").status, 405);
        assert_eq!(server.send(format!("{method}\r\n\r\n").as_bytes()).status, 400);
        let fields = [("Accept", method.as_str())];
        send_with_fields(&server, &method, "/-/metrics", &fields);
        send_with_fields(&server, "GET", &format!("/-/{method}"), &fields);
    };
    (0..3).for_each(attack);
    let names = || {
        let text = scrape(&server);
        series(&text).into_keys().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    // A response is counted after the client has it.
    let before = settled("the series", names);
    (3..40).for_each(attack);
    let after = settled("the series", names);
    let added: Vec<&String> = after.difference(&before).collect();
    assert!(added.is_empty(), "{added:?}");
}

#[test]
fn counters_never_fall_while_requests_are_served() {
    let (directory, cache) = (directory(), Directory::new());
    let server = Server::start(config(cached(directory.handler(), &cache)));
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let (server, is_done) = (&server, &is_done);
            scope.spawn(move || {
                let mut client = server.client();
                for width in (1..).take_while(|_| !is_done.load(Ordering::Relaxed)) {
                    client.get(&format!("/h/a.png?w={}", (width * 4 + number) % 200 + 1)).ok();
                }
            });
        }
        let mut last = String::new();
        for _ in 0..30 {
            let text = scrape(&server);
            let now = series(&text);
            for (name, before) in series(&last) {
                let is_counter = ["_total", "_bucket", "_count", "_sum"]
                    .iter()
                    .any(|end| name.split('{').next().unwrap().ends_with(end));
                if is_counter {
                    assert!(now.get(name).is_some_and(|now| *now >= before), "{name}: {before}");
                }
            }
            for (name, count) in now.iter().filter(|(name, _)| name.contains("_count")) {
                let (family, labels) = name.split_once("_count").unwrap();
                let labels = labels.trim_start_matches('{').trim_end_matches('}');
                let separator = if labels.is_empty() { "" } else { "," };
                let all = format!("{family}_bucket{{{labels}{separator}le=\"+Inf\"}}");
                assert_eq!(now.get(all.as_str()), Some(count), "{name}");
            }
            last = text;
        }
        is_done.store(true, Ordering::Relaxed);
        assert_promtool_accepts(&last);
    });
}

#[test]
fn a_handler_that_a_reload_removes_keeps_its_counts() {
    let directory = directory();
    let named = |name: &str| merged(directory.handler(), json!({"name": name}));
    let server = Server::start(config(named("one")));
    server.get("/one/a.png?w=5").ok();
    let of = |name: &str| {
        format!("http_requests_total{{handler=\"{name}\",status=\"200\",cache=\"miss\"}}")
    };
    expect(&server, &of("one"), 1.0);
    server.reload_well(config(named("two")));
    server.get("/two/a.png?w=5").ok();
    assert_eq!(server.get("/one/a.png?w=5").status, 404);
    expect(&server, &of("two"), 1.0);
    assert_eq!(value(&scrape(&server), &of("one")), 1.0);
    server.reload_well(with_admin(json!({"handlers": [named("one"), named("two")]})));
    server.get("/one/a.png?w=6").ok();
    expect(&server, &of("one"), 2.0);
}

#[test]
fn a_cache_directory_with_any_name_has_valid_series() {
    let (directory, parent) = (directory(), Directory::new());
    let path = parent.path().join("a \"b\"\n\\ {é=\"1\"} 1");
    let handler = merged(directory.handler(), json!({"cache_path": path}));
    let server = Server::start(config(handler));
    server.get("/h/a.png?w=5").ok();
    let escaped = format!("{}/a \\\"b\\\"\\n\\\\ {{é=\\\"1\\\"}} 1", parent.path().display());
    expect(&server, &format!("cache_entries{{directory=\"{escaped}\"}}"), 1.0);
    assert_promtool_accepts(&scrape(&server));
}

#[test]
fn a_client_that_does_not_read_its_metrics_holds_up_no_other() {
    let directory = directory();
    let server = Server::start(config(directory.handler()));
    let mut silent = Client::connect(server.listening_on("admin "));
    let authorization = ("Authorization", "Bearer a-secret-that-is-hard-to-guess");
    let pipelined = request("GET", "/-/metrics", &[authorization]).repeat(200);
    // The server stops reading once the client takes no more.
    let _ = silent.try_send(&pipelined);
    for width in 1..20 {
        server.get(&format!("/h/a.png?w={width}")).ok();
        scrape(&server);
    }
}
