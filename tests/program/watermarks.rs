//! `wm`: pixels compared with arithmetic that is written here, the cache key, and handlers whose every image has a
//! watermark.

use std::collections::HashSet;
use std::path::Path;

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, LumaA, Rgba, RgbaImage};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::icc;
use crate::support::images::{
    self, BLUE, GREEN, Image, Kind, RED, WHITE, avif_has_alpha, holds, profile_of, size_of, within,
};
use crate::support::server::{self, Server, Setup, data};
use crate::support::{merged, process};

/// A handler for a directory with a watermark `logo`, whose file is below `marks`.
fn handler(originals: &Directory, marks: &Directory, fields: Value) -> Value {
    let file = marks.path().join("logo.png");
    let logo = merged(json!({"file": file}), fields);
    merged(originals.handler(), json!({"watermarks": {"logo": logo}}))
}

/// A watermark in which every opacity occurs.
fn mark(width: u32, height: u32) -> RgbaImage {
    let noise = images::noise(width, height);
    RgbaImage::from_fn(width, height, |x, y| {
        let [red, green, blue] = noise.get_pixel(x, y).0;
        let number = x + y * width;
        Rgba([red, green, blue, if number.is_multiple_of(5) { 255 } else { number as u8 }])
    })
}

#[track_caller]
fn fetch(server: &Server, target: &str) -> RgbaImage {
    Image::decode(&server.get(target).ok().body).pixels
}

/// Fails unless `result` is `below` with a watermark pixel over each: `over` gives it, and `None` where nothing is
/// drawn. `opacity` is from 0 to 255.
#[track_caller]
fn expect_drawn(
    result: &RgbaImage,
    below: &RgbaImage,
    opacity: u32,
    what: &str,
    over: impl Fn(u32, u32) -> Option<Rgba<u8>>,
) {
    assert_eq!(result.dimensions(), below.dimensions(), "{what}");
    for (x, y, Rgba(found)) in result.enumerate_pixels() {
        let Rgba(base) = *below.get_pixel(x, y);
        let place = format!("{what}: {found:?} at {x}, {y} over {base:?}");
        let Some(Rgba([red, green, blue, alpha])) = over(x, y) else {
            assert_eq!(*found, base, "{place}");
            continue;
        };
        // Of the watermark and of what is below it, in 255ths of a 255th.
        let alpha = (u32::from(alpha) * opacity + 127) / 255;
        let rest = u32::from(base[3]) * (255 - alpha);
        let whole = 255 * alpha + rest;
        assert!((i64::from(found[3]) * 255 - i64::from(whole)).abs() <= 128, "{place}");
        if whole == 0 {
            continue;
        }
        for (channel, colour) in [red, green, blue].into_iter().enumerate() {
            let exact =
                f64::from(255 * alpha * u32::from(colour) + rest * u32::from(base[channel]))
                    / f64::from(whole);
            let difference = (f64::from(found[channel]) - exact).abs();
            // Half of a step for the rounding; over transparency, the weights have steps, too.
            let allowed = if base[3] == 255 { 0.51 } else { 1.01 };
            assert!(difference <= allowed, "{place} with {colour} {alpha}: {difference}");
        }
    }
}

#[test]
fn pixels_are_those_of_integer_arithmetic_at_every_position() {
    let below = images::noise(60, 40);
    let originals = Directory::new().with("a.png", &images::png(below.clone()));
    let below = DynamicImage::from(below).into_rgba8();
    let mark = mark(17, 11);
    let marks = Directory::new().with("logo.png", &images::png(mark.clone()));
    let right = 60 - 17;
    let bottom = 40 - 11;
    for (fields, corner, opacity) in [
        (json!({}), (right, bottom), 255),
        (json!({"position": "se", "opacity": 0.5}), (right, bottom), 128),
        (json!({"position": "nw"}), (0, 0), 255),
        (json!({"position": "n", "opacity": 0.01}), (right / 2, 0), 3),
        (json!({"position": "ne", "offset": [5, 3]}), (right - 5, 3), 255),
        (json!({"position": "w", "offset": [0.1, 0]}), (6, bottom / 2), 255),
        (json!({"position": "e", "offset": [0.1, 0]}), (right - 6, bottom / 2), 255),
        (json!({"position": "sw", "offset": [1, 0.25]}), (1, bottom - 10), 255),
        (json!({"position": "s", "offset": [-2, 0]}), (right / 2 - 2, bottom), 255),
        (json!({"position": "ce", "offset": [-0.1, 4]}), (right / 2 - 6, bottom / 2 + 4), 255),
        // It stays within the image.
        (json!({"position": "se", "offset": [-9, 1000]}), (right, 0), 255),
        (json!({"position": "nw", "offset": [0.9, 0.9]}), (right, bottom), 255),
        (json!({"position": "nw", "size": 1}), (0, 0), 255),
    ] {
        let what = fields.to_string();
        let server = Server::with_handler(handler(&originals, &marks, fields));
        let result = fetch(&server, "/h/a.png?wm=logo");
        expect_drawn(&result, &below, opacity, &what, |x, y| {
            let (x, y) = (x.checked_sub(corner.0)?, y.checked_sub(corner.1)?);
            mark.get_pixel_checked(x, y).copied()
        });
    }
}

#[test]
fn transparency_below_a_watermark_is_kept_beside_it() {
    let noise = mark(50, 30);
    // Every opacity below every other one.
    let below = RgbaImage::from_fn(50, 30, |x, y| {
        let Rgba([red, green, blue, _]) = *noise.get_pixel(49 - x, y);
        Rgba([red, green, blue, [0, 1, 40, 128, 254, 255][(y % 6) as usize]])
    });
    let mark = mark(40, 20);
    let originals = Directory::new()
        .with("a.png", &images::png(below.clone()))
        .with("a.webp", &images::webp(below.clone()));
    let marks = Directory::new().with("logo.png", &images::png(mark.clone()));
    for opacity in [255, 100] {
        let fields = json!({"position": "nw", "opacity": f64::from(opacity) / 255.0});
        let server = Server::with_handler(handler(&originals, &marks, fields));
        for target in ["/h/a.png?wm=logo", "/h/a.png?wm=logo&f=webp&lossless=true"] {
            let result = fetch(&server, target);
            // A lossless WebP may lose the colour of transparent pixels.
            let is_webp = target.contains("webp");
            expect_drawn(
                &RgbaImage::from_fn(50, 30, |x, y| {
                    let found = *result.get_pixel(x, y);
                    let base = *below.get_pixel(x, y);
                    if is_webp && found.0[3] == 0 && base.0[3] == 0 { base } else { found }
                }),
                &below,
                opacity,
                target,
                |x, y| mark.get_pixel_checked(x, y).copied().filter(|pixel| pixel.0[3] > 0),
            );
        }
        // Flattened first: the watermark is over the background.
        let flat = fetch(&server, "/h/a.png?wm=logo&f=jpg&q=100&bg=0000ff");
        let opaque = Rgba([255, 255, 255, 255]);
        assert!(flat.pixels().all(|pixel| pixel.0[3] == opaque.0[3]));
        assert!(within(flat.get_pixel(49, 24).0, BLUE, 20), "{:?}", flat.get_pixel(49, 24));
    }
}

#[test]
fn tiles_cover_the_image_with_a_copy_at_the_position() {
    let below = images::noise(90, 70);
    let originals = Directory::new().with("a.png", &images::png(below.clone()));
    let below = DynamicImage::from(below).into_rgba8();
    for (width, height) in [(13, 9), (1, 1), (90, 70), (150, 3)] {
        let mark = mark(width, height);
        let marks = Directory::new().with("logo.png", &images::png(mark.clone()));
        let own = (width.min(90), height.min(70));
        for (fields, spacing, corner) in [
            (json!({"position": "nw"}), (0, 0), (0, 0)),
            (json!({"position": "nw", "spacing": [4, 0]}), (4, 0), (0, 0)),
            (json!({"spacing": [3, 0.1]}), (3, 7), (90 - own.0, 70 - own.1)),
            (
                json!({"position": "ce", "spacing": [16383, 16383]}),
                (90, 70),
                ((90 - own.0) / 2, (70 - own.1) / 2),
            ),
        ] {
            if width > 90 {
                // It is scaled down, and the pixels depend on the filter.
                continue;
            }
            let what = format!("{width} x {height} {fields}");
            let fields = merged(fields, json!({"tile": true}));
            let server = Server::with_handler(handler(&originals, &marks, fields));
            let result = fetch(&server, "/h/a.png?wm=logo");
            let (cell_width, cell_height) = (width + spacing.0, height + spacing.1);
            expect_drawn(&result, &below, 255, &what, |x, y| {
                let x = (i64::from(x) - i64::from(corner.0)).rem_euclid(i64::from(cell_width));
                let y = (i64::from(y) - i64::from(corner.1)).rem_euclid(i64::from(cell_height));
                let (x, y) = (x as u32, y as u32);
                mark.get_pixel_checked(x, y).copied()
            });
        }
    }
}

/// The part of a black image that is not black any more: left, top, width and height.
fn drawn_part(pixels: &RgbaImage) -> Option<(u32, u32, u32, u32)> {
    let changed = || pixels.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] > 40);
    let (left, right) = (changed().map(|(x, _, _)| x).min()?, changed().map(|(x, _, _)| x).max()?);
    let (top, bottom) = (changed().map(|(_, y, _)| y).min()?, changed().map(|(_, y, _)| y).max()?);
    Some((left, top, right + 1 - left, bottom + 1 - top))
}

#[test]
fn the_size_is_a_part_of_the_result_and_never_larger_than_the_file() {
    let originals =
        Directory::new().with("a.png", &images::png(images::solid(800, 600, images::BLACK)));
    let marks = Directory::new().with("logo.png", &images::png(images::solid(120, 40, WHITE)));
    for (size, query, expected) in [
        (None, "", (680, 560, 120, 40)),
        (None, "&w=100", (0, 42, 100, 33)),
        (None, "&w=60&h=3&c=true", (51, 0, 9, 3)),
        (None, "&w=1&h=1", (0, 0, 1, 1)),
        (Some(0.1), "", (720, 573, 80, 27)),
        (Some(0.1), "&w=400", (360, 287, 40, 13)),
        (Some(0.1), "&w=400&h=40&c=true", (388, 36, 12, 4)),
        (Some(0.5), "", (680, 560, 120, 40)),
        (Some(1.0), "&w=60", (0, 25, 60, 20)),
        // The box is the whole result, with its border.
        (Some(0.5), "&w=200&h=200&pad=true&bg=000000", (100, 167, 100, 33)),
        (Some(0.5), "&w=60&rot=90", (30, 70, 30, 10)),
    ] {
        let fields = size.map_or(json!({}), |size| json!({"size": size}));
        let server = Server::with_handler(handler(&originals, &marks, fields));
        let result = fetch(&server, &format!("/h/a.png?wm=logo{query}"));
        assert_eq!(drawn_part(&result), Some(expected), "{size:?} {query}");
    }
}

#[test]
fn pixels_beside_a_watermark_are_those_of_the_image_without_it() {
    // Whatever their decoders give at once: lines, tiles, or all of the image.
    let originals = Directory::new()
        .with("photo.jpg", &data("photo-2mp.jpg"))
        .with("scans.jpg", &data("jpeg/photo-progressive.jpg"))
        .with("wide.png", &images::png(images::noise(3000, 400)))
        .with("tall.png", &images::png(images::noise(200, 3000)))
        .with("noise.webp", &images::webp(images::noise(900, 700)))
        .with("photo.avif", &data("quarters.avif"));
    let marks = Directory::new().with("logo.png", &images::png(images::solid(300, 200, RED)));
    let fields = json!({"position": "ce", "size": 0.3});
    let server = Server::with_handler(handler(&originals, &marks, fields));
    for name in ["photo.jpg", "scans.jpg", "wide.png", "tall.png", "noise.webp", "photo.avif"] {
        for query in [
            "",
            "w=900",
            "w=150",
            "w=150&h=100&g=smart",
            "w=100&blur=2",
            "w=200&sharp=1",
            "w=300&rot=90",
            "w=120&flip=hv&trim=1",
            "w=200&h=200&pad=true&bg=00ff0080",
        ] {
            let plain = fetch(&server, &format!("/h/{name}?f=png&{query}"));
            let marked = fetch(&server, &format!("/h/{name}?f=png&wm=logo&{query}"));
            assert_eq!(plain.dimensions(), marked.dimensions(), "{name} {query}");
            let (width, height) = plain.dimensions();
            let mut drawn = 0;
            for (x, y, pixel) in marked.enumerate_pixels() {
                // At most 0.3 of both sides, in the centre.
                let is_near = |at: u32, side: u32| {
                    (f64::from(at) + 0.5 - f64::from(side) / 2.0).abs()
                        <= 0.15 * f64::from(side) + 1.0
                };
                if is_near(x, width) && is_near(y, height) {
                    drawn += u32::from(pixel.0 == [255, 0, 0, 255]);
                } else {
                    assert_eq!(pixel, plain.get_pixel(x, y), "{name} {query} at {x}, {y}");
                }
            }
            assert!(drawn * 50 > width * height / 10 || drawn > 300, "{name} {query}: {drawn}");
        }
    }
}

#[test]
fn several_are_drawn_in_the_order_of_the_query() {
    let originals = Directory::new().with("a.png", &images::png(images::solid(40, 40, WHITE)));
    let marks = Directory::new();
    let put = |name: &str, colour, side| {
        marks.put(&format!("{name}.png"), &images::png(images::solid(side, side, colour)))
    };
    let watermarks = json!({
        "red": {"file": put("red", RED, 20), "position": "nw"},
        "green": {"file": put("green", GREEN, 10), "position": "nw"},
    });
    let server =
        Server::with_handler(merged(originals.handler(), json!({"watermarks": watermarks})));
    for (query, at_5, at_15) in [
        ("", WHITE, WHITE),
        ("wm=none", WHITE, WHITE),
        ("wm=red", RED, RED),
        ("wm=green", GREEN, WHITE),
        ("wm=red,green", GREEN, RED),
        ("wm=green,red", RED, RED),
    ] {
        let result = fetch(&server, &format!("/h/a.png?{query}"));
        for (at, colour) in [(5, at_5), (15, at_15), (30, WHITE)] {
            assert_eq!(result.get_pixel(at, at).0[..3], colour, "{query} at {at}");
        }
    }
}

/// Originals of every kind, about 80 x 60 pixels of green or gray.
fn originals_of_every_kind() -> Directory {
    let green = images::solid(80, 60, [0, 200, 0]);
    let gray = GrayImage::from_pixel(80, 60, image::Luma([90]));
    let deep = ImageBuffer::from_pixel(80, 60, image::Rgb([0_u16, 51_400, 0]));
    let deep_gray = ImageBuffer::from_pixel(80, 60, image::Luma([20_000_u16]));
    let clear = RgbaImage::from_pixel(80, 60, Rgba([0, 200, 0, 100]));
    let gray_clear = GrayAlphaImage::from_pixel(80, 60, LumaA([90, 100]));
    let frame = |colour: [u8; 3]| DynamicImage::from(images::solid(80, 60, colour)).into_rgba8();
    let directory = Directory::new();
    for (name, bytes) in [
        ("green.jpg", images::jpeg(green.clone())),
        ("green.png", images::png(green.clone())),
        ("green.webp", images::webp(green.clone())),
        ("green.gif", images::gif(green)),
        ("gray.jpg", images::jpeg(gray.clone())),
        ("gray.png", images::png(gray)),
        ("deep.png", images::png(DynamicImage::ImageRgb16(deep))),
        ("deep-gray.png", images::png(DynamicImage::ImageLuma16(deep_gray))),
        ("clear.png", images::png(clear.clone())),
        ("clear.webp", images::webp(clear)),
        ("gray-clear.png", images::png(gray_clear)),
        ("cmyk.jpg", icc::cmyk_jpeg(&[[255, 0, 255, 0]; 4], None)),
        ("alpha.avif", data("alpha.avif")),
        ("ten.avif", data("10-bit.avif")),
        ("photo.avif", data("quarters.avif")),
        (
            "moving.gif",
            images::animated_gif(&[(frame([0, 200, 0]), 100), (frame([0, 0, 200]), 200)]),
        ),
    ] {
        directory.put(name, &bytes);
    }
    let server = Server::with_handler(directory.handler());
    let moving = server.get("/h/moving.gif?f=webp&lossless=true").ok().body;
    directory.with("moving.webp", &moving)
}

/// The pixels of each frame of a result; those of an AVIF are taken from a PNG that the server makes of it.
fn frames(answer: &Answer) -> Vec<RgbaImage> {
    if Kind::of(&answer.body) != Some(Kind::Avif) {
        return Image::decode(&answer.body).frames.into_iter().map(|(frame, _)| frame).collect();
    }
    let directory = Directory::new().with("a.avif", &answer.body);
    vec![fetch(&Server::with_handler(directory.handler()), "/h/a.avif?f=png")]
}

#[test]
fn every_kind_of_image_gets_a_watermark_in_every_format() {
    let originals = originals_of_every_kind();
    let names: Vec<String> = originals
        .files()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(names.len() > 15);
    let marks = Directory::new();
    let mark = |name: &str, colour| {
        marks.put(&format!("{name}.png"), &images::png(images::solid(24, 24, colour)))
    };
    let each = |file| json!({"file": file, "position": "nw"});
    let watermarks = json!({
        "red": each(mark("red", RED)),
        "white": each(mark("white", WHITE)),
        "tiny": merged(each(mark("tiny", RED)), json!({"size": 0.5, "tile": true, "spacing": [9, 0.2]})),
    });
    let fields = json!({"watermarks": watermarks});
    let server = Server::with_handler(merged(originals.handler(), fields));
    for name in &names {
        for format in ["jpg", "png", "webp", "gif", "avif"] {
            for (query, colour) in [
                ("wm=red", RED),
                ("wm=white", WHITE),
                ("wm=tiny&w=40", RED),
                ("wm=white,red&trim=3&rot=90", RED),
                ("wm=red&strip=false", RED),
            ] {
                let target = format!("/h/{name}?f={format}&q=95&{query}");
                let answer = server.get(&target).ok();
                let is_moving = name.starts_with("moving") && matches!(format, "gif" | "webp");
                let frames = frames(&answer);
                assert_eq!(frames.len(), if is_moving { 2 } else { 1 }, "{target}");
                for frame in &frames {
                    let Rgba(found) = *frame.get_pixel(2, 2);
                    assert!(within(found, colour, 30) && found[3] == 255, "{target}: {found:?}");
                }
                // What had transparency keeps it beside the watermark.
                let is_clear = name.contains("clear") && !query.contains("tiny");
                if is_clear && matches!(format, "png" | "webp") {
                    assert_eq!(frames[0].get_pixel(50, 50).0[3], 100, "{target}");
                }
                if is_clear && format == "avif" && !query.contains("rot") {
                    assert!(avif_has_alpha(&answer.body), "{target}");
                }
            }
        }
    }
    // Grayscale stays grayscale below a watermark without colours.
    for (name, query, is_gray) in [
        ("gray.png", "wm=white", true),
        ("deep-gray.png", "wm=white", true),
        ("gray.png", "wm=red", false),
    ] {
        let png = server.get(&format!("/h/{name}?f=png&{query}")).ok().body;
        // The colour type of IHDR: 0 or 3 for grayscale and palettes, 2 for RGB.
        assert_eq!(png[25] == 0, is_gray, "{name} {query}: {}", png[25]);
    }
}

#[test]
fn a_kept_profile_applies_to_the_watermark_as_well() {
    let below = images::solid(40, 40, [30, 60, 90]);
    let profile = icc::profile(&icc::DISPLAY_P3);
    let png = images::with_metadata(Kind::Png, &below, None, Some(profile.clone()));
    let originals = Directory::new().with("a.png", &png);
    let colour = [250, 60, 20];
    let marks = Directory::new().with("logo.png", &images::png(images::solid(20, 20, colour)));
    let server = Server::with_handler(handler(&originals, &marks, json!({"position": "nw"})));
    let kept = server.get("/h/a.png?wm=logo&strip=false").ok().body;
    assert_eq!(profile_of(&kept), Some(profile));
    let pixels = Image::decode(&kept).pixels;
    assert_eq!(pixels.get_pixel(30, 30).0[..3], [30, 60, 90]);
    let Rgba([red, green, blue, _]) = *pixels.get_pixel(5, 5);
    assert_ne!([red, green, blue], colour, "a colour of sRGB has other numbers in Display P3");
    let shown = icc::to_linear_srgb(
        &icc::DISPLAY_P3,
        [red, green, blue].map(|value| f64::from(value) / 255.0),
    );
    for (light, expected) in shown.into_iter().zip(colour) {
        let shown = 255.0 * icc::srgb_encoded(light);
        assert!((shown - f64::from(expected)).abs() < 3.0, "{shown} and not {expected}");
    }
    // Converted, the watermark has its own bytes.
    let converted = fetch(&server, "/h/a.png?wm=logo");
    assert_eq!(converted.get_pixel(5, 5).0[..3], colour);
}

#[test]
fn a_reload_takes_a_changed_file() {
    let originals = Directory::new().with("a.png", &images::png(images::solid(40, 40, WHITE)));
    let cache = Directory::new();
    let marks = Directory::new().with("logo.png", &images::png(images::solid(10, 10, RED)));
    let config = |fields: Value| {
        let handler = handler(&originals, &marks, fields);
        json!({"handlers": [merged(handler, json!({"cache_path": cache.path()}))]})
    };
    let server = Server::start(config(json!({})));
    let colour = |answer: &Answer| Image::decode(&answer.body).pixels.get_pixel(35, 35).0;
    let first = server.get("/h/a.png?wm=logo").ok();
    let plain = server.get("/h/a.png").ok();
    assert!(within(colour(&first), RED, 0));
    assert_eq!(first.expect("X-Cache"), "miss");

    // The file is not read again before a reload, also by another renderer.
    marks.put("logo.png", &images::png(images::solid(10, 10, BLUE)));
    process::send(server.renderer().id, Signal::KILL);
    assert!(within(colour(&server.get("/h/a.png?wm=logo&q=3&f=webp&lossless=true").ok()), RED, 0));
    let again = server.get("/h/a.png?wm=logo").ok();
    assert_eq!((again.expect("X-Cache"), again.expect("ETag")), ("hit", first.expect("ETag")));

    server.reload_well(config(json!({})));
    let second = server.get("/h/a.png?wm=logo").ok();
    assert_eq!(second.expect("X-Cache"), "miss");
    assert!(within(colour(&second), BLUE, 0));
    assert_ne!(second.expect("ETag"), first.expect("ETag"));
    let condition = [("If-None-Match", first.expect("ETag"))];
    assert_eq!(server.get_with("/h/a.png?wm=logo", &condition).status, 200);
    // Images without a watermark keep their entries.
    let unchanged = server.get("/h/a.png").ok();
    assert_eq!(
        (unchanged.expect("X-Cache"), unchanged.expect("ETag")),
        ("hit", plain.expect("ETag"))
    );

    // Its settings are part of the key, too.
    server.reload_well(config(json!({"opacity": 0.5})));
    let half = server.get("/h/a.png?wm=logo").ok();
    assert_eq!(half.expect("X-Cache"), "miss");
    assert_ne!(half.expect("ETag"), second.expect("ETag"));
    server.reload_well(config(json!({})));
    let back = server.get("/h/a.png?wm=logo").ok();
    assert_eq!((back.expect("X-Cache"), back.expect("ETag")), ("hit", second.expect("ETag")));

    // A file that can't be used changes nothing.
    let whole = images::png(images::noise(30, 30));
    for (bytes, sentence) in [
        (&b"no image"[..], "watermarks.logo.file: "),
        (&images::png(images::solid(2001, 2000, RED)), "has 2001 x 2000 pixels"),
        (&whole[..whole.len() / 2], "watermark logo of /h/"),
    ] {
        marks.put("logo.png", bytes);
        let said = server.reload(config(json!({"opacity": 0.25})));
        let lines = server.log.lines().join("\n");
        assert!(said.contains("reload_failed"), "{said}");
        assert!(lines.contains(sentence), "{sentence}: {lines}");
        let kept = server.get("/h/a.png?wm=logo").ok();
        assert_eq!((kept.expect("X-Cache"), kept.expect("ETag")), ("hit", second.expect("ETag")));
    }
}

/// Fails unless the lower right corner of an image is red, as in a handler whose every image has a red watermark.
#[track_caller]
fn expect_marked(answer: &Answer, what: &str) {
    for frame in frames(answer) {
        let (width, height) = frame.dimensions();
        let Rgba(corner) = *frame.get_pixel(width - 1, height - 1);
        assert!(within(corner, RED, 40) && corner[3] == 255, "{what}: {corner:?}");
    }
}

#[test]
fn no_image_is_served_without_a_watermark_that_is_always_drawn() {
    // Small originals without metadata, which are served as they are where no option changes pixels.
    let small = images::solid(64, 48, [0, 120, 200]);
    let original = images::png(small.clone());
    let originals = originals_of_every_kind();
    for (name, bytes) in [
        ("a.png", original.clone()),
        ("a.jpg", images::jpeg(small.clone())),
        ("a.webp", images::webp(small.clone())),
        ("a.gif", images::gif(small)),
    ] {
        originals.put(name, &bytes);
    }
    let without = Server::with_handler(originals.handler());
    originals.put("low.jpg", &images::jpeg(images::noise(64, 48)));
    let low = without.get("/h/low.jpg?q=3").ok().body;
    originals.put("low.jpg", &low);
    assert_eq!(without.get("/h/low.jpg?q=90").ok().body, low);

    let marks = Directory::new().with("logo.png", &images::png(images::solid(16, 16, RED)));
    let cache = Directory::new();
    let always = json!({
        "wm": "always",
        "cache_path": cache.path(),
        "presets": {"small": "w=20&f=png", "same": ""},
    });
    let always = merged(handler(&originals, &marks, json!({})), always);
    let server = Server::with_handler(always.clone());
    for path in originals.files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        for query in [
            "",
            "wm=logo",
            "WM=none",
            "original=1",
            "passthrough=true",
            "w=30",
            "w=1&h=1",
            "w=200&e=true",
            "w=500&h=400&pad=true",
            "h=20&g=smart&w=20",
            "f=auto",
            "p=small",
            "p=same",
            "p=same&f=webp",
            "f=jpg",
            "f=png",
            "f=webp&q=100",
            "f=gif",
            "lossless=true",
            "strip=false",
            "rot=90&flip=h",
            "page=0&frames=1",
        ] {
            let target = format!("/h/{name}?{query}");
            for accept in ["*/*", "image/avif,image/webp"] {
                let answer = server.get_with(&target, &[("Accept", accept)]).ok();
                if size_of(&answer.body) != (1, 1) {
                    expect_marked(&answer, &target);
                }
                let is_original = originals
                    .files()
                    .iter()
                    .any(|path| std::fs::read(path).unwrap() == answer.body);
                assert!(!is_original, "{target}");
            }
        }
    }
    for query in ["wm=none", "wm=", "wm=other", "wm=logo,none", "p=same&wm=none", "wm=logo&wm=none"]
    {
        let answer = server.get(&format!("/h/a.png?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().starts_with("wm: "), "{query}: {}", answer.text());
    }
    // Nor is the original served as it is: the configuration can't allow that here.
    assert_eq!(server.get("/h/a.png?raw=true").status, 400);
    // A description shows no pixels.
    for query in ["f=json", "f=thumbhash", "f=blurhash&w=20"] {
        assert_eq!(server.get(&format!("/h/a.png?{query}")).status, 200, "{query}");
    }
    // Conditions and ranges are about the image with its watermark.
    let marked = server.get("/h/a.png").ok();
    let range = server.get_with("/h/a.png", &[("Range", "bytes=0-9")]);
    assert_eq!((range.status, &range.body[..]), (206, &marked.body[..10]));
    assert_eq!(
        server.get_with("/h/a.png", &[("If-None-Match", marked.expect("ETag"))]).status,
        304
    );
    let named = server.get("/h/a.png?wm=logo").ok();
    assert_eq!((named.expect("X-Cache"), named.expect("ETag")), ("hit", marked.expect("ETag")));

    // Entries from before a handler had the watermark are not served.
    let before = json!({"cache_path": cache.path(), "name": "h"});
    server.reload_well(json!({"handlers": [merged(originals.handler(), before)]}));
    let plain = server.get("/h/a.png").ok();
    assert_eq!(plain.body, without.get("/h/a.png").ok().body);
    server.reload_well(json!({"handlers": [always]}));
    let again = server.get("/h/a.png").ok();
    assert_eq!((again.expect("X-Cache"), again.expect("ETag")), ("hit", marked.expect("ETag")));
    expect_marked(&again, "after a reload");
}

#[test]
fn presets_only_and_always_leave_no_choice() {
    let originals = Directory::new().with("a.png", &images::png(images::solid(64, 48, WHITE)));
    let marks = Directory::new().with("logo.png", &images::png(images::solid(16, 16, RED)));
    let presets =
        json!({"presets": {"default": "w=40", "wide": "w=60&f=webp"}, "presets_only": true});
    for fields in [
        json!({"wm": "always"}),
        json!({"presets": {"default": "w=40&wm=logo", "wide": "w=60&f=webp&wm=logo"}}),
    ] {
        let handler =
            merged(handler(&originals, &marks, json!({})), merged(presets.clone(), fields));
        let server = Server::with_handler(handler);
        for query in ["", "p=default", "p=wide", "p=wide&unknown=1"] {
            expect_marked(&server.get(&format!("/h/a.png?{query}")).ok(), query);
        }
        for query in ["wm=none", "wm=logo", "p=wide&wm=none", "p=none"] {
            assert_eq!(server.get(&format!("/h/a.png?{query}")).status, 400, "{query}");
        }
    }
}

#[test]
fn error_images_have_no_watermark() {
    let originals = Directory::new().with("error.png", &images::png(images::solid(60, 60, GREEN)));
    let marks = Directory::new().with("logo.png", &images::png(images::solid(16, 16, RED)));
    let fields = json!({"wm": "always", "error_image": originals.path().join("error.png")});
    let server = Server::with_handler(merged(handler(&originals, &marks, json!({})), fields));
    for target in ["/h/missing.png", "/h/missing.png?w=40&f=png", "/h/missing.png?wm=logo&f=webp"] {
        let answer = server.get(target).failed("not_found");
        let pixels = Image::decode(&answer.body).pixels;
        assert!(pixels.pixels().all(|pixel| within(pixel.0, GREEN, 6)), "{target}");
    }
}

#[test]
fn names_from_clients_lead_to_no_file_and_no_host() {
    let originals = Directory::new()
        .with("a.png", &images::png(images::solid(40, 40, WHITE)))
        .with("logo.png", &images::png(images::solid(10, 10, RED)));
    let marks = Directory::new().with("logo.png", &images::png(images::solid(10, 10, BLUE)));
    let server = Server::with_handler(handler(&originals, &marks, json!({})));
    let digests: HashSet<String> =
        ["0000000000000000", "ffffffffffffffff"].map(str::to_owned).into();
    let values = [
        "logo.png",
        "./logo",
        "../a",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "http://127.0.0.1/a.png",
        "//127.0.0.1/a.png",
        "file:logo",
        "logo%00",
        "logo%0d%0aX-A:1",
        "a.png",
        "h/logo.png",
        "{}",
        "%22",
        "%ff",
        "logo,",
        "logo;red",
        "logo|none",
    ];
    let with_hashes = digests.iter().map(|digest| format!("logo:{digest}"));
    for value in values.into_iter().map(str::to_owned).chain(with_hashes) {
        let answer = server.get(&format!("/h/a.png?wm={value}"));
        assert_eq!(answer.status, 400, "{value}");
        assert!(answer.text().starts_with("wm: "), "{value}: {}", answer.text());
        assert!(!holds(&answer.body, b"\r\n"), "{value}");
    }
    let long = "a".repeat(3000);
    let answer = server.get(&format!("/h/a.png?wm={long}"));
    assert!(answer.status == 400 && answer.body.len() < 300, "{}", answer.text());
}

#[test]
fn configurations_with_unusable_watermarks_are_refused() {
    let originals = Directory::new();
    let still = images::png(images::solid(9, 9, RED));
    let noise = images::png(images::noise(30, 30));
    for (bytes, fields, sentence) in [
        (&images::png(images::solid(2001, 2000, RED))[..], json!({}), "has 2001 x 2000 pixels"),
        (&data("bomb-15000x15000-rgb.png"), json!({}), "has 15000 x 15000 pixels"),
        (&data("header-2147483647.png"), json!({}), "pixels"),
        (&data("anim.gif"), json!({}), "has 42 frames; a watermark is a still image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", json!({}), "is not a JPEG, PNG"),
        (b"", json!({}), "is not a JPEG, PNG"),
        (&still, json!({"opacity": 1.5}), "opacity: must be from 0.01 to 1, not 1.5"),
        (&still, json!({"size": 0}), "size: must be from 0.01 to 1, not 0"),
        (&still, json!({"key": "logo.png"}), "key: unknown field"),
    ] {
        let marks = Directory::new().with("logo.png", bytes);
        let handler = handler(&originals, &marks, fields);
        let setup = Setup::new(json!({"handlers": [handler]}));
        let mut check = setup.command();
        check.arg("--check");
        for output in [setup.run(), check.output().unwrap()] {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{sentence}: {stderr}");
            let is_named = stderr.contains("handlers[0].watermarks.logo.");
            assert!(is_named && stderr.contains(sentence), "{sentence}: {stderr}");
        }
    }
    // What only decoding tells is found when the renderer starts.
    let marks = Directory::new().with("logo.png", &noise[..noise.len() / 2]);
    let setup = Setup::new(json!({"handlers": [handler(&originals, &marks, json!({}))]}));
    let output = setup.run();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("watermark logo of /h/: "), "{stderr}");
}

#[test]
fn the_command_line_draws_the_watermarks_of_its_handler() {
    let originals = Directory::new().with("a.png", &images::png(images::solid(64, 48, WHITE)));
    let marks = Directory::new().with("logo.png", &images::png(images::solid(16, 16, RED)));
    let render = |handler: &Value, arguments: &[&str]| {
        let setup = Setup::new(json!({"handlers": [handler]}));
        let config =
            setup.directory().put("c.json", json!({"handlers": [handler]}).to_string().as_bytes());
        let input = originals.path().join("a.png");
        let mut command = server::command(Path::new(server::PROGRAM), setup.directory().path());
        command.arg("render").arg(input).arg("-").args(arguments);
        server::run(command.args(["--handler", "h", "-c"]).arg(config))
    };
    let on_request = handler(&originals, &marks, json!({}));
    let always = merged(on_request.clone(), json!({"wm": "always"}));
    for (handler, options) in [(&on_request, "wm=logo"), (&always, "w=60")] {
        let output = render(handler, &[options]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let corner = Image::decode(&output.stdout).at(99, 99);
        assert!(within(corner, RED, 0), "{options}: {corner:?}");
    }
    for (handler, options) in [(&on_request, "wm=other"), (&always, "wm=none")] {
        let output = render(handler, &[options]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{options}");
    }
}
