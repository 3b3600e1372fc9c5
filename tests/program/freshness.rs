//! Freshness: stale variants are revalidated, served while that happens, served while the origin is down, or removed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, GREEN, Image, RED};
use crate::support::origin::{self, Peer, RawOrigin, Request, Then};
use crate::support::s3::{IMAGES, S3};
use crate::support::server::Server;
use crate::support::{eventually, merged};

/// The answer of the origin.
#[derive(Clone)]
enum Behaviour {
    /// This image, or 304 if the request has its entity tag.
    Image(Vec<u8>),
    /// This status and S3 error code.
    Error(u16, &'static str),
    /// This image, once the gate is open.
    Delayed(Gate, Vec<u8>),
}

/// An origin whose behaviour a test changes.
struct FakeOrigin {
    raw: RawOrigin,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl FakeOrigin {
    fn new(behaviour: Behaviour) -> FakeOrigin {
        let behaviour = Arc::new(Mutex::new(behaviour));
        let current = Arc::clone(&behaviour);
        let respond = move |request: &Request, peer: &mut Peer| {
            let behaviour = current.lock().unwrap().clone();
            answer(request, peer, behaviour)
        };
        FakeOrigin { raw: RawOrigin::start(respond), behaviour }
    }

    fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    fn request_count(&self) -> usize {
        self.raw.requests().len()
    }

    /// A server whose variants become stale within a second.
    fn server(&self, cache: &Directory, fields: Value) -> Server {
        let brief = json!({"cache_path": cache.path(), "cache_time": 1, "output_format": "png"});
        Server::with_handler(merged(merged(self.raw.handler(), brief), fields))
    }
}

fn answer(request: &Request, peer: &mut Peer, behaviour: Behaviour) -> Then {
    match behaviour {
        Behaviour::Image(body) => {
            let mut hasher = DefaultHasher::new();
            body.hash(&mut hasher);
            let etag = format!("\"{:x}\"", hasher.finish());
            let fields = [("ETag", etag.as_str())];
            match request.header("if-none-match") {
                Some(known) if known == etag => peer.send(&head_of_304(&etag)),
                _ => peer.send(&origin::answer(200, &fields, &body)),
            }
        }
        Behaviour::Error(status, code) => {
            let body = format!("<Error><Code>{code}</Code></Error>");
            peer.send(&origin::answer(status, &[], body.as_bytes()))
        }
        Behaviour::Delayed(gate, body) => {
            gate.pass();
            answer(request, peer, Behaviour::Image(body))
        }
    }
}

fn head_of_304(etag: &str) -> Vec<u8> {
    format!("HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n").into_bytes()
}

fn image(colour: [u8; 3]) -> Vec<u8> {
    images::png(images::solid(16, 16, colour))
}

fn cache_status(answer: &Answer) -> String {
    answer.expect("X-Cache").to_owned()
}

fn age(answer: &Answer) -> u64 {
    answer.expect("Age").parse().unwrap()
}

#[track_caller]
fn colour(answer: &Answer) -> [u8; 3] {
    let [red, green, blue, _] = Image::decode(&answer.body).at(5, 5);
    [red, green, blue]
}

/// Waits until the variants with `cache_time` 1 are stale.
fn expire() {
    std::thread::sleep(Duration::from_millis(1050));
}

#[test]
fn age_is_the_time_since_validation() {
    let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
    let cache = Directory::new();
    let server = origin.server(&cache, json!({"cache_time": 600}));
    assert_eq!(age(&server.get("/h/a.png").ok()), 0);
    let mut last = 0;
    eventually("the age grows", || {
        let answer = server.get("/h/a.png").ok();
        assert!(age(&answer) >= last, "the age does not shrink");
        last = age(&answer);
        assert_eq!(answer.cache_control(), ["public", "max-age=600"]);
        last >= 2
    });
    let not_modified = server.get_with("/h/a.png", &[("If-None-Match", "*")]);
    assert_eq!((not_modified.status, age(&not_modified) >= 2), (304, true));
    let part = server.get_with("/h/a.png", &[("Range", "bytes=0-9")]);
    assert_eq!((part.status, age(&part) >= 2), (206, true));
}

#[test]
fn revalidation_of_an_unchanged_image_renders_nothing() {
    for memory in [0, 1 << 20] {
        let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
        let cache = Directory::new();
        let brief = json!({"cache_path": cache.path(), "cache_time": 1});
        let handler = merged(origin.raw.handler(), brief);
        let limits = json!({"renderer_max_renders": 1_000});
        let server =
            Server::start(json!({"handlers": [handler], "memory_cache": memory, "limits": limits}));
        let first = server.get("/h/a.png?w=8").ok();
        for round in 1..3 {
            expire();
            let again = server.get("/h/a.png?w=8").ok();
            assert_eq!(
                (cache_status(&again).as_str(), age(&again)),
                ("revalidated", 0),
                "memory {memory}"
            );
            assert_eq!(again.expect("ETag"), first.expect("ETag"));
            assert_eq!(again.body, first.body);
            assert_eq!(origin.request_count(), 1 + round);
            let hit = server.get("/h/a.png?w=8").ok();
            assert_eq!((cache_status(&hit).as_str(), hit.body == first.body), ("hit", true));
        }
        let conditional = |request: &Request| request.header("if-none-match").is_some();
        let requests = origin.raw.requests();
        assert_eq!(requests.iter().map(conditional).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(cache.files().len(), 1);
    }
}

#[test]
fn revalidation_of_a_changed_image_renders_it_again() {
    let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
    let cache = Directory::new();
    let server = origin.server(&cache, json!({}));
    assert_eq!(colour(&server.get("/h/a.png").ok()), RED);
    origin.set(Behaviour::Image(image(GREEN)));
    expire();
    let answer = server.get("/h/a.png").ok();
    assert_eq!((cache_status(&answer).as_str(), colour(&answer)), ("miss", GREEN));
    let answer = server.get("/h/a.png").ok();
    assert_eq!((cache_status(&answer).as_str(), colour(&answer)), ("hit", GREEN));
}

#[test]
fn stale_while_revalidate_serves_at_once_and_revalidates_in_the_background() {
    for memory in [0, 1 << 20] {
        let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
        let cache = Directory::new();
        let fields =
            json!({"cache_path": cache.path(), "cache_time": 1, "stale_while_revalidate": 3600});
        let handler = merged(origin.raw.handler(), merged(json!({"output_format": "png"}), fields));
        let server = Server::start(json!({"handlers": [handler], "memory_cache": memory}));
        server.get("/h/a.png").ok();
        let gate = Gate::new();
        origin.set(Behaviour::Delayed(gate.clone(), image(GREEN)));
        expire();
        // The origin answers only once the gate is open.
        for _ in 0..20 {
            let answer = server.get("/h/a.png").ok();
            assert_eq!((cache_status(&answer).as_str(), colour(&answer)), ("stale", RED));
            assert!(age(&answer) >= 1);
        }
        let head = server.client().head_with("/h/a.png", &[]);
        assert_eq!((head.status, cache_status(&head).as_str()), (200, "stale"));
        origin.raw.wait_for_requests(2);
        assert_eq!(origin.request_count(), 2, "one revalidation at a time");
        gate.open();
        eventually("the new image is served", || colour(&server.get("/h/a.png").ok()) == GREEN);
    }
}

#[test]
fn stale_if_error_serves_stale_images_while_s3_is_down() {
    let mut s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image(RED));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "output_format": "png"});
    let server = Server::with_handler(merged(s3.handler(), fields));
    server.get("/h/a.png").ok();
    s3.stop();
    expire();
    for _ in 0..10 {
        let answer = server.get("/h/a.png").ok();
        assert_eq!((cache_status(&answer).as_str(), colour(&answer)), ("stale", RED));
        assert!(age(&answer) >= 1 && answer.header("Warning").is_none());
    }
    server.log.event("revalidation_failed");
    server.get("/h/b.png").failed("origin_unreachable");
    s3.put(&IMAGES, "a.png", &image(GREEN));
    s3.restart();
    eventually("the new image is served once S3 is back", || {
        colour(&server.get("/h/a.png").ok()) == GREEN
    });
}

#[test]
fn stale_if_error_covers_every_kind_of_outage() {
    for (status, code) in
        [(500, "InternalError"), (503, "SlowDown"), (403, "ExpiredToken"), (404, "NoSuchBucket")]
    {
        let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
        let cache = Directory::new();
        let server = origin.server(&cache, json!({}));
        server.get("/h/a.png").ok();
        origin.set(Behaviour::Error(status, code));
        expire();
        for _ in 0..3 {
            assert_eq!(cache_status(&server.get("/h/a.png").ok()), "stale", "{status} {code}");
        }
        assert_eq!(cache.files().len(), 1);
    }
}

#[test]
fn stale_image_that_was_deleted_at_the_origin_is_not_served() {
    let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
    let cache = Directory::new();
    let server = origin.server(&cache, json!({"negative_cache_time": 0}));
    server.get("/h/a.png").ok();
    origin.set(Behaviour::Error(404, "NoSuchKey"));
    expire();
    server.get("/h/a.png").failed("not_found");
    assert!(cache.files().is_empty());
    // An image that exists again is served again.
    origin.set(Behaviour::Image(image(GREEN)));
    assert_eq!(colour(&server.get("/h/a.png").ok()), GREEN);
}

#[test]
fn circuit_breaker_opens_after_one_second_if_the_origin_hangs() {
    let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
    let cache = Directory::new();
    // The timeouts of the origin are longer than this test.
    let server = origin.server(&cache, json!({}));
    let targets: Vec<String> = (1..9).map(|width| format!("/h/a.png?w={width}")).collect();
    targets.iter().for_each(|target| drop(server.get(target).ok()));
    let gate = Gate::new();
    origin.set(Behaviour::Delayed(gate.clone(), image(GREEN)));
    expire();
    let begun = Instant::now();
    for target in targets.iter().cycle().take(80) {
        assert_eq!(cache_status(&server.get(target).ok()), "stale");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    gate.open();
    eventually("the late answer is stored", || colour(&server.get("/h/a.png?w=8").ok()) == GREEN);
}

#[test]
fn circuit_breaker_opens_after_one_second_if_the_renderer_is_busy() {
    let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "output_format": "png"});
    let handler = merged(origin.raw.handler(), fields);
    let server = Server::with_limits(handler, json!({"fetches_at_once": 1}));
    server.get("/h/a.png").ok();
    let gate = Gate::new();
    origin.set(Behaviour::Delayed(gate.clone(), image(RED)));
    let busy = crate::support::client::request("GET", "/h/new.png", &[]);
    let mut busy = {
        let mut client = server.client();
        client.send(&busy);
        client
    };
    origin.raw.wait_for_requests(2);
    expire();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(cache_status(&server.get("/h/a.png").ok()), "stale");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    gate.open();
    busy.read().ok();
}

#[test]
fn negative_cache_answers_for_a_missing_key_until_it_expires() {
    let origin = FakeOrigin::new(Behaviour::Error(404, "NoSuchKey"));
    let cache = Directory::new();
    let server = origin.server(&cache, json!({"negative_cache_time": 2}));
    assert_eq!(cache_status(&server.get("/h/a.png").failed("not_found")), "miss");
    for width in 1..20 {
        let answer = server.get(&format!("/h/a.png?w={width}")).failed("not_found");
        assert_eq!(
            (cache_status(&answer).as_str(), answer.cache_control()),
            ("hit", vec!["no-store"])
        );
    }
    assert_eq!(origin.request_count(), 1);
    server.get("/h/b.png").failed("not_found");
    assert_eq!(origin.request_count(), 2, "another key");
    origin.set(Behaviour::Image(image(RED)));
    eventually("the entry expires", || server.get("/h/a.png").status == 200);
}

#[test]
fn negative_cache_does_not_store_other_failures() {
    for (status, code) in [(500, "InternalError"), (400, "Some")] {
        let origin = FakeOrigin::new(Behaviour::Error(status, code));
        let cache = Directory::new();
        let server = origin.server(&cache, json!({"negative_cache_time": 3600}));
        server.get("/h/a.png").failed("origin_error");
        origin.set(Behaviour::Image(image(RED)));
        server.get("/h/a.png").ok();
    }
    let origin = FakeOrigin::new(Behaviour::Image(b"no image".to_vec()));
    let cache = Directory::new();
    let server = origin.server(&cache, json!({"negative_cache_time": 3600}));
    server.get("/h/a.png").failed("unsupported_format");
    origin.set(Behaviour::Image(image(RED)));
    server.get("/h/a.png").ok();
}

#[test]
fn freshness_survives_a_clock_that_was_set_back() {
    let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
    let cache = Directory::new();
    let server = origin.server(&cache, json!({"cache_time": 600}));
    server.get("/h/a.png").ok();
    drop(server);
    // As if the clock had been an hour ahead.
    let file = cache.files().remove(0);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, shift_validation(&bytes, 3_600_000)).unwrap();
    let server = origin.server(&cache, json!({"cache_time": 600}));
    let answer = server.get("/h/a.png").ok();
    assert_eq!((cache_status(&answer).as_str(), age(&answer)), ("revalidated", 0));
    assert_eq!(cache_status(&server.get("/h/a.png").ok()), "hit");
}

/// An entry that was validated this many milliseconds later.
fn shift_validation(entry: &[u8], milliseconds: i64) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let length = u32::from_le_bytes(entry[8..12].try_into().unwrap()) as usize;
    let mut description: Value = serde_json::from_slice(&entry[20..20 + length]).unwrap();
    description["stored"] = json!(description["stored"].as_i64().unwrap() + milliseconds);
    let description = serde_json::to_vec(&description).unwrap();
    let mut bytes = entry[..8].to_vec();
    bytes.extend_from_slice(&(description.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(&description)[..8]);
    bytes.extend_from_slice(&description);
    bytes.extend_from_slice(&entry[20 + length..]);
    bytes
}

#[test]
fn stale_if_error_hides_outages_of_s3_under_load() {
    const IMAGES_KNOWN: usize = 12;
    let mut s3 = S3::start();
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "output_format": "png"});
    let server = Server::with_handler(merged(s3.handler(), fields));
    let target = |number: usize| format!("/h/{number}.png?w={}", 8 + number % 3);
    for number in 0..IMAGES_KNOWN {
        s3.put(&IMAGES, &format!("{number}.png"), &image(RED));
        server.get(&target(number)).ok();
    }
    let over = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let stale = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let over = &over;
            let served = &served;
            let stale = &stale;
            let server = &server;
            scope.spawn(move || {
                let mut connection = server.client();
                let mut number = client;
                while !over.load(Ordering::Relaxed) {
                    number = (number + 5) % IMAGES_KNOWN;
                    let answer = connection.get(&target(number)).ok();
                    assert_eq!(colour(&answer), RED);
                    served.fetch_add(1, Ordering::Relaxed);
                    stale.fetch_add(
                        usize::from(cache_status(&answer) == "stale"),
                        Ordering::Relaxed,
                    );
                }
            });
        }
        for _ in 0..3 {
            let before = stale.load(Ordering::Relaxed);
            s3.stop();
            eventually("stale images are served", || stale.load(Ordering::Relaxed) > before + 50);
            s3.restart();
            let before = served.load(Ordering::Relaxed);
            eventually("requests are answered", || served.load(Ordering::Relaxed) > before + 200);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn circuit_breaker_is_not_closed_by_an_image_from_the_originals_cache() {
    let origin = FakeOrigin::new(Behaviour::Image(image(RED)));
    let cache = Directory::new();
    let originals = Directory::new();
    let fields = json!({"cache_path": cache.path(), "originals_cache": {"path": originals.path()}});
    let handler = merged(origin.raw.handler(), fields);
    let server = Server::with_handler(handler.clone());
    server.get("/h/a.png?w=3").ok();
    drop(server);
    // Older than the default `cache_time` of a week.
    let entry = cache.files().remove(0);
    std::fs::write(&entry, shift_validation(&std::fs::read(&entry).unwrap(), -610_000_000))
        .unwrap();
    std::fs::remove_file(originals.files().remove(0)).unwrap();
    let server = Server::with_handler(handler);
    server.get("/h/b.png?w=1").ok();
    origin.set(Behaviour::Error(500, "InternalError"));
    for width in 2..60 {
        assert_eq!(cache_status(&server.get("/h/a.png?w=3").ok()), "stale");
        let asked = origin.request_count();
        let begun = Instant::now();
        // Its original is cached.
        assert_eq!(cache_status(&server.get(&format!("/h/b.png?w={width}")).ok()), "miss");
        assert_eq!(cache_status(&server.get("/h/a.png?w=3").ok()), "stale");
        // One attempt per second is allowed, so a quick round without a request proves that the breaker is open.
        if begun.elapsed() < Duration::from_millis(200) && origin.request_count() == asked {
            return;
        }
    }
    panic!("the circuit breaker is closed: every request asks the origin");
}
