//! `defaults`, `quality`, `error_image: "none"` and `fallback`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::{self, BLUE, GREEN, Image, Kind, RED, close, size_of};
use crate::support::origin::{self, RawOrigin, object};
use crate::support::server::Server;
use crate::support::tokens::{bearer_token, hmac, jwt, signed, with_token};
use crate::support::{eventually, merged};

const CHROME: (&str, &str) = ("Accept", "image/avif,image/webp,image/*,*/*;q=0.8");

fn photo() -> Vec<u8> {
    let path = format!("{}/examples/images/photo.jpg", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn directory() -> Directory {
    Directory::new().with("a.jpg", &photo()).with("a.png", &images::png(images::gradient(80, 60)))
}

fn state(answer: &Answer) -> &str {
    answer.expect("X-Cache")
}

/// The first value of the first quantisation table, for luma (ITU-T T.81 B.2.4.1).
fn first_quantizer(jpeg: &[u8]) -> u32 {
    let at = jpeg.windows(2).position(|marker| marker == [0xff, 0xdb]).expect("DQT");
    assert_eq!(jpeg[at + 4], 0, "8 bits, table 0");
    jpeg[at + 5].into()
}

/// That value at a quality, by the formula of the Independent JPEG Group over table K.1, which begins with 16.
fn expected_quantizer(quality: u32) -> u32 {
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    ((16 * scale + 50) / 100).clamp(1, 255)
}

#[track_caller]
fn expect_quality(server: &Server, target: &str, quality: u32) {
    let answer = server.get(target).ok();
    assert_eq!(first_quantizer(&answer.body), expected_quantizer(quality), "{target}");
}

#[test]
fn defaults_apply_below_presets_and_the_request() {
    let directory = directory();
    let handler = merged(
        directory.handler(),
        json!({
            "defaults": "q=82&w=60&f=jpg",
            "presets": {"low": "q=20", "wide": "w=90", "png": "f=png"},
        }),
    );
    let server = Server::with_handler(handler);
    for (query, quality, width) in [
        ("", 82, 60),
        ("?q=75", 75, 60),
        ("?w=30", 82, 30),
        ("?p=low", 20, 60),
        ("?p=low&q=50", 50, 60),
        ("?p=wide", 82, 90),
        ("?p=wide&w=20&q=9", 9, 20),
    ] {
        let target = format!("/h/a.jpg{query}");
        expect_quality(&server, &target, quality);
        assert_eq!(size_of(&server.get(&target).ok().body).0, width, "{target}");
    }
    assert_eq!(Kind::of(&server.get("/h/a.jpg?p=png").ok().body), Some(Kind::Png));
    assert_eq!(Kind::of(&server.get("/h/a.jpg?f=webp").ok().body), Some(Kind::Webp));
    let refused = server.get("/h/a.jpg?q=101");
    assert_eq!(refused.status, 400);
    assert!(refused.text().starts_with("q: must be a whole number from 1 to 100"), "{refused:?}");
}

#[test]
fn entries_are_shared_by_requests_with_the_same_options_and_not_after_a_change() {
    let directory = directory();
    let cache = Directory::new();
    let config = |defaults: &str, quality: Value| {
        let fields = json!({"cache_path": cache.path(), "defaults": defaults, "quality": quality});
        json!({"handlers": [merged(directory.handler(), fields)]})
    };
    let server = Server::start(config("q=82&f=jpg", json!({})));
    assert_eq!(state(&server.get("/h/a.jpg?w=40").ok()), "miss");
    for target in ["/h/a.jpg?w=40&q=82", "/h/a.jpg?w=40&f=jpeg", "/h/a.jpg?w=40&q=82&f=jpg"] {
        assert_eq!(state(&server.get(target).ok()), "hit", "{target}");
    }
    expect_quality(&server, "/h/a.jpg?w=40", 82);
    // Entries made before a changed default are not served for it.
    server.reload_well(config("q=30&f=jpg", json!({})));
    expect_quality(&server, "/h/a.jpg?w=40", 30);
    assert_eq!(state(&server.get("/h/a.jpg?w=40&q=82").ok()), "hit");
    server.reload_well(config("q=30&f=jpg", json!({"jpg": 60})));
    expect_quality(&server, "/h/a.jpg?w=40", 60);
    expect_quality(&server, "/h/a.jpg?w=40&q=30", 30);
    server.reload_well(config("f=jpg", json!({})));
    expect_quality(&server, "/h/a.jpg?w=40", 75);
    // 82, 30, 60 and 75.
    assert_eq!(cache.files().len(), 4);
}

#[test]
fn a_default_of_f_auto_negotiates_and_varies() {
    let directory = directory();
    let handler = merged(directory.handler(), json!({"defaults": "f=auto&w=160"}));
    let server = Server::with_handler(handler);
    let chrome = server.get_with("/h/a.jpg", &[CHROME]).ok();
    assert_eq!((Kind::of(&chrome.body), chrome.varies_on("Accept")), (Some(Kind::Avif), true));
    let other = server.get("/h/a.jpg").ok();
    assert_eq!((Kind::of(&other.body), other.varies_on("Accept")), (Some(Kind::Jpeg), true));
    let named = server.get_with("/h/a.jpg?f=png", &[CHROME]).ok();
    assert_eq!((Kind::of(&named.body), named.varies_on("Accept")), (Some(Kind::Png), false));
    let missing = server.get_with("/h/b.jpg", &[CHROME]).failed("not_found");
    assert!(missing.varies_on("Accept"));
}

#[test]
fn each_format_has_its_quality_whoever_chooses_the_format() {
    let directory = directory();
    let plain = merged(directory.handler(), json!({"name": "plain"}));
    // 63 and 73 look like q=75 (bench/results/encoders.md).
    let native = json!({"avif": 63, "webp": 73, "jpg": 40, "scale": "native"});
    let server = Server::start(json!({"handlers": [
        plain,
        merged(directory.handler(), json!({"quality": {"avif": 40, "webp": 60, "jpg": 90}})),
        merged(directory.handler(), json!({"name": "n", "quality": native})),
        merged(
            directory.handler(),
            json!({"name": "auto", "defaults": "f=auto&q=30", "quality": {"avif": 40}}),
        ),
    ]}));
    let get = |target: &str, accept: &str| server.get_with(target, &[("Accept", accept)]).ok().body;
    let (avif, webp, any) = (CHROME.1, "image/webp,*/*", "*/*");
    for (target, accept, equal) in [
        ("/h/a.jpg?w=160&f=avif", any, "/plain/a.jpg?w=160&f=avif&q=40"),
        ("/h/a.jpg?w=160&f=webp", any, "/plain/a.jpg?w=160&f=webp&q=60"),
        ("/h/a.jpg?w=160", any, "/plain/a.jpg?w=160&q=90"),
        ("/h/a.jpg?w=160&f=auto", avif, "/plain/a.jpg?w=160&f=avif&q=40"),
        ("/h/a.jpg?w=160&f=auto", webp, "/plain/a.jpg?w=160&f=webp&q=60"),
        ("/h/a.jpg?w=160&f=auto", any, "/plain/a.jpg?w=160&q=90"),
        ("/h/a.jpg?w=160&f=auto&q=20", avif, "/plain/a.jpg?w=160&f=avif&q=20"),
        ("/h/a.jpg?w=160&f=avif&q=75", any, "/plain/a.jpg?w=160&f=avif"),
        ("/n/a.jpg?w=160&f=avif", any, "/plain/a.jpg?w=160&f=avif"),
        ("/n/a.jpg?w=160&f=webp", any, "/plain/a.jpg?w=160&f=webp"),
        ("/n/a.jpg?w=160&f=auto", avif, "/plain/a.jpg?w=160&f=avif"),
        ("/n/a.jpg?w=160", any, "/plain/a.jpg?w=160&q=40"),
        ("/auto/a.jpg?w=160", avif, "/plain/a.jpg?w=160&f=avif&q=40"),
        ("/auto/a.jpg?w=160", webp, "/plain/a.jpg?w=160&f=webp&q=30"),
        ("/auto/a.jpg?w=160", any, "/plain/a.jpg?w=160&q=30"),
    ] {
        assert!(get(target, accept) == get(equal, any), "{target} with {accept} and {equal}");
    }
    // A client can't choose the other scale.
    for q in ["native50", "avif:50", "avif:native50", "jpg:1:webp:2"] {
        assert_eq!(server.get(&format!("/h/a.jpg?q={q}")).status, 400, "{q}");
    }
}

#[test]
fn allowed_sizes_and_presets_only_know_the_defaults() {
    let directory = directory();
    let fields = json!({"defaults": "w=60&f=png", "allowed_sizes": [[30, 0], [30, 20]]});
    let only = json!({"name": "only", "defaults": "f=png&w=50", "presets_only": true,
        "presets": {"default": "h=10", "thumb": "w=20"}});
    let server = Server::start(json!({"handlers": [
        merged(directory.handler(), fields),
        merged(directory.handler(), only),
    ]}));
    for (target, size) in [
        ("/h/a.png", (60, 45)),
        ("/h/a.png?w=30", (30, 23)),
        ("/h/a.png?w=30&h=20", (30, 20)),
        ("/only/a.png", (50, 10)),
        ("/only/a.png?p=thumb", (20, 15)),
    ] {
        let answer = server.get(target).ok();
        assert_eq!((size_of(&answer.body), Kind::of(&answer.body)), (size, Some(Kind::Png)));
    }
    // 60 × 20 is not listed, although 60 is the default.
    for target in ["/h/a.png?h=20", "/h/a.png?w=31", "/h/a.png?w=60", "/only/a.png?w=30"] {
        assert_eq!(server.get(target).status, 400, "{target}");
    }
}

#[test]
fn a_signature_is_of_the_url_without_the_defaults() {
    let directory = directory();
    let fields = json!({"defaults": "w=60&f=png", "token": hmac()});
    let server = Server::with_handler(merged(directory.handler(), fields));
    assert_eq!(size_of(&server.get(&signed("/h/a.png")).ok().body), (60, 45));
    assert_eq!(size_of(&server.get(&signed("/h/a.png?w=20")).ok().body), (20, 15));
    server.get("/h/a.png?w=60&f=png").failed("token_refused");
    // The size that a token permits is that of the result.
    let fields = json!({"defaults": "w=60", "token": jwt()});
    let server = Server::with_handler(merged(directory.handler(), fields));
    let narrow = bearer_token(json!({"w": 59}));
    server.get(&with_token("/h/a.png", &narrow)).failed("token_refused");
    server.get(&with_token("/h/a.png?w=59", &narrow)).ok();
}

#[test]
fn without_an_error_image_a_failure_has_an_empty_body() {
    let directory = directory().with("broken.jpg", b"no image");
    let fields =
        json!({"error_image": "none", "token": merged(hmac(), json!({"required": false}))});
    let precise = json!({"name": "p", "error_image": "none", "error_status": "precise"});
    let server = Server::start(json!({"handlers": [
        merged(directory.handler(), fields),
        merged(directory.handler(), precise),
    ]}));
    for (target, status, code) in [
        ("/h/missing.jpg", 404, "not_found"),
        ("/h/missing.jpg?w=30&f=webp", 404, "not_found"),
        ("/h/broken.jpg", 404, "unsupported_format"),
        ("/h/a/../b.jpg", 404, "invalid_key"),
        ("/h/a.jpg?t=x", 404, "token_refused"),
        ("/p/broken.jpg?w=3", 415, "unsupported_format"),
    ] {
        for _ in 0..2 {
            let answer = server.get(target);
            assert_eq!((answer.status, answer.expect("X-Error")), (status, code), "{target}");
            assert_eq!(answer.expect("Content-Length"), "0", "{target}");
            assert_eq!(answer.header("Content-Type"), None, "{target}");
            assert_eq!(answer.cache_control(), ["no-store"], "{target}");
            assert!(answer.body.is_empty(), "{target}");
        }
        let head = server.head_with(target, &[]);
        assert_eq!((head.status, head.expect("Content-Length")), (status, "0"), "{target}");
    }
    server.get("/h/a.jpg?w=30").ok();
}

/// Handlers with a fallback: `h`, `precise`, `none` without an error image, `lost` whose fallback is missing.
fn fallback_server(directory: &Directory, cache: &Directory) -> Server {
    let handler = |fields: Value| merged(directory.handler(), fields);
    let fields =
        json!({"fallback": "fallback.png", "negative_cache_time": 60, "cache_path": cache.path()});
    Server::start(json!({"handlers": [
        handler(fields),
        handler(json!({"name": "precise", "fallback": "fallback.png", "error_status": "precise"})),
        handler(json!({"name": "none", "fallback": "fallback.png", "error_image": "none",
            "negative_cache_time": 0})),
        handler(json!({"name": "lost", "fallback": "nope.png", "error_image": "none"})),
        handler(json!({"name": "bad", "fallback": "broken.png", "error_image": "none"})),
    ]}))
}

#[test]
fn a_missing_key_gets_the_fallback_with_the_options_of_the_request() {
    let directory = Directory::new()
        .with("fallback.png", &images::png(images::solid(80, 60, BLUE)))
        .with("a.png", &images::png(images::solid(80, 60, GREEN)))
        .with("broken.png", b"\x89PNG\r\n\x1a\nbroken");
    let cache = Directory::new();
    let server = fallback_server(&directory, &cache);
    for (target, size, kind) in [
        ("/h/x.png", (80, 60), Kind::Png),
        ("/h/x.png?w=40", (40, 30), Kind::Png),
        ("/h/y.png?w=40", (40, 30), Kind::Png),
        ("/h/y.jpg?w=40&h=40&f=webp", (40, 40), Kind::Webp),
        ("/precise/x.png?w=20", (20, 15), Kind::Png),
    ] {
        for _ in 0..2 {
            let answer = server.get(target).failed("not_found");
            assert_eq!(answer.expect("Content-Type"), kind.media_type(), "{target}");
            let image = Image::decode(&answer.body);
            assert_eq!((image.size(), Kind::of(&answer.body)), (size, Some(kind)), "{target}");
            assert!(close(image.at(1, 1), BLUE), "{target}");
            // It is neither the variant of this key nor stored as one.
            assert_eq!((answer.header("ETag"), answer.header("Age")), (None, None), "{target}");
        }
    }
    // One entry for all missing keys.
    assert_eq!(cache.files().len(), 3);
    let answer = server.get("/h/x.png?w=40").failed("not_found");
    assert_eq!(answer.cache_control(), ["public", "max-age=60"]);
    assert_eq!(state(&answer), "hit");
    let none = server.get("/none/x.png").failed("not_found");
    assert_eq!(none.cache_control(), ["no-store"]);
    assert!(close(Image::decode(&none.body).at(1, 1), BLUE));
    let head = server.head_with("/h/x.png?w=40", &[]);
    assert_eq!(
        (head.status, head.expect("Content-Length")),
        (404, &*answer.body.len().to_string())
    );
    // Conditions and ranges are about a 200 (RFC 9110 §13.2.1, §14.2).
    for field in [("If-None-Match", "*"), ("Range", "bytes=0-1")] {
        let answer = server.get_with("/h/x.png?w=40", &[field]);
        assert_eq!((answer.status, size_of(&answer.body)), (404, (40, 30)), "{field:?}");
    }
    // The keys that exist are as they were.
    assert!(close(Image::decode(&server.get("/h/a.png").ok().body).at(1, 1), GREEN));
    let itself = server.get("/h/fallback.png?w=40").ok();
    assert_eq!(itself.body, answer.body);
    assert_eq!(state(&itself), "hit");
}

#[test]
fn only_a_missing_key_gets_the_fallback() {
    let directory = Directory::new()
        .with("fallback.png", &images::png(images::solid(80, 60, BLUE)))
        .with("a.png", &images::png(images::solid(80, 60, GREEN)))
        .with("broken.png", b"\x89PNG\r\n\x1a\nbroken")
        .with("text.png", b"no image");
    let cache = Directory::new();
    let server = fallback_server(&directory, &cache);
    for (target, code) in [
        ("/none/broken.png", "corrupt_image"),
        ("/none/text.png", "unsupported_format"),
        ("/none/a.png?page=3", "page_missing"),
        ("/none/a/../b.png", "invalid_key"),
        // The fallback is missing, also when it is asked for, is damaged, or has no such frame.
        ("/lost/x.png", "not_found"),
        ("/lost/nope.png", "not_found"),
        ("/bad/x.png", "not_found"),
        ("/none/x.png?page=3", "not_found"),
    ] {
        for _ in 0..2 {
            let answer = server.get(target).failed(code);
            assert!(answer.body.is_empty(), "{target}");
            assert_eq!(answer.cache_control(), ["no-store"], "{target}");
        }
    }
}

#[test]
fn a_fallback_ends_when_the_key_appears_and_is_private_where_the_image_is() {
    let directory = Directory::new().with("fallback.png", &images::png(images::solid(8, 6, BLUE)));
    let fields = json!({"fallback": "fallback.png", "negative_cache_time": 1, "token": jwt()});
    let server = Server::with_handler(merged(directory.handler(), fields));
    let bearer = format!("Bearer {}", bearer_token(json!({})));
    let get = || server.get_with("/h/a.png", &[("Authorization", &bearer)]);
    let answer = get().failed("not_found");
    assert!(answer.varies_on("Authorization"));
    assert_eq!(answer.cache_control(), ["private", "max-age=1"]);
    server.get("/h/a.png").failed("token_refused");
    directory.put("a.png", &images::png(images::solid(8, 6, RED)));
    eventually("the key is found", || get().status == 200);
    assert!(close(Image::decode(&get().ok().body).at(1, 1), RED));
}

#[test]
fn an_origin_that_fails_is_not_a_missing_key() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let image = images::png(images::solid(8, 6, BLUE));
    let origin = RawOrigin::start(move |request, peer| {
        if request.path().ends_with("fallback.png") {
            peer.send(&object(&image))
        } else if failing.load(Ordering::SeqCst) {
            peer.send(&origin::answer(500, &[], b"<Error><Code>InternalError</Code></Error>"))
        } else {
            // S3 says this where the credentials may not list the bucket.
            peer.send(&origin::answer(403, &[], b"<Error><Code>AccessDenied</Code></Error>"))
        }
    });
    let fields =
        json!({"fallback": "fallback.png", "error_image": "none", "negative_cache_time": 0});
    let server = Server::with_handler(merged(origin.handler(), fields));
    assert!(server.get("/h/a.png").failed("origin_error").body.is_empty());
    fails.store(false, Ordering::SeqCst);
    let answer = server.get("/h/a.png").failed("not_found");
    assert_eq!(size_of(&answer.body), (8, 6));
}

#[test]
fn descriptions_and_files_get_no_fallback() {
    let directory = Directory::new()
        .with("f.png", &images::png(images::solid(80, 60, BLUE)))
        .with("drawing", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    let handler = |fields: Value| {
        let files = json!({"passthrough": ["svg"], "allowed_formats": ["jpg", "svg"]});
        merged(merged(directory.handler(), files), fields)
    };
    let server = Server::start(json!({"handlers": [
        handler(json!({"fallback": "f.png"})),
        handler(json!({"name": "drawing", "fallback": "drawing"})),
    ]}));
    // Its extension is not one that a request may have.
    server.get("/h/f.png").failed("format_not_allowed");
    for _ in 0..2 {
        let answer = server.get("/h/x.jpg?w=8").failed("not_found");
        assert_eq!((size_of(&answer.body), Kind::of(&answer.body)), ((8, 6), Some(Kind::Png)));
        let answer = server.get("/h/x.jpg?f=json").failed("not_found");
        let text: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(text["error"]["code"], "not_found");
        for hash in ["thumbhash", "blurhash"] {
            let answer = server.get(&format!("/h/x.jpg?f={hash}")).failed("not_found");
            assert!(answer.body.starts_with(b"not_found: "), "{hash}");
        }
        // The built-in error image.
        for target in ["/h/x.svg", "/drawing/x.svg", "/drawing/x.jpg"] {
            let answer = server.get(target).failed("not_found");
            assert_eq!(Kind::of(&answer.body), Some(Kind::Jpeg), "{target}");
            assert_eq!(answer.cache_control(), ["no-store"], "{target}");
        }
    }
}

#[test]
fn lossless_of_the_defaults_gives_way_to_a_format_that_is_requested() {
    let directory = directory();
    let server = Server::with_handler(merged(
        directory.handler(),
        json!({"defaults": "lossless=true&w=20", "presets": {"jpg": "f=jpg"}}),
    ));
    for (query, kind) in [
        ("", Kind::Png),
        ("?f=jpg", Kind::Jpeg),
        ("?f=gif", Kind::Gif),
        ("?p=jpg", Kind::Jpeg),
        ("?f=webp", Kind::Webp),
    ] {
        let body = server.get(&format!("/h/a.png{query}")).ok().body;
        assert_eq!(Kind::of(&body), Some(kind), "{query}");
    }
    let refused = server.get("/h/a.png?f=jpg&lossless=true");
    assert_eq!(refused.status, 400);
}
