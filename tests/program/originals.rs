//! Originals: one request for everything that is made from one, a cache of them, and asking whether they have changed.

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

/// With a cache of originals, and fields.
fn keeping(handler: Value, originals: &Directory, fields: Value) -> Value {
    merged(merged(handler, json!({"originals_cache": {"path": originals.path()}})), fields)
}

fn bytes(directory: &Directory) -> u64 {
    // Files go while they are looked at.
    directory
        .files()
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

/// Asks for an image until the bucket has been asked once more.
#[track_caller]
fn until_asked(server: &Server, s3: &S3, target: &str) {
    let before = s3.statuses(&IMAGES, "a.png").len();
    eventually("it expires", || {
        drop(server.get(target));
        s3.statuses(&IMAGES, "a.png").len() > before
    });
}

#[test]
fn ten_sizes_at_the_same_moment_are_one_get() {
    const SIZES: usize = 10;
    let gate = Gate::new();
    let (held, large) = (gate.clone(), images::png(images::noise(1000, 800)));
    let origin = RawOrigin::start(move |request, peer| {
        if request.path().contains("held") {
            held.pass();
            return peer.send(&object(&large));
        }
        peer.send(&object(&image()))
    });
    // One at a time, so that who comes last finds someone who still holds it.
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
fn sizes_one_after_the_other_are_one_get_of_a_kept_original() {
    let (mut s3, originals) = (S3::start(), Directory::new());
    s3.put(&IMAGES, "a.png", &image());
    let handler = keeping(s3.handler(), &originals, json!({}));
    let server = Server::with_handler(handler.clone());
    let first = server.get("/h/a.png?w=20").ok();
    for width in 21..30 {
        let answer = server.get(&format!("/h/a.png?w={width}")).ok();
        assert_eq!(size_of(&answer.body).0, width);
        assert_eq!(answer.expect("Last-Modified"), first.expect("Last-Modified"));
    }
    assert_eq!(s3.gets(&IMAGES, "a.png"), (1, 0));
    assert_eq!(originals.files().len(), 1);
    // It outlives the program, and the bucket.
    s3.stop();
    drop(server);
    let server = Server::with_handler(handler);
    assert_eq!(server.get("/h/a.png?w=20").ok().body, first.body);
    server.get("/h/b.png").failed("origin_unreachable");
}

#[test]
fn without_a_cache_of_originals_each_size_is_a_get() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(s3.handler());
    (20..23).for_each(|width| drop(server.get(&format!("/h/a.png?w={width}")).ok()));
    assert_eq!(s3.gets(&IMAGES, "a.png"), (3, 0));
}

#[test]
fn what_is_no_image_is_not_kept() {
    let (s3, originals) = (S3::start(), Directory::new());
    s3.put(&IMAGES, "a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    let server = Server::with_handler(keeping(s3.handler(), &originals, json!({})));
    server.get("/h/a.svg").failed("unsupported_format");
    assert_eq!(originals.files().len(), 0);
}

#[test]
fn the_cache_of_originals_keeps_within_its_bound() {
    const BOUND: u64 = 400_000;
    let (s3, originals) = (S3::start(), Directory::new());
    let noise = images::png(images::noise(64, 64));
    (0..60).for_each(|number| s3.put(&IMAGES, &format!("{number}.png"), &noise));
    let cache = json!({"path": originals.path(), "max_bytes": BOUND});
    let server = Server::with_handler(merged(s3.handler(), json!({"originals_cache": cache})));
    let mut most = 0;
    for number in 0..60 {
        server.get(&format!("/h/{number}.png?w=10")).ok();
        most = most.max(bytes(&originals));
    }
    eventually("it is within its bound", || bytes(&originals) <= BOUND);
    assert!(bytes(&originals) > BOUND / 2, "no more goes than has to: {}", bytes(&originals));
    assert!(most < BOUND * 2, "it grew to {most}");
    // What was asked for last is there still.
    server.get("/h/59.png?w=11").ok();
    assert_eq!(s3.gets(&IMAGES, "59.png"), (1, 0));
}

#[test]
fn what_has_not_changed_is_asked_about_and_not_sent_again() {
    for with_originals in [false, true] {
        let (s3, cache, originals) = (S3::start(), Directory::new(), Directory::new());
        s3.put(&IMAGES, "a.png", &image());
        let mut handler =
            merged(s3.handler(), json!({"cache_time": 1, "cache_path": cache.path()}));
        if with_originals {
            handler = keeping(handler, &originals, json!({}));
        }
        let server = Server::with_handler(handler);
        let first = server.get("/h/a.png?w=20").ok();
        for asked in 1..=2 {
            until_asked(&server, &s3, "/h/a.png?w=20");
            let again = server.get("/h/a.png?w=20").ok();
            for name in ["ETag", "Last-Modified", "Content-Type"] {
                assert_eq!(again.expect(name), first.expect(name));
            }
            assert_eq!(again.body, first.body);
            // Nothing that could be decoded has come.
            let (sent, unchanged) = s3.gets(&IMAGES, "a.png");
            assert!(sent == 1 && unchanged >= asked, "{with_originals}: {sent} {unchanged}");
        }
        assert_eq!(cache.files().len(), 1);
        assert_eq!(originals.files().len(), usize::from(with_originals));
    }
}

#[test]
fn what_has_changed_is_served_once_it_has_expired() {
    for with_originals in [false, true] {
        let (s3, cache, originals) = (S3::start(), Directory::new(), Directory::new());
        s3.put(&IMAGES, "a.png", &image());
        let mut handler =
            merged(s3.handler(), json!({"cache_time": 1, "cache_path": cache.path()}));
        if with_originals {
            handler = keeping(handler, &originals, json!({}));
        }
        let server = Server::with_handler(handler);
        assert_eq!(size_of(&server.get("/h/a.png").ok().body), (80, 60));
        s3.put(&IMAGES, "a.png", &another_image());
        eventually("the new one is served", || {
            size_of(&server.get("/h/a.png").ok().body) == (60, 80)
        });
        // Also in another size, which was never made from the old one.
        assert_eq!(size_of(&server.get("/h/a.png?w=30").ok().body), (30, 40));
        assert!(s3.gets(&IMAGES, "a.png").0 >= 2);
    }
}

#[test]
fn what_was_deleted_is_gone_once_it_has_expired() {
    let (s3, cache, originals) = (S3::start(), Directory::new(), Directory::new());
    s3.put(&IMAGES, "a.png", &image());
    let fields = json!({"cache_time": 1, "cache_path": cache.path()});
    let server = Server::with_handler(keeping(s3.handler(), &originals, fields));
    server.get("/h/a.png").ok();
    assert_eq!(originals.files().len(), 1);
    s3.remove(&IMAGES, "a.png");
    eventually("it is gone", || server.get("/h/a.png").status == 404);
    server.get("/h/a.png").failed("not_found");
    server.get("/h/a.png?w=9").failed("not_found");
    assert_eq!(originals.files().len(), 0, "it is not kept");
}

#[test]
fn a_damaged_original_is_fetched_again() {
    let (s3, originals) = (S3::start(), Directory::new());
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(keeping(s3.handler(), &originals, json!({})));
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
        assert_ne!(fs::read(&entry).unwrap(), damage, "it is replaced");
    }
    // A directory in its place costs no more than the time.
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    server.get("/h/a.png?w=40").ok();
}

#[test]
fn a_cache_of_originals_may_be_deleted() {
    let (s3, originals) = (S3::start(), Directory::new());
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(keeping(s3.handler(), &originals, json!({})));
    server.get("/h/a.png?w=20").ok();
    fs::remove_dir_all(originals.path()).unwrap();
    let mut width = 20;
    eventually("originals are kept again", || {
        width += 1;
        server.get(&format!("/h/a.png?w={width}")).ok();
        originals.files().len() == 1
    });
    fs::create_dir_all(originals.path()).unwrap();
}

#[test]
fn nothing_from_before_the_time_that_the_edge_names_is_used() {
    let (s3, cache, originals) = (S3::start(), Directory::new(), Directory::new());
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(keeping(
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
    let (asked, is_revalidated) = ask(0);
    assert!(is_revalidated, "the entry is as good as new");
    assert_eq!(s3.gets(&IMAGES, "a.png"), (1, 0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert!(asked <= now);
    let (asked, is_revalidated) = ask(now);
    assert!(asked > now && !is_revalidated, "{asked} {now}");
    assert_eq!(s3.gets(&IMAGES, "a.png"), (2, 0));
    assert_eq!(ask(now), (asked, true), "and what has come of that is");
    assert_eq!(s3.gets(&IMAGES, "a.png"), (2, 0));
}

#[test]
fn what_can_not_be_is_refused_by_its_name() {
    let (originals, directory) = (Directory::new(), Directory::new());
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
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{field}: {said}");
        assert!(said.contains(&format!("{field}: ")), "{field}: {said}");
    }
}
