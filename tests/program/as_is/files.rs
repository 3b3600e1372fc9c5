//! Files of types that are not decoded.

use serde_json::{Value, json};

use super::{HTML, PDF, SVG, all_types, check, check_security, mp4, start};
use crate::admin::{cache_status, config, send_ok};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::origin::{RawOrigin, answer};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

fn ico() -> Vec<u8> {
    let png = images::png(images::solid(16, 16, images::RED));
    let mut bytes = vec![0, 0, 1, 0, 1, 0, 16, 16, 0, 0, 1, 0, 32, 0];
    bytes.extend(u32::try_from(png.len()).unwrap().to_le_bytes());
    bytes.extend(22_u32.to_le_bytes());
    bytes.extend(png);
    bytes
}

/// A header and six pixels.
fn bmp() -> Vec<u8> {
    let mut bytes =
        b"BM\x4e\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x03\0\0\0\x02\0\0\0\x01\0\x18\0".to_vec();
    bytes.resize(78, 0);
    bytes
}

#[test]
fn each_type_has_its_fields_and_is_not_changed() {
    let files: [(&str, &str, bool, Vec<u8>); 12] = [
        ("a.svg", "image/svg+xml", true, SVG.to_vec()),
        ("b/A.SVG", "image/svg+xml", true, SVG.to_vec()),
        ("a.ico", "image/vnd.microsoft.icon", true, ico()),
        ("a.bmp", "image/bmp", true, bmp()),
        ("a.tif", "image/tiff", true, b"II*\0\x08\0\0\0\0\0".to_vec()),
        ("a.tiff", "image/tiff", true, b"MM\0*\0\0\0\x08\0\0".to_vec()),
        ("a.heic", "image/heic", true, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec()),
        ("a.jxl", "image/jxl", true, b"\xff\x0a\xfa\x1f".to_vec()),
        ("a.pdf", "application/pdf", false, PDF.to_vec()),
        ("a.mp4", "video/mp4", false, mp4(1000)),
        ("a.mov", "video/quicktime", false, b"\0\0\0\x14ftypqt  \0\0\0\0qt  ".to_vec()),
        (
            "a.webm",
            "video/webm",
            false,
            b"\x1a\x45\xdf\xa3\x8b\x42\x82\x84webm\x42\x87\x81\x04".to_vec(),
        ),
    ];
    let [directory, cache] = [Directory::new(), Directory::new()];
    for (key, _, _, bytes) in &files {
        directory.put(key, bytes);
    }
    let server = start(&directory, &cache, json!({"passthrough": all_types()}));
    for (key, content_type, is_image, bytes) in &files {
        for cached in ["miss", "hit"] {
            let answer = server.get(&format!("/h/{key}"));
            check(&answer, content_type, bytes);
            assert_eq!(answer.header("Content-Disposition"), (!is_image).then_some("attachment"));
            assert_eq!(cache_status(&answer), cached, "{key}");
            assert!(answer.expect("ETag").len() > 60 && answer.header("Vary").is_none());
            answer.expect("Last-Modified");
        }
    }
}

#[test]
fn options_have_no_effect_on_a_file_and_make_no_second_entry() {
    let directory = Directory::new().with("a.svg", SVG);
    let cache = Directory::new();
    let fields = json!({"passthrough": ["svg"], "output_format": "jpg", "presets": {"a": "w=5"}});
    let server = start(&directory, &cache, fields);
    let first = server.get("/h/a.svg?w=300&h=200&f=webp");
    check(&first, "image/svg+xml", SVG);
    for query in
        ["", "?w=1", "?w=2&f=auto&dpr=2", "?f=avif&q=3", "?p=a", "?rot=90&blur=3&unknown=1"]
    {
        let answer = server.get_with(&format!("/h/a.svg{query}"), &[("Accept", "image/avif,*/*")]);
        check(&answer, "image/svg+xml", SVG);
        assert_eq!(cache_status(&answer), "hit", "{query}");
        assert_eq!(answer.expect("ETag"), first.expect("ETag"));
        assert_eq!(answer.header("Vary"), None, "{query}");
    }
    assert_eq!(cache.files().len(), 1, "{:?}", cache.files());
    // What is malformed stays so.
    for query in ["?w=0", "?w=1&w=2", "?f=svg", "?raw=svg", "?p=other", "?raw=true"] {
        let answer = server.get(&format!("/h/a.svg{query}"));
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[test]
fn a_file_is_what_its_content_says_and_never_html() {
    let jpeg = images::jpeg(images::gradient(80, 60));
    let polyglot = [&jpeg, HTML].concat();
    let [directory, cache] = [Directory::new(), Directory::new()];
    let hostile: [(&str, &[u8]); 18] = [
        ("page.svg", HTML),
        ("xhtml.svg", b"<html xmlns='http://www.w3.org/1999/xhtml'><svg/></html>"),
        ("doctype.svg", b"<!DOCTYPE html><svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("xslt.svg", b"<?xml-stylesheet type='text/xsl' href='#a'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("utf-16.svg", b"<\0s\0v\0g\0/\0>\0"),
        ("text.svg", b"alert(1)"),
        ("photo.svg", &jpeg),
        ("polyglot.svg", &polyglot),
        ("pdf.svg", PDF),
        ("svg.pdf", SVG),
        ("page.pdf", HTML),
        ("late.pdf", b"<html>%PDF-1.7</html>"),
        ("page.mp4", HTML),
        ("page.ico", b"\0\0\x01\0\x01\0<html><script>alert(1)</script></html>"),
        ("page.bmp", b"BM<html><body><script>alert(1)</script></body></html>"),
        ("page.webm", b"<html>\x1a\x45\xdf\xa3webm</html>"),
        ("empty.svg", b""),
        ("short.pdf", b"%PD"),
    ];
    for (key, bytes) in &hostile {
        directory.put(key, bytes);
    }
    for other in ["page.html", "page.xhtml", "page.js", "page", "page.jpg"] {
        directory.put(other, HTML);
    }
    // The content alone makes no file: its key says what is asked for.
    for other in ["vector", "vector.jpg", "vector.html"] {
        directory.put(other, SVG);
    }
    let server = start(&directory, &cache, json!({"passthrough": all_types(), "raw": false}));
    let others = [
        "page.html",
        "page.xhtml",
        "page.js",
        "page",
        "page.jpg",
        "vector",
        "vector.jpg",
        "vector.html",
    ];
    let keys = hostile.iter().map(|(key, _)| *key).chain(others);
    for key in keys {
        for query in ["", "?w=9", "?dl=a.html"] {
            let answer = server.get(&format!("/h/{key}{query}"));
            assert_eq!(answer.status, 404, "{key}");
            assert_eq!(answer.expect("Content-Type"), "image/jpeg", "{key}: the error image");
            assert_eq!(answer.header("Content-Disposition"), None);
            check_security(&answer);
        }
    }
    assert!(cache.files().is_empty(), "{:?}", cache.files());
    server.log.event_with("image_failed", "its key has the extension of SVG, but it is JPEG");
}

#[test]
fn the_type_that_an_origin_says_is_disregarded() {
    let origin = RawOrigin::start(|request, peer| {
        let fields = [("Content-Type", "text/html"), ("ETag", "\"1\"")];
        let body = if request.path().ends_with("page.svg") { HTML } else { SVG };
        peer.send(&answer(200, &fields, body))
    });
    let server = Server::with_handler(merged(origin.handler(), json!({"passthrough": ["svg"]})));
    check(&server.get("/h/a.svg"), "image/svg+xml", SVG);
    server.get("/h/page.svg").failed("unsupported_format");
}

#[test]
fn a_type_that_is_not_listed_is_not_passed_through() {
    let directory = Directory::new().with("a.svg", SVG).with("a.pdf", PDF).with("b.svg", SVG);
    let cache = Directory::new();
    let server = start(&directory, &cache, json!({"passthrough": ["pdf"]}));
    server.get("/h/a.svg").failed("unsupported_format");
    check(&server.get("/h/a.pdf"), "application/pdf", PDF);
    server.reload_well(json!({"handlers": [
        merged(directory.handler(), json!({"cache_path": cache.path(), "passthrough": ["svg"]}))
    ]}));
    check(&server.get("/h/a.svg"), "image/svg+xml", SVG);
    // Its entry is still there.
    server.get("/h/a.pdf").failed("unsupported_format");
    let allowed = json!({"passthrough": ["svg"], "allowed_formats": ["svg", "jpg"]});
    let server = Server::with_handler(merged(directory.handler(), allowed));
    check(&server.get("/h/a.svg"), "image/svg+xml", SVG);
    server.get("/h/a.pdf").failed("format_not_allowed");
}

#[test]
fn what_the_configuration_no_longer_allows_is_not_served_from_the_cache() {
    let jpeg = images::jpeg(images::gradient(8, 6));
    let directory = Directory::new().with("a.pdf", PDF).with("b", PDF).with("a.jpg", &jpeg);
    for (memory_cache, cache_time) in [(0, 600), (8 << 20, 600), (0, 0)] {
        let cache = Directory::new();
        let config = |fields: Value| {
            let base = json!({"cache_path": cache.path(), "cache_time": cache_time});
            let handler = merged(merged(directory.handler(), base), fields);
            json!({"handlers": [handler], "memory_cache": memory_cache})
        };
        let both = json!({"raw": true, "passthrough": ["pdf", "svg"]});
        let server = Server::start(config(both.clone()));
        let etag = server.get("/h/a.pdf?raw=true").expect("ETag").to_owned();
        for _ in 0..2 {
            for target in ["/h/a.pdf?raw=true", "/h/b?raw=true", "/h/a.pdf"] {
                check(&server.get(target), "application/pdf", PDF);
            }
            server.get("/h/a.jpg?raw=true").ok();
        }
        server.reload_well(config(json!({"raw": true, "passthrough": ["svg"]})));
        let condition = [("If-None-Match", &*etag)];
        for target in ["/h/a.pdf?raw=true", "/h/b?raw=true", "/h/a.pdf"] {
            for answer in [
                server.get_with(target, &condition),
                server.get_with(target, &[("Range", "bytes=0-3")]),
                server.get(target),
            ] {
                assert_ne!(answer.body, PDF, "{target}");
                answer.failed("unsupported_format");
            }
            assert_eq!(server.head_with(target, &[]).status, 404, "{target}");
        }
        assert_eq!(server.get("/h/a.jpg?raw=true").ok().body, jpeg);
        server.reload_well(config(json!({"passthrough": ["pdf"]})));
        for target in ["/h/a.pdf?raw=true", "/h/b?raw=true", "/h/a.jpg?raw=true"] {
            let answer = server.get_with(target, &condition);
            assert_eq!((answer.status, answer.header("ETag")), (400, None), "{target}");
        }
        check(&server.get("/h/a.pdf"), "application/pdf", PDF);
        server.reload_well(config(both));
        check(&server.get("/h/b?raw=true"), "application/pdf", PDF);
    }
}

#[test]
fn conditions_ranges_and_head_are_those_of_a_variant() {
    let directory = Directory::new().with("a.pdf", PDF);
    let cache = Directory::new();
    let server = start(&directory, &cache, json!({"passthrough": ["pdf"]}));
    let first = server.get("/h/a.pdf?w=9");
    let etag = first.expect("ETag").to_owned();
    let date = first.expect("Last-Modified").to_owned();
    for (name, value, status) in [
        ("If-None-Match", &*etag, 304),
        ("If-Modified-Since", &date, 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Match", "\"other\"", 412),
        ("Range", "bytes=900-", 416),
    ] {
        let answer = server.get_with("/h/a.pdf", &[(name, value)]);
        assert_eq!(answer.status, status, "{name}: {value}");
        check_security(&answer);
    }
    let range = server.get_with("/h/a.pdf", &[("Range", "bytes=1-3")]);
    assert_eq!((range.status, range.text()), (206, "PDF"));
    assert_eq!(range.expect("Content-Range"), format!("bytes 1-3/{}", PDF.len()));
    assert_eq!(range.expect("Content-Type"), "application/pdf");
    assert_eq!(range.expect("Content-Disposition"), "attachment");
    check_security(&range);
    let head = server.head_with("/h/a.pdf", &[]);
    assert_eq!((head.status, head.expect("Content-Length")), (200, &*PDF.len().to_string()));
    assert_eq!(head.expect("Content-Disposition"), "attachment");
    assert_eq!(head.expect("ETag"), etag);
}

#[test]
fn a_purge_removes_a_file() {
    let directory = Directory::new().with("a.svg", SVG);
    let cache = Directory::new();
    let fields =
        json!({"cache_path": cache.path(), "passthrough": ["svg"], "cache_tags": "Cache-Tag"});
    let server = Server::start(config(merged(directory.handler(), fields)));
    let old = server.get("/h/a.svg?w=3");
    assert!(!old.expect("Cache-Tag").is_empty());
    let new = [SVG, b"<!-- new -->"].concat();
    directory.put("a.svg", &new);
    assert_eq!(server.get("/h/a.svg").body, SVG);
    let answer = send_ok(&server, "POST", "/-/purge/h/a.svg");
    assert_eq!((&answer["renditions"], &answer["original"]), (&json!(1), &json!(false)));
    let answer = server.get("/h/a.svg?w=7");
    check(&answer, "image/svg+xml", &new);
    assert_eq!(cache_status(&answer), "miss");
    assert_eq!(answer.expect("Cache-Tag"), old.expect("Cache-Tag"));
    // A file that is gone is remembered as such.
    std::fs::remove_file(directory.path().join("a.svg")).unwrap();
    send_ok(&server, "POST", "/-/purge/h/a.svg");
    for cached in ["miss", "hit"] {
        let answer = server.get("/h/a.svg").failed("not_found");
        assert_eq!(cache_status(&answer), cached);
    }
}

#[test]
fn servers_share_files_and_revalidate_them() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.svg", SVG);
    let node = |cache: &Directory| {
        let fields = json!({
            "cache_path": cache.path(), "results": s3.aws(&ARCHIVE), "share_min_ms": 0,
            "results_timeout": 10, "passthrough": ["svg"], "cache_time": 600,
        });
        Setup::new(json!({"handlers": [merged(s3.handler(), fields)]})).check_interval(20).start()
    };
    let [one, other] = [Directory::new(), Directory::new()];
    let [one, other] = [node(&one), node(&other)];
    assert_eq!(cache_status(&one.get("/h/a.svg?w=9")), "miss");
    eventually("the file is shared", || {
        let puts = s3.answered(&ARCHIVE, "PUT");
        puts.iter().any(|(key, status)| key.starts_with("v1/results/") && *status == 200)
    });
    let shared = other.get("/h/a.svg?h=3");
    check(&shared, "image/svg+xml", SVG);
    assert_eq!(cache_status(&shared), "shared");
}

#[test]
fn a_server_takes_no_shared_file_of_a_type_that_it_does_not_pass_through() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a", PDF);
    s3.put(&IMAGES, "b", SVG);
    let node = |cache: &Directory, types: Value| {
        let fields = json!({
            "cache_path": cache.path(), "results": s3.aws(&ARCHIVE), "share_min_ms": 0,
            "results_timeout": 10, "raw": true, "passthrough": types, "cache_time": 0,
        });
        Setup::new(json!({"handlers": [merged(s3.handler(), fields)]})).check_interval(20).start()
    };
    let wait_for_results = |count: usize| {
        eventually("the files are shared", || {
            let puts = s3.answered(&ARCHIVE, "PUT").into_iter();
            let is_result =
                |(key, status): &(String, u16)| key.starts_with("v1/results/") && *status == 200;
            puts.filter(is_result).count() == count
        });
    };
    let caches = [Directory::new(), Directory::new()];
    let svg = node(&caches[0], json!(["svg"]));
    let both = node(&caches[1], json!(["svg", "pdf"]));
    check(&svg.get("/h/b?raw=true"), "image/svg+xml", SVG);
    wait_for_results(1);
    check(&both.get("/h/a?raw=true"), "application/pdf", PDF);
    wait_for_results(2);
    svg.get("/h/a?raw=true").failed("unsupported_format");
}

#[test]
fn a_mandatory_watermark_leaves_files_that_are_no_images() {
    let [directory, cache, marks] = [Directory::new(), Directory::new(), Directory::new()];
    directory.put("a.pdf", PDF);
    let logo = marks.put("logo.png", &images::png(images::solid(9, 9, images::RED)));
    let always = json!({"watermarks": {"logo": {"file": logo}}, "wm": "always"});
    let server = start(&directory, &cache, merged(always.clone(), json!({"passthrough": ["pdf"]})));
    check(&server.get("/h/a.pdf?w=9"), "application/pdf", PDF);
    for fields in [json!({"raw": true}), json!({"passthrough": ["svg"]})] {
        let handler = merged(directory.handler(), merged(always.clone(), fields));
        let output = Setup::new(json!({"handlers": [handler]})).run();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("would be served without a watermark"), "{stderr}");
    }
}

#[test]
fn a_line_of_the_log_names_the_type() {
    let directory = Directory::new().with("a.svg", SVG);
    let config = json!({
        "handlers": [merged(directory.handler(), json!({"passthrough": ["svg"]}))],
        "log_format": "json",
    });
    let server = Server::start(config);
    server.get("/h/a.svg?w=9");
    let mut found = Value::Null;
    eventually("the request is logged", || {
        let lines = server.log.lines();
        let mut values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found = values.find(|value| value["event.action"] == "request").unwrap_or_default();
        !found.is_null()
    });
    assert_eq!(found["image.output.format"], "svg", "{found}");
    assert_eq!(found["image.output.bytes"], SVG.len(), "{found}");
    assert_eq!(found["image.input.format"], "svg", "{found}");
}
