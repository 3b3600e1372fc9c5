//! Several origins, asked in turn; what they are asked for again; and what is kept when the list changes.

mod web_server;

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin;
use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::{self, GREEN, Image, RED, close};
use crate::support::origin::{self, RawOrigin, Request};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, Setup, run};
use crate::support::{eventually, merged};

const BLUE: [u8; 3] = [0, 0, 255];

fn image(colour: [u8; 3]) -> Vec<u8> {
    images::png(images::solid(16, 16, colour))
}

#[track_caller]
fn expect_colour(answer: &Answer, colour: [u8; 3]) {
    let pixel = Image::decode(&answer.body).at(5, 5);
    assert!(close(pixel, colour), "{pixel:?} instead of {colour:?}");
}

fn handler(origins: Value, fields: Value) -> Value {
    merged(json!({"name": "h", "origins": origins, "output_format": "png"}), fields)
}

/// An origin that has every key, in this colour, or none.
struct Fake {
    raw: RawOrigin,
    /// The number of the image, 0 for none, or [`FAILING`].
    state: Arc<AtomicUsize>,
}

const FAILING: usize = 99;

impl Fake {
    fn start(state: usize) -> Fake {
        let state = Arc::new(AtomicUsize::new(state));
        let current = Arc::clone(&state);
        let raw = RawOrigin::start(move |request, peer| {
            let number = current.load(Ordering::SeqCst);
            let etag = format!("\"number-{number}\"");
            let answer = match number {
                0 => origin::answer(404, &[], b"<Error><Code>NoSuchKey</Code></Error>"),
                FAILING => origin::answer(500, &[], b""),
                _ if request.header("if-none-match") == Some(&etag) => {
                    format!("HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n").into_bytes()
                }
                _ => origin::answer(200, &[("ETag", &etag)], &image(colour(number))),
            };
            peer.send(&answer)
        });
        Fake { raw, state }
    }

    fn set(&self, state: usize) {
        self.state.store(state, Ordering::SeqCst);
    }

    fn aws(&self, bucket: &str) -> Value {
        json!({"aws": merged(self.raw.aws(), json!({"bucket_name": bucket}))})
    }

    fn count(&self) -> usize {
        self.raw.requests().len()
    }

    fn last(&self) -> Request {
        self.raw.requests().pop().unwrap()
    }
}

fn colour(number: usize) -> [u8; 3] {
    [RED, GREEN, BLUE][(number - 1) % 3]
}

/// Waits until the variants with `cache_time` 1 are stale.
fn expire() {
    std::thread::sleep(Duration::from_millis(1050));
}

#[test]
fn origins_are_asked_in_order_until_one_has_the_key() {
    let s3 = S3::start();
    let directory = Directory::new();
    let web = RawOrigin::always(origin::object(&image(BLUE)));
    s3.put(&IMAGES, "new/first.png", &image(RED));
    for file in ["new/first.png", "new/second.png", "second.png", "first.png"] {
        directory.put(file, &image(GREEN));
    }
    let origins = json!([
        {"aws": merged(s3.aws(&IMAGES), json!({"file_path": "new"}))},
        {"directory": directory.path()},
        {"http": {"url": format!("http://{}/x", web.address()), "allow_private": true}},
    ]);
    let server = Server::with_handler(handler(origins, json!({})));
    expect_colour(&server.get("/h/first.png").ok(), RED);
    expect_colour(&server.get("/h/second.png").ok(), GREEN);
    assert_eq!(web.accepted(), 0);
    expect_colour(&server.get("/h/third.png").ok(), BLUE);
    assert_eq!(web.requests()[0].target, "/x/third.png");
    assert_eq!(s3.statuses(&IMAGES, "new/second.png"), [404]);
}

#[test]
fn a_key_that_may_not_be_read_is_looked_for_in_the_next_origin_and_logged() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image(RED));
    let denied = merged(s3.aws(&IMAGES), json!({"bucket_name": ARCHIVE.name}));
    let origins = json!([{"aws": denied}, {"aws": s3.aws(&IMAGES)}]);
    let server = Server::with_handler(handler(origins, json!({})));
    expect_colour(&server.get("/h/a.png").ok(), RED);
    let said = server.log.event("origin_access_denied");
    assert!(said.contains("handlers[0].origins[0].aws"), "{said}");
    // Without it nowhere, clients can't tell either.
    server.get("/h/b.png").failed("not_found");
}

#[test]
fn an_error_of_an_origin_is_not_hidden_by_the_next_one() {
    let directory = Directory::new().with("a.png", &image(GREEN));
    let failing = Fake::start(FAILING);
    let origins = json!([failing.aws("b"), {"directory": directory.path()}]);
    let server = Server::with_handler(handler(origins, json!({"error_status": "precise"})));
    let answer = server.get("/h/a.png");
    assert_eq!((answer.status, answer.expect("X-Error")), (502, "origin_error"));
    let s3 = S3::start();
    let wrong = merged(s3.aws(&IMAGES), json!({"aws_secret": "another"}));
    let origins = json!([{"aws": wrong}, {"directory": directory.path()}]);
    let server = Server::with_handler(handler(origins, json!({})));
    server.get("/h/a.png").failed("origin_error");
    let said = server.log.event("image_failed");
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");
}

#[test]
fn the_origin_that_answered_is_asked_with_its_condition_after_a_restart() {
    let (first, second) = (Fake::start(0), Fake::start(2));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "negative_cache_time": 0});
    let config = handler(json!([first.aws("a"), second.aws("b")]), fields);
    let server = Server::with_handler(config.clone());
    expect_colour(&server.get("/h/a.png").ok(), GREEN);
    drop(server);
    expire();
    let server = Server::with_handler(config);
    let answer = server.get("/h/a.png").ok();
    assert_eq!(answer.expect("X-Cache"), "revalidated");
    assert_eq!((first.count(), second.count()), (2, 2));
    assert_eq!(first.last().header("if-none-match"), None);
    assert_eq!(second.last().header("if-none-match"), Some("\"number-2\""));
}

#[test]
fn an_earlier_origin_that_has_the_key_now_wins_when_the_variant_is_stale() {
    let (first, second) = (Fake::start(0), Fake::start(2));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "negative_cache_time": 0});
    let config = handler(json!([first.aws("a"), second.aws("b")]), fields);
    let server = Server::with_handler(config);
    expect_colour(&server.get("/h/a.png").ok(), GREEN);
    first.set(1);
    expire();
    expect_colour(&server.get("/h/a.png").ok(), RED);
    assert_eq!(second.count(), 1);
    // The first is the one that answered now.
    expire();
    assert_eq!(server.get("/h/a.png").ok().expect("X-Cache"), "revalidated");
    assert_eq!(first.last().header("if-none-match"), Some("\"number-1\""));
    // It fails: the stale variant is served, and not the second origin's original.
    first.set(FAILING);
    expire();
    let answer = server.get("/h/a.png").ok();
    expect_colour(&answer, RED);
    assert_eq!(answer.expect("X-Cache"), "stale");
    assert_eq!(second.count(), 1);
}

#[test]
fn an_origin_without_a_key_is_not_asked_again_within_negative_cache_time() {
    let (first, second) = (Fake::start(0), Fake::start(2));
    let origins = json!([first.aws("a"), second.aws("b")]);
    let config = handler(origins, json!({"negative_cache_time": 600}));
    let server = Server::start(admin::config(config));
    for width in 1..=5 {
        server.get(&format!("/h/a.png?w={width}")).ok();
    }
    assert_eq!((first.count(), second.count()), (1, 5));
    server.get("/h/other.png").ok();
    assert_eq!((first.count(), second.count()), (2, 6));
    // A purge forgets it.
    first.set(1);
    expect_colour(&server.get("/h/a.png?w=6").ok(), GREEN);
    assert_eq!(admin::send(&server, "POST", "/-/purge/h/a.png").status, 200);
    expect_colour(&server.get("/h/a.png?w=7").ok(), RED);

    let (first, second) = (Fake::start(0), Fake::start(2));
    let config =
        handler(json!([first.aws("a"), second.aws("b")]), json!({"negative_cache_time": 0}));
    let server = Server::with_handler(config);
    for width in 1..=3 {
        server.get(&format!("/h/a.png?w={width}")).ok();
    }
    assert_eq!((first.count(), second.count()), (3, 3));
}

#[test]
fn a_cache_is_kept_while_the_first_origin_stays() {
    let (new, old) = (Fake::start(0), Fake::start(2));
    let cache = Directory::new();
    let with = |origins: Value| {
        let fields = json!({"cache_path": cache.path()});
        json!({"handlers": [handler(origins, fields)]})
    };
    let one = merged(
        json!({"name": "h", "output_format": "png", "cache_path": cache.path()}),
        old.aws("old"),
    );
    let server = Server::start(json!({"handlers": [one]}));
    server.get("/h/a.png").ok();
    let cached = |expected: &str| {
        let answer = server.get("/h/a.png").ok();
        assert!(answer.expect("X-Cache").starts_with(expected), "{}", answer.expect("X-Cache"));
    };
    // More origins behind it, and none.
    server.reload_well(with(json!([old.aws("old"), new.aws("new")])));
    cached("hit");
    server.reload_well(with(json!([old.aws("old")])));
    cached("hit");
    assert_eq!((new.count(), old.count()), (0, 1));
    // Another first origin.
    server.reload_well(with(json!([new.aws("new"), old.aws("old")])));
    cached("miss");
    assert_eq!((new.count(), old.count()), (1, 2));
    // After the move: what came from the old origin is kept, and revalidated at the new one only.
    server.reload_well(with(json!([new.aws("new")])));
    cached("hit");
    assert_eq!((new.count(), old.count()), (1, 2));
}

#[test]
fn an_entry_of_an_origin_that_was_removed_is_revalidated_without_its_condition() {
    let (new, old) = (Fake::start(0), Fake::start(2));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 1, "stale_if_error": 0});
    let config = |origins: Value| json!({"handlers": [handler(origins, fields.clone())]});
    let server = Server::start(config(json!([new.aws("new"), old.aws("old")])));
    expect_colour(&server.get("/h/a.png").ok(), GREEN);
    // It was copied meanwhile, with the same entity tag.
    new.set(2);
    server.reload_well(config(json!([new.aws("new")])));
    expire();
    let answer = server.get("/h/a.png").ok();
    assert_eq!(answer.expect("X-Cache"), "miss");
    assert_eq!(new.last().header("if-none-match"), None);
    assert_eq!(old.count(), 1);
}

#[test]
fn originals_of_several_origins_are_cached_with_the_one_that_answered() {
    let (first, second) = (Fake::start(0), Fake::start(2));
    let directories = Directory::new();
    let fields = json!({
        "cache_time": 3,
        "negative_cache_time": 600,
        "cache_path": directories.path().join("variants"),
        "originals_cache": {"path": directories.path().join("originals")},
    });
    let origins = json!([first.aws("a"), second.aws("b")]);
    let server = Server::with_handler(handler(origins, fields));
    for width in 1..=3 {
        server.get(&format!("/h/a.png?w={width}")).ok();
    }
    assert_eq!((first.count(), second.count()), (1, 1));
    std::thread::sleep(Duration::from_millis(3050));
    server.get("/h/a.png?w=4").ok();
    assert_eq!((first.count(), second.count()), (1, 2));
    assert_eq!(second.last().header("if-none-match"), Some("\"number-2\""));
}

#[test]
fn links_to_each_directory_may_be_switched() {
    let directory = Directory::new()
        .with("one/a.png", &image(GREEN))
        .with("two/a.png", &image(RED))
        .with("empty/x", b"");
    let point_to = |target: &str| {
        let [next, current] = ["next", "current"].map(|name| directory.path().join(name));
        symlink(target, &next).unwrap();
        std::fs::rename(next, current).unwrap();
    };
    point_to("one");
    let cache = Directory::new();
    let origins = json!([
        {"directory": directory.path().join("empty")},
        {"directory": directory.path().join("current")},
    ]);
    let config = handler(origins, json!({"cache_path": cache.path()}));
    let server = Setup::new(json!({"handlers": [config]})).check_interval(20).start();
    expect_colour(&server.get("/h/a.png").ok(), GREEN);
    point_to("two");
    eventually("the new directory is served", || {
        close(Image::decode(&server.get("/h/a.png").ok().body).at(5, 5), RED)
    });
    assert!(server.log.event("directory_switched").contains("current leads to"), "a line");
}

#[test]
fn a_playground_lists_the_keys_of_all_directories() {
    let directory = Directory::new()
        .with("one/a.png", &image(GREEN))
        .with("two/a.png", &image(RED))
        .with("two/b.png", &image(RED));
    let origins = json!([
        {"directory": directory.path().join("one")},
        {"directory": directory.path().join("two")},
        {"aws": {"bucket_name": "b", "anonymous": true, "endpoint": "http://127.0.0.1:9"}},
    ]);
    let server = Server::start(admin::config(handler(origins, json!({}))));
    let keys = admin::json_of(&admin::send(&server, "GET", "/-/keys/h"));
    assert_eq!(keys, json!({"keys": ["a.png", "b.png"], "complete": true}));
    let status = admin::json_of(&admin::send(&server, "GET", "/-/status"));
    let kinds = status["handlers"][0]["origins"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|origin| origin["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["directory", "directory", "bucket"]);
}

#[test]
fn check_online_asks_each_origin() {
    let s3 = S3::start();
    let web = Fake::start(0);
    s3.put(&ARCHIVE, "a.png", &image(RED));
    let directory = Directory::new();
    let http = format!("http://{}/", web.raw.address());
    let check = |http: Value, arguments: &[&str]| {
        let origins = json!([
            {"aws": s3.aws(&IMAGES)},
            {"directory": directory.path()},
            {"http": http},
            {"aws": s3.aws(&ARCHIVE)},
        ]);
        let setup = Setup::new(json!({"handlers": [handler(origins, json!({}))]}));
        let output = run(setup.command().args(arguments));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let allowed = json!({"url": http, "allow_private": true});
    let (status, out, said) = check(allowed.clone(), &["--check", "--online"]);
    assert_eq!(status, Some(0), "{said}");
    let lines: Vec<&str> = out.lines().filter(|line| line.ends_with(": ok")).collect();
    for (place, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("handlers[0].origins[{place}]: ")), "{out}");
    }
    assert_eq!(lines.len(), 4, "{out}");

    let (status, out, said) = check(json!(http), &["--check", "--online"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(
        said.contains(": handlers[0].origins[2].http: ") && said.contains("not public"),
        "{said}"
    );

    // A key is looked for as the server does.
    let (status, out, said) = check(allowed.clone(), &["--check", "--online", "/h/a.png"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(out.matches("; asking the next origin").count(), 3, "{out}");
    assert!(out.contains("handlers[0].origins[3]: ") && out.contains(": ok"), "{out}");
    web.set(FAILING);
    let (status, _, said) = check(allowed, &["--check", "--online", "/h/a.png"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("handlers[0].origins[2].http: ") && said.contains("500"), "{said}");
}

#[test]
fn missing_credentials_of_any_origin_are_a_reason_not_to_be_ready() {
    let directory = Directory::new().with("a.png", &image(GREEN));
    let chain = json!({"aws": {"bucket_name": "b", "endpoint": "http://127.0.0.1:9"}});
    let origins = json!([{"directory": directory.path()}, chain]);
    let server = Server::with_handler(handler(origins, json!({})));
    eventually("it is not ready", || {
        let answer = server.get("/-/ready");
        answer.status == 503 && answer.text() == "credentials are missing\n"
    });
    expect_colour(&server.get("/h/a.png").ok(), GREEN);
    server.get("/h/b.png").failed("no_credentials");
}
