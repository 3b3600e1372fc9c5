//! What happens to a result past its time: revalidated, served meanwhile, served because its origin is down, or gone.

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

/// What the origin does at the moment.
#[derive(Clone)]
enum Mood {
    /// It has this image, and knows it by its entity tag.
    Has(Vec<u8>),
    /// It refuses with this status and S3 error code.
    Refuses(u16, &'static str),
    /// It waits before it answers with this image.
    Waits(Gate, Vec<u8>),
}

/// An origin whose mood a test changes.
struct Moody {
    origin: RawOrigin,
    mood: Arc<Mutex<Mood>>,
}

impl Moody {
    fn new(mood: Mood) -> Moody {
        let mood = Arc::new(Mutex::new(mood));
        let current = Arc::clone(&mood);
        let respond = move |request: &Request, peer: &mut Peer| {
            let mood = current.lock().unwrap().clone();
            answer(request, peer, mood)
        };
        Moody { origin: RawOrigin::start(respond), mood }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.origin.requests().len()
    }

    /// A server whose results expire within a second.
    fn server(&self, cache: &Directory, fields: Value) -> Server {
        let brief = json!({"cache_path": cache.path(), "cache_time": 1, "output_format": "png"});
        Server::with_handler(merged(merged(self.origin.handler(), brief), fields))
    }
}

fn answer(request: &Request, peer: &mut Peer, mood: Mood) -> Then {
    match mood {
        Mood::Has(body) => {
            let mut hasher = DefaultHasher::new();
            body.hash(&mut hasher);
            let etag = format!("\"{:x}\"", hasher.finish());
            let fields = [("ETag", etag.as_str())];
            match request.header("if-none-match") {
                Some(known) if known == etag => peer.send(&head_of_304(&etag)),
                _ => peer.send(&origin::answer(200, &fields, &body)),
            }
        }
        Mood::Refuses(status, code) => {
            let body = format!("<Error><Code>{code}</Code></Error>");
            peer.send(&origin::answer(status, &[], body.as_bytes()))
        }
        Mood::Waits(gate, body) => {
            gate.pass();
            answer(request, peer, Mood::Has(body))
        }
    }
}

fn head_of_304(etag: &str) -> Vec<u8> {
    format!("HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n").into_bytes()
}

fn image(colour: [u8; 3]) -> Vec<u8> {
    images::png(images::solid(16, 16, colour))
}

fn state(answer: &Answer) -> String {
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

/// Long enough for what was made now to be past its time.
fn expire() {
    std::thread::sleep(Duration::from_millis(1050));
}

#[test]
fn an_answer_tells_how_old_it_is() {
    let moody = Moody::new(Mood::Has(image(RED)));
    let cache = Directory::new();
    let server = moody.server(&cache, json!({"cache_time": 600}));
    assert_eq!(age(&server.get("/h/a.png").ok()), 0);
    let mut last = 0;
    eventually("it grows older", || {
        let answer = server.get("/h/a.png").ok();
        assert!(age(&answer) >= last, "it does not become younger");
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
fn what_has_not_changed_is_revalidated_without_being_made_again() {
    for memory in [0, 1 << 20] {
        let moody = Moody::new(Mood::Has(image(RED)));
        let cache = Directory::new();
        let brief = json!({"cache_path": cache.path(), "cache_time": 1});
        let handler = merged(moody.origin.handler(), brief);
        // One more image made, and another process would be the renderer.
        let limits = json!({"renderer_max_renders": 1_000});
        let server =
            Server::start(json!({"handlers": [handler], "memory_cache": memory, "limits": limits}));
        let first = server.get("/h/a.png?w=8").ok();
        for round in 1..3 {
            expire();
            let again = server.get("/h/a.png?w=8").ok();
            assert_eq!(
                (state(&again).as_str(), age(&again)),
                ("revalidated", 0),
                "memory {memory}"
            );
            assert_eq!(again.expect("ETag"), first.expect("ETag"));
            assert_eq!(again.body, first.body);
            assert_eq!(moody.asked(), 1 + round);
            let hit = server.get("/h/a.png?w=8").ok();
            assert_eq!((state(&hit).as_str(), hit.body == first.body), ("hit", true));
        }
        let conditional = |request: &Request| request.header("if-none-match").is_some();
        let requests = moody.origin.requests();
        assert_eq!(requests.iter().map(conditional).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(cache.files().len(), 1);
    }
}

#[test]
fn what_has_changed_is_made_again() {
    let moody = Moody::new(Mood::Has(image(RED)));
    let cache = Directory::new();
    let server = moody.server(&cache, json!({}));
    assert_eq!(colour(&server.get("/h/a.png").ok()), RED);
    moody.set(Mood::Has(image(GREEN)));
    expire();
    let answer = server.get("/h/a.png").ok();
    assert_eq!((state(&answer).as_str(), colour(&answer)), ("miss", GREEN));
    let answer = server.get("/h/a.png").ok();
    assert_eq!((state(&answer).as_str(), colour(&answer)), ("hit", GREEN));
}

#[test]
fn what_is_stale_is_served_at_once_and_revalidated_behind_that() {
    for memory in [0, 1 << 20] {
        let moody = Moody::new(Mood::Has(image(RED)));
        let cache = Directory::new();
        let fields =
            json!({"cache_path": cache.path(), "cache_time": 1, "stale_while_revalidate": 3600});
        let handler =
            merged(moody.origin.handler(), merged(json!({"output_format": "png"}), fields));
        let server = Server::start(json!({"handlers": [handler], "memory_cache": memory}));
        server.get("/h/a.png").ok();
        let gate = Gate::new();
        moody.set(Mood::Waits(gate.clone(), image(GREEN)));
        expire();
        // The origin does not answer before the gate is opened.
        for _ in 0..20 {
            let answer = server.get("/h/a.png").ok();
            assert_eq!((state(&answer).as_str(), colour(&answer)), ("stale", RED));
            assert!(age(&answer) >= 1);
        }
        let head = server.client().head_with("/h/a.png", &[]);
        assert_eq!((head.status, state(&head).as_str()), (200, "stale"));
        moody.origin.wait_for_requests(2);
        assert_eq!(moody.asked(), 2, "one revalidation at a time");
        gate.open();
        eventually("the new one is there", || colour(&server.get("/h/a.png").ok()) == GREEN);
    }
}

#[test]
fn what_we_have_is_served_while_s3_is_down() {
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
        assert_eq!((state(&answer).as_str(), colour(&answer)), ("stale", RED));
        assert!(age(&answer) >= 1 && answer.header("Warning").is_none());
    }
    server.log.event("revalidation_failed");
    server.get("/h/b.png").failed("origin_unreachable");
    s3.put(&IMAGES, "a.png", &image(GREEN));
    s3.restart();
    eventually("S3 is noticed to be back", || colour(&server.get("/h/a.png").ok()) == GREEN);
}

#[test]
fn every_way_of_being_down_is_one() {
    for (status, code) in
        [(500, "InternalError"), (503, "SlowDown"), (403, "ExpiredToken"), (404, "NoSuchBucket")]
    {
        let moody = Moody::new(Mood::Has(image(RED)));
        let cache = Directory::new();
        let server = moody.server(&cache, json!({}));
        server.get("/h/a.png").ok();
        moody.set(Mood::Refuses(status, code));
        expire();
        for _ in 0..3 {
            assert_eq!(state(&server.get("/h/a.png").ok()), "stale", "{status} {code}");
        }
        assert_eq!(cache.files().len(), 1);
    }
}

#[test]
fn an_image_that_was_deleted_is_gone_when_its_time_is_over() {
    let moody = Moody::new(Mood::Has(image(RED)));
    let cache = Directory::new();
    let server = moody.server(&cache, json!({"negative_cache_time": 0}));
    server.get("/h/a.png").ok();
    moody.set(Mood::Refuses(404, "NoSuchKey"));
    expire();
    server.get("/h/a.png").failed("not_found");
    assert!(cache.files().is_empty());
    // And what is there again is served again.
    moody.set(Mood::Has(image(GREEN)));
    assert_eq!(colour(&server.get("/h/a.png").ok()), GREEN);
}

#[test]
fn an_origin_that_hangs_holds_up_known_images_for_a_second_and_once() {
    let moody = Moody::new(Mood::Has(image(RED)));
    let cache = Directory::new();
    // Its deadlines are longer than all of this may take.
    let server = moody.server(&cache, json!({}));
    let targets: Vec<String> = (1..9).map(|width| format!("/h/a.png?w={width}")).collect();
    targets.iter().for_each(|target| drop(server.get(target).ok()));
    let gate = Gate::new();
    moody.set(Mood::Waits(gate.clone(), image(GREEN)));
    expire();
    let begun = Instant::now();
    for target in targets.iter().cycle().take(80) {
        assert_eq!(state(&server.get(target).ok()), "stale");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    gate.open();
    eventually("what came late is there", || colour(&server.get("/h/a.png?w=8").ok()) == GREEN);
}

#[test]
fn a_renderer_that_is_busy_holds_up_known_images_for_a_second_and_once() {
    let moody = Moody::new(Mood::Has(image(RED)));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "output_format": "png"});
    let handler = merged(moody.origin.handler(), fields);
    let server = Server::with_limits(handler, json!({"fetches_at_once": 1}));
    server.get("/h/a.png").ok();
    let gate = Gate::new();
    moody.set(Mood::Waits(gate.clone(), image(RED)));
    let busy = crate::support::client::request("GET", "/h/new.png", &[]);
    let mut busy = {
        let mut client = server.client();
        client.send(&busy);
        client
    };
    moody.origin.wait_for_requests(2);
    expire();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(state(&server.get("/h/a.png").ok()), "stale");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    gate.open();
    busy.read().ok();
}

#[test]
fn a_missing_key_is_remembered_for_a_short_while() {
    let moody = Moody::new(Mood::Refuses(404, "NoSuchKey"));
    let cache = Directory::new();
    let server = moody.server(&cache, json!({"negative_cache_time": 2}));
    assert_eq!(state(&server.get("/h/a.png").failed("not_found")), "miss");
    for width in 1..20 {
        let answer = server.get(&format!("/h/a.png?w={width}")).failed("not_found");
        assert_eq!((state(&answer).as_str(), answer.cache_control()), ("hit", vec!["no-store"]));
    }
    assert_eq!(moody.asked(), 1);
    server.get("/h/b.png").failed("not_found");
    assert_eq!(moody.asked(), 2, "another key");
    moody.set(Mood::Has(image(RED)));
    eventually("it is forgotten again", || server.get("/h/a.png").status == 200);
}

#[test]
fn a_failure_is_not_remembered() {
    for (status, code) in [(500, "InternalError"), (400, "Some")] {
        let moody = Moody::new(Mood::Refuses(status, code));
        let cache = Directory::new();
        let server = moody.server(&cache, json!({"negative_cache_time": 3600}));
        server.get("/h/a.png").failed("origin_error");
        moody.set(Mood::Has(image(RED)));
        server.get("/h/a.png").ok();
    }
    let moody = Moody::new(Mood::Has(b"no image".to_vec()));
    let cache = Directory::new();
    let server = moody.server(&cache, json!({"negative_cache_time": 3600}));
    server.get("/h/a.png").failed("unsupported_format");
    moody.set(Mood::Has(image(RED)));
    server.get("/h/a.png").ok();
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_eternal() {
    let moody = Moody::new(Mood::Has(image(RED)));
    let cache = Directory::new();
    let server = moody.server(&cache, json!({"cache_time": 600}));
    server.get("/h/a.png").ok();
    drop(server);
    // As an hour ago the server would have seen it.
    let file = cache.files().remove(0);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, with_stored(&bytes, 3_600_000)).unwrap();
    let server = moody.server(&cache, json!({"cache_time": 600}));
    let answer = server.get("/h/a.png").ok();
    assert_eq!((state(&answer).as_str(), age(&answer)), ("revalidated", 0));
    assert_eq!(state(&server.get("/h/a.png").ok()), "hit");
}

/// An entry whose time is so many milliseconds later.
fn with_stored(entry: &[u8], later: i64) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let length = u32::from_le_bytes(entry[8..12].try_into().unwrap()) as usize;
    let mut description: Value = serde_json::from_slice(&entry[20..20 + length]).unwrap();
    description["stored"] = json!(description["stored"].as_i64().unwrap() + later);
    let description = serde_json::to_vec(&description).unwrap();
    let mut bytes = entry[..8].to_vec();
    bytes.extend_from_slice(&(description.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(&description)[..8]);
    bytes.extend_from_slice(&description);
    bytes.extend_from_slice(&entry[20 + length..]);
    bytes
}

#[test]
fn when_s3_comes_and_goes_under_load_no_known_image_fails() {
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
    let (over, served, stale) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (over, served, stale, server) = (&over, &served, &stale, &server);
            scope.spawn(move || {
                let mut connection = server.client();
                let mut number = client;
                while !over.load(Ordering::Relaxed) {
                    number = (number + 5) % IMAGES_KNOWN;
                    let answer = connection.get(&target(number)).ok();
                    assert_eq!(colour(&answer), RED);
                    served.fetch_add(1, Ordering::Relaxed);
                    stale.fetch_add(usize::from(state(&answer) == "stale"), Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = stale.load(Ordering::Relaxed);
            s3.stop();
            eventually("what is stale is served", || stale.load(Ordering::Relaxed) > before + 50);
            s3.restart();
            let before = served.load(Ordering::Relaxed);
            eventually("all is well", || served.load(Ordering::Relaxed) > before + 200);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_image_that_needs_no_origin_does_not_end_an_outage() {
    let moody = Moody::new(Mood::Has(image(RED)));
    let (cache, originals) = (Directory::new(), Directory::new());
    let fields = json!({"cache_path": cache.path(), "originals_cache": {"path": originals.path()}});
    let handler = merged(moody.origin.handler(), fields);
    let server = Server::with_handler(handler.clone());
    server.get("/h/a.png?w=3").ok();
    drop(server);
    // A week and some more ago.
    let entry = cache.files().remove(0);
    std::fs::write(&entry, with_stored(&std::fs::read(&entry).unwrap(), -610_000_000)).unwrap();
    std::fs::remove_file(originals.files().remove(0)).unwrap();
    let server = Server::with_handler(handler);
    server.get("/h/b.png?w=1").ok();
    moody.set(Mood::Refuses(500, "InternalError"));
    for width in 2..60 {
        assert_eq!(state(&server.get("/h/a.png?w=3").ok()), "stale");
        let (asked, begun) = (moody.asked(), Instant::now());
        // Its original is here.
        assert_eq!(state(&server.get(&format!("/h/b.png?w={width}")).ok()), "miss");
        assert_eq!(state(&server.get("/h/a.png?w=3").ok()), "stale");
        // The origin is tried once a second, which is not to be seen here.
        if begun.elapsed() < Duration::from_millis(200) && moody.asked() == asked {
            return;
        }
    }
    panic!("the origin is asked each time");
}
