//! `f=auto`: drawings without loss, small images, and what a handler's `auto` allows.

use std::path::Path;

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, size_of};
use crate::support::merged;
use crate::support::server::Server;
use crate::support::tokens::{hmac, signed};

const CHROME: &str = "image/avif,image/webp,image/*,*/*;q=0.8";
const WEBP: &str = "image/webp,*/*;q=0.8";
const ANY: &str = "*/*";

fn example(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/images").join(name)).unwrap()
}

/// A chart: thin lines and bars of a few colours on white.
fn chart(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let bar = x / 16;
        let top = height - (bar * 37 + 11) % height;
        if x % 16 > 3 && y > top {
            Rgb([(bar % 4 * 60) as u8, 90, 200])
        } else if y % 23 == 0 || (x + y) % 71 == 0 {
            Rgb([0x33; 3])
        } else {
            Rgb([255; 3])
        }
    })
}

/// The chart with a transparent ground.
fn transparent_chart(width: u32, height: u32) -> RgbaImage {
    let chart = chart(width, height);
    RgbaImage::from_fn(width, height, |x, y| {
        let [r, g, b] = chart.get_pixel(x, y).0;
        Rgba([r, g, b, if r == 255 { 0 } else { 255 }])
    })
}

fn directory() -> Directory {
    Directory::new()
        .with("chart.png", &images::png(chart(400, 300)))
        .with("clear.png", &images::png(transparent_chart(400, 300)))
        .with("photo.jpg", &example("photo.jpg"))
        .with("anim.gif", &example("anim.gif"))
}

/// Handlers with JPEG as their own format, `h`, and with the original's, `own`.
fn server(directory: &Directory) -> Server {
    Server::start(json!({"handlers": [
        merged(directory.handler(), json!({"output_format": "jpg"})),
        merged(directory.handler(), json!({"name": "own"})),
    ]}))
}

fn get(server: &Server, target: &str, accept: &str) -> Answer {
    server.get_with(target, &[("Accept", accept)]).ok()
}

fn kind_of(answer: &Answer) -> Kind {
    let kind = Kind::of(&answer.body).expect("an image");
    assert_eq!(answer.expect("Content-Type"), kind.media_type());
    kind
}

/// Whether a WebP is lossless: its image is in a VP8L chunk (RFC 9649 §2.6).
fn is_lossless(webp: &[u8]) -> bool {
    images::holds(webp, b"VP8L")
}

#[test]
fn a_drawing_is_lossless_where_that_is_smaller() {
    let directory = directory();
    let server = server(&directory);
    for (target, accept, kind) in [
        ("/h/chart.png?f=auto", CHROME, Kind::Webp),
        ("/h/chart.png?f=auto", WEBP, Kind::Webp),
        ("/h/chart.png?f=auto", "image/webp", Kind::Webp),
        ("/h/chart.png?f=auto", ANY, Kind::Png),
        ("/h/chart.png?f=auto", "image/jpeg,image/png;q=0.5", Kind::Png),
        ("/h/chart.png?f=auto", "image/avif,image/*;q=0.5", Kind::Png),
        ("/own/chart.png?f=auto", CHROME, Kind::Webp),
        ("/own/chart.png?f=auto", "image/avif", Kind::Png),
        ("/h/chart.png?f=auto&w=200&h=150&g=nw", CHROME, Kind::Avif),
    ] {
        let answer = get(&server, target, accept);
        if kind == Kind::Avif {
            // Resized, it has many colours.
            assert!(!is_lossless(&answer.body), "{target} with {accept}");
            continue;
        }
        assert_eq!(kind_of(&answer), kind, "{target} with {accept}");
        let pixels = Image::decode(&answer.body).pixels;
        let expected = image::DynamicImage::from(chart(400, 300)).into_rgba8();
        assert!(pixels == expected, "{target} with {accept}: not the pixels of the original");
        assert!(answer.varies_on("Accept"));
        for lossy in ["avif", "webp", "jpg"] {
            let lossy = server.get(&format!("/h/chart.png?f={lossy}")).ok().body.len();
            assert!(answer.body.len() < lossy, "{target}: {} and {lossy}", answer.body.len());
        }
    }
    // Only where PNG is accepted.
    for accept in ["image/jpeg", "image/jpeg,image/gif", "*/*,image/png;q=0"] {
        assert_eq!(kind_of(&get(&server, "/h/chart.png?f=auto", accept)), Kind::Jpeg, "{accept}");
    }
    // And only where the format is left to the server.
    for (query, kind) in [("f=avif", Kind::Avif), ("f=jpg", Kind::Jpeg), ("", Kind::Jpeg)] {
        let answer = get(&server, &format!("/h/chart.png?{query}"), CHROME);
        assert_eq!(kind_of(&answer), kind, "{query}");
    }
    let webp = server.get("/h/chart.png?f=webp").ok();
    assert!(!is_lossless(&webp.body));
}

#[test]
fn a_transparent_drawing_keeps_its_transparency() {
    let directory = directory();
    let server = server(&directory);
    let expected = transparent_chart(400, 300);
    for (target, accept) in [
        ("/h/clear.png?f=auto", CHROME),
        ("/h/clear.png?f=auto", WEBP),
        ("/own/clear.png?f=auto", ANY),
    ] {
        let pixels = Image::decode(&get(&server, target, accept).body).pixels;
        for (pixel, expected) in pixels.pixels().zip(expected.pixels()) {
            assert_eq!(pixel.0[3], expected.0[3], "{target} with {accept}");
            assert!(expected.0[3] == 0 || pixel == expected, "{target} with {accept}");
        }
    }
    // Flattened, it is a drawing on its background.
    let flat = get(&server, "/h/clear.png?f=auto&bg=00ff00", ANY);
    assert_eq!(kind_of(&flat), Kind::Png);
    assert_eq!(Image::decode(&flat.body).at(50, 5), [0, 255, 0, 255]);
}

#[test]
fn photographs_are_lossy() {
    let gray = image::DynamicImage::from(Image::decode(&example("photo.jpg")).pixels).into_luma8();
    let directory = directory()
        .with("gray.png", &images::png(gray))
        .with("noise.png", &images::png(images::noise(200, 150)))
        .with("gradient.png", &images::png(images::gradient(200, 150)));
    let server = server(&directory);
    for key in ["photo.jpg", "gray.png", "noise.png", "gradient.png"] {
        for (accept, kind) in [(CHROME, Kind::Avif), (WEBP, Kind::Webp), (ANY, Kind::Jpeg)] {
            let answer = get(&server, &format!("/h/{key}?w=200&f=auto"), accept);
            assert_eq!(kind_of(&answer), kind, "{key} with {accept}");
            assert!(kind != Kind::Webp || !is_lossless(&answer.body), "{key}");
            let named = server.get(&format!("/h/{key}?w=200&f={}", kind.name())).ok();
            assert!(answer.body == named.body, "{key} with {accept}");
        }
    }
}

#[test]
fn animations_and_kept_profiles_are_not_tried_without_loss() {
    let frames = [0, 1, 2].map(|n| {
        let pixel = move |x: u32, _| Rgba([if x / 8 == n { 0 } else { 255 }, 0, 0, 255]);
        (RgbaImage::from_fn(160, 120, pixel), 100)
    });
    let directory = directory().with("moving.gif", &images::animated_gif(&frames));
    let server = server(&directory);
    for (target, accept, kind) in [
        ("/h/moving.gif?f=auto", CHROME, Kind::Avif),
        ("/h/chart.png?f=auto&strip=false", CHROME, Kind::Avif),
        ("/h/chart.png?f=auto&strip=false", ANY, Kind::Jpeg),
    ] {
        let answer = get(&server, target, accept);
        assert_eq!(kind_of(&answer), kind, "{target}");
        assert!(!is_lossless(&answer.body), "{target}");
    }
    // One frame is a still drawing.
    let still = get(&server, "/h/moving.gif?f=auto&frames=1", CHROME);
    assert!(is_lossless(&still.body));
}

#[test]
fn a_small_image_gets_the_smaller_one_of_avif_and_webp() {
    let directory = directory();
    let server = server(&directory);
    let length = |query: &str| server.get(&format!("/h/photo.jpg?{query}")).ok().body.len();
    for (width, height) in [(16, 12), (32, 24), (64, 48), (100, 100)] {
        let size = format!("w={width}&h={height}");
        let answer = get(&server, &format!("/h/photo.jpg?{size}&f=auto"), CHROME);
        let smaller = length(&format!("{size}&f=avif")).min(length(&format!("{size}&f=webp")));
        assert_eq!(answer.body.len(), smaller, "{size}");
        assert_eq!(size_of(&answer.body), (width, height));
    }
    assert_eq!(kind_of(&get(&server, "/h/photo.jpg?w=32&f=auto", CHROME)), Kind::Webp);
    // Not if WebP is not accepted, nor for a larger image.
    assert_eq!(kind_of(&get(&server, "/h/photo.jpg?w=32&f=auto", "image/avif,*/*")), Kind::Avif);
    assert_eq!(kind_of(&get(&server, "/h/photo.jpg?w=101&h=100&f=auto", CHROME)), Kind::Avif);
}

#[test]
fn auto_of_a_handler_chooses_and_orders() {
    let directory = directory();
    let handler = |name: &str, auto: Value| {
        let fields = json!({"name": name, "output_format": "jpg", "auto": auto});
        merged(directory.handler(), fields)
    };
    let server = Server::start(json!({"handlers": [
        handler("both", json!(["avif", "webp"])),
        handler("webp-first", json!(["webp", "avif"])),
        handler("webp", json!(["webp"])),
        handler("avif", json!(["avif"])),
    ]}));
    for (route, accept, kind) in [
        ("both", CHROME, Kind::Avif),
        ("webp-first", CHROME, Kind::Webp),
        ("webp-first", "image/avif,image/webp;q=0.5", Kind::Avif),
        ("webp-first", "image/avif,*/*", Kind::Avif),
        ("webp", CHROME, Kind::Webp),
        ("webp", "image/avif,*/*", Kind::Jpeg),
        ("avif", CHROME, Kind::Avif),
        ("avif", WEBP, Kind::Jpeg),
    ] {
        let answer = get(&server, &format!("/{route}/photo.jpg?w=160&f=auto"), accept);
        assert_eq!(kind_of(&answer), kind, "{route} with {accept}");
    }
    // The same for drawings and small images: WebP is not chosen.
    assert_eq!(kind_of(&get(&server, "/avif/photo.jpg?w=32&f=auto", CHROME)), Kind::Avif);
    assert_eq!(kind_of(&get(&server, "/avif/chart.png?f=auto", CHROME)), Kind::Png);
    // What may not be picked can still be asked for.
    assert_eq!(kind_of(&server.get("/avif/photo.jpg?w=160&f=webp").ok()), Kind::Webp);
}

#[test]
fn a_limit_of_bytes_prefers_no_loss_and_then_the_best_quality() {
    let directory = directory();
    let fields =
        json!({"output_format": "jpg", "token": merged(hmac(), json!({"required": false}))});
    let server = Server::with_handler(merged(directory.handler(), fields));
    let lossless = get(&server, "/h/chart.png?f=auto", CHROME).body;
    assert!(is_lossless(&lossless));
    let limited = |max_bytes: usize| {
        get(&server, &signed(&format!("/h/chart.png?f=auto&max_bytes={max_bytes}")), CHROME)
    };
    let fits = limited(lossless.len());
    assert!(fits.body == lossless && fits.header("X-Quality").is_none());
    // No quality of AVIF is as small: the smallest is sent.
    let smallest = limited(lossless.len() - 1);
    assert!(smallest.body == lossless);
    assert!(server.get("/h/chart.png?f=avif&q=1").ok().body.len() > lossless.len());
}

/// Waves in a few flat tones: without loss it is smaller than in the default quality, and larger than in the lowest.
fn waves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let tone = 128.0 + 60.0 * (x / 11.0).sin() + 60.0 * (y / 13.0 + x / 29.0).cos();
        let tone = tone as u8 / 32 * 32;
        Rgb([tone, tone, 255 - tone])
    })
}

#[test]
fn a_drawing_over_max_bytes_is_lossy_although_it_is_smaller_than_in_full_quality() {
    let directory = Directory::new().with("a.png", &images::png(waves(400, 300)));
    let fields = json!({"output_format": "jpg", "token": hmac()});
    let server = Server::with_handler(merged(directory.handler(), fields));
    let fetch = |query: &str| get(&server, &signed(&format!("/h/a.png?{query}")), WEBP).body;
    let lossless = fetch("f=auto");
    assert!(is_lossless(&lossless));
    let [full, lowest] = ["f=webp", "f=webp&q=1"].map(|query| fetch(query).len());
    assert!(lowest < lossless.len() && lossless.len() < full, "{lowest} {full}");
    assert!(fetch(&format!("f=auto&max_bytes={}", lossless.len())) == lossless);
    let limited = fetch(&format!("f=auto&max_bytes={}", lossless.len() - 1));
    assert!(limited.len() < lossless.len() && !is_lossless(&limited), "{}", limited.len());
}
