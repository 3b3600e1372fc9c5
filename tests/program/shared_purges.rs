//! Purges that reach every server that shares a results bucket.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::admin::{SECRET, with_admin};
use crate::admin::{admin, cache_status, json_of, send, send_ok, small_image, warm};
use crate::support::client::{Answer, Client};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, BLUE, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

/// The bucket of results.
const RESULTS: crate::support::s3::Bucket = ARCHIVE;
const PURGES: &str = "v1/purges";

fn large_image() -> Vec<u8> {
    images::png(images::solid(20, 20, BLUE))
}

/// A handler with a cache of its own and the results bucket of this server.
fn sharing(handler: Value, results: &S3, cache: &Directory) -> Value {
    // Long enough that no result is shared by chance: these tests are about purges.
    let fields = json!({
        "cache_path": cache.path(),
        "results": results.aws(&RESULTS),
        "share_min_ms": 60_000,
    });
    merged(handler, fields)
}

fn config(handler: Value, poll: f64) -> Value {
    with_admin(json!({"handlers": [handler], "limits": {"purge_poll": poll}}))
}

#[track_caller]
fn start(handler: Value, results: &S3, cache: &Directory) -> Server {
    Setup::new(config(sharing(handler, results, cache), 0.1)).check_interval(20).start()
}

#[track_caller]
fn stop(mut server: Server) {
    server.terminate();
    assert!(server.wait().success());
}

fn metric(server: &Server, series: &str) -> f64 {
    let metrics = send(server, "GET", "/-/metrics");
    let series = format!("s3imageserver_{series} ");
    let value = metrics.text().lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap_or_else(|| panic!("{series}: {}", metrics.text())).parse().unwrap()
}

/// Waits until purges of other servers have been applied.
#[track_caller]
fn applied(server: &Server, kind: &str, count: u32) {
    let series = format!("shared_purges_applied_total{{kind=\"{kind}\"}}");
    eventually(&series, || metric(server, &series) >= f64::from(count));
    assert_eq!(metric(server, &series), f64::from(count), "{series}");
}

/// Waits for some readings that begin after this call.
fn wait_for_readings(s3: &S3) {
    let path = format!("/{}/", RESULTS.name);
    let readings = || s3.requests().get(&path).copied().unwrap_or_default();
    let before = readings();
    eventually("the journal is read", || readings() >= before + 4);
}

fn width(answer: &Answer) -> u32 {
    size_of(&answer.body).0
}

#[track_caller]
fn get_width(server: &Server, target: &str) -> u32 {
    width(&server.get(target).ok())
}

/// The names of the purges in the journal.
fn journal(s3: &S3) -> Vec<String> {
    let entries = fs::read_dir(s3.file(&RESULTS, PURGES)).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The number of files below a directory.
fn entries(directory: &Path) -> usize {
    let found = fs::read_dir(directory).into_iter().flatten().flatten();
    found.map(|found| if found.path().is_dir() { entries(&found.path()) } else { 1 }).sum()
}

fn put_name(s3: &S3, name: &str) {
    s3.put(&RESULTS, &format!("{PURGES}/{name}"), b"");
}

/// The same purge at another time, by another server.
fn moved(name: &str, milliseconds: i64) -> String {
    let (_, rest) = name.split_once('-').unwrap();
    let (_, target) = rest.split_once('-').unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    format!("{:013}-00000000000000ff-{target}", now + milliseconds)
}

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

#[test]
fn a_purge_reaches_the_other_servers_in_time_and_no_other_key() {
    const POLL: f64 = 1.0;
    let s3 = S3::start();
    let keys = ["a/1.png", "a/2.png", "a/b c?.png", "b.png", "c.png"];
    let put = |image: &[u8]| keys.iter().for_each(|key| s3.put(&IMAGES, key, image));
    put(&small_image());
    let caches = [Directory::new(), Directory::new(), Directory::new()];
    let servers: Vec<Server> = caches
        .iter()
        .map(|cache| Setup::new(config(sharing(s3.handler(), &s3, cache), POLL)).start())
        .collect();
    let targets = ["/h/a/1.png", "/h/a/2.png", "/h/a/b%20c%3F.png", "/h/b.png", "/h/c.png"];
    for server in &servers {
        targets.iter().for_each(|target| warm(server, target));
    }
    put(&large_image());
    for (method, purge, purged) in [
        ("POST", "/-/purge/h/a/b%20c%3F.png", &targets[2..3]),
        ("DELETE", "/-/purge/h/a/", &targets[..3]),
        ("POST", "/-/purge/h/b.png", &targets[3..4]),
    ] {
        send_ok(&servers[0], method, purge);
        let answered = Instant::now();
        for server in &servers {
            let mut client = server.client();
            for target in purged {
                eventually("the purge arrives", || width(&client.get(target).ok()) == 20);
            }
        }
        let took = answered.elapsed().as_secs_f64();
        assert!(took <= POLL + 1.0, "{purge}: {took} s");
    }
    for server in &servers {
        let other = server.get("/h/c.png").ok();
        assert_eq!((cache_status(&other), width(&other)), ("hit", 10));
    }
    for server in &servers[1..] {
        applied(server, "key", 2);
        applied(server, "prefix", 1);
        assert!(metric(server, "shared_purges_read_timestamp_seconds{handler=\"h\"}") > 1.7e9);
    }
    assert_eq!(metric(&servers[0], "shared_purges_applied_total{kind=\"key\"}"), 0.0);
    assert_eq!(metric(&servers[0], "shared_purges_not_recorded_total"), 0.0);
    assert_eq!(journal(&s3).len(), 3);
}

#[test]
fn a_purge_is_applied_once() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    let caches = [Directory::new(), Directory::new()];
    let servers = caches.each_ref().map(|cache| start(s3.handler(), &s3, cache));
    send_ok(&servers[0], "POST", "/-/purge/h/a.png");
    applied(&servers[1], "key", 1);
    servers.iter().for_each(|server| warm(server, "/h/a.png"));
    wait_for_readings(&s3);
    for server in &servers {
        assert_eq!(cache_status(&server.get("/h/a.png").ok()), "hit");
    }
    applied(&servers[1], "key", 1);
    // The next one is another purge.
    send_ok(&servers[1], "POST", "/-/purge/h/a.png");
    applied(&servers[0], "key", 1);
}

#[test]
fn a_purge_of_one_handler_does_not_touch_another_with_the_same_bucket() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a/1.png", &small_image());
    let caches = [Directory::new(), Directory::new()];
    let servers = caches.each_ref().map(|cache| {
        let handlers =
            ["h", "i"].map(|name| sharing(merged(s3.handler(), json!({"name": name})), &s3, cache));
        let config = with_admin(json!({"handlers": handlers, "limits": {"purge_poll": 0.1}}));
        Setup::new(config).check_interval(20).start()
    });
    for target in ["/h/a/1.png", "/i/a/1.png"] {
        warm(&servers[1], target);
    }
    s3.put(&IMAGES, "a/1.png", &large_image());
    send_ok(&servers[0], "POST", "/-/purge/h/a/1.png");
    send_ok(&servers[0], "DELETE", "/-/purge/h/");
    applied(&servers[1], "key", 1);
    applied(&servers[1], "prefix", 1);
    assert_eq!(get_width(&servers[1], "/h/a/1.png"), 20);
    let other = servers[1].get("/i/a/1.png").ok();
    assert_eq!((cache_status(&other), width(&other)), ("hit", 10));
}

#[test]
fn a_server_that_was_down_serves_nothing_that_was_purged_meanwhile() {
    let s3 = S3::start();
    let put = |image: &[u8]| {
        ["a/1.png", "b.png", "c.png"].iter().for_each(|key| s3.put(&IMAGES, key, image));
    };
    put(&small_image());
    let caches = [Directory::new(), Directory::new()];
    let [first, second] = caches.each_ref().map(|cache| start(s3.handler(), &s3, cache));
    let targets = ["/h/a/1.png", "/h/b.png", "/h/c.png"];
    targets.iter().for_each(|target| warm(&second, target));
    let position = position_file(&caches[1]);
    stop(second);
    put(&large_image());
    send_ok(&first, "DELETE", "/-/purge/h/a/");
    send_ok(&first, "POST", "/-/purge/h/b.png");
    // It was down for two hours, and the purges are an hour old.
    stop(first);
    fs::write(position, moved("0-0-", -2 * HOUR).replace("-00000000000000ff-", "\n")).unwrap();
    for name in journal(&s3) {
        put_name(&s3, &moved(&name, -HOUR));
        s3.remove(&RESULTS, &format!("{PURGES}/{name}"));
    }
    // Neither reads the journal at intervals: what is served is decided at the start.
    let handler = sharing(s3.handler(), &s3, &caches[1]);
    let second = Setup::new(config(handler, 3600.0)).start();
    for (target, expected) in targets.iter().zip([20, 20, 10]) {
        assert_eq!(get_width(&second, target), expected, "{target}");
    }
    assert_eq!(cache_status(&second.get("/h/c.png").ok()), "hit");
}

#[test]
fn a_server_that_was_down_for_longer_than_the_journal_goes_back_drops_the_cache_of_the_handler() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    let cache = Directory::new();
    let other = merged(s3.handler(), json!({"name": "i", "cache_path": cache.path()}));
    let handlers = json!([sharing(s3.handler(), &s3, &cache), other]);
    let config = with_admin(json!({"handlers": handlers, "limits": {"purge_poll": 0.1}}));
    let start = || Setup::new(config.clone()).check_interval(20).start();
    for (content, is_dropped) in [
        (Some(moved("0-0-", -6 * DAY)), false),
        (Some(moved("0-0-", -8 * DAY)), true),
        (Some("damaged".to_owned()), true),
        (None, false),
    ] {
        let server = start();
        ["/h/a.png", "/i/a.png"].iter().for_each(|target| warm(&server, target));
        let position = position_file(&cache);
        stop(server);
        match &content {
            Some(text) => {
                let time = text.split('-').next().unwrap();
                fs::write(&position, format!("{time}\n")).unwrap();
            }
            None => fs::remove_file(&position).unwrap(),
        }
        let server = start();
        let expected = if is_dropped { "miss" } else { "hit" };
        assert_eq!(cache_status(&server.get("/h/a.png").ok()), expected, "{content:?}");
        assert_eq!(cache_status(&server.get("/i/a.png").ok()), "hit", "{content:?}");
        assert_eq!(server.log.count("cache_outdated"), usize::from(is_dropped), "{content:?}");
        eventually("the position is written", || {
            fs::read_to_string(position_file(&cache)).unwrap() > moved("0-0-", -60_000)
        });
    }
}

#[track_caller]
fn position_file(cache: &Directory) -> PathBuf {
    let is_position = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(".purges-read-") && !name.ends_with(".tmp")
    };
    let mut found = Vec::new();
    eventually("there is a position", || {
        let entries = fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path());
        found = entries.filter(|path| is_position(path)).collect();
        found.len() == 1
    });
    found.remove(0)
}

#[test]
fn a_purge_that_the_others_do_not_learn_of_is_an_error_and_in_force_here() {
    let s3 = S3::start();
    let mut results = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    let caches = [Directory::new(), Directory::new()];
    let [first, second] = caches.each_ref().map(|cache| start(s3.handler(), &results, cache));
    [&first, &second].into_iter().for_each(|server| warm(server, "/h/a.png"));
    expect_ready(&first, None);
    results.stop();
    s3.put(&IMAGES, "a.png", &large_image());
    for (method, target) in [("POST", "/-/purge/h/a.png"), ("DELETE", "/-/purge/h/")] {
        let answer = send(&first, method, target);
        assert_eq!(answer.status, 502, "{}", answer.text());
        let value = json_of(&answer);
        let sentence = value["error"].as_str().unwrap();
        for part in ["on this server", "not on the others", "send it again", "archive"] {
            assert!(sentence.contains(part), "{sentence}");
        }
        assert!(!sentence.contains("X-Amz") && !sentence.contains(RESULTS.secret), "{sentence}");
    }
    assert_eq!(get_width(&first, "/h/a.png"), 20, "it is in force here");
    assert_eq!(get_width(&second, "/h/a.png"), 10);
    assert_eq!(metric(&first, "shared_purges_not_recorded_total"), 2.0);
    first.log.event("purge_incomplete");
    for server in [&first, &second] {
        expect_ready(server, Some("h: purges of other servers can't be read"));
        server.log.event_with("purges_not_read", "h");
        assert_eq!(metric(server, "ready"), 0.0);
        // A load balancer goes on: the bucket is the same for every server.
        assert_eq!(server.get("/-/ready").status, 200);
    }
    results.restart();
    [&first, &second].into_iter().for_each(|server| expect_ready(server, None));
    send_ok(&first, "POST", "/-/purge/h/a.png");
    eventually("the purge arrives", || get_width(&second, "/h/a.png") == 20);
}

/// Waits until the server is ready, or tells operators this reason.
#[track_caller]
fn expect_ready(server: &Server, reason: Option<&str>) {
    let mut client = Client::connect(admin(server));
    let bearer = format!("Bearer {SECRET}");
    eventually(&format!("{reason:?}"), || {
        let answer = client.get_with("/-/ready", &[("Authorization", &bearer)]);
        match reason {
            None => answer.status == 200,
            Some(reason) => answer.status == 503 && answer.text().contains(reason),
        }
    });
}

#[test]
fn what_can_not_be_removed_is_tried_again() {
    let s3 = S3::start();
    let caches = [Directory::new(), Directory::new()];
    let [first, second] = caches.each_ref().map(|cache| start(s3.handler(), &s3, cache));
    let position = position_file(&caches[1]);
    let read = || fs::read_to_string(&position).unwrap();
    let file = caches[1].put("v1", b"not a directory");
    let before = read();
    send_ok(&first, "DELETE", "/-/purge/h/");
    second.log.event("purge_incomplete");
    wait_for_readings(&s3);
    assert_eq!(read(), before, "a restart would begin here");
    send_ok(&first, "POST", "/-/purge/h/a.png");
    expect_ready(&second, Some("not everything could be removed"));
    fs::remove_file(file).unwrap();
    expect_ready(&second, None);
    eventually("the position is written", || read() > before);
}

#[test]
fn a_server_starts_without_its_results_bucket_and_says_so() {
    let s3 = S3::start();
    let mut results = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    results.stop();
    let cache = Directory::new();
    let server = start(s3.handler(), &results, &cache);
    assert_eq!(get_width(&server, "/h/a.png"), 10);
    server.log.event("purges_not_read");
    expect_ready(&server, Some("purges of other servers can't be read"));
    results.restart();
    expect_ready(&server, None);
}

#[test]
fn a_removal_that_fails_is_tried_again() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a/b.png", &small_image());
    for (method, target, kind, event) in [
        ("POST", "/-/purge/h/a/b.png", "key", "purges_not_read"),
        ("DELETE", "/-/purge/h/a/", "prefix", "purge_incomplete"),
    ] {
        let caches = [Directory::new(), Directory::new()];
        let [first, second] = caches.each_ref().map(|cache| start(s3.handler(), &s3, cache));
        warm(&second, "/h/a/b.png");
        let [layout, aside] = ["v1", "aside"].map(|name| caches[1].path().join(name));
        fs::rename(&layout, &aside).unwrap();
        fs::write(&layout, b"not a directory").unwrap();
        send_ok(&first, method, target);
        let line = second.log.event_with(event, "not everything could be removed");
        assert_eq!(entries(&aside), 1, "{line}");
        fs::remove_file(&layout).unwrap();
        fs::rename(&aside, &layout).unwrap();
        eventually(&format!("the {kind} is removed"), || entries(&layout) == 0);
    }
}

#[test]
fn other_objects_in_the_journal_are_ignored_with_a_warning_and_stay() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    let ignored = |name: &str| {
        [
            name.replace("key", "everything"),
            name.to_uppercase(),
            format!("{name}-more"),
            format!("{name}.json"),
            "!".into(),
            "0".into(),
            "zzz".into(),
            "\u{1f4a5} <&\"' %2F".into(),
            format!("9{}", moved(name, 0)),
            moved(name, 3_600_000),
        ]
    };
    let caches = [Directory::new(), Directory::new()];
    let [first, second] = caches.each_ref().map(|cache| start(s3.handler(), &s3, cache));
    warm(&second, "/h/a.png");
    send_ok(&first, "POST", "/-/purge/h/b.png");
    applied(&second, "key", 1);
    let name = journal(&s3).remove(0);
    for name in ignored(&name) {
        s3.put(&RESULTS, &format!("{PURGES}/{name}"), b"\xff{\"handler\": [[[[");
    }
    // As some tools create for a directory.
    s3.put(&RESULTS, &format!("{PURGES}/{}/x", moved(&name, 0)), b"");
    second.log.event_with("journal_object_ignored", "h");
    wait_for_readings(&s3);
    applied(&second, "key", 1);
    assert_eq!(cache_status(&second.get("/h/a.png").ok()), "hit");
    send_ok(&first, "POST", "/-/purge/h/a.png");
    applied(&second, "key", 2);
    assert_eq!(journal(&s3).len(), 2 + ignored(&name).len() + 1);
    // Nor does it stop a server that starts, with or without a position.
    stop(second);
    let second = start(s3.handler(), &s3, &caches[1]);
    expect_ready(&second, None);
    stop(second);
    fs::remove_file(position_file(&caches[1])).unwrap();
    expect_ready(&start(s3.handler(), &s3, &caches[1]), None);
}

#[test]
fn purges_of_clocks_that_differ_are_applied() {
    let s3 = S3::start();
    let keys: Vec<String> = (0..6).map(|number| format!("{number}.png")).collect();
    keys.iter().for_each(|key| s3.put(&IMAGES, key, &small_image()));
    let caches = [Directory::new(), Directory::new()];
    let first = start(s3.handler(), &s3, &caches[0]);
    keys.iter().for_each(|key| drop(send_ok(&first, "POST", &format!("/-/purge/h/{key}"))));
    stop(first);
    let names = journal(&s3);
    assert_eq!(names.len(), keys.len());
    names.iter().for_each(|name| s3.remove(&RESULTS, &format!("{PURGES}/{name}")));
    let second = start(s3.handler(), &s3, &caches[1]);
    keys.iter().for_each(|key| warm(&second, &format!("/h/{key}")));
    keys.iter().for_each(|key| s3.put(&IMAGES, key, &large_image()));
    // The names of a clock that is ahead do not hide those of one that is behind.
    let shifts = [800_000, 50_000, 0, -20_000, -50_000];
    for (count, (name, shift)) in names.iter().zip(shifts).enumerate() {
        put_name(&s3, &moved(name, shift));
        applied(&second, "key", count as u32 + 1);
    }
    for key in &keys[..5] {
        assert_eq!(get_width(&second, &format!("/h/{key}")), 20, "{key}");
    }
    wait_for_readings(&s3);
    applied(&second, "key", 5);
    assert_eq!(cache_status(&second.get("/h/5.png").ok()), "hit");
}

#[test]
fn purges_have_the_time_of_the_bucket() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    for seconds in [600, -600] {
        s3.set_clock(seconds);
        fs::remove_dir_all(s3.file(&RESULTS, "v1")).ok();
        let caches = [Directory::new(), Directory::new()];
        let [first, second] = caches.each_ref().map(|cache| start(s3.handler(), &s3, cache));
        warm(&second, "/h/a.png");
        send_ok(&first, "POST", "/-/purge/h/a.png");
        let name = journal(&s3).remove(0);
        let of_bucket = |milliseconds| moved(&name, seconds * 1000 + milliseconds);
        assert!(of_bucket(-20_000) < name && name < of_bucket(5000), "{name}");
        applied(&second, "key", 1);
    }
}

#[test]
fn old_purges_and_replaced_marks_are_removed() {
    let s3 = S3::start();
    let cache = Directory::new();
    let handler = sharing(s3.handler(), &s3, &cache);
    let hash = "0123456789abcdef0123456789abcdef";
    let name = format!("0-0-key-{hash}-{hash}");
    let [old, young] = [-8 * DAY, -6 * DAY].map(|time| moved(&name, time));
    put_name(&s3, &old);
    put_name(&s3, &young);
    let ignored = moved(&name.replace("key", "thing"), -8 * DAY);
    put_name(&s3, &ignored);
    let mark = |time: u64| format!("v1/prefixes/{hash}/{time:013}");
    [5, 6, 7].iter().for_each(|time| s3.put(&RESULTS, &mark(*time), b""));
    let _server = Setup::new(config(handler, 0.1)).check_interval(1).start();
    eventually("the old ones are removed", || {
        journal(&s3).len() == 2 && !s3.file(&RESULTS, &mark(6)).exists()
    });
    assert!(journal(&s3).contains(&young) && journal(&s3).contains(&ignored));
    assert!(!s3.file(&RESULTS, &mark(5)).exists() && s3.file(&RESULTS, &mark(7)).exists());
}

#[test]
fn a_purge_during_a_render_on_another_server_is_not_undone_by_it() {
    let results = S3::start();
    for (method, target, kind) in
        [("POST", "/-/purge/h/a/b.png", "key"), ("DELETE", "/-/purge/h/a/", "prefix")]
    {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = RawOrigin::start(move |request, peer| {
            if request.number > 0 {
                return peer.send(&object(&large_image()));
            }
            held.pass();
            peer.send(&object(&small_image()))
        });
        let caches = [Directory::new(), Directory::new()];
        let [first, second] =
            caches.each_ref().map(|cache| start(origin.handler(), &results, cache));
        let address = second.http();
        let early = thread::spawn(move || Client::connect(address).get("/h/a/b.png"));
        origin.wait_for_requests(1);
        send_ok(&first, method, target);
        applied(&second, kind, 1);
        let answer = second.get("/h/a/b.png").ok();
        assert_eq!((cache_status(&answer), width(&answer)), ("miss", 20));
        gate.open();
        assert_eq!(width(&early.join().unwrap().ok()), 20);
        for _ in 0..3 {
            assert_eq!(get_width(&second, "/h/a/b.png"), 20, "{method}");
        }
    }
}

#[test]
fn requests_for_images_do_not_delay_purges() {
    let results = S3::start();
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        held.pass();
        peer.send(&object(&small_image()))
    });
    let caches = [Directory::new(), Directory::new()];
    let servers = caches.each_ref().map(|cache| {
        let mut config = config(sharing(origin.handler(), &results, cache), 0.1);
        config["limits"]["fetches_at_once"] = json!(1);
        Setup::new(config).check_interval(20).start()
    });
    let early: Vec<_> = servers
        .iter()
        .map(|server| {
            let address = server.http();
            thread::spawn(move || Client::connect(address).get("/h/a.png"))
        })
        .collect();
    origin.wait_for_requests(2);
    let asked = Instant::now();
    send_ok(&servers[0], "POST", "/-/purge/h/b.png");
    applied(&servers[1], "key", 1);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    gate.open();
    early.into_iter().for_each(|thread| drop(thread.join().unwrap().ok()));
}

#[test]
fn a_handler_that_a_reload_adds_learns_of_purges() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    let caches = [Directory::new(), Directory::new()];
    let first = start(s3.handler(), &s3, &caches[0]);
    let alone = merged(s3.handler(), json!({"cache_path": caches[1].path()}));
    let second = Setup::new(config(alone, 0.1)).check_interval(20).start();
    warm(&second, "/h/a.png");
    second.reload_well(config(sharing(s3.handler(), &s3, &caches[1]), 0.1));
    assert_eq!(cache_status(&second.get("/h/a.png").ok()), "hit", "its entries stay");
    s3.put(&IMAGES, "a.png", &large_image());
    send_ok(&first, "POST", "/-/purge/h/a.png");
    eventually("the purge arrives", || get_width(&second, "/h/a.png") == 20);
    // And the other way round, by the renderer of the new configuration.
    send_ok(&second, "POST", "/-/purge/h/b.png");
    applied(&first, "key", 1);
}

/// The keys of the results in the bucket.
fn results(s3: &S3) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![s3.file(&RESULTS, "v1/results")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => directories.push(path),
                false => found.push(path.display().to_string()),
            }
        }
    }
    found
}

#[test]
fn results_from_before_a_purge_are_not_found_again() {
    let s3 = S3::start();
    let put = |image: &[u8]| ["a/1.png", "b.png"].map(|key| s3.put(&IMAGES, key, image));
    let caches: Vec<Directory> = (0..4).map(|_| Directory::new()).collect();
    let start = |index: usize| {
        let handler = sharing(s3.handler(), &s3, &caches[index]);
        let handler = merged(handler, json!({"share_min_ms": 0, "results_timeout": 10}));
        Setup::new(config(handler, 0.1)).check_interval(20).start()
    };
    put(&small_image());
    let [first, second] = [start(0), start(1)];
    let targets = ["/h/a/1.png", "/h/b.png"];
    for target in targets {
        assert_eq!(cache_status(&first.get(target).ok()), "miss");
    }
    eventually("both are uploaded", || results(&s3).len() == 2);
    for target in targets {
        assert_eq!(cache_status(&second.get(target).ok()), "shared");
    }
    put(&large_image());
    send_ok(&second, "POST", "/-/purge/h/b.png");
    assert_eq!(results(&s3).len(), 1, "the results of the key are removed");
    send_ok(&second, "DELETE", "/-/purge/h/a/");
    applied(&first, "key", 1);
    applied(&first, "prefix", 1);
    // A server that has none of this. It knows only the mark of the prefix, whose results are still there.
    for name in journal(&s3) {
        s3.remove(&RESULTS, &format!("{PURGES}/{name}"));
    }
    let third = start(2);
    for target in targets {
        let answer = third.get(target).ok();
        assert_eq!((cache_status(&answer), width(&answer)), ("miss", 20), "{target}");
    }
    eventually("the new ones are uploaded", || {
        metric(&third, "shared_uploads_total{handler=\"h\",result=\"uploaded\"}") == 2.0
    });
    // What was made after the purges is shared.
    let fourth = start(3);
    for target in targets {
        let answer = fourth.get(target).ok();
        assert_eq!((cache_status(&answer), width(&answer)), ("shared", 20), "{target}");
    }
    for target in targets {
        assert_eq!(get_width(&first, target), 20, "{target}");
    }
}

#[test]
fn what_is_made_after_a_purge_is_made_once() {
    const POLL: f64 = 1.0;
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    let caches = [Directory::new(), Directory::new()];
    let [first, second] = caches.each_ref().map(|cache| {
        let handler = sharing(s3.handler(), &s3, cache);
        let handler = merged(handler, json!({"share_min_ms": 0, "results_timeout": 10}));
        Setup::new(config(handler, POLL)).check_interval(20).start()
    });
    warm(&first, "/h/a.png");
    eventually("it is uploaded", || results(&s3).len() == 1);
    assert_eq!(cache_status(&second.get("/h/a.png").ok()), "shared");
    s3.put(&IMAGES, "a.png", &large_image());
    let value = send_ok(&first, "POST", "/-/purge/h/a.png?render=1");
    assert_eq!(value["rendered"], 1, "{value}");
    eventually("it is uploaded again", || results(&s3).len() == 1);
    // The second server learns of the purge after that.
    applied(&second, "key", 1);
    let answer = second.get("/h/a.png").ok();
    assert_eq!((cache_status(&answer), width(&answer)), ("shared", 20));
    assert_eq!(cache_status(&second.get("/h/a.png").ok()), "hit", "it is kept");
    assert_eq!(s3.gets(&IMAGES, "a.png").0, 2, "each of the originals was fetched once");
}

#[test]
fn a_result_that_is_uploaded_around_a_purge_is_removed_later() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &small_image());
    let caches = [Directory::new(), Directory::new()];
    let start = |cache: &Directory, share_min_ms: u32| {
        let handler = sharing(s3.handler(), &s3, cache);
        let fields = json!({"share_min_ms": share_min_ms, "results_timeout": 10});
        Setup::new(config(merged(handler, fields), 0.1)).check_interval(20).start()
    };
    let first = start(&caches[0], 0);
    first.get("/h/a.png").ok();
    eventually("it is uploaded", || results(&s3).len() == 1);
    let file = results(&s3).remove(0);
    let bytes = fs::read(&file).unwrap();
    s3.put(&IMAGES, "a.png", &large_image());
    send_ok(&first, "POST", "/-/purge/h/a.png");
    assert_eq!(results(&s3).len(), 0);
    // Its metadata is still there, in a file of its own.
    fs::create_dir_all(Path::new(&file).parent().unwrap()).unwrap();
    fs::write(&file, bytes).unwrap();
    let second = start(&caches[1], 60_000);
    assert_eq!(get_width(&second, "/h/a.png"), 20, "it is not used");
    eventually("it is removed", || results(&s3).is_empty());
}
