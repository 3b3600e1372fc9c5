//! Signed URLs: accepted and refused requests, and that a refused request costs and reveals nothing.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::documentation::assert_covers_image_options;
use crate::support::certificates::Certificates;
use crate::support::client::{Answer, Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, size_of};
use crate::support::merged;
use crate::support::origin::{RawOrigin, object};
use crate::support::server::{self, PROGRAM, Server, Setup};
use crate::support::tokens::{
    OTHER_SECRET, SECRET, at, hmac, max_age, now, signed, token, with_token,
};
use crate::token::example;

const MIB: u64 = 1 << 20;
const A_WEEK: u64 = 604_800;

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// A directory's handler that requires signed URLs.
fn signed_handler(directory: &Directory) -> Value {
    merged(directory.handler(), json!({"token": hmac()}))
}

fn directory() -> Directory {
    Directory::new().with("a.png", &image()).with("b.png", &image())
}

/// Status, headers and body of a response, without `Date` and `X-Request-Id`.
fn parts_of(answer: &Answer) -> (u16, Vec<(String, String)>, &[u8]) {
    let fields = answer
        .headers
        .iter()
        .filter(|(name, _)| !["Date", "X-Request-Id"].contains(&name.as_str()))
        .cloned()
        .collect();
    (answer.status, fields, &answer.body)
}

/// Requests for an image that are refused.
fn refused_targets() -> Vec<(&'static str, String)> {
    let target = "/h/a.png?w=40&h=30";
    let right = token(SECRET, target);
    let soon = format!("{target}&exp={}", at(600));
    vec![
        ("absent", target.to_owned()),
        ("empty", with_token(target, "")),
        ("expired", signed(&format!("{target}&exp={}", at(-1)))),
        ("expired long ago", signed(&format!("{target}&exp=1"))),
        ("foreign", with_token(target, &token(OTHER_SECRET, target))),
        ("for another key", with_token(target, &token(SECRET, "/h/b.png?w=40&h=30"))),
        ("for a missing key", with_token("/h/missing.png", &right)),
        ("for other options", with_token("/h/a.png?w=41&h=30", &right)),
        ("for more options", with_token("/h/a.png?w=40&h=30&q=9", &right)),
        ("for another rotation", with_token("/h/a.png?w=40&h=30&rot=180", &right)),
        ("for the metadata", with_token("/h/a.png?w=40&h=30&strip=false", &right)),
        ("for fewer options", with_token("/h/a.png?w=40", &right)),
        ("without its expiry", with_token(target, &token(SECRET, &soon))),
        ("with an expiry of its own", with_token(&soon, &right)),
        (
            "with a later expiry",
            with_token(&format!("{target}&exp={}", at(900)), &token(SECRET, &soon)),
        ),
        ("for an equivalent value", with_token("/h/a.png?w=040&h=30", &right)),
        ("truncated", with_token(target, &right[..42])),
        ("padded", with_token(target, &format!("{right}="))),
        ("padded, encoded", with_token(target, &format!("{right}%3D"))),
        ("longer", with_token(target, &format!("{right}A"))),
        ("in lower case", with_token(target, &right.to_ascii_lowercase())),
        ("in upper case", with_token(target, &right.to_ascii_uppercase())),
        (
            "encoded twice",
            with_token(target, &format!("%25{:02X}{}", right.as_bytes()[0], &right[1..])),
        ),
        ("of malformed options", with_token("/h/a.png?w=none", &right)),
        ("of a malformed expiry", with_token(&format!("{target}&exp=never"), &right)),
        ("of no valid key", with_token("/h/a/../b.png", &right)),
        ("in Authorization", target.to_owned()),
    ]
}

/// Requests for the same image that are accepted.
fn accepted_targets() -> Vec<String> {
    let target = "/h/a.png?w=40&h=30";
    let right = token(SECRET, target);
    let hex = format!("%{:02X}", right.as_bytes()[0]);
    vec![
        with_token(target, &right),
        with_token("/h/a.png?h=30&w=40", &right),
        format!("/h/a.png?t={right}&h=30&w=40"),
        with_token("/h/%61%2Epng?%77=4%30&h=30", &right),
        with_token("/%68/a.png?w=40&h=30", &right),
        with_token("/h/a.png?w=40&utm_source=x&h=30&zz=%zz&W=1&T=2", &right),
        with_token(target, &format!("{hex}{}", &right[1..])),
        signed(&format!("{target}&exp={}", at(600))),
        signed(&format!("{target}&exp=99999999999999999999999")),
    ]
}

#[test]
fn signature_decides_for_every_cache_listener_and_request() {
    let certificates = Certificates::new();
    for (name, fields, memory) in [
        ("none", json!({}), 0),
        ("disk", json!({"cache_enabled": true}), 0),
        ("memory", json!({"cache_enabled": true}), 64 * MIB),
    ] {
        let origin = RawOrigin::always(object(&image()));
        let cache = Directory::new();
        let handler = merged(
            merged(origin.handler(), json!({"token": hmac(), "cache_path": cache.path()})),
            fields,
        );
        let handler =
            if name == "none" { merged(handler, json!({"cache_enabled": false})) } else { handler };
        let config = json!({
            "handlers": [handler], "memory_cache": memory,
            "https_enabled": true, "https_port": 0, "https_cert": "bundle.crt", "https_key": "cert.key",
        });
        let server = Setup::new(config)
            .file("bundle.crt", certificates.chain_pem.as_bytes())
            .file("cert.key", certificates.key_pem.as_bytes())
            .start();
        let tls = || {
            Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13]))
                .unwrap()
        };
        let mut clients = [("http", server.client()), ("https", tls())];

        // Nothing is cached yet, and a refused request does not reach the origin.
        for (listener, client) in &mut clients {
            for (case, target) in refused_targets() {
                assert_eq!(
                    client.get(&target).failed("token_refused").header("X-Cache"),
                    None,
                    "{listener} {case}"
                );
            }
        }
        assert_eq!(origin.accepted(), 0, "{name}");

        let first = server.get(&accepted_targets()[0]).ok();
        assert_eq!(size_of(&first.body), (40, 30));
        let tag = first.expect("ETag").to_owned();
        let state = if name == "none" { "miss" } else { "hit" };
        for (listener, client) in &mut clients {
            for target in accepted_targets() {
                let at = format!("{name} {listener} {target}");
                let whole = client.get(&target).ok();
                assert_eq!((whole.expect("X-Cache"), &whole.body), (state, &first.body), "{at}");
                let head = client.head_with(&target, &[]);
                assert_eq!((head.status, head.expect("ETag")), (200, tag.as_str()), "{at}");
                assert_eq!(
                    client.get_with(&target, &[("If-None-Match", &tag)]).status,
                    304,
                    "{at}"
                );
                let part = client.get_with(&target, &[("Range", "bytes=1-2")]);
                assert_eq!((part.status, &part.body[..]), (206, &first.body[1..3]), "{at}");
            }
        }

        let fetches = origin.requests().len();
        let reference = server.get("/h/a.png").failed("token_refused");
        assert_eq!(reference.body, std::fs::read("error_image.jpg").unwrap(), "not resized");
        let bearer = format!("Bearer {}", token(SECRET, "/h/a.png?w=40&h=30"));
        for (listener, client) in &mut clients {
            for (case, target) in refused_targets() {
                for headers in [
                    &[][..],
                    &[("If-None-Match", tag.as_str())],
                    &[("If-None-Match", "*")],
                    &[("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")],
                    &[("If-Match", "\"other\"")],
                    &[("Range", "bytes=1-2")],
                    &[("Range", "bytes=9999999-")],
                    &[("Authorization", bearer.as_str())],
                ] {
                    let at = format!("{name} {listener} {case} {headers:?}");
                    let answer = client.get_with(&target, headers);
                    assert_eq!(parts_of(&answer), parts_of(&reference), "{at}");
                    let head = client.head_with(&target, headers);
                    assert_eq!(
                        (head.status, &parts_of(&head).1),
                        (404, &parts_of(&reference).1),
                        "{at}"
                    );
                }
            }
            // A malformed query is an error before the token is checked.
            for twice in ["w=40", "exp=9", "t=x", "zz=1&t=x"] {
                let target = format!("{}&{twice}&{twice}", accepted_targets()[0]);
                assert_eq!(client.get(&target).status, 400, "{listener} {twice}");
            }
        }
        assert_eq!(
            origin.requests().len(),
            fetches,
            "{name}: a refused request has reached the origin"
        );
    }
}

#[test]
fn refused_requests_do_not_wait_for_the_renderer() {
    let directory = directory();
    let server = Server::with_handler(signed_handler(&directory));
    let renderer = server.renderer();
    renderer.signal(Signal::STOP);
    let started = Instant::now();
    for width in 1..=40 {
        server.get(&format!("/h/a.png?f=webp&w={width}&t=wrong")).failed("token_refused");
    }
    renderer.signal(Signal::CONT);
    // Each would wait a second for its error image.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn signed_requests_with_bad_options_are_400() {
    let directory = directory();
    let server = Server::with_handler(signed_handler(&directory));
    for target in ["/h/a.png?w=none", "/h/a.png?f=svg", "/h/a.png?q=0&exp=99999999999"] {
        assert_eq!(server.get(&signed(target)).status, 400, "{target}");
    }
    server.get(&signed("/h/a.png?exp=never")).failed("token_refused");
    server.get(&signed("/h/missing.png")).failed("not_found");
    // Requests with the same canonical string: the second one has a value that can't be signed.
    let other = token(SECRET, "/h/a.png?w=40&h=30");
    server.get(&with_token("/h/a.png?h=30%26w=40", &other)).failed("token_refused");
    let line_break = token(SECRET, "/h/a.png%0Ah=30?w=40");
    server.get(&with_token("/h/a.png?h=30%0Aw=40", &line_break)).failed("token_refused");
}

#[test]
fn exp_is_validated_and_ignored_without_a_token() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    for value in ["", "never", "-1", "1.5", "%2B1"] {
        let answer = server.get(&format!("/h/a.png?exp={value}"));
        assert_eq!((answer.status, answer.text().starts_with("exp: ")), (400, true), "{value}");
    }
    let answer = server.get("/h/a.png?exp=1").ok();
    assert_eq!(max_age(&answer.cache_control()), A_WEEK);
}

#[test]
fn max_age_ends_with_the_signature() {
    let directory = directory();
    let cache = Directory::new();
    let usual = signed("/h/a.png?w=20");
    let handler = merged(signed_handler(&directory), json!({"cache_path": cache.path()}));
    let servers = [0, 64 * MIB]
        .map(|memory| Server::start(json!({"handlers": [handler], "memory_cache": memory})));
    let tags = servers.each_ref().map(|server| server.get(&usual).ok().expect("ETag").to_owned());
    thread::sleep(Duration::from_millis(1100));
    for (server, tag) in servers.iter().zip(tags) {
        let mut client = server.client();
        for lifetime in [30, 600, 1_000_000] {
            let expires = at(lifetime);
            let target = signed(&format!("/h/a.png?w=20&exp={expires}"));
            for (headers, status) in [
                (&[][..], 200),
                (&[("If-None-Match", tag.as_str())], 304),
                (&[("Range", "bytes=0-0")], 206),
            ] {
                let before = now();
                let answer = client.get_with(&target, headers);
                assert_eq!(
                    (answer.status, answer.expect("X-Cache")),
                    (status, "hit"),
                    "{lifetime}"
                );
                let members = answer.cache_control();
                assert!(members.contains(&"public"), "{members:?}");
                let most = max_age(&members);
                let age = answer.expect("Age").parse::<u64>().unwrap();
                assert!(age >= 1, "{age}");
                let left = most as f64 - age as f64;
                assert!(left <= expires as f64 - before, "{lifetime} {status}: {left}");
                assert!(most <= A_WEEK);
                if most < A_WEEK {
                    assert!(left >= expires as f64 - now() - 1.0, "{lifetime} {status}: {left}");
                } else {
                    assert_eq!(lifetime, 1_000_000);
                }
                let head = client.head_with(&target, &[]);
                assert!(max_age(&head.cache_control()) <= most, "{lifetime}");
                // Other requests for the same variant are not affected.
                let others = client.get_with(&usual, headers);
                assert_eq!((others.status, max_age(&others.cache_control())), (status, A_WEEK));
            }
        }
    }
}

#[test]
fn max_age_ends_with_the_signature_where_cache_time_is_forever() {
    let directory = directory();
    let cache = Directory::new();
    let handler =
        merged(signed_handler(&directory), json!({"cache_path": cache.path(), "cache_time": 0}));
    let server = Server::with_handler(handler);
    let usual = server.get(&signed("/h/a.png?w=20")).ok();
    assert!(usual.header("Age").is_none());
    thread::sleep(Duration::from_millis(1100));
    let expires = at(30);
    let before = now();
    let answer = server.get(&signed(&format!("/h/a.png?w=20&exp={expires}"))).ok();
    let age = answer.header("Age").map_or(0, |age| age.parse().unwrap());
    let left = max_age(&answer.cache_control()) as f64 - age as f64;
    assert!(left <= expires as f64 - before, "{left}");
}

/// Sleeps until this Unix time is over.
fn sleep_until(time: i64) {
    thread::sleep(Duration::from_secs_f64((time as f64 + 0.1 - now()).max(0.0)));
}

#[test]
fn max_age_is_used_up_if_the_signature_expires_during_the_render() {
    let expires = Arc::new(AtomicI64::new(0));
    let shared = expires.clone();
    let origin = RawOrigin::start(move |_, peer| {
        sleep_until(shared.load(Ordering::SeqCst));
        peer.send(&object(&image()))
    });
    let handler = merged(origin.handler(), json!({"token": hmac()}));
    let server = Server::with_limits(handler, json!({"origin_first_byte_timeout": 25}));
    let mut client = server.client();
    // The request has between one and two seconds to arrive.
    expires.store(at(2), Ordering::SeqCst);
    let answer =
        client.get(&signed(&format!("/h/a.png?exp={}", expires.load(Ordering::SeqCst)))).ok();
    let age = answer.expect("Age").parse::<u64>().unwrap();
    assert_eq!(max_age(&answer.cache_control()), age);
}

#[test]
fn no_store_is_kept_for_signed_urls() {
    let directory = directory();
    let server =
        Server::with_handler(merged(signed_handler(&directory), json!({"cache_time": -1})));
    let answer = server.get(&signed(&format!("/h/a.png?exp={}", at(600)))).ok();
    assert_eq!(answer.cache_control(), ["no-store"]);
}

#[test]
fn exp_is_not_part_of_the_cache_key() {
    let origin = RawOrigin::always(object(&image()));
    let cache = Directory::new();
    let handler = merged(origin.handler(), json!({"token": hmac(), "cache_path": cache.path()}));
    let server = Server::with_handler(handler);
    assert_eq!(server.get(&signed("/h/a.png?w=9")).ok().expect("X-Cache"), "miss");
    for lifetime in [60, 61, 3600] {
        let answer = server.get(&signed(&format!("/h/a.png?w=9&exp={}", at(lifetime)))).ok();
        assert_eq!(answer.expect("X-Cache"), "hit");
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(cache.files().len(), 1, "{:?}", cache.files());
    // Nor in memory: the edge serves it without a renderer.
    let renderer = server.renderer();
    renderer.signal(Signal::STOP);
    let started = Instant::now();
    let answer = server.get(&signed(&format!("/h/a.png?w=9&exp={}", at(7200)))).ok();
    renderer.signal(Signal::CONT);
    assert_eq!(answer.expect("X-Cache"), "hit");
    assert!(started.elapsed() < Duration::from_secs(5), "waited for the stopped renderer");
}

#[test]
fn an_optional_token_must_be_valid() {
    let directory = directory();
    let open = json!({"type": "hmac", "secrets": [SECRET], "required": false});
    let server = Server::with_handler(merged(directory.handler(), json!({"token": open})));
    for target in ["/h/a.png", "/h/a.png?w=40&h=30&zz=1"] {
        assert_eq!(max_age(&server.get(target).ok().cache_control()), A_WEEK);
    }
    server.get(&signed("/h/a.png?w=40")).ok();
    for (case, target) in refused_targets() {
        if ["absent", "in Authorization"].contains(&case) {
            server.get(&target).ok();
        } else {
            server.get(&target).failed("token_refused");
        }
    }
    server.get(&format!("/h/a.png?exp={}", at(600))).failed("token_refused");
    assert_eq!(server.get("/h/a.png?w=none").status, 400);
}

#[test]
fn refused_tokens_have_precise_statuses_and_other_handlers_are_open() {
    let directory = directory();
    let handler = merged(signed_handler(&directory), json!({"error_status": "precise"}));
    let open = merged(directory.handler(), json!({"name": "open"}));
    let server = Server::start(json!({"handlers": [handler, open]}));
    let answer = server.get("/h/a.png");
    assert_eq!((answer.status, answer.header("X-Error")), (403, Some("token_refused")));
    server.get("/open/a.png?t=whatever").ok();
    assert_eq!(server.get(&with_token("/h/a.png", &token(SECRET, "/open/a.png"))).status, 403);
    server.get(&signed("/h/a.png")).ok();
}

#[test]
fn reload_replaces_secrets() {
    let directory = directory();
    let with = |secrets: Value| json!({"handlers": [merged(directory.handler(), json!({"token": {"type": "hmac", "secrets": secrets}}))]});
    let old = signed("/h/a.png?w=9");
    let new = with_token("/h/a.png?w=9", &token(OTHER_SECRET, "/h/a.png?w=9"));
    let server = Setup::new(with(json!(["$TEST_KEY"]))).env("TEST_KEY", SECRET).start();
    server.get(&old).ok();
    server.get(&new).failed("token_refused");
    server.reload_well(with(json!([OTHER_SECRET, "$TEST_KEY"])));
    server.get(&old).ok();
    server.get(&new).ok();
    server.reload_well(with(json!([OTHER_SECRET])));
    server.get(&old).failed("token_refused");
    server.get(&new).ok();
    let message = server.reload(with(json!(["too short"])));
    assert!(message.contains("handlers[0].token.secrets[0]"), "{message}");
    assert!(!message.contains("too short"), "{message}");
    server.get(&new).ok();
}

#[test]
fn every_pipelined_request_is_checked() {
    let directory = directory();
    let cache = Directory::new();
    let server = Server::with_handler(merged(
        signed_handler(&directory),
        json!({"cache_path": cache.path()}),
    ));
    let good = signed("/h/a.png?w=20");
    (0..2).for_each(|_| drop(server.get(&good).ok()));
    let mut client = server.client();
    let pair = [request("GET", &good, &[]), request("GET", "/h/a.png?w=20", &[])].concat();
    client.send(&pair.repeat(40));
    for _ in 0..40 {
        assert_eq!(client.read().ok().expect("X-Cache"), "hit");
        client.read().failed("token_refused");
    }
}

#[test]
fn token_refused_is_logged_with_its_reason_and_without_secrets() {
    let directory = directory();
    let server = Server::with_handler(signed_handler(&directory));
    let expired = format!("/h/a.png?exp={}", at(-5));
    let tokens = [token(SECRET, &expired), token(OTHER_SECRET, "/h/a.png")];
    for _ in 0..20 {
        server.get("/h/a.png").failed("token_refused");
        server.get(&with_token(&expired, &tokens[0])).failed("token_refused");
        server.get(&with_token("/h/a.png", &tokens[1])).failed("token_refused");
    }
    for reason in ["missing", "expired", "signature"] {
        server.log.event_with("token_refused", reason);
    }
    server.log.access(&format!("{expired}&t=[redacted]"));
    let lines = server.log.lines();
    assert_eq!(server.log.count("token_refused"), 3, "{lines:?}");
    let log = lines.join("\n");
    for hidden in [SECRET, &tokens[0], &tokens[1]] {
        assert!(!log.contains(hidden), "{hidden}: {log}");
    }
}

#[test]
fn token_refused_is_logged_with_the_client_behind_a_proxy() {
    let directory = directory();
    let server = Server::start(
        json!({"handlers": [signed_handler(&directory)], "trusted_proxies": ["127.0.0.1"]}),
    );
    server.get_with("/h/a.png", &[("X-Forwarded-For", "192.0.2.7")]).failed("token_refused");
    server.log.event_with("token_refused", " 192.0.2.7: ");
}

#[test]
fn validator_is_called_before_the_handlers_token() {
    let directory = directory();
    let open = merged(directory.handler(), json!({"name": "open"}));
    let server = Setup::new(json!({"handlers": [signed_handler(&directory), open]}))
        .program(example())
        .start();
    server.get("/open/a.png?t=letmein").ok();
    server.get("/h/a.png?t=letmein").failed("token_refused");
    server.log.event_with("token_refused", "malformed");
    server.get(&signed("/h/a.png")).failed("token_refused");
    server.log.event_with("token_refused", "validator");
}

#[test]
fn invalid_token_configurations_are_startup_errors() {
    let directory = directory();
    for (token, path) in [
        (json!(true), "token"),
        (json!({}), "token.type"),
        (json!({"type": "hmac"}), "token.secrets"),
        (json!({"type": "hmac", "secrets": []}), "token.secrets"),
        (json!({"type": "hmac", "secrets": [SECRET, "hidden"]}), "token.secrets[1]"),
        (json!({"type": "hmac", "secrets": ["$TEST_ABSENT_KEY"]}), "token.secrets[0]"),
        (json!({"type": "hmac", "secrets": ["$TEST_KEY"]}), "token.secrets[0]"),
        (json!({"type": "hmac", "secrets": [SECRET], "audience": "a"}), "token.audience"),
        (json!({"type": "hmac", "secrets": [SECRET], "expires": 1}), "token.expires"),
        (json!({"type": "ed25519", "secrets": [SECRET]}), "token.type"),
    ] {
        let config = json!({"handlers": [merged(directory.handler(), json!({"token": token}))]});
        let Output { status, stderr, .. } = Setup::new(config).env("TEST_KEY", "hidden-too").run();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{token}: {stderr}");
        assert!(stderr.contains(&format!("handlers[0].{path}: ")), "{token}: {stderr}");
        assert!(!stderr.contains(SECRET) && !stderr.contains("hidden"), "{stderr}");
    }
}

/// Standard output, standard error and exit status of `sign` with these arguments.
#[track_caller]
fn sign(directory: &Directory, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = server::command(Path::new(PROGRAM), directory.path());
    command.arg("sign").args(arguments).arg("-c").arg(directory.path().join("config.json"));
    let Output { stdout, stderr, status } = server::run(&mut command);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), status.code())
}

#[test]
fn sign_command_makes_urls_that_are_served() {
    let directory = directory().with("x/ü b.png", &image());
    let second = json!({"type": "hmac", "secrets": [SECRET, OTHER_SECRET]});
    let open = merged(directory.handler(), json!({"name": "open"}));
    let bearer = merged(
        directory.handler(),
        json!({"name": "j", "token": {"type": "jwt", "secrets": [SECRET]}}),
    );
    let two_secrets = merged(directory.handler(), json!({"token": second}));
    let server = Server::start(json!({"handlers": [two_secrets, open, bearer]}));
    let at_server = server.directory();
    let output = |arguments: &[&str]| {
        let (stdout, stderr, status) = sign(at_server, arguments);
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "{arguments:?}");
        stdout.strip_suffix('\n').unwrap().to_owned()
    };
    assert_eq!(
        output(&["/h/a.png?w=40&h=30"]),
        "/h/a.png?h=30&w=40&t=".to_owned() + &token(SECRET, "/h/a.png?w=40&h=30")
    );
    for target in [
        "/h/a.png",
        "/h/a.png?w=40&g=fp:0.5:0.5&h=20",
        "/h/x/ü b.png?f=webp",
        "/h/x/%C3%BC%20b.png?f=webp",
    ] {
        server.get(&output(&[target])).ok();
    }
    for (time, seconds) in [("1h", 3600.0), ("30m", 1800.0), ("7d", 604_800.0), ("90", 90.0)] {
        let before = now().floor();
        let url = output(&["/h/a.png?w=9", "--expires", time]);
        let expires: f64 =
            url.split_once("exp=").unwrap().1.split('&').next().unwrap().parse().unwrap();
        assert!((before + seconds..=now() + seconds).contains(&expires), "{time}: {url}");
        server.get(&url).ok();
    }
    let brief = output(&["/h/a.png", "--expires=1"]);
    sleep_until(at(1));
    server.get(&brief).failed("token_refused");
    for (arguments, part) in [
        (&["/nobody/a.png"][..], "no handler has the prefix /nobody/"),
        (&["/open/a.png"], "has no token"),
        (&["/j/a.png"], "not of type hmac"),
        (&["/h/a.png?w=0"], "w: "),
        (&["/h/a.png?t=x"], "t: must not be given"),
        (&["/h/a.png?widht=9"], "widht: unknown parameter"),
        (&["/h/a.png", "--expires", "soon"], "--expires"),
        (&[], "sign needs"),
    ] {
        let (stdout, stderr, status) = sign(at_server, arguments);
        assert_eq!((stdout.as_str(), status), ("", Some(2)), "{arguments:?}");
        assert!(stderr.contains(part) && !stderr.contains(SECRET), "{arguments:?}: {stderr}");
    }
}

#[test]
fn every_option_is_signed() {
    let directory = directory();
    let logo =
        json!({"watermarks": {"logo": {"file": directory.path().join("a.png"), "size": 0.5}}});
    let server = Server::with_handler(merged(signed_handler(&directory), logo));
    let all = "/h/a.png?bg=00ff0080&blur=1&c=true&dpr=1&e=true&f=webp&flip=h&frames=1&g=n&h=30\
               &lossless=true&max_bytes=5000&pad=true&page=0&q=80&raw=false&rot=90&sharp=1&strip=false&trim=0&w=40\
               &bri=2&con=2&gamma=2&sat=2&hue=9&gray=1&tint=ff0000:0.5&duo=ff0000:00ff00&neg=1&pix=2&wm=logo\
               &crop=0:0:1:0.9&round=2&min-w=3&min-h=3";
    // `fit` in place of `c` and `pad`.
    let fit = "/h/a.png?w=40&h=30&fit=stretch";
    let query = |target: &'static str| target.split_once('?').unwrap().1;
    assert_covers_image_options([query(all), query(fit)]);
    for target in [all, fit] {
        assert_eq!(size_of(&server.get(&signed(target)).ok().body), (40, 30));
        let right = token(SECRET, target);
        let pairs: Vec<&str> = query(target).split('&').collect();
        for left_out in &pairs {
            let rest: Vec<&str> = pairs.iter().filter(|pair| *pair != left_out).copied().collect();
            server
                .get(&with_token(&format!("/h/a.png?{}", rest.join("&")), &right))
                .failed("token_refused");
        }
    }
}
