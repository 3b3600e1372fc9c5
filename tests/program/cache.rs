//! The disk cache: hits, damaged entries, expiry.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::images::{self, BLUE, GREEN, Kind, RED, size_of};
use crate::support::merged;
use crate::support::origin::{self, RawOrigin, object};
use crate::support::s3::{IMAGES, S3};
use crate::support::server::Server;

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

fn cached(handler: Value, cache: &Directory) -> Value {
    merged(handler, json!({"cache_enabled": true, "cache_path": cache.path()}))
}

/// The only entry of a cache directory.
#[track_caller]
fn only_entry(cache: &Directory) -> PathBuf {
    let files = cache.files();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

#[test]
fn cache_hit_does_not_ask_s3() {
    let mut s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let cache = Directory::new();
    let server = Server::with_handler(cached(s3.handler(), &cache));
    let first = server.get("/h/a.png?w=40").ok();
    assert_eq!(first.expect("X-Cache"), "miss");
    s3.stop();
    let mut second = server.get("/h/a.png?w=40").ok();
    assert_eq!(second.expect("X-Cache"), "hit");
    for name in ["X-Cache", "Date", "X-Request-Id"] {
        let value = first.expect(name).to_owned();
        second
            .headers
            .iter_mut()
            .filter(|(known, _)| known == name)
            .for_each(|(_, old)| *old = value.clone());
    }
    assert_eq!(first, second, "a hit equals the miss");
    server.get("/h/a.png?w=41").failed("origin_unreachable");
    assert_eq!(s3.statuses(&IMAGES, "a.png"), [200]);
}

#[test]
fn cache_entries_outlive_the_program() {
    let mut s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let cache = Directory::new();
    let first = Server::with_handler(cached(s3.handler(), &cache)).get("/h/a.png?w=40&f=webp").ok();
    s3.stop();
    let second =
        Server::with_handler(cached(s3.handler(), &cache)).get("/h/a.png?w=40&f=webp").ok();
    assert_eq!(second.expect("X-Cache"), "hit");
    for name in ["ETag", "Last-Modified", "Content-Type", "Cache-Control"] {
        assert_eq!(first.expect(name), second.expect(name));
    }
    assert_eq!(first.body, second.body);
}

#[test]
fn cache_replaces_a_damaged_entry() {
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    // Without the memory cache, each hit reads the file.
    let handler = cached(directory.handler(), &cache);
    let server = Server::start(json!({"handlers": [handler], "memory_cache": 0}));
    let whole = server.get("/h/a.png?w=40").ok();
    let entry = only_entry(&cache);
    let good = fs::read(&entry).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let mut damages: Vec<(String, Vec<u8>)> = (0..good.len())
        .step_by((good.len() / 16).max(1))
        .chain([1, 2, 3, 4, 5, 6, 7, good.len() - 1])
        .map(|at| (format!("byte {at} of {} flipped", good.len()), flipped(at)))
        .collect();
    for length in [0, 1, 7, 32, good.len() / 2, good.len() - 1] {
        damages.push((format!("cut to {length} bytes"), good[..length].to_vec()));
    }
    damages.push(("with a byte appended".to_owned(), [good.as_slice(), b"x"].concat()));
    damages.push(("all zero".to_owned(), vec![0; good.len()]));
    damages.push(("another image".to_owned(), images::png(images::solid(9, 9, RED))));
    damages.push(("a text".to_owned(), b"<script>alert(1)</script>\n".repeat(100)));
    for (what, bytes) in damages {
        fs::write(&entry, &bytes).unwrap();
        let answer = server.get("/h/a.png?w=40").ok();
        assert_eq!(answer.body, whole.body, "{what}");
        assert_eq!(answer.expect("ETag"), whole.expect("ETag"), "{what}");
        if answer.expect("X-Cache") == "miss" {
            assert_eq!(server.get("/h/a.png?w=40").ok().expect("X-Cache"), "hit", "{what}");
            assert_ne!(fs::read(only_entry(&cache)).unwrap(), bytes, "{what}: it must be replaced");
        } else {
            // Only damage in a part that the response does not depend on may go unnoticed.
            assert!(what.contains("flipped"), "{what}");
        }
        fs::write(&entry, &good).unwrap();
    }
}

#[test]
fn cache_does_not_serve_an_entry_under_another_name() {
    let directory = Directory::new()
        .with("a.png", &images::png(images::solid(10, 10, RED)))
        .with("b.png", &images::png(images::solid(20, 20, BLUE)));
    let cache = Directory::new();
    let server = Server::with_handler(cached(directory.handler(), &cache));
    server.get("/h/a.png").ok();
    let of_a = only_entry(&cache);
    server.get("/h/b.png").ok();
    let of_b = cache.files().into_iter().find(|file| *file != of_a).unwrap();
    let bytes_a = fs::read(&of_a).unwrap();
    let bytes_b = fs::read(&of_b).unwrap();
    fs::write(&of_a, bytes_b).unwrap();
    fs::write(&of_b, bytes_a).unwrap();
    assert_eq!(size_of(&server.get("/h/a.png").ok().body), (10, 10));
    assert_eq!(size_of(&server.get("/h/b.png").ok().body), (20, 20));
}

#[test]
fn cache_entry_that_can_not_be_read_is_a_miss() {
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let server = Server::with_handler(cached(directory.handler(), &cache));
    let whole = server.get("/h/a.png").ok();
    let entry = only_entry(&cache);
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    assert_eq!(server.get("/h/a.png").ok().body, whole.body);
    fs::remove_dir_all(cache.path()).unwrap();
    assert_eq!(server.get("/h/a.png").ok().body, whole.body);
    assert_eq!(server.get("/h/a.png?w=20").ok().status, 200);
    // A file in place of the cache directory makes every request a miss.
    let _ = fs::remove_dir_all(cache.path());
    fs::write(cache.path(), b"in the way").unwrap();
    assert_eq!(server.get("/h/a.png").ok().body, whole.body);
    fs::remove_file(cache.path()).unwrap();
    fs::create_dir(cache.path()).unwrap();
}

#[test]
fn cache_entry_expires_after_cache_time() {
    let origin = RawOrigin::always(object(&image()));
    let cache = Directory::new();
    let server =
        Server::with_handler(merged(cached(origin.handler(), &cache), json!({"cache_time": 2})));
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "miss");
    let mut hits = 0;
    eventually("the entry expires", || {
        let answer = server.get("/h/a.png").ok();
        hits += usize::from(answer.expect("X-Cache") == "hit");
        answer.expect("X-Cache") == "revalidated"
    });
    assert!(hits > 0, "it expired at once");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn cache_does_not_serve_an_expired_entry_without_stale_if_error() {
    let mut s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let cache = Directory::new();
    let fields = json!({"cache_time": 1, "stale_if_error": 0});
    let server = Server::with_handler(merged(cached(s3.handler(), &cache), fields));
    server.get("/h/a.png").ok();
    s3.stop();
    eventually("the entry expires", || server.get("/h/a.png").status == 404);
    server.get("/h/a.png").failed("origin_unreachable");
}

#[test]
fn cache_entry_never_expires_with_cache_time_0() {
    let origin = RawOrigin::always(object(&image()));
    let cache = Directory::new();
    let server =
        Server::with_handler(merged(cached(origin.handler(), &cache), json!({"cache_time": 0})));
    server.get("/h/a.png").ok();
    // Its mtime is twenty years ago.
    let entry = fs::File::options().append(true).open(only_entry(&cache)).unwrap();
    entry.set_modified(SystemTime::now() - Duration::from_secs(20 * 365 * 86_400)).unwrap();
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "hit");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn cache_that_is_disabled_writes_nothing() {
    let origin = RawOrigin::always(object(&image()));
    for fields in [
        json!({"cache_enabled": false}),
        json!({"cache_time": -1}),
        json!({"cache_enabled": true, "cache_time": -1}),
    ] {
        let cache = Directory::new();
        let fields = merged(json!({"cache_path": cache.path()}), fields);
        let server = Server::with_handler(merged(origin.handler(), fields.clone()));
        let before = origin.requests().len();
        for _ in 0..3 {
            assert_ne!(server.get("/h/a.png").ok().header("X-Cache"), Some("hit"), "{fields}");
        }
        assert_eq!(origin.requests().len(), before + 3, "{fields}");
        assert_eq!(cache.files(), Vec::<PathBuf>::new(), "{fields}");
    }
}

#[test]
fn cache_keeps_keys_with_different_extensions_apart() {
    let directory = Directory::new()
        .with("a.png", &images::png(images::solid(10, 10, RED)))
        .with("a.jpg", &images::jpeg(images::solid(20, 20, BLUE)))
        .with("a", &images::gif(images::solid(30, 30, GREEN)));
    let cache = Directory::new();
    let server = Server::with_handler(cached(directory.handler(), &cache));
    for expected in ["miss", "hit"] {
        for (name, size) in [("a.png", (10, 10)), ("a.jpg", (20, 20)), ("a", (30, 30))] {
            let answer = server.get(&format!("/h/{name}?f=webp")).ok();
            assert_eq!(
                (answer.expect("X-Cache"), size_of(&answer.body)),
                (expected, size),
                "{name}"
            );
        }
    }
    assert_eq!(cache.files().len(), 3);
}

#[test]
fn cache_keeps_formats_and_sizes_apart() {
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let server = Server::with_handler(cached(directory.handler(), &cache));
    for expected in ["miss", "hit"] {
        for kind in Kind::ALL {
            for width in [10, 20] {
                let answer = server.get(&format!("/h/a.png?w={width}&f={}", kind.name())).ok();
                assert_eq!(
                    (answer.expect("X-Cache"), Kind::of(&answer.body)),
                    (expected, Some(kind))
                );
                assert_eq!(size_of(&answer.body).0, width);
            }
        }
    }
}

#[test]
fn cache_does_not_store_failures() {
    let s3 = S3::start();
    let cache = Directory::new();
    let fields = json!({"negative_cache_time": 0});
    let server = Server::with_handler(merged(cached(s3.handler(), &cache), fields));
    server.get("/h/a.png").failed("not_found");
    s3.put(&IMAGES, "a.png", b"half an image");
    server.get("/h/a.png").failed("unsupported_format");
    assert_eq!(cache.files(), Vec::<PathBuf>::new());
    s3.put(&IMAGES, "a.png", &image());
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "miss");
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "hit");
}

#[test]
fn cache_keeps_other_variants_when_the_origin_fails() {
    let origin = RawOrigin::start(|request, peer| {
        peer.send(&if request.number == 0 {
            object(&image())
        } else {
            origin::answer(404, &[], b"")
        })
    });
    let cache = Directory::new();
    let server = Server::with_handler(cached(origin.handler(), &cache));
    server.get("/h/a.png").ok();
    server.get("/h/a.png?w=3").failed("not_found");
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "hit");
}

#[test]
fn cache_has_no_temporary_files_after_requests() {
    let directory = Directory::new().with("a.png", &image()).with("text.png", b"no image");
    let cache = Directory::new();
    let server = Server::with_handler(cached(directory.handler(), &cache));
    for width in 1..=20 {
        server.get(&format!("/h/a.png?w={width}")).ok();
        server.get(&format!("/h/text.png?w={width}")).failed("unsupported_format");
    }
    let files = cache.files();
    assert_eq!(files.len(), 20, "{files:?}");
    let is_temporary =
        |file: &PathBuf| file.file_name().unwrap().to_string_lossy().starts_with(".tmp-");
    assert!(!files.iter().any(is_temporary), "{files:?}");
}

#[test]
fn cache_keeps_origins_apart() {
    let one = Directory::new().with("a.png", &images::png(images::solid(10, 10, RED)));
    let two = Directory::new().with("a.png", &images::png(images::solid(20, 20, BLUE)));
    let cache = Directory::new();
    for (directory, size) in [(&one, (10, 10)), (&two, (20, 20))] {
        let server = Server::with_handler(cached(directory.handler(), &cache));
        let answer = server.get("/h/a.png").ok();
        assert_eq!((answer.expect("X-Cache"), size_of(&answer.body)), ("miss", size));
    }
}

#[test]
fn cache_path_is_relative_to_the_working_directory() {
    let directory = Directory::new().with("a.png", &image());
    let server =
        Server::with_handler(merged(directory.handler(), json!({"cache_path": "./not/yet/there"})));
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "miss");
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "hit");
    assert!(server.directory().path().join("not/yet/there").is_dir());
}
