//! The token validator of a custom binary: `examples/token.rs`, which accepts `t=letmein` only.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::merged;
use crate::support::origin::{RawOrigin, object};
use crate::support::server::{PROGRAM, Server, Setup};

/// The example, which Cargo builds with the tests.
pub fn example() -> PathBuf {
    let path = Path::new(PROGRAM).with_file_name("examples").join("token");
    assert!(path.is_file(), "{} is missing: run `cargo build --example token`", path.display());
    path
}

fn start(handler: Value) -> Server {
    Setup::new(json!({"handlers": [handler]})).program(example()).start()
}

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

#[test]
fn images_require_a_valid_token() {
    let directory = Directory::new().with("a.png", &image());
    let server = start(directory.handler());
    for query in ["?t=letmein", "?w=40&t=letmein", "?t=let%6Dein&w=40", "?%74=letmein"] {
        server.get(&format!("/h/a.png{query}")).ok();
    }
    for query in [
        "",
        "?t=",
        "?t",
        "?w=40",
        "?t=letmei",
        "?t=letmein%20",
        "?t=LETMEIN",
        "?T=letmein",
        "?t=let%256Dein",
        "?t=%00",
    ] {
        let answer = server.get(&format!("/h/a.png{query}")).failed("token_refused");
        assert!(answer.cache_control().contains(&"no-store"), "{query}");
    }
    let sized = server.get("/h/a.png?w=30&h=20&t=wrong").failed("token_refused");
    assert_eq!(sized.body, server.get("/h/a.png").body, "the error image is not resized");
    // Other paths need no token, and a malformed query is an error before the token is checked.
    assert_eq!(server.get("/-/health").status, 200);
    assert_eq!(server.get("/h/a.png?t=letmein&t=letmein").status, 400);
}

#[test]
fn refused_tokens_are_403_with_precise_statuses() {
    let directory = Directory::new().with("a.png", &image());
    let server = start(merged(directory.handler(), json!({"error_status": "precise"})));
    let answer = server.get("/h/a.png");
    assert_eq!((answer.status, answer.header("X-Error")), (403, Some("token_refused")));
}

#[test]
fn refused_requests_do_not_reach_the_origin() {
    let origin = RawOrigin::always(object(&image()));
    let server = start(origin.handler());
    server.get("/h/a.png?t=wrong").failed("token_refused");
    assert_eq!(origin.accepted(), 0);
    server.get("/h/a.png?t=letmein").ok();
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn cached_images_require_a_valid_token() {
    let origin = RawOrigin::always(object(&images::png(images::solid(4, 4, RED))));
    let cache = Directory::new();
    let server = start(merged(origin.handler(), json!({"cache_path": cache.path()})));
    let first = server.get("/h/a.png?t=letmein").ok();
    assert_eq!(server.get("/h/a.png?t=letmein").ok().expect("X-Cache"), "hit");
    server.get("/h/a.png").failed("token_refused");
    let tag = first.expect("ETag");
    server.get_with("/h/a.png", &[("If-None-Match", tag)]).failed("token_refused");
    server.get_with("/h/a.png?t=wrong", &[("Range", "bytes=0-1")]).failed("token_refused");
    let unchanged = server.get_with("/h/a.png?t=letmein", &[("If-None-Match", tag)]);
    assert_eq!(unchanged.status, 304);
}

#[test]
fn missing_keys_are_not_revealed_without_a_token() {
    let directory = Directory::new();
    let server = start(directory.handler());
    server.get("/h/missing.png?t=wrong").failed("token_refused");
    server.get("/h/missing.png?t=letmein").failed("not_found");
}

#[test]
fn tokens_are_redacted_in_the_log() {
    let directory = Directory::new().with("a.png", &image());
    let server = start(directory.handler());
    server.get("/h/a.png?w=1&t=letmein").ok();
    server.get("/h/a.png?t=let%6Dein&w=2").ok();
    server.get("/h/a.png?%74=letmein&w=3").ok();
    server.get("/h/a.png?t=wrong-and-private").failed("token_refused");
    server.log.access("/h/a.png?w=1&t=[redacted]");
    let refused = server.log.access("/h/a.png?t=[redacted]");
    assert_eq!(refused.last().map(String::as_str), Some("token_refused"));
    let log = server.log.lines().join("\n");
    for secret in ["letmein", "let%6Dein", "wrong-and-private"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
