//! Shared results: variants that several servers keep in one bucket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::{send, with_admin};
use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, size_of};
use crate::support::origin::{Peer, RawOrigin, Request, Then, answer};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

const NOT_FOUND: &[u8] = b"<Error><Code>NoSuchKey</Code></Error>";

/// Whether a request reads the purges of other servers.
fn is_list(request: &Request) -> bool {
    request.target.contains("list-type=2")
}

/// There are no purges.
const EMPTY_LIST: &[u8] = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// A bucket of originals with one of them.
fn originals() -> S3 {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    s3
}

/// A server with a cache directory of its own.
struct Node {
    server: Server,
    _cache: Directory,
}

impl Node {
    fn start(handler: Value, results: Value, fields: Value) -> Node {
        let cache = Directory::new();
        let shared = json!({
            "cache_path": cache.path(), "results": results, "share_min_ms": 0, "results_timeout": 10,
        });
        let handler = merged(merged(handler, shared), fields);
        let config = with_admin(json!({"handlers": [handler]}));
        let server = Setup::new(config).check_interval(20).start();
        Node { server, _cache: cache }
    }

    #[track_caller]
    fn get(&self, target: &str) -> Answer {
        self.server.get(target).ok()
    }

    #[track_caller]
    fn expect(&self, target: &str, cached: &str) -> Answer {
        let answer = self.get(target);
        assert_eq!(answer.expect("X-Cache"), cached, "{target}");
        answer
    }

    /// The value of a metric of the handler, without its prefix; 0 if there is none.
    fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = send(&self.server, "GET", "/-/metrics").text().to_owned();
        let series = format!("s3imageserver_{name}{{handler=\"h\"{labels}}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    #[track_caller]
    fn expect_metric(&self, name: &str, labels: &str, expected: f64) {
        eventually(&format!("{name} {labels} is {expected}"), || {
            self.metric(name, labels) == expected
        });
    }
}

/// The keys of the results in the second bucket.
fn results(s3: &S3) -> Vec<String> {
    let puts = s3.answered(&ARCHIVE, "PUT").into_iter();
    let is_result =
        |(key, status): &(String, u16)| *status == 200 && key.starts_with("v1/results/");
    puts.filter(is_result).map(|(key, _)| key).collect()
}

#[track_caller]
fn wait_for_results(s3: &S3, count: usize) {
    eventually("results are uploaded", || results(s3).len() >= count);
    assert_eq!(results(s3).len(), count);
}

/// A bucket in memory whose objects a test can change, and whose answers it can hold.
#[derive(Clone, Default)]
struct Memory(Arc<MemoryState>);

/// Header fields and body.
type Object = (Vec<(String, String)>, Vec<u8>);

#[derive(Default)]
struct MemoryState {
    /// By path.
    objects: Mutex<HashMap<String, Object>>,
    behaviour: Mutex<Behaviour>,
}

#[derive(Clone, Default)]
enum Behaviour {
    #[default]
    Works,
    HoldsAll(Gate),
    HoldsPuts(Gate),
}

impl Memory {
    fn start(&self) -> RawOrigin {
        let memory = self.clone();
        RawOrigin::start(move |request, peer| memory.respond(request, peer))
    }

    fn set(&self, behaviour: Behaviour) {
        *self.0.behaviour.lock().unwrap() = behaviour;
    }

    fn respond(&self, request: &Request, peer: &mut Peer) -> Then {
        if is_list(request) {
            return peer.send(&answer(200, &[], EMPTY_LIST));
        }
        let behaviour = self.0.behaviour.lock().unwrap().clone();
        let is_put = request.method == "PUT";
        match behaviour {
            Behaviour::Works => {}
            Behaviour::HoldsAll(gate) => gate.pass(),
            Behaviour::HoldsPuts(gate) if is_put => gate.pass(),
            Behaviour::HoldsPuts(_) => {}
        }
        let mut objects = self.0.objects.lock().unwrap();
        if is_put {
            let fields = request.headers.iter().filter(|(name, _)| {
                name.starts_with("x-amz-meta-") || name == "content-type" || name == "cache-control"
            });
            objects.insert(request.path(), (fields.cloned().collect(), request.body.clone()));
            return peer.send(&answer(200, &[], b""));
        }
        match objects.get(&request.path()) {
            None => peer.send(&answer(404, &[], NOT_FOUND)),
            Some((fields, body)) => {
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                peer.send(&answer(200, &fields, body))
            }
        }
    }

    fn len(&self) -> usize {
        self.0.objects.lock().unwrap().len()
    }

    #[track_caller]
    fn wait_for(&self, count: usize) {
        eventually("the results are uploaded", || self.len() == count);
    }
}

#[test]
fn a_second_server_takes_results_from_the_bucket() {
    let (s3, shared) = (originals(), S3::start());
    let results_of = shared.aws(&ARCHIVE);
    let one = Node::start(s3.handler(), results_of.clone(), json!({}));
    let made = one.expect("/h/a.png?w=40", "miss");
    wait_for_results(&shared, 1);
    one.expect_metric("shared_uploads_total", ",result=\"uploaded\"", 1.0);
    assert_eq!(one.metric("shared_lookup_duration_seconds_count", ",outcome=\"miss\""), 1.0);
    one.expect("/h/a.png?w=40", "hit");

    let other = Node::start(s3.handler(), results_of, json!({"server_timing": true}));
    let found = other.expect("/h/a.png?w=40", "shared");
    assert_eq!(found.body, made.body);
    for name in ["ETag", "Last-Modified", "Content-Type", "Cache-Control"] {
        assert_eq!(found.header(name), made.header(name), "{name}");
    }
    let timing = found.expect("Server-Timing").to_owned();
    assert!(timing.contains("shared;dur=") && !timing.contains("decode"), "{timing}");
    assert_eq!(s3.gets(&IMAGES, "a.png"), (1, 0), "the original was fetched once");
    assert_eq!(other.server.log.access("/h/a.png?w=40")[7], "shared");
    other.expect("/h/a.png?w=40", "hit");
    other.expect_metric("http_requests_total", ",status=\"200\",cache=\"shared\"", 1.0);
    assert_eq!(other.metric("variants_total", ",result=\"shared\""), 1.0);
    assert_eq!(other.metric("shared_lookup_duration_seconds_count", ",outcome=\"hit\""), 1.0);
    assert_eq!(other.metric("shared_lookup_bytes_total", ""), made.body.len() as f64);
    assert_eq!(results(&shared).len(), 1, "what was found is not uploaded again");
    // Its own result is found by the first server.
    let own = other.expect("/h/a.png?w=20", "miss");
    wait_for_results(&shared, 2);
    assert_eq!(one.expect("/h/a.png?w=20", "shared").body, own.body);
}

#[test]
fn an_object_can_be_opened_and_says_what_it_is() {
    let s3 = originals();
    s3.put(&IMAGES, "d/\u{fc} 1%.png", &image());
    let memory = Memory::default();
    let bucket = memory.start();
    let node =
        Node::start(s3.handler(), merged(bucket.aws(), json!({"file_path": "x/y"})), json!({}));
    let made = node.expect("/h/d/%C3%BC%201%25.png?w=40&f=webp", "miss");
    memory.wait_for(1);
    let objects = memory.0.objects.lock().unwrap();
    let (path, (fields, body)) = objects.iter().next().unwrap();
    assert_eq!(*body, made.body);
    let name = path.strip_prefix("/bucket/x/y/v1/results/").unwrap();
    let lengths: Vec<usize> = name.split('/').map(str::len).collect();
    assert_eq!(lengths, [2, 2, 28, 32], "{path}");
    assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'/'), "{path}");
    let field = |name: &str| {
        let found = fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(field("content-type"), Some("image/webp"));
    assert_eq!(field("cache-control"), Some("max-age=604800"));
    assert_eq!(field("x-amz-meta-about"), Some("/h/d/%C3%BC%201%25.png?w=40&f=webp"));
    assert!(field("x-amz-meta-entry").is_some());
}

#[test]
fn damaged_results_are_made_again_and_replaced() {
    let s3 = S3::start();
    let keys = ["flipped", "cut", "longer", "foreign", "bare", "garbled", "empty"];
    for key in keys {
        s3.put(&IMAGES, key, &image());
    }
    let memory = Memory::default();
    let bucket = memory.start();
    let one = Node::start(s3.handler(), bucket.aws(), json!({}));
    let mut paths = HashMap::new();
    for (index, key) in keys.into_iter().enumerate() {
        one.expect(&format!("/h/{key}?w=40"), "miss");
        memory.wait_for(index + 1);
        let objects = memory.0.objects.lock().unwrap();
        let new = objects.keys().find(|path| !paths.values().any(|known| known == *path));
        paths.insert(key, new.unwrap().clone());
    }
    let intact = memory.0.objects.lock().unwrap().clone();
    {
        let mut objects = memory.0.objects.lock().unwrap();
        let foreign = objects[&paths["cut"]].clone();
        for key in keys {
            let object = objects.get_mut(&paths[key]).unwrap();
            match key {
                "flipped" => *object.1.last_mut().unwrap() ^= 1,
                "cut" => object.1.truncate(object.1.len() - 1),
                "longer" => object.1.push(0),
                "foreign" => *object = foreign.clone(),
                "bare" => object.0.retain(|(name, _)| name != "x-amz-meta-entry"),
                "garbled" => {
                    let entry = object.0.iter_mut().find(|(name, _)| name == "x-amz-meta-entry");
                    entry.unwrap().1.replace_range(60..64, "AAAA");
                }
                _ => object.1.clear(),
            }
        }
    }
    let other = Node::start(s3.handler(), bucket.aws(), json!({}));
    for key in keys {
        let answer = other.expect(&format!("/h/{key}?w=40"), "miss");
        assert_eq!(size_of(&answer.body), (40, 30));
    }
    other.server.log.event("shared_result_damaged");
    other.expect_metric("shared_lookup_duration_seconds_count", ",outcome=\"damaged\"", 7.0);
    let bodies = |objects: &HashMap<String, Object>| -> Vec<Vec<u8>> {
        keys.iter().map(|key| objects[&paths[key]].1.clone()).collect()
    };
    eventually("they are replaced", || {
        bodies(&memory.0.objects.lock().unwrap()) == bodies(&intact)
    });
    other.expect_metric("shared_uploads_total", ",result=\"uploaded\"", 7.0);
    let third = Node::start(s3.handler(), bucket.aws(), json!({}));
    for key in keys {
        third.expect(&format!("/h/{key}?w=40"), "shared");
    }
}

#[test]
fn a_bucket_that_hangs_costs_little_and_then_nothing() {
    let s3 = originals();
    let memory = Memory::default();
    let bucket = memory.start();
    let gate = Gate::new();
    memory.set(Behaviour::HoldsAll(gate.clone()));
    let timeout = json!({"results_timeout": 0.2, "max_variants": 0});
    let node = Node::start(s3.handler(), bucket.aws(), timeout);
    let started = Instant::now();
    for width in 1..=3 {
        node.expect(&format!("/h/a.png?w={width}"), "miss");
    }
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let failed = ",outcome=\"failed\"";
    node.expect_metric("shared_lookup_duration_seconds_count", failed, 3.0);
    node.server.log.event_with("shared_results_failed", "(results_timeout)");
    // From now on, one lookup every 2 seconds.
    let started = Instant::now();
    for width in 4..=40 {
        node.expect(&format!("/h/a.png?w={width}"), "miss");
    }
    let asked = node.metric("shared_lookup_duration_seconds_count", failed);
    let allowed = 3.0 + 1.0 + (started.elapsed().as_secs_f64() / 2.0).floor();
    assert!(asked <= allowed, "{asked} lookups, {:?}", started.elapsed());
    node.expect_metric("shared_breaker_open", "", 1.0);
    assert_eq!(node.server.log.count("shared_results_failed"), 1, "the warning is limited");
    // When it answers again, it is used again.
    memory.set(Behaviour::Works);
    gate.open();
    let mut width = 100;
    eventually("lookups work again", || {
        width += 1;
        node.get(&format!("/h/a.png?w={width}"));
        node.metric("shared_lookup_duration_seconds_count", ",outcome=\"miss\"") > 0.0
    });
}

#[test]
fn a_bucket_that_is_down_fails_no_request() {
    let s3 = originals();
    let mut shared = S3::start();
    let node = Node::start(s3.handler(), shared.aws(&ARCHIVE), json!({"max_variants": 0}));
    node.expect("/h/a.png?w=40", "miss");
    wait_for_results(&shared, 1);
    shared.stop();
    for width in 1..=10 {
        node.expect(&format!("/h/a.png?w={width}"), "miss");
    }
    node.expect("/h/a.png?w=1", "hit");
    node.expect_metric("shared_breaker_open", "", 1.0);
    node.server.log.event_with("shared_results_failed", "can't be reached");
    node.server.log.event("shared_result_dropped");
    assert_eq!(node.server.get("/-/ready").status, 200);
    shared.restart();
    let mut width = 100;
    eventually("results are uploaded again", || {
        width += 1;
        node.get(&format!("/h/a.png?w={width}"));
        results(&shared).len() > 1
    });
}

#[test]
fn a_bucket_that_refuses_fails_no_request() {
    let s3 = originals();
    let shared = S3::start();
    // The account of the other bucket.
    let wrong = merged(shared.aws(&IMAGES), json!({"bucket_name": ARCHIVE.name}));
    let node = Node::start(s3.handler(), wrong, json!({}));
    node.expect("/h/a.png?w=40", "miss");
    node.server.log.event_with("shared_results_failed", "403 (AccessDenied)");
    // Without the purges of the others, nothing may be shared.
    node.server.log.event_with("purges_not_read", "s3:ListBucket");
    node.server.log.event_with("shared_result_dropped", "purges of other servers");
    node.expect_metric("shared_uploads_total", ",result=\"dropped\"", 1.0);
    let log = node.server.log.lines().join("\n");
    assert!(!log.contains(IMAGES.secret) && !log.contains("Signature="), "{log}");
}

#[test]
fn a_full_queue_drops_uploads_and_no_request() {
    const VARIANTS: usize = 300;
    let s3 = originals();
    let memory = Memory::default();
    let bucket = memory.start();
    let gate = Gate::new();
    memory.set(Behaviour::HoldsPuts(gate.clone()));
    let node = Node::start(s3.handler(), bucket.aws(), json!({"max_variants": 0}));
    let mut client = node.server.client();
    for width in 1..=VARIANTS {
        let answer = client.get(&format!("/h/a.png?w={width}&h=1&e=true")).ok();
        assert_eq!(answer.expect("X-Cache"), "miss");
    }
    // 4 in flight and 256 waiting.
    let mut most = 0.0;
    eventually("uploads are dropped", || {
        let text = send(&node.server, "GET", "/-/metrics").text().to_owned();
        let pending = "s3imageserver_shared_uploads_pending ";
        let pending = text.lines().find_map(|line| line.strip_prefix(pending)).unwrap_or("0");
        most = pending.parse::<f64>().unwrap().max(most);
        node.metric("shared_uploads_total", ",result=\"dropped\"") >= (VARIANTS - 260) as f64
    });
    assert!(most <= 260.0, "{most}");
    assert_eq!(node.server.log.count("shared_result_dropped"), 1, "the warning is limited");
    assert_eq!(memory.len(), 0);
    gate.open();
}

#[test]
fn stale_results_are_revalidated_and_shared_again() {
    let (s3, shared) = (originals(), S3::start());
    let fields = json!({"cache_time": 1});
    let one = Node::start(s3.handler(), shared.aws(&ARCHIVE), fields.clone());
    let made = one.expect("/h/a.png?w=40", "miss");
    wait_for_results(&shared, 1);
    let other = Node::start(s3.handler(), shared.aws(&ARCHIVE), fields);
    std::thread::sleep(Duration::from_millis(1100));
    let found = other.expect("/h/a.png?w=40", "revalidated");
    assert_eq!(found.body, made.body);
    assert_eq!(s3.gets(&IMAGES, "a.png"), (1, 1));
    wait_for_results(&shared, 2);
    // The original changes: what is shared is not served.
    s3.put(&IMAGES, "a.png", &images::png(images::gradient(60, 80)));
    std::thread::sleep(Duration::from_millis(1100));
    let third = Node::start(s3.handler(), shared.aws(&ARCHIVE), json!({"cache_time": 1}));
    let changed = third.expect("/h/a.png?w=40", "miss");
    assert_eq!(size_of(&changed.body), (40, 53));
    wait_for_results(&shared, 3);
}

#[test]
fn a_changed_original_is_rendered_by_one_server() {
    let (s3, shared) = (originals(), S3::start());
    let start = || Node::start(s3.handler(), shared.aws(&ARCHIVE), json!({"cache_time": 1}));
    let (one, other) = (start(), start());
    one.expect("/h/a.png?w=40", "miss");
    wait_for_results(&shared, 1);
    other.expect("/h/a.png?w=40", "shared");
    s3.put(&IMAGES, "a.png", &images::png(images::gradient(60, 80)));
    std::thread::sleep(Duration::from_millis(1100));
    let changed = one.expect("/h/a.png?w=40", "miss");
    wait_for_results(&shared, 2);
    let found = other.expect("/h/a.png?w=40", "shared");
    assert_eq!((size_of(&found.body), found.body), ((40, 53), changed.body));
    other.expect("/h/a.png?w=40", "hit");
    assert_eq!(other.metric("variants_total", ",result=\"rendered\""), 0.0);
}

#[test]
fn a_stale_result_is_used_if_the_origin_can_not_be_asked() {
    let (mut s3, shared) = (originals(), S3::start());
    let one = Node::start(s3.handler(), shared.aws(&ARCHIVE), json!({"cache_time": 1}));
    let made = one.expect("/h/a.png?w=40", "miss");
    wait_for_results(&shared, 1);
    let start = |fields| Node::start(s3.handler(), shared.aws(&ARCHIVE), fields);
    let other = start(json!({"cache_time": 1}));
    let strict = start(json!({"cache_time": 1, "stale_if_error": 0}));
    std::thread::sleep(Duration::from_millis(1100));
    s3.stop();
    assert_eq!(other.expect("/h/a.png?w=40", "shared").body, made.body);
    strict.server.get("/h/a.png?w=40").failed("origin_unreachable");
}

#[test]
fn presets_and_quick_variants_stay_local() {
    let (s3, shared) = (originals(), S3::start());
    let fields = json!({"presets": {
        "tiny": {"query": "w=16&f=auto", "share": false}, "thumb": {"query": "w=40"},
    }});
    let one = Node::start(s3.handler(), shared.aws(&ARCHIVE), fields.clone());
    for target in ["/h/a.png?p=tiny", "/h/a.png?w=16&f=auto"] {
        let accept = [("Accept", "image/webp,*/*")];
        assert!(one.server.get_with(target, &accept).ok().header("X-Cache").is_some());
    }
    one.expect("/h/a.png?p=thumb", "miss");
    wait_for_results(&shared, 1);
    // One lookup: nothing was asked for the others.
    let gets = shared.answered(&ARCHIVE, "GET");
    assert_eq!(gets.iter().filter(|(key, _)| key.starts_with("v1/results/")).count(), 1);

    let slow = merged(fields, json!({"share_min_ms": 60_000}));
    let quick = Node::start(s3.handler(), shared.aws(&ARCHIVE), slow);
    quick.expect("/h/a.png?w=33", "miss");
    quick.expect("/h/a.png?p=thumb", "shared");
    one.expect("/h/a.png?w=33", "miss");
    wait_for_results(&shared, 2);
    quick.expect_metric("shared_uploads_total", ",result=\"uploaded\"", 0.0);
}

#[test]
fn max_variants_limits_what_is_uploaded_and_what_is_kept() {
    let (s3, shared) = (originals(), S3::start());
    s3.put(&IMAGES, "b.png", &image());
    let fields = json!({"max_variants": 1});
    let one = Node::start(s3.handler(), shared.aws(&ARCHIVE), fields.clone());
    one.expect("/h/a.png?w=10", "miss");
    wait_for_results(&shared, 1);
    one.expect("/h/a.png?w=11", "miss");
    one.expect("/h/b.png?w=12", "miss");
    wait_for_results(&shared, 2);
    let other = Node::start(s3.handler(), shared.aws(&ARCHIVE), fields);
    other.expect("/h/a.png?w=13", "miss");
    wait_for_results(&shared, 3);
    // It is found, and there is no room for it in the cache.
    other.expect("/h/a.png?w=10", "shared");
    other.expect("/h/a.png?w=10", "shared");
    other.expect("/h/b.png?w=12", "shared");
    other.expect("/h/b.png?w=12", "hit");
}

#[test]
fn results_from_before_a_purge_are_not_used() {
    let (s3, shared) = (originals(), S3::start());
    let node = Node::start(s3.handler(), shared.aws(&ARCHIVE), json!({}));
    node.expect("/h/a.png?w=40", "miss");
    wait_for_results(&shared, 1);
    s3.put(&IMAGES, "a.png", &images::png(images::gradient(60, 80)));
    assert_eq!(send(&node.server, "POST", "/-/purge/h/a.png").status, 200);
    let changed = node.expect("/h/a.png?w=40", "miss");
    assert_eq!(size_of(&changed.body), (40, 53));
    wait_for_results(&shared, 2);
    let other = Node::start(s3.handler(), shared.aws(&ARCHIVE), json!({}));
    assert_eq!(other.expect("/h/a.png?w=40", "shared").body, changed.body);
}

#[test]
fn concurrent_requests_share_one_lookup() {
    let s3 = originals();
    let memory = Memory::default();
    let bucket = memory.start();
    let one = Node::start(s3.handler(), bucket.aws(), json!({}));
    one.expect("/h/a.png?w=40", "miss");
    memory.wait_for(1);
    let gate = Gate::new();
    memory.set(Behaviour::HoldsAll(gate.clone()));
    let other = Node::start(s3.handler(), bucket.aws(), json!({}));
    let asked = || bucket.requests().iter().filter(|request| !is_list(request)).count();
    let before = asked();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let answer = other.get("/h/a.png?w=40");
                    // The last ones may find what the first ones have stored.
                    assert!(["shared", "hit"].contains(&answer.expect("X-Cache")), "{answer:?}");
                })
            })
            .collect();
        eventually("the bucket is asked", || asked() > before);
        gate.open();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(asked(), before + 1);
}

#[test]
fn a_ca_file_that_can_not_be_used_is_an_error() {
    let directory = Directory::new().with("ca.pem", b"no PEM");
    let ca_file = directory.path().join("ca.pem");
    let handler = merged(
        json!({"name": "h", "aws": {"bucket_name": "b", "anonymous": true}}),
        json!({"cache_path": directory.path().join("cache"),
            "results": {"bucket_name": "r", "ca_file": ca_file}}),
    );
    let output = Setup::new(json!({"handlers": [handler]})).run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("handlers[0].results.ca_file: "), "{said}");
    assert!(said.contains("has no certificate"), "{said}");
}

#[test]
fn missing_credentials_of_the_results_bucket_are_a_metric_and_not_a_reason() {
    let s3 = originals();
    let memory = Memory::default();
    let bucket = memory.start();
    let chain = json!({"bucket_name": "r", "endpoint": bucket.aws()["endpoint"]});
    let node = Node::start(s3.handler(), chain, json!({}));
    node.expect("/h/a.png?w=40", "miss");
    node.server.log.event_with("shared_results_failed", "no credentials found");
    eventually("a ping tells of the results bucket", || {
        let text = send(&node.server, "GET", "/-/metrics").text().to_owned();
        text.contains("s3imageserver_shared_credentials_found{handler=\"h\"} 0")
    });
    // Only operators are told.
    let ready = node.server.get("/-/ready");
    assert_eq!((ready.status, ready.text()), (200, "ready\n"));
    assert_eq!(bucket.requests().len(), 0);
}
