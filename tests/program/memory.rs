//! The memory cache: its hits equal those from disk, follow changes on disk, and stay within the configured size.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, BLUE, RED, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

/// Less than the second for which a file is not checked again.
const SOON: Duration = Duration::from_millis(800);

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

fn cached(handler: Value, cache: &Directory) -> Value {
    merged(handler, json!({"cache_path": cache.path()}))
}

fn start(handler: &Value, memory: u64) -> Server {
    Server::start(json!({"handlers": [handler], "memory_cache": memory}))
}

const MIB: u64 = 1 << 20;

fn cache_status(answer: &Answer) -> &str {
    answer.expect("X-Cache")
}

#[test]
fn memory_cache_serves_hits_without_disk_and_follows_removals() {
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let handler = cached(directory.handler(), &cache);
    let server = start(&handler, 64 * MIB);
    let mut client = server.client();
    let targets: Vec<String> = (1..=20).map(|width| format!("/h/a.png?w={width}")).collect();
    let mut from_memory = 0;
    // A round that takes too long on a busy machine proves nothing and is repeated.
    eventually("some hits come from memory", || {
        for target in &targets {
            while cache_status(&client.get(target).ok()) == "miss" {}
        }
        let before = Instant::now();
        for target in &targets {
            client.get(target).ok();
        }
        fs::remove_dir_all(cache.path().join("v1")).unwrap();
        let hits =
            targets.iter().filter(|target| cache_status(&client.get(target).ok()) == "hit").count();
        if before.elapsed() < SOON {
            assert!(hits > 0, "every hit reads the disk");
            from_memory = hits;
        }
        from_memory > 0
    });
    // After the check interval the removed entries are misses.
    fs::remove_dir_all(cache.path().join("v1")).unwrap_or_default();
    let removed = Instant::now();
    std::thread::sleep(Duration::from_millis(1050));
    for target in &targets {
        assert_eq!(
            cache_status(&client.get(target).ok()),
            "miss",
            "{target} after {:?}",
            removed.elapsed()
        );
        assert_eq!(cache_status(&client.get(target).ok()), "hit", "{target}");
    }
}

#[test]
fn memory_cache_may_be_disabled() {
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let server = start(&cached(directory.handler(), &cache), 0);
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!(cache_status(&client.get("/h/a.png").ok()), "miss");
        assert_eq!(cache_status(&client.get("/h/a.png").ok()), "hit");
        assert_eq!(cache_status(&client.get("/h/a.png").ok()), "hit");
        fs::remove_dir_all(cache.path().join("v1")).unwrap();
    }
}

fn only_entry(cache: &Directory) -> PathBuf {
    let files = cache.files();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn memory_cache_follows_an_entry_that_another_server_replaces() {
    let directory = Directory::new().with("a.png", &images::png(images::solid(10, 10, RED)));
    let cache = Directory::new();
    let others = Directory::new();
    let server = start(&cached(directory.handler(), &cache), 64 * MIB);
    let mut client = server.client();
    for _ in 0..5 {
        assert_eq!(size_of(&client.get("/h/a.png").ok().body), (10, 10));
    }
    directory.put("a.png", &images::png(images::solid(20, 20, BLUE)));
    start(&cached(directory.handler(), &others), 0).get("/h/a.png").ok();
    let next = only_entry(&cache).with_file_name(".next");
    fs::copy(only_entry(&others), &next).unwrap();
    fs::rename(&next, next.with_file_name(only_entry(&others).file_name().unwrap())).unwrap();
    let renamed = Instant::now();
    eventually("the newer image is served", || {
        let answer = client.get("/h/a.png").ok();
        assert_eq!(cache_status(&answer), "hit");
        size_of(&answer.body) == (20, 20)
    });
    assert!(renamed.elapsed() < Duration::from_secs(20));
}

#[test]
fn memory_cache_does_not_serve_an_expired_entry() {
    let origin = RawOrigin::always(object(&image()));
    let cache = Directory::new();
    let server =
        start(&merged(cached(origin.handler(), &cache), json!({"cache_time": 2})), 64 * MIB);
    let mut client = server.client();
    let begun = Instant::now();
    client.get("/h/a.png").ok();
    let stored = Instant::now();
    let mut hits = 0;
    // Requested continuously, so that it stays in the memory cache.
    let mut asked = Instant::now();
    while cache_status(&client.get("/h/a.png").ok()) == "hit" {
        hits += 1;
        assert!(asked < stored + Duration::from_millis(2100), "served when it had expired");
        asked = Instant::now();
    }
    // The jitter shortens its time by a tenth at most.
    assert!(begun.elapsed() >= Duration::from_millis(1800), "{:?}", begun.elapsed());
    assert!(hits > 10);
    assert_eq!(origin.requests().len(), 2);
}

/// Status, sorted header fields without `Date` and `X-Request-Id`, and body.
fn comparable(answer: Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut headers = answer.headers;
    headers.retain(|(name, _)| !["Date", "X-Request-Id"].contains(&name.as_str()));
    headers.sort();
    (answer.status, headers, answer.body)
}

#[test]
fn memory_cache_responses_equal_those_from_disk() {
    let directory = Directory::new()
        .with("a.png", &image())
        .with("noise.png", &images::png(images::noise(400, 400)));
    // `Last-Modified` is the mtime of the original.
    let date = httpdate_of_2020();
    directory.set_modified("a.png", date);
    directory.set_modified("noise.png", date);
    let cache = Directory::new();
    let handler = merged(cached(directory.handler(), &cache), json!({"cors_origin": "*"}));
    let from_disk = start(&handler, 0);
    // The noise is larger than an eighth of a MiB, so the second server does not cache it in memory.
    let servers = [start(&handler, 64 * MIB), start(&handler, MIB)];
    let tag = from_disk.get("/h/a.png").ok().expect("ETag").to_owned();
    let weak = format!("W/{tag}");
    let both = format!("\"other\", {tag}");
    let on = "Tue, 14 Apr 2020 09:00:00 GMT";
    let before = "Tue, 14 Apr 2020 08:59:59 GMT";
    let after = "Tue, 14 Apr 2020 09:00:01 GMT";
    let fields: &[&[(&str, &str)]] = &[
        &[],
        &[("If-None-Match", &tag)],
        &[("If-None-Match", &weak)],
        &[("If-None-Match", &both)],
        &[("If-None-Match", "*")],
        &[("If-None-Match", "\"other\"")],
        &[("If-None-Match", "\"other\""), ("If-None-Match", &tag)],
        &[("If-None-Match", "\"other\""), ("If-Modified-Since", on)],
        &[("If-Modified-Since", on)],
        &[("If-Modified-Since", before)],
        &[("If-Modified-Since", after)],
        &[("If-Modified-Since", "never")],
        &[("If-Match", &tag)],
        &[("If-Match", &weak)],
        &[("If-Match", "*")],
        &[("If-Match", "\"other\"")],
        &[("If-Unmodified-Since", before)],
        &[("If-Unmodified-Since", on)],
        &[("Range", "bytes=0-0")],
        &[("Range", "bytes=5-20")],
        &[("Range", "bytes=-7")],
        &[("Range", "bytes=100-")],
        &[("Range", "bytes=0-999999999")],
        &[("Range", "bytes=99999999-")],
        &[("Range", "bytes=0-1,3-4")],
        &[("Range", "bytes=9-3")],
        &[("Range", "lines=1-2")],
        &[("Range", "bytes=0-3"), ("If-Range", &tag)],
        &[("Range", "bytes=0-3"), ("If-Range", &weak)],
        &[("Range", "bytes=0-3"), ("If-Range", "\"other\"")],
        &[("Range", "bytes=0-3"), ("If-Range", on)],
        &[("Range", "bytes=0-3"), ("If-Range", before)],
        &[("Range", "bytes=0-3"), ("If-None-Match", &tag)],
        &[("Range", "bytes=0-3"), ("If-Match", "\"other\"")],
    ];
    let targets = [
        ("/h/a.png", ""),
        ("/h/noise.png", ""),
        ("/h/a.png?f=auto", "image/webp"),
        ("/h/a.png?f=auto", "image/*"),
        ("/h/a.png?w=20&f=webp", ""),
    ];
    for (target, accept) in targets {
        let accept = [("Accept", accept)];
        // In the memory cache where it fits.
        for server in [&from_disk, &servers[0], &servers[1]] {
            while cache_status(&server.get_with(target, &accept).ok()) == "miss" {}
            server.get_with(target, &accept).ok();
        }
        let mut clients: Vec<Client> = servers.iter().map(Server::client).collect();
        let mut disk = from_disk.client();
        let mut statuses = std::collections::BTreeSet::new();
        for fields in fields {
            let all = [&accept[..], fields].concat();
            for method in ["GET", "HEAD"] {
                let ask = |client: &mut Client| {
                    client.send(&request(method, target, &all));
                    comparable(client.try_read(method == "HEAD").unwrap().unwrap())
                };
                let expected = ask(&mut disk);
                statuses.insert(expected.0);
                for client in &mut clients {
                    let answer = ask(client);
                    // `Age` may have grown by a second meanwhile.
                    assert!(
                        answer == expected || answer == ask(&mut disk),
                        "{method} {target} {fields:?}:\n{:?}\n{:?}",
                        answer.1,
                        expected.1
                    );
                }
            }
        }
        assert_eq!(Vec::from_iter(statuses), [200, 206, 304, 412, 416], "{target}");
        assert!(disk.get_with(target, &accept).varies_on("Accept") == target.contains("auto"));
    }
}

/// Tue, 14 Apr 2020 09:00:00 GMT
fn httpdate_of_2020() -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_secs(1_586_854_800)
}

#[test]
fn memory_cache_stays_within_its_size() {
    const SIZE: u64 = 8 * MIB;
    // 60 images of about 600 KB: four times the size, each less than an eighth of it.
    let directory = Directory::new().with("noise.png", &images::png(images::noise(450, 450)));
    let cache = Directory::new();
    let server = start(&cached(directory.handler(), &cache), SIZE);
    let mut client = server.client();
    let targets: Vec<String> =
        (0..60).map(|n| format!("/h/noise.png?w={}", 400 + n % 50 - n / 50)).collect();
    let mut bytes = 0;
    for target in &targets {
        bytes += client.get(target).ok().body.len() as u64;
    }
    assert!(bytes > 3 * SIZE, "{bytes}");
    // The resident size with warm buffers and an empty memory cache.
    let before = server.process().resident();
    for _ in 0..4 {
        for target in &targets {
            for _ in 0..2 {
                assert_eq!(cache_status(&client.get(target).ok()), "hit");
            }
        }
    }
    let after = server.process().resident();
    assert!(after < before + SIZE + 10 * MIB, "{before} bytes before, {after} after");
}

#[test]
fn memory_cache_hit_requires_the_token() {
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let config = json!({"handlers": [cached(directory.handler(), &cache)]});
    let server = Setup::new(config).program(crate::token::example()).start();
    let mut client = server.client();
    let tag = client.get("/h/a.png?t=letmein").ok().expect("ETag").to_owned();
    for _ in 0..3 {
        assert_eq!(cache_status(&client.get("/h/a.png?t=letmein").ok()), "hit");
        client.get("/h/a.png").failed("token_refused");
        client.get("/h/a.png?t=wrong").failed("token_refused");
        client.get_with("/h/a.png?t=", &[("If-None-Match", &tag)]).failed("token_refused");
        client.get_with("/h/a.png", &[("Range", "bytes=0-1")]).failed("token_refused");
        let head = client.head_with("/h/a.png", &[]);
        assert_eq!((head.status, head.header("ETag")), (404, None));
        assert_eq!(client.get_with("/h/a.png?t=letmein", &[("If-None-Match", &tag)]).status, 304);
    }
}
