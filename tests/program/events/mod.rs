//! `POST /-/events`: what a bucket says has changed is purged at once, and rendered again.

mod bodies;
mod sns;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::admin::{SECRET, admin, cache_status, cached, config, json_of, small_image, warm};
use crate::metrics::{scrape, value};
use crate::support::client::{Answer, Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, BLUE, size_of};
use crate::support::origin::{self, RawOrigin};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::Server;
use crate::support::{eventually, merged};

const KEY: &str = "summer/red flower+.png";
const TARGET: &str = "/h/summer/red%20flower+.png";

fn large_image() -> Vec<u8> {
    images::png(images::solid(20, 20, BLUE))
}

/// A body of tests/data/events.
fn body(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A record of S3 with this key, encoded, and sequencer.
fn record(bucket: &str, key: &str, name: &str, sequencer: &str) -> Value {
    json!({
        "eventSource": "aws:s3", "eventName": name, "eventTime": "2026-11-29T12:42:34.123Z",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": sequencer}},
    })
}

fn created(key: &str, sequencer: &str) -> String {
    json!({"Records": [record("images", key, "ObjectCreated:Put", sequencer)]}).to_string()
}

/// A request with a body, as bytes.
fn with_body(target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let fields = [fields, &[("Content-Length", length.as_str())]].concat();
    [request("POST", target, &fields), body.to_vec()].concat()
}

fn bearer() -> String {
    format!("Bearer {SECRET}")
}

/// Posts a body with the secret on a new connection.
#[track_caller]
fn post(server: &Server, body: &str) -> Answer {
    let mut client = Client::connect(admin(server));
    client.send(&with_body("/-/events", &[("Authorization", &bearer())], body.as_bytes()));
    client.read()
}

/// Posts a body that is accepted, and returns the counts that are not 0.
#[track_caller]
fn post_ok(server: &Server, body: &str) -> Value {
    let answer = post(server, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    counts(&answer)
}

#[track_caller]
fn counts(answer: &Answer) -> Value {
    let mut value = json_of(answer);
    value.as_object_mut().unwrap().retain(|_, count| *count != 0);
    value
}

/// A server with the image of [`KEY`] in its cache.
fn start(s3: &S3, cache: &Directory, fields: Value) -> Server {
    s3.put(&IMAGES, KEY, &small_image());
    let server = Server::start(config(merged(cached(s3.handler(), cache), fields)));
    warm(&server, TARGET);
    server
}

#[track_caller]
fn size_and_status(server: &Server, target: &str) -> ((u32, u32), String) {
    let answer = server.get(target).ok();
    (size_of(&answer.body), cache_status(&answer).to_owned())
}

#[test]
fn each_sender_purges_the_key_of_its_event() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    let bodies = [
        "s3-put.json",
        "eventbridge-created.json",
        "sqs-receive-message.json",
        "minio-put.json",
        "ceph-put.json",
    ];
    for (round, name) in bodies.into_iter().enumerate() {
        let (image, size) =
            if round % 2 == 0 { (large_image(), (20, 20)) } else { (small_image(), (10, 10)) };
        s3.put(&IMAGES, KEY, &image);
        assert_eq!(size_and_status(&server, TARGET).1, "hit", "{name}: before");
        assert_eq!(post_ok(&server, &body(name)), json!({"events": 1, "purged": 1}), "{name}");
        assert_eq!(size_and_status(&server, TARGET), (size, "miss".to_owned()), "{name}");
        assert_eq!(size_and_status(&server, TARGET), (size, "hit".to_owned()), "{name}");
        let again = post_ok(&server, &body(name));
        assert_eq!(again, json!({"events": 1, "repeated": 1}), "{name}");
    }
    assert_eq!(post_ok(&server, &body("s3-test.json")), json!({"events": 1, "ignored": 1}));
    assert_eq!(size_and_status(&server, TARGET).1, "hit");
}

#[test]
fn a_removed_key_has_no_image_at_once() {
    for name in ["s3-delete.json", "eventbridge-deleted.json"] {
        let s3 = S3::start();
        let cache = Directory::new();
        let originals = Directory::new();
        let fields = json!({"originals_cache": {"path": originals.path()}, "cache_time": 0});
        let server = start(&s3, &cache, fields);
        s3.remove(&IMAGES, KEY);
        assert_eq!(size_and_status(&server, TARGET).1, "hit", "{name}: before");
        assert_eq!(post_ok(&server, &body(name)), json!({"events": 1, "purged": 1}));
        server.get(TARGET).failed("not_found");
        // The key comes back, and so does its image.
        s3.put(&IMAGES, KEY, &large_image());
        let later = created("summer/red+flower%2B.png", "0055AED6DCD90282FF");
        assert_eq!(post_ok(&server, &later), json!({"events": 1, "purged": 1}));
        assert_eq!(size_and_status(&server, TARGET), ((20, 20), "miss".to_owned()));
    }
}

#[test]
fn events_that_come_twice_or_late_purge_nothing() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    let event = |sequencer: &str| created("summer/red+flower%2B.png", sequencer);
    let purged = json!({"events": 1, "purged": 1});
    let repeated = json!({"events": 1, "repeated": 1});
    for (sequencer, expected) in [
        ("0055AED6DC", &purged),
        ("0055AED6DC", &repeated),
        ("0055aed6dc0000", &repeated),
        ("0055AED6DB", &repeated),
        ("0055AED6DBFFFF", &repeated),
        ("0055AED6DC01", &purged),
        ("0055AED6DC", &repeated),
        ("0055AED6DD", &purged),
    ] {
        assert_eq!(post_ok(&server, &event(sequencer)), *expected, "{sequencer}");
        let status = size_and_status(&server, TARGET).1;
        assert_eq!(status == "miss", *expected == purged, "{sequencer}");
        warm(&server, TARGET);
    }
    // A reload forgets nothing.
    server.reload_well(config(cached(s3.handler(), &cache)));
    assert_eq!(post_ok(&server, &event("0055AED6DD")), repeated);
    // The same sequencer of another key is another event.
    s3.put(&IMAGES, "b.png", &small_image());
    warm(&server, "/h/b.png");
    assert_eq!(post_ok(&server, &created("b.png", "0055AED6DB")), purged);
    assert_eq!(size_and_status(&server, "/h/b.png").1, "miss");
}

#[test]
fn events_find_the_handlers_of_their_bucket_and_prefix() {
    let s3 = S3::start();
    for (bucket, key) in
        [(&IMAGES, "a.png"), (&IMAGES, "sub/a.png"), (&IMAGES, "subway/a.png"), (&ARCHIVE, "a.png")]
    {
        s3.put(bucket, key, &small_image());
    }
    let cache = Directory::new();
    let handler = |name: &str, bucket, file_path: &str| {
        let aws = merged(s3.aws(bucket), json!({"file_path": file_path}));
        cached(json!({"name": name, "aws": aws}), &cache)
    };
    let local = Directory::new().with("a.png", &small_image());
    let handlers = json!([
        handler("all", &IMAGES, ""),
        handler("sub", &IMAGES, "/sub/"),
        handler("archive", &ARCHIVE, ""),
        merged(cached(local.handler(), &cache), json!({"name": "local"})),
    ]);
    let server = Server::start(merged(config(json!({})), json!({"handlers": handlers})));
    let targets = [
        "/all/a.png",
        "/all/sub/a.png",
        "/all/subway/a.png",
        "/sub/a.png",
        "/archive/a.png",
        "/local/a.png",
    ];
    for (number, (bucket, key, purged)) in [
        ("images", "a.png", &["/all/a.png"][..]),
        ("images", "sub/a.png", &["/all/sub/a.png", "/sub/a.png"][..]),
        ("images", "subway/a.png", &["/all/subway/a.png"][..]),
        ("archive", "a.png", &["/archive/a.png"][..]),
        ("archive", "sub/a.png", &[][..]),
        ("other", "a.png", &[][..]),
        ("images", "sub/", &[][..]),
    ]
    .into_iter()
    .enumerate()
    {
        targets.iter().for_each(|target| warm(&server, target));
        let event = record(bucket, key, "ObjectCreated:Copy", &format!("{number:016X}"));
        let counts = post_ok(&server, &json!({"Records": [event]}).to_string());
        let is_known = ["images", "archive"].contains(&bucket);
        let expected = if is_known { "purged" } else { "unmatched" };
        assert_eq!(counts, json!({"events": 1, expected: 1}), "{bucket} {key}");
        for target in targets {
            let status = size_and_status(&server, target).1;
            let expected = if purged.contains(&target) { "miss" } else { "hit" };
            assert_eq!(status, expected, "{bucket} {key}: {target}");
        }
    }
}

#[test]
fn presets_are_rendered_again_without_a_request() {
    let s3 = S3::start();
    let cache = Directory::new();
    let fields = json!({
        "presets": {"thumb": "w=5&h=5&c=true", "auto": "w=8&f=auto", "rare": "w=4"},
        "render_on_change": ["thumb", "auto"],
    });
    let server = start(&s3, &cache, fields);
    s3.put(&IMAGES, KEY, &images::png(images::gradient(40, 20)));
    let counts = post_ok(&server, &body("s3-put.json"));
    assert_eq!(counts, json!({"events": 1, "purged": 1, "queued": 1}));
    let rendered = r#"event_renders_total{result="rendered"}"#;
    eventually("both presets are rendered", || value(&scrape(&server), rendered) == 2.0);
    let browser = [("Accept", "image/avif,image/webp,image/apng,image/*,*/*;q=0.8")];
    for (target, fields, size, expected) in [
        (format!("{TARGET}?p=thumb"), &[][..], (5, 5), "hit"),
        (format!("{TARGET}?p=auto"), &browser[..], (8, 4), "hit"),
        (format!("{TARGET}?p=rare"), &[][..], (4, 2), "miss"),
    ] {
        let answer = server.get_with(&target, fields).ok();
        assert_eq!((size_of(&answer.body), cache_status(&answer)), (size, expected), "{target}");
    }
    // A removed object is not rendered.
    s3.remove(&IMAGES, KEY);
    let counts = post_ok(&server, &body("s3-delete.json"));
    assert_eq!(counts, json!({"events": 1, "purged": 1}));
    // One that is gone before its turn fails, and costs nothing else.
    let counts = post_ok(&server, &created("gone.png", "01"));
    assert_eq!(counts, json!({"events": 1, "purged": 1, "queued": 1}));
    let failed = r#"event_renders_total{result="failed"}"#;
    eventually("both presets have failed", || value(&scrape(&server), failed) == 2.0);
    assert_eq!(value(&scrape(&server), "event_renders_waiting"), 0.0);
    assert_eq!(value(&scrape(&server), rendered), 2.0);
}

#[test]
fn a_purge_that_is_incomplete_is_sent_again() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({"cache_time": 0}));
    let layout = cache.path().join("v1");
    let aside = cache.path().join("aside");
    std::fs::rename(&layout, &aside).unwrap();
    std::fs::write(&layout, b"not a directory").unwrap();
    let answer = post(&server, &body("s3-put.json"));
    assert_eq!(answer.status, 500, "{}", answer.text());
    let counts = counts(&answer);
    assert_eq!((&counts["events"], &counts["failed"]), (&json!(1), &json!(1)));
    assert!(counts["error"].as_str().unwrap().starts_with("not everything could be removed"));
    server.log.event("purge_incomplete");
    std::fs::remove_file(&layout).unwrap();
    std::fs::rename(&aside, &layout).unwrap();
    assert_eq!(post_ok(&server, &body("s3-put.json")), json!({"events": 1, "purged": 1}));
}

#[test]
fn a_results_bucket_that_fails_is_asked_once_for_a_body() {
    let s3 = S3::start();
    // It lists nothing, and takes nothing.
    let results = RawOrigin::start(|request, peer| {
        let list = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let status = if request.method == "PUT" { 403 } else { 200 };
        peer.send(&origin::answer(status, &[], list))
    });
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({"results": results.aws(), "share_min_ms": 60_000}));
    let writes = || results.requests().iter().filter(|request| request.method == "PUT").count();
    let other = record("images", "a.png", "ObjectCreated:Put", "01");
    let own = record("images", "summer/red+flower%2B.png", "ObjectCreated:Put", "01");
    let before = writes();
    assert_eq!(post(&server, &created("a.png", "01")).status, 500);
    let of_one = writes() - before;
    assert!(of_one > 0);
    let records: Vec<Value> = std::iter::repeat_n(other, 20).chain([own]).collect();
    s3.put(&IMAGES, KEY, &large_image());
    let before = writes();
    let answer = post(&server, &json!({"Records": records}).to_string());
    assert_eq!(answer.status, 500, "{}", answer.text());
    let counts = counts(&answer);
    assert_eq!((&counts["events"], &counts["failed"]), (&json!(21), &json!(21)));
    assert_eq!(writes() - before, of_one);
    assert_eq!(server.log.count("purge_incomplete"), 1);
    // The purge of the last one is in force here, too.
    assert_eq!(size_and_status(&server, TARGET), ((20, 20), "miss".to_owned()));
}

#[test]
fn events_are_counted_by_source_and_result_with_their_lag() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    for _ in 0..2 {
        post_ok(&server, &body("minio-put.json"));
    }
    let unknown = json!({"Records": [record("other", "a", "ObjectCreated:Put", "01")]});
    post_ok(&server, &unknown.to_string());
    post_ok(&server, &body("s3-test.json"));
    assert_eq!(post(&server, "{}").status, 400);
    let text = scrape(&server);
    for (source, result) in [
        ("minio", "purged"),
        ("minio", "repeated"),
        ("s3", "unmatched"),
        ("s3", "ignored"),
        ("other", "refused"),
    ] {
        let name = format!("events_total{{source=\"{source}\",result=\"{result}\"}}");
        assert_eq!(value(&text, &name), 1.0, "{text}");
    }
    // The lag of an event now is small; that of the recorded one is not a bound of the histogram.
    let now = SystemTime::now() - Duration::from_millis(300);
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut event = record("images", "summer/red+flower%2B.png", "ObjectCreated:Put", "FF");
    event["eventTime"] = rfc3339(now).into();
    let before = value(&text, "event_lag_seconds_bucket{le=\"20.0\"}");
    assert_eq!(post_ok(&server, &json!({"Records": [event]}).to_string())["purged"], 1);
    let text = scrape(&server);
    assert_eq!(value(&text, "event_lag_seconds_count"), 2.0);
    assert_eq!(value(&text, "event_lag_seconds_bucket{le=\"20.0\"}"), before + 1.0);
    let small = value(&text, "event_lag_seconds_bucket{le=\"0.25\"}");
    assert_eq!(small, value(&text, "event_lag_seconds_bucket{le=\"0.00005\"}"));
}

/// In whole seconds.
fn rfc3339(since_1970: Duration) -> String {
    let date = format!("--date=@{}", since_1970.as_secs());
    let output = Command::new("date").args(["-u", &date, "+%FT%TZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_purge_of_an_event_is_sent_to_the_purge_hook() {
    let s3 = S3::start();
    let cache = Directory::new();
    let hook = RawOrigin::always(origin::answer(204, &[], b""));
    let url = format!("http://{}/", hook.address());
    let server = start(&s3, &cache, json!({"purge_hook": {"url": url, "body": {"key": "{key}"}}}));
    post_ok(&server, &created("summer/red+flower%2B.png", "01"));
    hook.wait_for_requests(1);
    let sent: Value = serde_json::from_slice(&hook.requests()[0].body).unwrap();
    assert_eq!(sent, json!({"key": KEY}));
}
