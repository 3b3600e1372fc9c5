//! JPEG XL, which is written and not read: its pixels and metadata as another decoder reads them, and who gets it.

use image::{DynamicImage, RgbaImage};
use serde_json::json;

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::icc::{self, DISPLAY_P3};
use crate::support::images::{self, Image, Kind, close, size_of, within};
use crate::support::jxl;
use crate::support::merged;
use crate::support::server::{Server, data};

/// With colours, gray, and each of them with transparency.
fn sources() -> [(&'static str, DynamicImage); 4] {
    let colours = DynamicImage::from(images::gradient(90, 61));
    let transparent = RgbaImage::from_fn(90, 61, |x, y| {
        image::Rgba([(x * 2) as u8, (y * 4) as u8, 90, 255 - (x + y) as u8])
    });
    let transparent = DynamicImage::from(transparent);
    [
        ("colours.png", colours.clone()),
        ("gray.png", colours.into_luma8().into()),
        ("transparent.png", transparent.clone()),
        ("gray-transparent.png", transparent.into_luma_alpha8().into()),
    ]
}

fn directory() -> Directory {
    let directory = Directory::new().with("photo.jpg", &data("orient-6.jpg"));
    for (name, image) in sources() {
        directory.put(name, &images::png(image));
    }
    directory
}

#[track_caller]
fn body(server: &Server, target: &str) -> Vec<u8> {
    let answer = server.get(target).ok();
    assert_eq!(answer.expect("Content-Type"), "image/jxl", "{target}");
    assert_eq!(Kind::of(&answer.body), Some(Kind::Jxl), "{target}");
    answer.body
}

fn accepting(server: &Server, target: &str, accept: &str) -> (Kind, Answer) {
    let answer = server.get_with(target, &[("Accept", accept)]).ok();
    (Kind::of(&answer.body).expect("an image"), answer)
}

#[test]
fn without_loss_it_has_the_pixels_of_a_png() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    for (name, image) in sources() {
        for query in ["", "&w=40", "&w=50&h=50&rot=90"] {
            let jxl = body(&server, &format!("/h/{name}?f=jxl&lossless=true{query}"));
            let pixels = jxl::pixels(&jxl::read(&jxl));
            assert_eq!(pixels.color(), image.color(), "{name}{query}");
            let png = server.get(&format!("/h/{name}?f=png{query}")).ok().body;
            assert!(pixels.into_rgba8() == Image::decode(&png).pixels, "{name}{query}");
        }
    }
}

#[test]
fn with_loss_it_is_close_and_keeps_gray_and_transparency() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    for (name, image) in sources() {
        let jxl = body(&server, &format!("/h/{name}?f=jxl&q=95"));
        let pixels = jxl::pixels(&jxl::read(&jxl));
        assert_eq!(pixels.color(), image.color(), "{name}");
        for (before, after) in image.into_rgba8().pixels().zip(pixels.into_rgba8().pixels()) {
            let [red, green, blue, alpha] = before.0;
            assert_eq!(alpha, after[3], "{name}");
            // What can't be seen may have any colour.
            let is_close = alpha == 0 || within(after.0, [red, green, blue], 24);
            assert!(is_close, "{name}: {before:?} {after:?}");
        }
        let lengths = [1, 30, 75, 95, 100]
            .map(|q| server.get(&format!("/h/photo.jpg?f=jxl&q={q}")).ok().body.len());
        assert!(lengths.is_sorted_by(|less, more| less < more), "{lengths:?}");
    }
}

#[test]
fn it_is_upright() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let upright = Image::decode(&server.get("/h/photo.jpg?f=png").ok().body);
    let image = jxl::read(&body(&server, "/h/photo.jpg?f=jxl&q=95"));
    assert_eq!(image.image_header().metadata.orientation, 1);
    let pixels = jxl::pixels(&image).into_rgba8();
    assert_eq!(pixels.dimensions(), upright.size());
    for (x, y) in [(10, 10), (90, 10), (10, 90), (90, 90), (50, 50)] {
        let [red, green, blue, _] = upright.at(x, y);
        assert!(close(images::colour_at(&pixels, x, y), [red, green, blue]), "{x} {y}");
    }
}

#[test]
fn strip_false_keeps_the_profile_and_its_colours() {
    let colours = images::columns(90, 30, &[[200, 100, 50], [60, 160, 90], [40, 60, 170]]);
    let profile = icc::profile(&DISPLAY_P3);
    let photo = images::with_metadata(Kind::Png, &colours, None, Some(profile.clone()));
    let directory = Directory::new().with("a.png", &photo);
    let server = Server::with_handler(directory.handler());
    let exact = jxl::read(&body(&server, "/h/a.png?f=jxl&lossless=true&strip=false"));
    assert_eq!(exact.original_icc(), Some(&profile[..]));
    assert_eq!(jxl::pixels(&exact), DynamicImage::from(colours.clone()));
    // Of one that is lossy, the colours are in the space of the profile, which may be written as its primaries and curve.
    let lossy = jxl::read(&body(&server, "/h/a.png?f=jxl&q=95&strip=false"));
    let stripped = jxl::read(&body(&server, "/h/a.png?f=jxl&q=95"));
    assert_eq!(stripped.original_icc(), None);
    assert!(lossy.rendered_icc() != stripped.rendered_icc());
    let converted = Image::decode(&server.get("/h/a.png?f=png").ok().body).pixels;
    let kept = DynamicImage::from(colours).into_rgba8();
    assert!(!close(converted.get_pixel(15, 15).0, [200, 100, 50]));
    for (image, expected) in [(lossy, kept), (stripped, converted)] {
        let pixels = jxl::pixels(&image).into_rgba8();
        for x in [17, 50, 83] {
            let [red, green, blue, _] = images::colour_at(&expected, x, 50);
            let shown = images::colour_at(&pixels, x, 50);
            assert!(close(shown, [red, green, blue]), "{shown:?} {:?}", [red, green, blue]);
        }
    }
}

#[test]
fn an_animation_is_its_first_frame() {
    let directory = Directory::new().with("a.gif", &data("anim.gif"));
    let server = Server::with_handler(directory.handler());
    for query in ["", "&page=5", "&frames=3"] {
        let jxl = body(&server, &format!("/h/a.gif?f=jxl&lossless=true{query}"));
        let png = Image::decode(&server.get(&format!("/h/a.gif?f=png{query}")).ok().body);
        assert!(Image::decode(&jxl).pixels == png.pixels, "{query}");
    }
}

#[test]
fn auto_chooses_it_only_where_the_handler_lists_it() {
    let directory = directory();
    let handler = |name: &str, fields| {
        merged(merged(directory.handler(), json!({"name": name, "output_format": "jpg"})), fields)
    };
    let server = Server::start(json!({"handlers": [
        handler("usual", json!({})),
        handler("first", json!({"auto": ["jxl", "avif", "webp"]})),
        handler("last", json!({"auto": ["webp", "jxl"]})),
    ]}));
    const SAFARI: &str = "image/webp,image/avif,image/jxl,image/heic,image/*;q=0.8,*/*;q=0.5";
    for (handler, accept, expected) in [
        ("usual", SAFARI, Kind::Avif),
        ("usual", "image/jxl", Kind::Jpeg),
        ("first", SAFARI, Kind::Jxl),
        ("first", "image/avif,*/*", Kind::Avif),
        ("first", "image/*", Kind::Jpeg),
        ("first", "image/jxl;q=0,image/webp", Kind::Webp),
        ("first", "image/jxl;q=0.1,image/webp", Kind::Webp),
        ("last", SAFARI, Kind::Webp),
        ("last", "image/jxl,image/avif", Kind::Jxl),
    ] {
        let target = format!("/{handler}/photo.jpg?w=200&f=auto");
        let (kind, answer) = accepting(&server, &target, accept);
        assert_eq!(kind, expected, "{handler} {accept}");
        assert!(answer.varies_on("Accept"));
    }
    // It has no animations.
    directory.put("a.gif", &data("anim.gif"));
    let (kind, _) = accepting(&server, "/first/a.gif?w=200&f=auto", SAFARI);
    assert_eq!(kind, Kind::Avif);
}

#[test]
fn the_quality_of_a_handler_is_its_own() {
    let directory = directory();
    let handler = |name: &str, quality| {
        merged(directory.handler(), json!({"name": name, "quality": quality}))
    };
    let server = Server::start(json!({"handlers": [
        merged(directory.handler(), json!({"name": "plain"})),
        handler("scaled", json!({"jxl": 40, "avif": 90})),
        handler("native", json!({"jxl": 40, "scale": "native"})),
    ]}));
    let length = |target: &str| body(&server, target).len();
    let default = length("/plain/photo.jpg?f=jxl");
    assert_eq!(default, length("/plain/photo.jpg?f=jxl&q=75"));
    let scaled = length("/scaled/photo.jpg?f=jxl");
    assert_eq!(scaled, length("/plain/photo.jpg?f=jxl&q=40"));
    let native = length("/native/photo.jpg?f=jxl");
    assert!(native < scaled && scaled < default, "{native} {scaled} {default}");
}

#[test]
fn an_original_of_it_is_not_decoded() {
    let directory = directory();
    let handler = |name: &str, fields| {
        let fields = merged(json!({"name": name, "error_status": "precise"}), fields);
        merged(directory.handler(), fields)
    };
    let server = Server::start(json!({"handlers": [
        handler("h", json!({})),
        handler("files", json!({"passthrough": ["jxl"]})),
        handler("raw", json!({"raw": true, "passthrough": ["jxl"]})),
    ]}));
    for query in ["f=jxl", "f=jxl&lossless=true&strip=false"] {
        let original = body(&server, &format!("/h/colours.png?{query}"));
        directory.put("a.jxl", &original);
        directory.put("a.png", &original);
        for target in ["/h/a.jxl?w=40", "/h/a.jxl?f=jxl", "/h/a.png?w=40", "/files/a.png?w=30"] {
            let answer = server.get(target);
            assert_eq!(answer.status, 415, "{target}");
            assert_eq!(answer.expect("X-Error").split(':').next(), Some("unsupported_format"));
        }
        for target in ["/files/a.jxl", "/files/a.jxl?w=40&f=webp", "/raw/a.png?raw=true"] {
            for _ in 0..2 {
                assert!(body(&server, target) == original, "{target}");
            }
        }
        for key in ["a.jxl", "a.png"] {
            std::fs::remove_file(directory.path().join(key)).unwrap();
        }
    }
}

#[test]
fn it_is_described_and_is_an_error_image() {
    let directory = directory();
    let server = Server::start(json!({"handlers": [
        merged(directory.handler(), json!({"output_format": "jxl"})),
    ]}));
    let described = server.get("/h/colours.png?f=json&w=30").body;
    let described: serde_json::Value = serde_json::from_slice(&described).unwrap();
    assert_eq!(described["result"]["format"], "jxl");
    assert_eq!(size_of(&body(&server, "/h/colours.png?w=30")).0, 30);
    let failed = server.get("/h/missing.png?w=30");
    assert_eq!((failed.status, failed.expect("Content-Type")), (404, "image/jxl"));
    assert_eq!(size_of(&failed.body).0, 30);
}
