//! Response headers, conditional requests, ranges, and error responses.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::client::{Answer, request};
use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, MAGENTA, close, size_of};
use crate::support::origin::{self, RawOrigin, Then};
use crate::support::server::{Server, data};
use crate::support::{eventually, merged};

/// 14 April 2020, 09:00:00 GMT.
const MODIFIED: u64 = 1_586_854_800;
const MODIFIED_TEXT: &str = "Tue, 14 Apr 2020 09:00:00 GMT";

fn directory() -> Directory {
    let directory = Directory::new().with("a.png", &images::png(images::gradient(80, 60)));
    directory.set_modified("a.png", SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED));
    directory
}

fn server(directory: &Directory, fields: Value) -> Server {
    Server::with_handler(merged(directory.handler(), fields))
}

#[test]
fn images_have_the_documented_headers() {
    let directory = directory();
    let cache = Directory::new();
    let server = server(&directory, json!({"cache_path": cache.path()}));
    for cached in ["miss", "hit"] {
        let answer = server.get("/h/a.png?w=40&f=webp").ok();
        assert_eq!(answer.expect("X-Cache"), cached);
        assert_eq!(answer.expect("Content-Length"), answer.body.len().to_string());
        assert_eq!(answer.expect("Content-Type"), "image/webp");
        assert_eq!(
            answer.expect("Last-Modified"),
            MODIFIED_TEXT,
            "of the original, not of the variant"
        );
        assert_eq!(answer.expect("Cache-Control"), "public, max-age=604800");
        assert_eq!(answer.header("Vary"), None);
        assert_eq!(answer.header("X-Error"), None);
        let tag = answer.expect("ETag");
        assert!(tag.len() > 10 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        let date = httpdate::parse_http_date(answer.expect("Date")).unwrap();
        assert!(SystemTime::now().duration_since(date).unwrap() < Duration::from_secs(60));
    }
}

#[test]
fn etag_is_that_of_the_bytes() {
    let directory = directory().with("same.png", &images::png(images::gradient(80, 60)));
    let server = Server::with_handler(directory.handler());
    let tag = |target: &str| server.get(target).ok().expect("ETag").to_owned();
    assert_eq!(tag("/h/a.png"), tag("/h/a.png"));
    assert_eq!(tag("/h/a.png"), tag("/h/same.png"), "equal bytes, whatever their key");
    assert_ne!(tag("/h/a.png"), tag("/h/a.png?w=40"));
    assert_ne!(tag("/h/a.png?w=40"), tag("/h/a.png?w=40&f=webp"));
}

#[test]
fn cache_control_follows_cache_time() {
    let directory = directory();
    let max_age = |fields: Value| {
        let answer = server(&directory, fields).get("/h/a.png").ok();
        answer.expect("Cache-Control").to_owned()
    };
    assert_eq!(max_age(json!({"cache_time": 60})), "public, max-age=60");
    assert_eq!(max_age(json!({})), "public, max-age=604800");
    let forever = max_age(json!({"cache_time": 0}));
    let seconds: u64 =
        forever.split("max-age=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(
        forever.starts_with("public") && seconds >= 31_536_000,
        "never expires, but says {forever}"
    );
    let never = max_age(json!({"cache_time": -1}));
    assert!(
        never.contains("no-store") || never.contains("no-cache") || never.contains("max-age=0"),
        "{never}"
    );
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let directory = directory();
    let cache = Directory::new();
    let server = server(&directory, json!({"cache_path": cache.path()}));
    for target in [
        "/h/a.png?w=40",
        "/h/a.png?w=41&f=auto",
        "/h/missing.png",
        "/h/missing.png?w=10",
        "/h/a.png?w=0",
        "/x",
        "/-/health",
    ] {
        // HEAD first, so that it is tested with a cold cache.
        let mut client = server.client();
        let head = client.head_with(target, &[]);
        let get = client.get(target);
        assert!(head.body.is_empty() && !get.body.is_empty(), "{target}");
        assert_eq!(head.status, get.status, "{target}");
        let without = |answer: &Answer| -> Vec<(String, String)> {
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| {
                !["date", "x-cache", "x-request-id"].contains(&name.to_ascii_lowercase().as_str())
            });
            headers
        };
        assert_eq!(without(&head), without(&get), "{target}");
        assert_eq!(head.expect("Content-Length"), get.body.len().to_string(), "{target}");
    }
}

#[test]
fn if_none_match_takes_lists_stars_and_weak_tags() {
    let directory = directory();
    let cache = Directory::new();
    let server = server(&directory, json!({"cache_path": cache.path(), "cors_origin": "*"}));
    let target = "/h/a.png?w=40";
    let whole = server.get(target).ok();
    let tag = whole.expect("ETag").to_owned();
    for value in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        format!("\"other\",{tag},\"third\""),
        format!("W/\"x\" , W/{tag}"),
        format!("\"with, comma\", {tag}"),
        format!(", {tag},"),
        "*".to_owned(),
    ] {
        for head in [false, true] {
            let headers = [("If-None-Match", value.as_str())];
            let answer = if head {
                server.head_with(target, &headers)
            } else {
                server.get_with(target, &headers)
            };
            assert_eq!(answer.status, 304, "{value}");
            assert!(answer.body.is_empty());
            // RFC 9110 §15.4.5: as in a 200.
            for name in ["ETag", "Cache-Control"] {
                assert_eq!(answer.expect(name), whole.expect(name), "{value}");
            }
            assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"));
            let length = answer.header("Content-Length");
            assert!(length.is_none() || length == whole.header("Content-Length"), "{length:?}");
        }
    }
    let unquoted = tag.trim_matches('"');
    for value in
        ["\"other\"", "W/\"other\"", "\"\"", unquoted, "w/*", "\"*\"", "", &format!("\"{unquoted}")]
    {
        let answer = server.get_with(target, &[("If-None-Match", value)]).ok();
        assert_eq!(answer.body, whole.body, "{value}");
    }
    // Several fields are one list.
    let two = server.get_with(target, &[("If-None-Match", "\"other\""), ("If-None-Match", &tag)]);
    assert_eq!(two.status, 304);
}

#[test]
fn if_modified_since_compares_with_the_originals_date() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    for (value, status) in [
        (MODIFIED_TEXT, 304),
        ("Tuesday, 14-Apr-20 09:00:00 GMT", 304),
        ("Tue Apr 14 09:00:00 2020", 304),
        ("Tue, 14 Apr 2020 09:00:01 GMT", 304),
        ("Sun, 01 Nov 2026 00:00:00 GMT", 304),
        ("Tue, 14 Apr 2020 08:59:59 GMT", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ("yesterday", 200),
        ("1586854800", 200),
        ("", 200),
    ] {
        assert_eq!(
            server.get_with("/h/a.png", &[("If-Modified-Since", value)]).status,
            status,
            "{value}"
        );
    }
    // If-None-Match takes precedence (RFC 9110 §13.1.3).
    let both = [("If-None-Match", "\"other\""), ("If-Modified-Since", MODIFIED_TEXT)];
    assert_eq!(server.get_with("/h/a.png", &both).status, 200);
}

#[test]
fn single_ranges_are_served_with_206() {
    let directory = directory();
    let cache = Directory::new();
    let server = server(&directory, json!({"cache_path": cache.path()}));
    let target = "/h/a.png?w=40";
    let whole = server.get(target).ok();
    let length = whole.body.len();
    for (value, first, last) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=0-9".to_owned(), 0, 9),
        ("bytes=5-".to_owned(), 5, length - 1),
        ("bytes=-7".to_owned(), length - 7, length - 1),
        ("bytes=3-99999999".to_owned(), 3, length - 1),
        ("bytes=3-99999999999999999999999999".to_owned(), 3, length - 1),
        ("bytes=-99999999".to_owned(), 0, length - 1),
        (format!("bytes={0}-{0}", length - 1), length - 1, length - 1),
        ("Bytes=1-2".to_owned(), 1, 2),
    ] {
        let part = server.get_with(target, &[("Range", &value)]);
        assert_eq!(part.status, 206, "{value}");
        assert_eq!(
            part.expect("Content-Range"),
            format!("bytes {first}-{last}/{length}"),
            "{value}"
        );
        assert_eq!(part.body, whole.body[first..=last], "{value}");
        for name in ["ETag", "Cache-Control", "Last-Modified", "Content-Type"] {
            assert_eq!(part.expect(name), whole.expect(name), "{value}");
        }
    }
    for value in [
        format!("bytes={length}-"),
        format!("bytes={}-{}", length + 5, length + 9),
        "bytes=-0".to_owned(),
    ] {
        let refused = server.get_with(target, &[("Range", &value)]);
        assert_eq!(refused.status, 416, "{value}");
        assert_eq!(refused.expect("Content-Range"), format!("bytes */{length}"), "{value}");
    }
}

#[test]
fn other_ranges_are_ignored() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let whole = server.get("/h/a.png").ok();
    for value in [
        "bytes=0-1,4-5",
        "bytes=9-3",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0x1-2",
        "lines=0-1",
        "0-1",
        "",
    ] {
        let answer = server.get_with("/h/a.png", &[("Range", value)]).ok();
        assert_eq!(answer.body, whole.body, "{value}");
    }
    // Range is defined for GET only (RFC 9110 §14.2).
    let head = server.head_with("/h/a.png", &[("Range", "bytes=0-1")]);
    assert_eq!((head.status, head.expect("Content-Length")), (200, &*whole.body.len().to_string()));
}

#[test]
fn if_range_must_match() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let tag = server.get("/h/a.png").ok().expect("ETag").to_owned();
    for (value, status) in [
        (tag.clone(), 206),
        (MODIFIED_TEXT.to_owned(), 206),
        ("\"other\"".to_owned(), 200),
        // The comparison is strong, and a date must be equal.
        (format!("W/{tag}"), 200),
        ("Tue, 14 Apr 2020 09:00:01 GMT".to_owned(), 200),
        ("Sun, 01 Nov 2026 00:00:00 GMT".to_owned(), 200),
        ("nonsense".to_owned(), 200),
    ] {
        let answer = server.get_with("/h/a.png", &[("Range", "bytes=0-3"), ("If-Range", &value)]);
        assert_eq!(answer.status, status, "{value}");
    }
    // Without Range it has no effect, and If-None-Match takes precedence.
    assert_eq!(server.get_with("/h/a.png", &[("If-Range", "\"other\"")]).status, 200);
    let both = [("Range", "bytes=0-3"), ("If-None-Match", tag.as_str())];
    assert_eq!(server.get_with("/h/a.png", &both).status, 304);
}

#[test]
fn cors_origin_is_sent_with_every_response_of_the_handler() {
    let directory = directory();
    let server = Server::start(json!({"handlers": [
        merged(directory.handler(), json!({"cors_origin": "https://pages.example"})),
        merged(directory.handler(), json!({"name": "without"})),
    ]}));
    for target in ["/h/a.png", "/h/missing.png"] {
        assert_eq!(
            server.get(target).expect("Access-Control-Allow-Origin"),
            "https://pages.example",
            "{target}"
        );
    }
    for target in ["/without/a.png", "/without/missing.png"] {
        assert_eq!(server.get(target).header("Access-Control-Allow-Origin"), None, "{target}");
    }
}

/// An error image of 60×40 pixels in one colour.
fn error_image() -> Vec<u8> {
    images::png(images::solid(60, 40, MAGENTA))
}

#[track_caller]
fn expect_error_image(answer: &Answer, size: (u32, u32), what: &str) {
    let kind = Kind::of(&answer.body).unwrap_or_else(|| panic!("{what}: no image"));
    assert_eq!(answer.expect("Content-Type"), kind.media_type(), "{what}");
    assert_eq!(size_of(&answer.body), size, "{what}");
    if kind != Kind::Avif {
        let image = Image::decode(&answer.body);
        assert!(close(image.at(50, 50), MAGENTA), "{what}: {:?}", image.at(50, 50));
    }
    assert_eq!(answer.expect("Cache-Control"), "no-store", "{what}");
}

#[test]
fn failures_are_404_with_the_error_image_in_the_requested_size() {
    let directory = directory().with("text.png", b"no image").with("error.png", &error_image());
    let server = server(&directory, json!({"error_image": directory.path().join("error.png")}));
    for (file, code) in
        [("missing.png", "not_found"), ("text.png", "unsupported_format"), ("..", "invalid_key")]
    {
        for (query, size) in [
            ("", (60, 40)),
            ("?w=30", (30, 20)),
            ("?h=10", (15, 10)),
            ("?w=20&h=20", (20, 20)),
            ("?w=20&h=20&c=false", (20, 13)),
        ] {
            let target = format!("/h/{file}{query}");
            expect_error_image(&server.get(&target).failed(code), size, &target);
        }
        for format in ["jpg", "png", "webp", "gif", "avif", "auto"] {
            let target = format!("/h/{file}?w=30&f={format}");
            expect_error_image(&server.get(&target).failed(code), (30, 20), &target);
        }
    }
}

#[test]
fn handlers_have_a_default_error_image() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let answer = server.get("/h/missing.png").failed("not_found");
    assert_eq!(Kind::of(&answer.body).map(Kind::media_type), answer.header("Content-Type"));
    assert_eq!(size_of(&server.get("/h/missing.png?w=30&h=30").failed("not_found").body), (30, 30));
}

#[test]
fn error_images_ignore_conditions_and_ranges() {
    let directory = directory().with("error.png", &error_image());
    let server = server(&directory, json!({"error_image": directory.path().join("error.png")}));
    let plain = server.get("/h/missing.png").failed("not_found");
    assert_eq!((plain.header("ETag"), plain.header("Last-Modified")), (None, None));
    for header in [
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Sun, 01 Nov 2026 00:00:00 GMT"),
        ("Range", "bytes=0-3"),
        ("Range", "bytes=99999999-"),
    ] {
        let answer = server.get_with("/h/missing.png", &[header]).failed("not_found");
        assert_eq!(answer.body, plain.body, "{header:?}");
    }
}

#[test]
fn precise_statuses_distinguish_failures() {
    let photo = data("photo-2mp.jpg");
    let directory = directory()
        .with("error.png", &error_image())
        .with("text.png", b"no image")
        .with("half.jpg", &photo[..photo.len() / 2])
        .with("large.png", &images::png(images::solid(200, 200, MAGENTA)))
        .with("a.exe", b"MZ");
    let origin = RawOrigin::start(|request, peer| match request.path().rsplit('/').next() {
        Some("error") => peer.send(&origin::answer(500, &[], b"")),
        Some("denied") => peer.send(&origin::answer(403, &[], b"")),
        Some("truncated") => {
            let _ = peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort");
            Then::Close
        }
        Some("region") => {
            peer.send(&origin::answer(301, &[("x-amz-bucket-region", "eu-west-1")], b""))
        }
        Some("reset") => peer.reset(),
        Some("long") => peer.send(&origin::object(&[0; 200_000])),
        Some("slow") => {
            // No response; the renderer closes the connection after its timeout.
            let _ = std::io::Read::read(peer, &mut [0; 1]);
            Then::Close
        }
        _ => unreachable!(),
    });
    let precise = json!({
        "error_image": directory.path().join("error.png"),
        "error_status": "precise",
        "allowed_formats": ["png", "JPG"],
    });
    let server = Server::start(json!({
        "handlers": [
            merged(directory.handler(), precise.clone()),
            merged(merged(origin.handler(), precise), json!({"name": "s3"})),
        ],
        "limits": {"source_max_pixels": 30_000, "origin_max_bytes": 100_000, "origin_first_byte_timeout": 0.3},
    }));
    for (target, status, code) in [
        ("/h/missing.png", 404, "not_found"),
        ("/h/..%2fx.png", 404, "invalid_key"),
        ("/h/a.exe", 415, "format_not_allowed"),
        ("/h/text.png", 415, "unsupported_format"),
        ("/h/large.png", 413, "too_many_pixels"),
        ("/s3/denied", 404, "not_found"),
        ("/s3/error", 502, "origin_error"),
        ("/s3/truncated", 502, "origin_truncated"),
        ("/s3/region", 502, "wrong_region"),
        ("/s3/reset", 502, "origin_unreachable"),
        ("/s3/long", 413, "too_large"),
        ("/s3/slow", 504, "origin_timeout"),
    ] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.header("X-Error")), (status, Some(code)), "{target}");
        expect_error_image(&answer, (60, 40), target);
    }
    let small = Server::with_limits(
        merged(directory.handler(), json!({"error_status": "precise"})),
        json!({"origin_max_bytes": 1000}),
    );
    assert_eq!(small.get("/h/half.jpg").status, 413, "origin_max_bytes applies to directories");
    let plain =
        Server::with_handler(merged(directory.handler(), json!({"error_status": "precise"})));
    let corrupt = plain.get("/h/half.jpg");
    assert_eq!((corrupt.status, corrupt.expect("X-Error")), (415, "corrupt_image"));
}

#[test]
fn unknown_routes_are_a_plain_404() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let mut wrong = Vec::new();
    for target in [
        "/",
        "/x",
        "/h",
        "/nobody/a.png",
        "/H/a.png",
        "//h/a.png",
        "/-/unknown",
        "/-/ping",
        "/-/error/h",
        "/-/",
    ] {
        let answer = server.get(target);
        if (answer.status, answer.header("X-Error")) != (404, Some("no_such_handler")) {
            wrong.push((target, answer.status));
        }
        assert!(answer.expect("Content-Type").starts_with("text/plain"), "{target}");
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn health_responds_ok() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let answer = server.get("/-/health");
    assert_eq!((answer.status, answer.text().trim()), (200, "ok"));
    assert!(answer.expect("Content-Type").starts_with("text/plain"));
    assert!(answer.cache_control().contains(&"no-store"), "{:?}", answer.headers);
}

#[test]
fn health_responds_to_options() {
    let directory = directory();
    let limits = json!({"stop_delay": 20});
    let server = Server::with_limits(directory.handler(), limits);
    // `option httpchk OPTIONS /-/health` of HAProxy, which sends no Host.
    let mut client = server.client();
    for head in
        ["OPTIONS /-/health HTTP/1.0\r\n\r\n", "OPTIONS /-/health?x HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let answer = server.send(head.as_bytes());
        assert_eq!((answer.status, answer.expect("Allow")), (204, "GET, HEAD, OPTIONS"), "{head}");
        // RFC 9110 §8.6
        assert_eq!(answer.header("Content-Length"), None);
    }
    // The connection is kept: nothing follows the head.
    for _ in 0..2 {
        client.send(&request("OPTIONS", "/-/health", &[("Content-Length", "0")]));
        assert_eq!(client.read().status, 204);
    }
    assert_eq!(client.get("/-/health").status, 200);
    server.terminate();
    eventually("it reports that it stops", || server.ask("OPTIONS", "/-/health").status == 503);
}

#[test]
fn failed_preconditions_are_412() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let first = server.get("/h/a.png").ok();
    let etag = first.expect("ETag").to_owned();
    server.get_with("/h/a.png", &[("If-Match", &etag)]).ok();
    for (name, value) in [
        ("If-Match", "\"other\"".to_owned()),
        ("If-Match", format!("W/{etag}")),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
    ] {
        assert_eq!(server.get_with("/h/a.png", &[(name, &value)]).status, 412, "{name}: {value}");
    }
}
