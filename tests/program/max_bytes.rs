//! `max_bytes`: the best quality that fits, who may ask for it, and how its quality is told.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{send, with_admin};
use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, size_of};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, data};
use crate::support::tokens::{bearer_token, hmac, jwt, signed, with_token};
use crate::support::{eventually, merged};

const CHROME: &str = "image/avif,image/webp,*/*";

fn example(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/images").join(name)).unwrap()
}

fn directory() -> Directory {
    Directory::new()
        .with("a.jpg", &example("photo.jpg"))
        .with("anim.gif", &example("anim.gif"))
        .with("noise.png", &images::png(images::noise(300, 200)))
        .with("flat.png", &images::png(images::solid(300, 200, [9, 99, 199])))
}

/// A handler for signed URLs, `h`, and one without a token, `plain`.
fn server(directory: &Directory, fields: Value) -> Server {
    let signed = json!({"token": merged(hmac(), json!({"required": false}))});
    Server::start(json!({"handlers": [
        merged(merged(directory.handler(), signed), fields.clone()),
        merged(merged(directory.handler(), json!({"name": "plain"})), fields),
    ]}))
}

fn state(answer: &Answer) -> &str {
    answer.expect("X-Cache")
}

/// The first value of the first quantisation table, for luma (ITU-T T.81 B.2.4.1).
fn first_quantizer(jpeg: &[u8]) -> u32 {
    let at = jpeg.windows(2).position(|marker| marker == [0xff, 0xdb]).expect("DQT");
    jpeg[at + 5].into()
}

/// That value at a quality, by the formula of the Independent JPEG Group over table K.1, which begins with 16.
fn expected_quantizer(quality: u32) -> u32 {
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    ((16 * scale + 50) / 100).clamp(1, 255)
}

#[test]
fn the_result_fits_and_no_better_quality_does() {
    let directory = directory();
    let server = server(&directory, json!({}));
    for format in ["jpg", "webp", "avif", "jxl"] {
        let length =
            |q: u32| server.get(&format!("/h/a.jpg?w=400&f={format}&q={q}")).ok().body.len();
        let full = length(75);
        for percent in [90, 50, 30] {
            let max_bytes = full * percent / 100;
            let target = format!("/h/a.jpg?w=400&f={format}&max_bytes={max_bytes}");
            let answer = server.get(&signed(&target)).ok();
            assert_eq!(size_of(&answer.body).0, 400, "{target}");
            let quality: u32 = answer.expect("X-Quality").parse().unwrap();
            let bytes = answer.body.len();
            assert!(bytes <= max_bytes && quality < 75, "{target}: {bytes} at {quality}");
            // It is the image of that quality, and one that is a little better does not fit, or hardly fills more.
            assert_eq!(length(quality), bytes, "{target}");
            let better = (quality + 1..=75).take(6).find(|q| length(*q) > max_bytes);
            assert!(
                better.is_some() || bytes * 100 >= max_bytes * 90,
                "{target}: {bytes} at {quality}"
            );
        }
    }
    let target = "/h/a.jpg?w=400&max_bytes=9000";
    let answer = server.get(&signed(target)).ok();
    let quality: u32 = answer.expect("X-Quality").parse().unwrap();
    assert_eq!(first_quantizer(&answer.body), expected_quantizer(quality));
}

#[test]
fn what_fits_has_the_quality_that_was_asked_for() {
    let directory = directory();
    let server = server(&directory, json!({}));
    for (query, quality) in [("q=60", "60"), ("f=webp", "75"), ("f=avif&q=100", "100")] {
        let target = format!("/h/a.jpg?w=100&{query}");
        let answer = server.get(&signed(&format!("{target}&max_bytes=90000"))).ok();
        assert_eq!(answer.expect("X-Quality"), quality, "{target}");
        assert_eq!(answer.body, server.get(&target).ok().body, "{target}");
    }
}

#[test]
fn if_nothing_fits_the_smallest_is_sent() {
    let directory = directory();
    let server = server(&directory, json!({}));
    for format in ["jpg", "webp"] {
        let target = format!("/h/noise.png?f={format}&max_bytes=1000");
        let answer = server.get(&signed(&target)).ok();
        assert_eq!(answer.expect("X-Quality"), "1", "{target}");
        assert!(answer.body.len() > 1000, "{target}");
        assert_eq!(answer.body, server.get(&format!("/h/noise.png?f={format}&q=1")).ok().body);
    }
}

#[test]
fn without_a_quality_max_bytes_changes_nothing() {
    let pixels = Image::decode(&data("orient-1.jpg")).pixels;
    let small = images::jpeg(image::DynamicImage::from(pixels).into_rgb8());
    let directory = directory().with("small.jpg", &small);
    let server = server(&directory, json!({}));
    for query in [
        "/h/a.jpg?w=80&f=png",
        "/h/a.jpg?w=80&f=webp&lossless=true",
        "/h/anim.gif?w=60",
        "/h/noise.png",
    ] {
        let separator = if query.contains('?') { '&' } else { '?' };
        let limited = server.get(&signed(&format!("{query}{separator}max_bytes=1000"))).ok();
        assert_eq!(limited.header("X-Quality"), None, "{query}");
        assert_eq!(limited.body, server.get(query).ok().body, "{query}");
    }
    // An original that is smaller than the result, and fits, has at least the quality.
    let original = |max_bytes: usize| {
        let target = format!("/h/small.jpg?q=100&max_bytes={max_bytes}");
        let answer = server.get(&signed(&target)).ok();
        (answer.body == small, answer.header("X-Quality").is_some(), answer.body.len() <= max_bytes)
    };
    assert_eq!(original(small.len()), (true, false, true));
    assert_eq!(original(small.len() - 1), (false, true, true));
}

#[test]
fn animations_and_negotiated_formats_fit_too() {
    let directory = directory();
    let server = server(&directory, json!({}));
    let moving = server.get("/h/anim.gif?w=100&f=webp").ok().body;
    let max_bytes = moving.len() / 2;
    let answer =
        server.get(&signed(&format!("/h/anim.gif?w=100&f=webp&max_bytes={max_bytes}"))).ok();
    assert!(answer.body.len() <= max_bytes, "{}", answer.body.len());
    let frames = |bytes: &[u8]| Image::decode(bytes).frames.len();
    assert_eq!(frames(&answer.body), frames(&moving));
    for (accept, kind) in
        [(CHROME, Kind::Avif), ("image/webp,*/*", Kind::Webp), ("*/*", Kind::Jpeg)]
    {
        let target = signed("/h/a.jpg?w=400&f=auto&max_bytes=8000");
        let answer = server.get_with(&target, &[("Accept", accept)]).ok();
        assert_eq!(Kind::of(&answer.body), Some(kind));
        assert!(answer.body.len() <= 8000 && answer.header("X-Quality").is_some(), "{accept}");
    }
}

#[test]
fn the_kept_copyright_counts() {
    let name = "keep.jpg";
    let jpeg = data("gps.jpg");
    let directory = Directory::new().with(name, &jpeg);
    let server = server(&directory, json!({}));
    let full = server.get(&format!("/h/{name}?w=300&strip=false")).ok().body.len();
    for max_bytes in [full * 2 / 3, full / 2] {
        let target = format!("/h/{name}?w=300&strip=false&max_bytes={max_bytes}");
        assert!(server.get(&signed(&target)).ok().body.len() <= max_bytes);
    }
}

#[test]
fn quality_of_the_handler_is_the_best_and_tells_its_scale() {
    let directory = directory();
    let native = json!({"quality": {"avif": 70, "scale": "native"}, "defaults": "q=60"});
    let server = server(&directory, native);
    for (query, prefix, most) in
        [("f=avif", "native", 70), ("f=jpg", "", 60), ("f=avif&q=50", "", 50)]
    {
        let full = server.get(&format!("/h/a.jpg?w=300&{query}")).ok().body.len();
        let answer = server.get(&signed(&format!("/h/a.jpg?w=300&{query}&max_bytes={full}"))).ok();
        assert_eq!(answer.expect("X-Quality"), format!("{prefix}{most}"), "{query}");
        let half = format!("/h/a.jpg?w=300&{query}&max_bytes={}", full / 2);
        let answer = server.get(&signed(&half)).ok();
        let quality = answer.expect("X-Quality").strip_prefix(prefix).unwrap();
        assert!(quality.parse::<u32>().unwrap() < most, "{query}: {quality}");
        assert!(answer.body.len() <= full / 2, "{query}");
    }
}

#[test]
fn only_presets_signed_urls_and_the_operator_may_ask_for_it() {
    let directory = directory();
    let presets = json!({"presets": {"mail": "w=300&max_bytes=6000"}});
    let server = Server::start(with_admin(json!({"handlers": [
        merged(directory.handler(), presets),
        merged(directory.handler(), json!({"name": "j", "token": jwt()})),
        merged(directory.handler(), json!({"name": "s", "token": hmac()})),
    ]})));
    let answer = server.get("/h/a.jpg?p=mail").ok();
    assert!(answer.body.len() <= 6000);
    // Others of its options may be changed, and it may be turned off.
    let webp = server.get("/h/a.jpg?p=mail&f=webp").ok();
    assert!(webp.body.len() <= 6000 && webp.header("X-Quality").is_some());
    let off = server.get("/h/a.jpg?p=mail&max_bytes=none").ok();
    assert_eq!((off.header("X-Quality"), off.body.len() > 6000), (None, true));
    for target in
        ["/h/a.jpg?max_bytes=6000", "/h/a.jpg?p=mail&max_bytes=7000", "/h/a.jpg?max_bytes=x"]
    {
        let refused = server.get(target);
        assert_eq!(refused.status, 400, "{target}");
        assert!(refused.text().starts_with("max_bytes: only allowed in a preset"), "{refused:?}");
    }
    let bearer = bearer_token(json!({}));
    assert_eq!(server.get(&with_token("/j/a.jpg?max_bytes=6000", &bearer)).status, 400);
    server.get(&signed("/s/a.jpg?w=300&max_bytes=6000")).ok();
    assert!(send(&server, "GET", "/-/image/h/a.jpg?w=300&max_bytes=6000").ok().body.len() <= 6000);
    // Out of range, and twice.
    for value in ["999", "100000001", "-1", "1e4", "", "1000.5", "99999999999999999999"] {
        let refused = server.get(&signed(&format!("/s/a.jpg?max_bytes={value}")));
        assert_eq!(refused.status, 400, "{value}");
        let rule = "max_bytes: must be a whole number of bytes from 1000 to 100000000 or none";
        assert!(refused.text().starts_with(rule), "{}", refused.text());
    }
    let twice = server.get(&signed("/s/a.jpg?max_bytes=6000&max_bytes=7000"));
    assert_eq!(twice.status, 400);
}

#[test]
fn memory_and_disk_tell_the_quality_and_the_bytes_are_the_same_each_time() {
    let directory = directory();
    let target = signed("/h/a.jpg?w=300&f=webp&max_bytes=5000");
    let mut first: Option<(Vec<u8>, String)> = None;
    for memory in [0, 1 << 20] {
        let cache = Directory::new();
        let fields = json!({"cache_path": cache.path(), "token": hmac()});
        let config =
            json!({"handlers": [merged(directory.handler(), fields)], "memory_cache": memory});
        let server = Server::start(config.clone());
        for cached in ["miss", "hit", "hit"] {
            let answer = server.get(&target).ok();
            assert_eq!(state(&answer), cached);
            let got = (answer.body.clone(), answer.expect("X-Quality").to_owned());
            assert_eq!(*first.get_or_insert_with(|| got.clone()), got);
            let head = server.head_with(&target, &[]);
            assert_eq!(head.expect("X-Quality"), got.1);
        }
        let again = Server::start(config);
        let answer = again.get(&target).ok();
        assert_eq!(
            (state(&answer), answer.expect("X-Quality")),
            ("hit", &*first.clone().unwrap().1)
        );
        // The image without a limit is another one.
        let other = again.get(&signed("/h/a.jpg?w=300&f=webp")).ok();
        assert_eq!((state(&other), other.header("X-Quality")), ("miss", None));
    }
}

#[test]
fn decode_timeout_is_for_all_encodings_together() {
    let directory = Directory::new().with("a.png", &images::png(images::noise(3000, 2000)));
    let fields = json!({"token": hmac(), "max_dimension": 3000});
    let limits = json!({"decode_timeout": 1, "render_timeout": 300});
    let server = Server::with_limits(merged(directory.handler(), fields), limits);
    let begun = std::time::Instant::now();
    server.get(&signed("/h/a.png?f=webp&max_bytes=1000")).failed("decode_timeout");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn shared_results_tell_the_quality() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.jpg", &example("photo.jpg"));
    let results = s3.aws(&ARCHIVE);
    let handler = |cache: &Directory| {
        let fields = json!({"cache_path": cache.path(), "results": results, "share_min_ms": 0,
            "results_timeout": 10, "token": hmac()});
        merged(s3.handler(), fields)
    };
    let target = signed("/h/a.jpg?w=300&max_bytes=6000");
    let (one, other) = (Directory::new(), Directory::new());
    let first = Server::with_handler(handler(&one));
    let made = first.get(&target).ok();
    let second = Server::with_handler(handler(&other));
    eventually("the result is shared", || {
        let answer = second.get(&target).ok();
        assert_eq!(answer.expect("X-Quality"), made.expect("X-Quality"));
        let is_shared = state(&answer) == "shared";
        for file in other.files() {
            let _ = std::fs::remove_file(file);
        }
        is_shared
    });
}
