//! A cache directory that keeps within its bounds by itself.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

/// An image whose variants take 16 KB of the disk each.
const SOURCE: (u32, u32) = (64, 64);
const BOUND: u64 = 400_000;

fn originals() -> Directory {
    Directory::new().with("a.png", &images::png(images::noise(SOURCE.0, SOURCE.1)))
}

fn bytes(cache: &Directory) -> u64 {
    // Files go while they are looked at.
    cache
        .files()
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

fn handler(originals: &Directory, cache: &Directory, fields: Value) -> Value {
    // One key has them all.
    merged(
        merged(originals.handler(), json!({"cache_path": cache.path(), "max_variants": 0})),
        fields,
    )
}

/// A different variant for each number, of about the same size.
fn distinct(number: u32) -> String {
    format!("/h/a.png?f=jpg&q=100&bg={number:06x}")
}

fn is_hit(server: &Server, target: &str) -> bool {
    server.get(target).ok().expect("X-Cache") == "hit"
}

#[test]
fn what_is_too_much_goes_and_what_was_asked_for_last_stays() {
    let (originals, cache) = (originals(), Directory::new());
    let bounded = handler(&originals, &cache, json!({"cache_max_bytes": BOUND}));
    let server = Server::start(json!({"handlers": [bounded], "memory_cache": 0}));
    server.get(&distinct(0)).ok();
    for number in 1..150 {
        server.get(&distinct(number)).ok();
        if number % 10 == 0 {
            // Asked for again and again, in other seconds than what is to go.
            assert!(is_hit(&server, &distinct(0)), "after {number}");
            std::thread::sleep(Duration::from_millis(110));
        }
    }
    eventually("it is within its bound", || bytes(&cache) <= BOUND);
    assert!(bytes(&cache) > BOUND * 9 / 10, "no more goes than has to: {}", bytes(&cache));
    assert!(is_hit(&server, &distinct(149)));
    assert!(!is_hit(&server, &distinct(1)));
    // Nothing but entries is left behind.
    assert!(cache.files().iter().all(|file| !file.to_string_lossy().contains(".tmp-")));
}

#[test]
fn what_was_there_before_counts_and_what_does_not_belong_there_goes() {
    let (originals, cache) = (originals(), Directory::new());
    {
        let server = Server::with_handler(handler(&originals, &cache, json!({})));
        (0..40).for_each(|number| drop(server.get(&distinct(number)).ok()));
    }
    let before = bytes(&cache);
    let entry = cache.files().remove(0);
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let put = |path: &Path, modified: SystemTime| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    };
    let (old, new) = (entry.with_file_name(".tmp-0-1"), entry.with_file_name(".tmp-0-2"));
    put(&old, hour_ago);
    put(&new, SystemTime::now());
    let (former, stranger) = (cache.path().join("v0/ab/cd/e"), cache.path().join("notes.txt"));
    let images = cache.path().join("v2/summer/a.png");
    put(&images, hour_ago);
    put(&former, SystemTime::now());
    put(&stranger, hour_ago);

    let half = json!({"cache_max_bytes": before / 2});
    let server = Server::with_handler(handler(&originals, &cache, half));
    eventually("half of it goes", || bytes(&cache) <= before / 2);
    eventually("what a killed server left goes", || !old.exists() && !former.exists());
    assert!(stranger.exists() && images.exists(), "somebody else's files");
    server.get(&distinct(1000)).ok();
    assert!(is_hit(&server, &distinct(1000)));
}

#[test]
fn what_has_expired_goes_without_being_asked_for() {
    let (originals, cache) = (originals(), Directory::new());
    {
        let server = Server::with_handler(handler(&originals, &cache, json!({})));
        (0..5).for_each(|number| drop(server.get(&distinct(number)).ok()));
    }
    assert_eq!(cache.files().len(), 5);
    let week_ago = SystemTime::now() - Duration::from_secs(7 * 86_400);
    for file in cache.files().iter().skip(1) {
        fs::File::options().write(true).open(file).unwrap().set_modified(week_ago).unwrap();
    }
    let of_use = json!({"cache_time": 3600, "stale_if_error": 3600});
    let _server = Server::with_handler(handler(&originals, &cache, of_use));
    eventually("four of five are gone", || cache.files().len() == 1);
}

#[test]
fn a_disk_that_is_full_enough_is_left_alone_and_images_are_served_all_the_same() {
    let (originals, cache) = (originals(), Directory::new());
    let full = json!({"cache_min_free": 1_u64 << 50});
    let server = Server::with_handler(handler(&originals, &cache, full));
    for number in 0..3 {
        server.get(&distinct(number)).ok();
    }
    server.log.line_with("cache_min_free");
    assert!(!is_hit(&server, &distinct(2)));
    eventually("nothing stays", || cache.files().is_empty());
}

#[test]
fn a_purge_is_noticed() {
    let (originals, cache) = (originals(), Directory::new());
    let bounded = handler(&originals, &cache, json!({"cache_max_bytes": BOUND}));
    let server = Server::start(json!({"handlers": [bounded], "memory_cache": 0}));
    (100..120).for_each(|number| drop(server.get(&distinct(number)).ok()));
    fs::remove_dir_all(cache.path().join("v1")).unwrap();
    eventually("images are kept again", || is_hit(&server, &distinct(1)));
    (2..25).for_each(|number| drop(server.get(&distinct(number)).ok()));
    // What was there before the purge takes nobody's place.
    assert!((2..25).all(|number| is_hit(&server, &distinct(number))));
}

#[test]
fn handlers_that_share_a_directory_must_agree() {
    let (originals, cache) = (originals(), Directory::new());
    for field in ["cache_max_bytes", "cache_min_free"] {
        let first = handler(&originals, &cache, json!({field: 1_000_000}));
        let second = handler(&originals, &cache, json!({"name": "other", field: 2_000_000}));
        let output = Setup::new(json!({"handlers": [first, second]})).run();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(&format!("handlers[1].{field}")) && said.contains("handlers[0]"),
            "{said}"
        );
    }
}

#[test]
fn one_directory_is_one_however_it_is_spelled() {
    let (originals, cache) = (originals(), Directory::new());
    let other = cache.path().join("x/..");
    fs::create_dir(cache.path().join("x")).unwrap();
    let long = handler(&originals, &cache, json!({}));
    let spelled = |fields: Value| {
        merged(merged(long.clone(), json!({"name": "other", "cache_path": other})), fields)
    };
    // The one that keeps its results longest decides for both.
    let brief = spelled(json!({"cache_time": 1, "stale_if_error": 0}));
    {
        let server = Server::start(json!({"handlers": [brief, long]}));
        server.get(&distinct(0)).ok();
    }
    let day_ago = SystemTime::now() - Duration::from_secs(86_400);
    for file in cache.files() {
        fs::File::options().write(true).open(file).unwrap().set_modified(day_ago).unwrap();
    }
    let server = Server::start(json!({"handlers": [brief, long]}));
    std::thread::sleep(Duration::from_millis(1500));
    assert!(is_hit(&server, &distinct(0)));
    for (fields, field) in [
        (json!({"cache_max_bytes": 5}), "cache_max_bytes"),
        (json!({"cache_path": cache.path().join("v1/ab")}), "cache_path"),
    ] {
        let output = Setup::new(json!({"handlers": [long, spelled(fields)]})).run();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(&format!("handlers[1].{field}: ")) && said.contains("handlers[0]"),
            "{said}"
        );
    }
    let inside = cache.path().join("v2/images");
    fs::create_dir_all(&inside).unwrap();
    let output =
        Setup::new(json!({"handlers": [merged(long, json!({"directory": inside}))]})).run();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("handlers[0].directory: lies among the entries"), "{said}");
}
