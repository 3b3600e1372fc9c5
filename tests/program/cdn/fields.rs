//! Cache tags, `Cache-Control` and fixed fields, in images from the renderer, from disk and from memory.

use serde_json::{Value, json};

use super::{handler, image, tag};
use crate::admin::{cached, config, send_ok, warm};
use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::merged;
use crate::support::origin::{self, RawOrigin};
use crate::support::server::Server;
use crate::support::tokens;

fn tags(answer: &Answer) -> Vec<String> {
    answer.expect("Cache-Tag").split(',').map(str::to_owned).collect()
}

fn start(fields: Value) -> (Server, Directory, Directory) {
    let directory = Directory::new().with("s/t/a b.png", &image());
    let cache = Directory::new();
    let server = Server::start(config(handler(&directory, &cache, fields)));
    (server, directory, cache)
}

#[test]
fn each_response_for_a_key_has_the_tags_of_the_key_and_of_what_is_above_it() {
    let (server, directory, _cache) = start(json!({"cache_tags": "Cache-Tag"}));
    let expected: Vec<String> =
        ["h/s/t/a b.png", "h/", "h/s/", "h/s/t/"].into_iter().map(tag).collect();
    let target = "/h/s/t/a%20b.png?w=5";
    let missed = server.get(target).ok();
    assert_eq!((missed.expect("X-Cache"), tags(&missed)), ("miss", expected.clone()));
    for _ in 0..3 {
        let hit = server.get(target).ok();
        assert_eq!((hit.expect("X-Cache"), tags(&hit)), ("hit", expected.clone()));
    }
    let etag = missed.expect("ETag").to_owned();
    let not_modified = server.get_with(target, &[("If-None-Match", &etag)]);
    assert_eq!((not_modified.status, tags(&not_modified)), (304, expected.clone()));
    let part = server.get_with(target, &[("Range", "bytes=0-3")]);
    assert_eq!((part.status, tags(&part)), (206, expected.clone()));
    assert_eq!(tags(&server.head_with(target, &[])), expected);
    // Errors, too: of the origin, and those that need no request to it.
    std::fs::remove_file(directory.path().join("s/t/a b.png")).unwrap();
    let gone = server.get("/h/s/t/a%20b.png?w=6");
    gone.clone().failed("not_found");
    assert_eq!(tags(&gone), expected);
    assert_eq!(tags(&server.get("/h/x/../y")), ["h/x/../y", "h/", "h/x/", "h/x/../"].map(tag));
    // Nothing of a key.
    for target in ["/h/s/t/a%20b.png?w=x", "/none/a.png", "/-/health"] {
        assert_eq!(server.get(target).header("Cache-Tag"), None, "{target}");
    }
}

#[test]
fn a_large_image_that_is_read_from_disk_has_the_tags() {
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let fields = json!({"cache_tags": "Surrogate-Key", "headers": {"X-Own": "a b"}});
    let config = merged(config(handler(&directory, &cache, fields)), json!({"memory_cache": 0}));
    let server = Server::start(config);
    for status in ["miss", "hit"] {
        let answer = server.get("/h/a.png").ok();
        assert_eq!(answer.expect("X-Cache"), status);
        assert_eq!(answer.expect("Surrogate-Key"), format!("{} {}", tag("h/a.png"), tag("h/")));
        assert_eq!(answer.expect("X-Own"), "a b");
    }
}

#[test]
fn purges_answer_with_their_tag() {
    let (server, _directory, _cache) = start(json!({"cache_tags": "Cache-Tag"}));
    for (method, target, scope) in [
        ("POST", "/-/purge/h/s/t/a%20b.png", "h/s/t/a b.png"),
        ("POST", "/-/purge/h/s/t/a%20b.png?render=1", "h/s/t/a b.png"),
        ("DELETE", "/-/purge/h/s/t/", "h/s/t/"),
        ("DELETE", "/-/purge/h/", "h/"),
    ] {
        assert_eq!(send_ok(&server, method, target)["tag"], json!(tag(scope)), "{target}");
    }
}

#[test]
fn fixed_fields_are_sent_with_images_and_errors() {
    let fields = json!({"headers": {"Timing-Allow-Origin": "*", "X-Own": "a\tb"}});
    let (server, _directory, _cache) = start(fields);
    warm(&server, "/h/s/t/a%20b.png");
    for target in ["/h/s/t/a%20b.png?w=5", "/h/s/t/a%20b.png", "/h/none.png"] {
        let answer = server.get(target);
        assert_eq!(answer.expect("Timing-Allow-Origin"), "*", "{target}");
        assert_eq!(answer.expect("X-Own"), "a\tb", "{target}");
    }
    assert_eq!(server.get("/none/a.png").header("X-Own"), None);
}

#[test]
fn cache_control_has_the_configured_directives_and_no_age() {
    let (server, _directory, _cache) = start(json!({
        "cache_time": 1000,
        "cache_control": {
            "max_age": 60, "s_maxage": 9000, "immutable": true,
            "stale_while_revalidate": 5, "stale_if_error": 6,
        },
    }));
    let expected =
        "public, max-age=60, s-maxage=9000, immutable, stale-while-revalidate=5, stale-if-error=6";
    for _ in 0..3 {
        let answer = server.get("/h/s/t/a%20b.png").ok();
        assert_eq!(answer.expect("Cache-Control"), expected);
        assert_eq!(answer.header("Age"), None);
    }
    let etag = server.get("/h/s/t/a%20b.png").ok().expect("ETag").to_owned();
    let answer = server.get_with("/h/s/t/a%20b.png", &[("If-None-Match", &etag)]);
    assert_eq!((answer.status, answer.expect("Cache-Control")), (304, expected));
    assert_eq!(server.get("/h/none.png").expect("Cache-Control"), "no-store");
}

#[test]
fn the_expiry_of_a_token_wins() {
    let (server, _directory, _cache) = start(json!({
        "token": tokens::hmac(),
        "cache_control": {"s_maxage": 90_000, "stale_while_revalidate": 500},
        "headers": {"X-Own": "a"},
        "cache_tags": "Cache-Tag",
    }));
    let target = tokens::signed(&format!("/h/s/t/a%20b.png?exp={}", tokens::at(100)));
    for _ in 0..3 {
        let answer = server.get(&target).ok();
        let value = answer.expect("Cache-Control").to_owned();
        let numbers: Vec<u64> = value
            .split(", ")
            .filter_map(|directive| directive.split_once('='))
            .map(|(_, number)| number.parse().unwrap())
            .collect();
        assert!(value.starts_with("public, max-age=") && !value.contains("stale"), "{value}");
        assert!(
            numbers.len() == 2 && numbers.iter().all(|left| (90..=100).contains(left)),
            "{value}"
        );
    }
    let refused = server.get("/h/s/t/a%20b.png");
    refused.clone().failed("token_refused");
    assert_eq!(refused.header("Cache-Tag"), None, "the key does not count");
    assert_eq!(refused.expect("X-Own"), "a");
}

/// An origin whose objects have the `Cache-Control` of their keys.
fn origin() -> RawOrigin {
    RawOrigin::start(|request, peer| {
        let path = request.path();
        let value = match path.rsplit('/').next().unwrap() {
            "minute.png" => "public, max-age=60, x-own, stale-if-error=7",
            "store.png" => "no-store",
            "hostile.png" => "max-age=1; public, foo=\"",
            _ => "",
        };
        let fields = [("ETag", "\"1\""), ("Cache-Control", value)];
        let count = if value.is_empty() { 1 } else { 2 };
        let status = if request.header("if-none-match").is_some() { 304 } else { 200 };
        let body =
            if status == 304 { Vec::new() } else { images::png(images::solid(9, 9, images::BLUE)) };
        peer.send(&origin::answer(status, &fields[..count], &body))
    })
}

#[test]
fn the_originals_own_cache_control_is_passed_on_and_kept_with_the_entry() {
    let origin = origin();
    let (cache, originals) = (Directory::new(), Directory::new());
    let fields = json!({"cache_control": "origin", "cache_time": 500, "originals_cache": {"path": originals.path()}});
    let handler = merged(cached(origin.handler(), &cache), fields);
    let expected = [
        ("minute.png", "public, max-age=60, stale-if-error=7", false),
        ("store.png", "no-store", false),
        ("hostile.png", "max-age=0", false),
        ("plain.png", "public, max-age=500", true),
    ];
    let server = Server::start(config(handler.clone()));
    let check = |server: &Server, target: &str, value: &str, has_age: bool| {
        let answer = server.get(target).ok();
        assert_eq!(answer.expect("Cache-Control"), value, "{target}");
        assert_eq!(answer.header("Age").is_some(), has_age, "{target}");
        answer.expect("X-Cache").to_owned()
    };
    for (key, value, has_age) in expected {
        assert_eq!(check(&server, &format!("/h/{key}"), value, has_age), "miss");
        assert_eq!(check(&server, &format!("/h/{key}"), value, has_age), "hit");
        // From the cache of originals.
        assert_eq!(check(&server, &format!("/h/{key}?w=5"), value, has_age), "miss");
    }
    let fetched = origin.requests().len();
    assert_eq!(fetched, expected.len());
    drop(server);
    let server = Server::start(config(handler));
    for (key, value, has_age) in expected {
        assert_eq!(check(&server, &format!("/h/{key}"), value, has_age), "hit");
    }
}

#[test]
fn without_the_field_the_originals_cache_control_is_not_passed_on() {
    let origin = origin();
    let cache = Directory::new();
    let fields = json!({"cache_time": 500, "cache_control": {"immutable": true}});
    let server = Server::start(config(merged(cached(origin.handler(), &cache), fields)));
    for _ in 0..2 {
        let answer = server.get("/h/minute.png").ok();
        assert_eq!(answer.expect("Cache-Control"), "public, max-age=500, immutable");
        assert!(answer.header("Age").is_some());
    }
}
