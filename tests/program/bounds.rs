//! The cache manager: keeps a cache directory within its size limits.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::admin::{stat, with_admin};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

/// The size of an original whose variants take 16 KB of disk each.
const SIZE: (u32, u32) = (64, 64);
const MAX_BYTES: u64 = 400_000;

fn originals() -> Directory {
    Directory::new().with("a.png", &images::png(images::noise(SIZE.0, SIZE.1)))
}

fn bytes(cache: &Directory) -> u64 {
    // Files may be removed meanwhile.
    cache
        .files()
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

fn handler(originals: &Directory, cache: &Directory, fields: Value) -> Value {
    // All variants have the same key.
    merged(
        merged(originals.handler(), json!({"cache_path": cache.path(), "max_variants": 0})),
        fields,
    )
}

/// A different variant for each number, all of about the same size.
fn target(number: u32) -> String {
    format!("/h/a.png?f=jpg&q=100&bg={number:06x}")
}

fn is_hit(server: &Server, target: &str) -> bool {
    server.get(target).ok().expect("X-Cache") == "hit"
}

#[test]
fn cache_manager_evicts_the_least_recently_used_entries() {
    let originals = originals();
    let cache = Directory::new();
    let limited = handler(&originals, &cache, json!({"cache_max_bytes": MAX_BYTES}));
    let server = Server::start(json!({"handlers": [limited], "memory_cache": 0}));
    server.get(&target(0)).ok();
    for number in 1..150 {
        server.get(&target(number)).ok();
        if number % 10 == 0 {
            // Used repeatedly, at other ticks than the entries to be evicted.
            assert!(is_hit(&server, &target(0)), "after {number}");
            std::thread::sleep(Duration::from_millis(110));
        }
    }
    eventually("the directory is within its limit", || bytes(&cache) <= MAX_BYTES);
    assert!(
        bytes(&cache) > MAX_BYTES * 9 / 10,
        "too much was evicted: {} bytes are left",
        bytes(&cache)
    );
    assert!(is_hit(&server, &target(149)));
    assert!(!is_hit(&server, &target(1)));
    // No temporary files are left.
    assert!(cache.files().iter().all(|file| !file.to_string_lossy().contains(".tmp-")));
}

#[test]
fn cache_manager_scan_indexes_old_entries_and_removes_abandoned_files() {
    let originals = originals();
    let cache = Directory::new();
    {
        let server = Server::with_handler(handler(&originals, &cache, json!({})));
        (0..40).for_each(|number| drop(server.get(&target(number)).ok()));
    }
    let before = bytes(&cache);
    let entry = cache.files().remove(0);
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let write = |path: &Path, modified: SystemTime| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    };
    let old = entry.with_file_name(".tmp-0-1");
    let new = entry.with_file_name(".tmp-0-2");
    write(&old, hour_ago);
    write(&new, SystemTime::now());
    let old_layout = cache.path().join("v0/ab/cd/e");
    let stranger = cache.path().join("notes.txt");
    let images = cache.path().join("v2/summer/a.png");
    write(&images, hour_ago);
    write(&old_layout, SystemTime::now());
    write(&stranger, hour_ago);

    let half = json!({"cache_max_bytes": before / 2});
    let server = Server::with_handler(handler(&originals, &cache, half));
    eventually("half of the entries are evicted", || bytes(&cache) <= before / 2);
    eventually("abandoned files are removed", || !old.exists() && !old_layout.exists());
    assert!(stranger.exists() && images.exists(), "files that the server did not write");
    server.get(&target(1000)).ok();
    assert!(is_hit(&server, &target(1000)));
}

#[test]
fn cache_manager_removes_expired_entries() {
    let originals = originals();
    let cache = Directory::new();
    {
        let server = Server::with_handler(handler(&originals, &cache, json!({})));
        (0..5).for_each(|number| drop(server.get(&target(number)).ok()));
    }
    assert_eq!(cache.files().len(), 5);
    let week_ago = SystemTime::now() - Duration::from_secs(7 * 86_400);
    for file in cache.files().iter().skip(1) {
        fs::File::options().write(true).open(file).unwrap().set_modified(week_ago).unwrap();
    }
    let fields = json!({"cache_time": 3600, "stale_if_error": 3600});
    let _server = Server::with_handler(handler(&originals, &cache, fields));
    eventually("four of five entries are removed", || cache.files().len() == 1);
}

#[test]
fn cache_min_free_stops_storing_and_images_are_still_served() {
    let originals = originals();
    let cache = Directory::new();
    let full = json!({"cache_min_free": 1_u64 << 50});
    let server = Server::with_handler(handler(&originals, &cache, full));
    for number in 0..3 {
        server.get(&target(number)).ok();
    }
    let path = cache.path().display();
    server.log.event_with("cache_write_failed", &format!("the disk of {path}/"));
    server.log.event_with("cache_write_failed", "cache_min_free");
    assert!(!is_hit(&server, &target(2)));
    eventually("all entries are evicted", || cache.files().is_empty());
}

#[test]
fn cache_manager_notices_a_deleted_directory() {
    let originals = originals();
    let cache = Directory::new();
    let limited = handler(&originals, &cache, json!({"cache_max_bytes": MAX_BYTES}));
    let server = Server::start(json!({"handlers": [limited], "memory_cache": 0}));
    (100..120).for_each(|number| drop(server.get(&target(number)).ok()));
    fs::remove_dir_all(cache.path().join("v1")).unwrap();
    eventually("images are cached again", || is_hit(&server, &target(1)));
    (2..25).for_each(|number| drop(server.get(&target(number)).ok()));
    // The deleted entries no longer count.
    assert!((2..25).all(|number| is_hit(&server, &target(number))));
}

#[test]
fn cache_limits_must_agree_for_a_shared_directory() {
    let originals = originals();
    let cache = Directory::new();
    for field in ["cache_max_bytes", "cache_min_free"] {
        let first = handler(&originals, &cache, json!({field: 1_000_000}));
        let second = handler(&originals, &cache, json!({"name": "other", field: 2_000_000}));
        let output = Setup::new(json!({"handlers": [first, second]})).run();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr.contains(&format!("handlers[1].{field}")) && stderr.contains("handlers[0]"),
            "{stderr}"
        );
    }
}

#[test]
fn cache_directory_has_one_manager_however_it_is_spelled() {
    let originals = originals();
    let cache = Directory::new();
    let other = cache.path().join("x/..");
    fs::create_dir(cache.path().join("x")).unwrap();
    let long = handler(&originals, &cache, json!({}));
    let spelled = |fields: Value| {
        merged(merged(long.clone(), json!({"name": "other", "cache_path": other})), fields)
    };
    // The handler that uses its entries longest decides for both.
    let short = spelled(json!({"cache_time": 1, "stale_if_error": 0}));
    {
        let server = Server::start(json!({"handlers": [short, long]}));
        server.get(&target(0)).ok();
    }
    let day_ago = SystemTime::now() - Duration::from_secs(86_400);
    for file in cache.files() {
        fs::File::options().write(true).open(file).unwrap().set_modified(day_ago).unwrap();
    }
    let server = Server::start(with_admin(json!({"handlers": [short, long]})));
    eventually("the directory is scanned", || stat(&server, "/caches/0/entries") == 1);
    assert!(is_hit(&server, &target(0)));
    for (fields, field) in [
        (json!({"cache_max_bytes": 5}), "cache_max_bytes"),
        (json!({"cache_path": cache.path().join("v1/ab")}), "cache_path"),
    ] {
        let output = Setup::new(json!({"handlers": [long, spelled(fields)]})).run();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr.contains(&format!("handlers[1].{field}: ")) && stderr.contains("handlers[0]"),
            "{stderr}"
        );
    }
    let inside = cache.path().join("v2/images");
    fs::create_dir_all(&inside).unwrap();
    let output =
        Setup::new(json!({"handlers": [merged(long, json!({"directory": inside}))]})).run();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("handlers[0].directory: "), "{stderr}");
}
