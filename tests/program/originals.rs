//! Originals: shared fetches, the originals cache, revalidation.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::renderer::socket_of;
use crate::support::client::request;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::s3::{IMAGES, S3};
use crate::support::server::{Server, Setup};
use crate::support::{TIMEOUT, eventually, merged};

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

fn another_image() -> Vec<u8> {
    images::png(images::gradient(60, 80))
}

/// Adds an originals cache and fields to a handler.
fn with_originals_cache(handler: Value, originals: &Directory, fields: Value) -> Value {
    merged(merged(handler, json!({"originals_cache": {"path": originals.path()}})), fields)
}

fn bytes(directory: &Directory) -> u64 {
    // Files may be removed meanwhile.
    directory
        .files()
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

/// Requests an image until the bucket has received another request.
#[track_caller]
fn wait_for_revalidation(server: &Server, s3: &S3, target: &str) {
    let before = s3.statuses(&IMAGES, "a.png").len();
    eventually("it expires", || {
        drop(server.get(target));
        s3.statuses(&IMAGES, "a.png").len() > before
    });
}

#[test]
fn concurrent_variants_of_one_original_are_one_get() {
    const SIZES: usize = 10;
    let gate = Gate::new();
    let held = gate.clone();
    let large = images::png(images::noise(1000, 800));
    let origin = RawOrigin::start(move |request, peer| {
        if request.path().contains("held") {
            held.pass();
            return peer.send(&object(&large));
        }
        peer.send(&object(&image()))
    });
    // One render at a time, so that the fetched original is in use until the last request takes it.
    let limits = json!({
        "fetches_at_once": SIZES, "renders_at_once": 1, "queue_length": 1, "queue_timeout": 0.2,
    });
    let server = Server::with_limits(origin.handler(), limits);
    let mut clients: Vec<_> = (1..=SIZES)
        .map(|size| {
            let mut client = server.client();
            client.send(&request("GET", &format!("/h/held.png?w={}", size * 100), &[]));
            (size, client)
        })
        .collect();
    eventually("the renderer is busy with all of them", || {
        server.get("/h/other.png").status == 503
    });
    gate.open();
    for (size, client) in &mut clients {
        assert_eq!(size_of(&client.read().ok().body).0, *size as u32 * 100);
    }
    let gets = origin.requests().iter().filter(|request| request.path().contains("held")).count();
    assert_eq!(gets, 1);
}

#[test]
fn originals_cache_makes_one_get_of_successive_variants() {
    let mut s3 = S3::start();
    let originals = Directory::new();
    s3.put(&IMAGES, "a.png", &image());
    let handler = with_originals_cache(s3.handler(), &originals, json!({}));
    let server = Server::with_handler(handler.clone());
    let first = server.get("/h/a.png?w=20").ok();
    for width in 21..30 {
        let answer = server.get(&format!("/h/a.png?w={width}")).ok();
        assert_eq!(size_of(&answer.body).0, width);
        assert_eq!(answer.expect("Last-Modified"), first.expect("Last-Modified"));
    }
    assert_eq!(s3.gets(&IMAGES, "a.png"), (1, 0));
    assert_eq!(originals.files().len(), 1);
    // The original outlives the program, and the bucket.
    s3.stop();
    drop(server);
    let server = Server::with_handler(handler);
    assert_eq!(server.get("/h/a.png?w=20").ok().body, first.body);
    server.get("/h/b.png").failed("origin_unreachable");
}

#[test]
fn without_originals_cache_each_variant_is_a_get() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(s3.handler());
    (20..23).for_each(|width| drop(server.get(&format!("/h/a.png?w={width}")).ok()));
    assert_eq!(s3.gets(&IMAGES, "a.png"), (3, 0));
}

#[test]
fn originals_cache_does_not_store_unsupported_files() {
    let s3 = S3::start();
    let originals = Directory::new();
    s3.put(&IMAGES, "a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    let server = Server::with_handler(with_originals_cache(s3.handler(), &originals, json!({})));
    server.get("/h/a.svg").failed("unsupported_format");
    assert_eq!(originals.files().len(), 0);
}

#[test]
fn originals_cache_stays_within_its_limit() {
    const MAX_BYTES: u64 = 400_000;
    let s3 = S3::start();
    let originals = Directory::new();
    let noise = images::png(images::noise(64, 64));
    (0..60).for_each(|number| s3.put(&IMAGES, &format!("{number}.png"), &noise));
    let cache = json!({"path": originals.path(), "max_bytes": MAX_BYTES});
    let server = Server::with_handler(merged(s3.handler(), json!({"originals_cache": cache})));
    let mut largest = 0;
    for number in 0..60 {
        server.get(&format!("/h/{number}.png?w=10")).ok();
        largest = largest.max(bytes(&originals));
    }
    eventually("the directory is within its limit", || bytes(&originals) <= MAX_BYTES);
    assert!(
        bytes(&originals) > MAX_BYTES / 2,
        "too much was evicted: {} bytes are left",
        bytes(&originals)
    );
    assert!(largest < MAX_BYTES * 2, "it grew to {largest}");
    // The most recently used original is still cached.
    server.get("/h/59.png?w=11").ok();
    assert_eq!(s3.gets(&IMAGES, "59.png"), (1, 0));
}

#[test]
fn revalidation_of_an_unchanged_original_transfers_no_body() {
    for with_originals in [false, true] {
        let s3 = S3::start();
        let cache = Directory::new();
        let originals = Directory::new();
        s3.put(&IMAGES, "a.png", &image());
        let mut handler =
            merged(s3.handler(), json!({"cache_time": 1, "cache_path": cache.path()}));
        if with_originals {
            handler = with_originals_cache(handler, &originals, json!({}));
        }
        let server = Server::with_handler(handler);
        let first = server.get("/h/a.png?w=20").ok();
        for asked in 1..=2 {
            wait_for_revalidation(&server, &s3, "/h/a.png?w=20");
            let again = server.get("/h/a.png?w=20").ok();
            for name in ["ETag", "Last-Modified", "Content-Type"] {
                assert_eq!(again.expect(name), first.expect(name));
            }
            assert_eq!(again.body, first.body);
            // No other response had a body.
            let (sent, unchanged) = s3.gets(&IMAGES, "a.png");
            assert!(sent == 1 && unchanged >= asked, "{with_originals}: {sent} {unchanged}");
        }
        assert_eq!(cache.files().len(), 1);
        assert_eq!(originals.files().len(), usize::from(with_originals));
    }
}

#[test]
fn changed_original_is_served_once_the_variant_is_stale() {
    for with_originals in [false, true] {
        let s3 = S3::start();
        let cache = Directory::new();
        let originals = Directory::new();
        s3.put(&IMAGES, "a.png", &image());
        let mut handler =
            merged(s3.handler(), json!({"cache_time": 1, "cache_path": cache.path()}));
        if with_originals {
            handler = with_originals_cache(handler, &originals, json!({}));
        }
        let server = Server::with_handler(handler);
        assert_eq!(size_of(&server.get("/h/a.png").ok().body), (80, 60));
        s3.put(&IMAGES, "a.png", &another_image());
        eventually("the new image is served", || {
            size_of(&server.get("/h/a.png").ok().body) == (60, 80)
        });
        // Also in another size, which was not cached.
        assert_eq!(size_of(&server.get("/h/a.png?w=30").ok().body), (30, 40));
        assert!(s3.gets(&IMAGES, "a.png").0 >= 2);
    }
}

#[test]
fn deleted_original_is_removed_once_the_variant_is_stale() {
    let s3 = S3::start();
    let cache = Directory::new();
    let originals = Directory::new();
    s3.put(&IMAGES, "a.png", &image());
    let fields = json!({"cache_time": 1, "cache_path": cache.path()});
    let server = Server::with_handler(with_originals_cache(s3.handler(), &originals, fields));
    server.get("/h/a.png").ok();
    assert_eq!(originals.files().len(), 1);
    s3.remove(&IMAGES, "a.png");
    eventually("it is not found", || server.get("/h/a.png").status == 404);
    server.get("/h/a.png").failed("not_found");
    server.get("/h/a.png?w=9").failed("not_found");
    assert_eq!(originals.files().len(), 0, "the original is removed");
}

#[test]
fn originals_cache_replaces_a_damaged_entry() {
    let s3 = S3::start();
    let originals = Directory::new();
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(with_originals_cache(s3.handler(), &originals, json!({})));
    server.get("/h/a.png?w=20").ok();
    let entry = originals.files().remove(0);
    let good = fs::read(&entry).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let damages = [flipped, good[..good.len() / 2].to_vec(), Vec::new(), another_image()];
    for (width, damage) in (21..).zip(damages) {
        let gets = s3.gets(&IMAGES, "a.png").0;
        fs::write(&entry, &damage).unwrap();
        assert_eq!(size_of(&server.get(&format!("/h/a.png?w={width}")).ok().body).0, width);
        assert_eq!(s3.gets(&IMAGES, "a.png"), (gets + 1, 0));
        assert_ne!(fs::read(&entry).unwrap(), damage, "the entry is replaced");
    }
    // A directory in its place is a miss.
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    server.get("/h/a.png?w=40").ok();
}

#[test]
fn originals_cache_may_be_deleted() {
    let s3 = S3::start();
    let originals = Directory::new();
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(with_originals_cache(s3.handler(), &originals, json!({})));
    server.get("/h/a.png?w=20").ok();
    fs::remove_dir_all(originals.path()).unwrap();
    let mut width = 20;
    eventually("originals are cached again", || {
        width += 1;
        server.get(&format!("/h/a.png?w={width}")).ok();
        originals.files().len() == 1
    });
    fs::create_dir_all(originals.path()).unwrap();
}

#[test]
fn renderer_uses_no_entry_from_before_x_not_before() {
    let s3 = S3::start();
    let cache = Directory::new();
    let originals = Directory::new();
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(with_originals_cache(
        s3.handler(),
        &originals,
        json!({"cache_path": cache.path()}),
    ));
    server.get("/h/a.png?w=20&f=png").ok();
    let ask = |not_before: u128| {
        let mut stream = UnixStream::connect(socket_of(&server.renderer())).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let head = format!(
            "GET /h/a.png?w=20&f=png HTTP/1.1\r\nHost: x\r\nX-Not-Before: {not_before}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = String::from_utf8_lossy(&answer)
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_owned();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let asked = head.lines().find_map(|line| line.strip_prefix("X-Validated-At: ")).unwrap();
        (asked.parse::<u128>().unwrap(), head.contains("X-Revalidated: 1"))
    };
    let (validated_at, is_revalidated) = ask(0);
    assert!(is_revalidated, "the cached variant is used");
    assert_eq!(s3.gets(&IMAGES, "a.png"), (1, 0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert!(validated_at <= now);
    let (validated_at, is_revalidated) = ask(now);
    assert!(validated_at > now && !is_revalidated, "{validated_at} {now}");
    assert_eq!(s3.gets(&IMAGES, "a.png"), (2, 0));
    assert_eq!(ask(now), (validated_at, true), "a newer entry is used");
    assert_eq!(s3.gets(&IMAGES, "a.png"), (2, 0));
}

#[test]
fn originals_cache_errors_name_the_field() {
    let originals = Directory::new();
    let directory = Directory::new();
    let aws = json!({"bucket_name": "b", "anonymous": true});
    let handler = |name: &str, fields: Value| merged(json!({"name": name, "aws": aws}), fields);
    let at = |fields: Value| json!({"originals_cache": merged(json!({"path": originals.path()}), fields)});
    let same = json!({"cache_path": originals.path()});
    let directory = merged(directory.handler(), at(json!({})));
    for (handlers, field) in [
        (vec![directory], "handlers[0].originals_cache"),
        (vec![handler("h", json!({"originals_cache": {}}))], "handlers[0].originals_cache.path"),
        (vec![handler("h", json!({"originals_cache": "x"}))], "handlers[0].originals_cache"),
        (
            vec![handler("h", json!({"originals_cache": {"path": "/proc/nowhere"}}))],
            "handlers[0].originals_cache.path",
        ),
        (vec![handler("h", at(json!({"max_bytes": 0})))], "handlers[0].originals_cache.max_bytes"),
        (vec![handler("h", at(json!({"max_byte": 1})))], "handlers[0].originals_cache.max_byte"),
        (
            vec![handler("h", merged(at(json!({})), same.clone()))],
            "handlers[0].originals_cache.path",
        ),
        (vec![handler("h", at(json!({}))), handler("i", same.clone())], "handlers[1].cache_path"),
        (vec![handler("h", same), handler("i", at(json!({})))], "handlers[1].originals_cache.path"),
        (
            vec![handler("h", at(json!({"max_bytes": 1}))), handler("i", at(json!({})))],
            "handlers[1].originals_cache.max_bytes",
        ),
    ] {
        let output = Setup::new(json!({"handlers": handlers})).run();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{field}: {stderr}");
        assert!(stderr.contains(&format!("{field}: ")), "{field}: {stderr}");
    }
}
