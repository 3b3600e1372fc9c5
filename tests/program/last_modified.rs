//! `Last-Modified` is never later than `Date` (RFC 9110 §8.8.2.1).

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::origin::{self, RawOrigin};
use crate::support::server::Server;
use crate::support::{eventually, merged};

const FUTURE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

fn bucket() -> RawOrigin {
    RawOrigin::start(|request, peer| {
        let fields = [("Last-Modified", FUTURE), ("ETag", "\"one\"")];
        if request.header("if-none-match").is_some() {
            return peer.send(b"HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\n\r\n");
        }
        peer.send(&origin::answer(200, &fields, &image()))
    })
}

fn date(answer: &Answer, name: &str) -> SystemTime {
    httpdate::parse_http_date(answer.expect(name)).unwrap()
}

/// Fails if `Last-Modified` is later than `Date`; returns it.
#[track_caller]
fn dated(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{:?}", answer.headers);
    let modified = date(answer, "Last-Modified");
    assert!(modified <= date(answer, "Date"), "{:?}", answer.headers);
    answer.expect("Last-Modified").to_owned()
}

/// Checks every kind of response for an image that was stored with its date.
#[track_caller]
fn check_all(server: &Server, target: &str, first: &str) {
    let etag = server.get(target).ok().expect("ETag").to_owned();
    for (name, value, status) in [
        ("X-None", "", 200),
        ("If-None-Match", &*etag, 304),
        ("If-Modified-Since", first, 304),
        ("If-Modified-Since", FUTURE, 304),
        ("If-Modified-Since", "Tue, 14 Apr 2020 09:00:00 GMT", 200),
        ("If-Unmodified-Since", first, 200),
        ("Range", "bytes=0-9", 206),
    ] {
        let answer = server.get_with(target, &[(name, value)]);
        assert_eq!(dated(&answer, status), first, "{target} {name}: {value}");
    }
    assert_eq!(dated(&server.head_with(target, &[]), 200), first);
    let range = [("Range", "bytes=0-9"), ("If-Range", first)];
    assert_eq!(dated(&server.get_with(target, &range), 206), first);
}

#[test]
fn a_date_in_the_future_becomes_that_of_the_fetch() {
    let bucket = bucket();
    let directory = Directory::new().with("a.png", &image());
    let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    directory.set_modified("a.png", in_an_hour);
    let [cache, second] = [Directory::new(), Directory::new()];
    let originals = Directory::new();
    let fields = json!({
        "cache_path": cache.path(),
        "originals_cache": {"path": originals.path()},
        "cache_time": 600,
    });
    let server = Server::start(json!({
        "handlers": [
            merged(bucket.handler(), fields),
            merged(directory.handler(), json!({"name": "d", "cache_path": second.path()})),
        ],
    }));
    for route in ["h", "d"] {
        let target = format!("/{route}/a.png?w=30");
        let first = dated(&server.get(&target).ok(), 200);
        check_all(&server, &target, &first);
        // It stays the same, although the time goes on.
        std::thread::sleep(Duration::from_millis(1100));
        check_all(&server, &target, &first);
    }
    // Another size, from the cached original.
    dated(&server.get("/h/a.png?w=31").ok(), 200);
    assert_eq!(bucket.requests().len(), 1);
}

#[test]
fn a_stale_or_uncached_variant_with_a_date_in_the_future_is_dated_too() {
    let bucket = bucket();
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "stale_while_revalidate": 60});
    let server = Server::start(json!({
        "handlers": [
            merged(bucket.handler(), fields),
            merged(bucket.handler(), json!({"name": "uncached"})),
        ],
    }));
    let first = dated(&server.get("/h/a.png").ok(), 200);
    eventually("it is stale", || {
        let answer = server.get("/h/a.png").ok();
        assert_eq!(dated(&answer, 200), first);
        answer.expect("X-Cache") == "stale"
    });
    for _ in 0..2 {
        dated(&server.get("/uncached/a.png").ok(), 200);
        dated(&server.get_with("/uncached/a.png", &[("Range", "bytes=0-1")]), 206);
    }
}

/// Replaces the date in the header of a cache entry: `S3IS\0\0\0\x01`, length, checksum, header, image.
fn set_last_modified(entry: &std::path::Path, seconds: u64) {
    let bytes = std::fs::read(entry).unwrap();
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let (header, image) = bytes[20..].split_at(length);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    header["last_modified"] = seconds.into();
    let header = serde_json::to_vec(&header).unwrap();
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let checksum = &Sha256::digest(&header)[..8];
    let whole = [&bytes[..8], &length, checksum, &header, image].concat();
    std::fs::write(entry, whole).unwrap();
}

#[test]
fn a_stored_date_in_the_future_is_not_sent() {
    let directory = Directory::new()
        .with("a.png", &image())
        .with("large.png", &images::png(images::noise(400, 400)));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path()});
    let config = json!({
        "handlers": [merged(directory.handler(), fields)],
        // The large image does not fit into memory.
        "memory_cache": 800_000,
    });
    let server = Server::start(config.clone());
    for target in ["/h/a.png", "/h/large.png"] {
        server.get(target).ok();
    }
    drop(server);
    let far = [4_102_444_800, u64::MAX];
    for seconds in far {
        for entry in cache.files().iter().filter(|file| file.metadata().unwrap().len() > 100) {
            set_last_modified(entry, seconds);
        }
        let server = Server::start(config.clone());
        for target in ["/h/a.png", "/h/large.png"] {
            let etag = server.get(target).ok().expect("ETag").to_owned();
            for _ in 0..3 {
                let answer = server.get(target);
                assert_eq!(answer.expect("X-Cache"), "hit");
                dated(&answer, 200);
                dated(&server.head_with(target, &[]), 200);
                dated(&server.get_with(target, &[("If-None-Match", &etag)]), 304);
                dated(&server.get_with(target, &[("Range", "bytes=0-9")]), 206);
                let since = [("If-Modified-Since", "Tue, 14 Apr 2020 09:00:00 GMT")];
                dated(&server.get_with(target, &since), 200);
            }
        }
    }
}
