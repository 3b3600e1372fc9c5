//! `raw=true`.

use serde_json::json;

use super::{HTML, PDF, SVG, check, start};
use crate::admin::cache_status;
use crate::support::directory::Directory;
use crate::support::images::{self, Kind, holds, size_of};
use crate::support::merged;
use crate::support::origin::{RawOrigin, answer};
use crate::support::server::Server;
use crate::support::tokens::{bearer_token, hmac, jwt, signed, token, with_token};

/// An image with EXIF.
fn tagged() -> Vec<u8> {
    images::with_metadata(Kind::Jpeg, &images::gradient(80, 60), Some(images::exif(6)), None)
}

#[test]
fn raw_is_refused_unless_the_handler_says_otherwise() {
    let directory = Directory::new().with("a.jpg", &tagged()).with("a.svg", SVG);
    for fields in [json!({}), json!({"raw": false}), json!({"passthrough": ["svg"]})] {
        let server = Server::with_handler(merged(directory.handler(), fields));
        for key in ["a.jpg", "a.svg", "missing.jpg"] {
            let answer = server.get(&format!("/h/{key}?raw=true"));
            assert_eq!(
                (answer.status, answer.text()),
                (400, "raw: originals are not served as they are here\n")
            );
        }
        server.get("/h/a.jpg?raw=false&w=9").ok();
    }
}

#[test]
fn an_original_is_served_byte_for_byte() {
    let [directory, cache] = [Directory::new(), Directory::new()];
    let bytes_of = |kind| match kind {
        Kind::Avif => {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/exif-xmp.avif");
            std::fs::read(path).unwrap()
        }
        other => images::in_format(other, &images::gradient(80, 60)),
    };
    for kind in Kind::ALL {
        directory.put(kind.name(), &bytes_of(kind));
    }
    let original = tagged();
    directory.put("a.jpg", &original);
    // Its type is that of its content, whatever its key says.
    directory.put("b.html", &original);
    let server = start(&directory, &cache, json!({"raw": true, "output_format": "webp"}));
    for kind in Kind::ALL {
        let answer = server.get(&format!("/h/{}?raw=true", kind.name())).ok();
        check(&answer, kind.media_type(), &bytes_of(kind));
        assert_eq!(answer.header("Content-Disposition"), None);
    }
    check(&server.get("/h/b.html?raw=true"), "image/jpeg", &original);
    let raw = server.get("/h/a.jpg?raw=true");
    assert!(holds(&raw.body, b"Exif\0\0") && raw.body == original);
    assert_eq!((cache_status(&raw), raw.header("Vary")), ("miss", None));
    assert_eq!(cache_status(&server.get("/h/a.jpg?raw=true&utm=1")), "hit");
    let rendered = server.get("/h/a.jpg").ok();
    assert!(rendered.body != original && !holds(&rendered.body, b"Exif\0\0"));
    assert_eq!(cache_status(&rendered), "miss");
    let etag = raw.expect("ETag");
    let not_modified = server.get_with("/h/a.jpg?raw=true", &[("If-None-Match", etag)]);
    assert_eq!(not_modified.status, 304);
    let range = server.get_with("/h/a.jpg?raw=true", &[("Range", "bytes=-5")]);
    assert_eq!((range.status, &range.body[..]), (206, &original[original.len() - 5..]));
    let head = server.head_with("/h/a.jpg?raw=true", &[]);
    assert_eq!(head.expect("Content-Length"), original.len().to_string());
}

#[test]
fn raw_is_not_combined_with_options_of_the_image() {
    let directory = Directory::new().with("a.jpg", &tagged());
    let fields = json!({"raw": true, "presets": {"small": "w=9", "whole": "raw=true"}, "allowed_sizes": [[9, 0]]});
    let server = Server::with_handler(merged(directory.handler(), fields));
    for (query, sentence) in [
        ("raw=true&w=9", "raw: can't be true with w\n"),
        ("raw=true&f=jpg", "raw: can't be true with f\n"),
        ("raw=true&strip=false", "raw: can't be true with strip\n"),
        ("p=whole&w=9", "raw: can't be true with w\n"),
        ("raw=1", "raw: must be true or false, not \"1\"\n"),
        ("raw=svg", "raw: must be true or false, not \"svg\"\n"),
        ("raw=true", "w, h: this size is not allowed here\n"),
    ] {
        let answer = server.get(&format!("/h/a.jpg?{query}"));
        assert_eq!((answer.status, answer.text()), (400, sentence), "{query}");
    }
    assert_eq!(server.get("/h/a.jpg?p=whole").ok().body, tagged());
    assert_eq!(size_of(&server.get("/h/a.jpg?p=whole&raw=false&w=9").ok().body).0, 9);
    let only = json!({"raw": true, "presets": {"small": "w=9"}, "presets_only": true});
    let server = Server::with_handler(merged(directory.handler(), only));
    assert_eq!(server.get("/h/a.jpg?p=small&raw=true").status, 400);
}

#[test]
fn what_is_no_image_is_not_served_raw() {
    let directory =
        Directory::new().with("a.jpg", HTML).with("a", SVG).with("a.txt", b"text").with("b", PDF);
    let fields = json!({"raw": true, "passthrough": ["pdf"]});
    let server = Server::with_handler(merged(directory.handler(), fields));
    for key in ["a.jpg", "a", "a.txt"] {
        server.get(&format!("/h/{key}?raw=true")).failed("unsupported_format");
    }
    // A file whose type is listed, under a key that does not say so.
    let answer = server.get("/h/b?raw=true");
    check(&answer, "application/pdf", PDF);
    assert_eq!(answer.expect("Content-Disposition"), "attachment");
    server.get("/h/b").failed("unsupported_format");
}

#[test]
fn the_type_of_an_origin_makes_nothing_html() {
    let png = images::png(images::gradient(8, 6));
    let body = png.clone();
    let origin = RawOrigin::start(move |request, peer| {
        let is_page = request.path().ends_with("page");
        let (content_type, bytes) =
            if is_page { ("image/png", HTML) } else { ("text/html", &body[..]) };
        peer.send(&answer(200, &[("Content-Type", content_type)], bytes))
    });
    let server = Server::with_handler(merged(origin.handler(), json!({"raw": true})));
    check(&server.get("/h/a?raw=true"), "image/png", &png);
    server.get("/h/page?raw=true").failed("unsupported_format");
}

#[test]
fn tokens_decide_about_originals() {
    let directory = Directory::new().with("a.jpg", &tagged()).with("a.svg", SVG);
    let fields = json!({"raw": true, "passthrough": ["svg"], "token": hmac()});
    let server = Server::with_handler(merged(directory.handler(), fields.clone()));
    check(&server.get(&signed("/h/a.jpg?raw=true")), "image/jpeg", &tagged());
    check(&server.get(&signed("/h/a.svg?w=3")), "image/svg+xml", SVG);
    let for_rendered = token(crate::support::tokens::SECRET, "/h/a.jpg");
    server.get(&with_token("/h/a.jpg", &for_rendered)).ok();
    server.get(&with_token("/h/a.jpg?raw=true", &for_rendered)).failed("token_refused");
    server.get("/h/a.jpg?raw=true").failed("token_refused");
    server.get("/h/a.svg").failed("token_refused");

    let server =
        Server::with_handler(merged(directory.handler(), merged(fields, json!({"token": jwt()}))));
    let any = bearer_token(json!({}));
    let small = bearer_token(json!({"w": 50}));
    for target in ["/h/a.jpg?raw=true", "/h/a.svg", "/h/a.svg?w=9"] {
        assert_eq!(server.get(&with_token(target, &any)).status, 200, "{target}");
        // A token for small images is none for an original.
        server.get(&with_token(target, &small)).failed("token_refused");
    }
    server.get(&with_token("/h/a.jpg?w=9", &small)).ok();
}
