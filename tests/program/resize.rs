//! Resizing and conversion: every pair of formats, exact sizes, orientation, colours, transparency, animation, limits.

use std::collections::HashSet;

use image::{Rgba, RgbaImage};
use serde_json::json;

use crate::support::directory::Directory;
use crate::support::images::{
    self, BLUE, GREEN, Image, Kind, RED, WHITE, avif_has_alpha, close, colour_at, holds, size_of,
    within,
};
use crate::support::merged;
use crate::support::server::{Server, data};

/// The formats that the tests can decode.
const DECODABLE: [Kind; 4] = [Kind::Jpeg, Kind::Png, Kind::Webp, Kind::Gif];

#[track_caller]
fn expect_quarters(image: &Image, what: &str) {
    for (x, y, colour) in [(20, 20, RED), (80, 20, GREEN), (20, 80, BLUE), (80, 80, WHITE)] {
        assert!(within(image.at(x, y), colour, 24), "{what}: {:?} at {x} %, {y} %", image.at(x, y));
    }
}

#[test]
fn every_format_is_converted_to_every_other() {
    let directory = Directory::new().with("a.avif", &data("quarters.avif"));
    for kind in DECODABLE {
        directory.put(&format!("a.{}", kind.name()), &images::in_format(kind, &images::quarters()));
    }
    let server = Server::with_handler(directory.handler());
    for from in Kind::ALL {
        for to in Kind::ALL {
            for (query, size) in [("", (64, 48)), ("&w=32", (32, 24)), ("&w=24&h=24", (24, 24))] {
                let target = format!("/h/a.{}?f={}{query}", from.name(), to.name());
                let answer = server.get(&target).ok();
                assert_eq!(Kind::of(&answer.body), Some(to), "{target}");
                assert_eq!(answer.expect("Content-Type"), to.media_type(), "{target}");
                assert_eq!(size_of(&answer.body), size, "{target}");
                if to != Kind::Avif {
                    expect_quarters(&Image::decode(&answer.body), &target);
                }
            }
        }
        let kept = server.get(&format!("/h/a.{}?w=32", from.name())).ok();
        assert_eq!(
            Kind::of(&kept.body),
            Some(from),
            "without f and output_format the format stays"
        );
    }
    // An encoded AVIF can be loaded, and has the same pixels.
    let again = Directory::new();
    for from in DECODABLE {
        again.put(
            &format!("{}.avif", from.name()),
            &server.get(&format!("/h/a.{}?f=avif", from.name())).ok().body,
        );
    }
    let second = Server::with_handler(again.handler());
    for from in DECODABLE {
        let target = format!("/h/{}.avif?f=png", from.name());
        expect_quarters(&Image::decode(&second.get(&target).ok().body), &target);
    }
}

#[test]
fn the_format_is_detected_by_the_bytes_and_not_by_the_name() {
    let directory = Directory::new()
        .with("really-png.jpg", &images::png(images::quarters()))
        .with("really-jpeg.gif", &images::jpeg(images::quarters()))
        .with("without-extension", &images::webp(images::quarters()));
    let server = Server::with_handler(directory.handler());
    for (target, kind) in [
        ("/h/really-png.jpg", Kind::Png),
        ("/h/really-jpeg.gif", Kind::Jpeg),
        ("/h/without-extension", Kind::Webp),
    ] {
        let answer = server.get(target).ok();
        assert_eq!(
            (Kind::of(&answer.body), answer.expect("Content-Type")),
            (Some(kind), kind.media_type())
        );
    }
}

/// A query and the exact size of its result.
type Case = (&'static str, (u32, u32));

/// Checks a table of sizes with an original of this size, as JPEG, PNG, WebP and GIF.
#[track_caller]
fn expect_sizes(width: u32, height: u32, cases: &[Case]) {
    let directory = Directory::new();
    let source = images::gradient(width, height);
    for kind in DECODABLE {
        directory.put(&format!("a.{}", kind.name()), &images::in_format(kind, &source));
    }
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    for kind in DECODABLE {
        for (query, size) in cases {
            let target = format!("/h/a.{}?{query}", kind.name());
            let answer = client.get(&target).ok();
            assert_eq!(size_of(&answer.body), *size, "{width}×{height}: {target}");
        }
    }
}

#[test]
fn a_landscape_is_cropped_and_fitted_to_exact_sizes() {
    expect_sizes(
        400,
        300,
        &[
            ("", (400, 300)),
            ("w=200", (200, 150)),
            ("w=133", (133, 100)),
            ("w=50", (50, 38)),
            ("w=25", (25, 19)),
            ("h=100", (133, 100)),
            ("h=1", (1, 1)),
            ("w=100&h=100", (100, 100)),
            ("w=100&h=10", (100, 10)),
            ("w=10&h=100", (10, 100)),
            ("w=1&h=1", (1, 1)),
            ("w=400&h=300", (400, 300)),
            ("w=399&h=299", (399, 299)),
            ("w=100&h=100&c=false", (100, 75)),
            ("w=300&h=50&c=false", (67, 50)),
            ("w=400&h=1&c=false", (1, 1)),
            // Not enlarged: the result is smaller than the box.
            ("w=800", (400, 300)),
            ("h=301", (400, 300)),
            ("w=800&h=600", (400, 300)),
            ("w=800&h=100", (400, 100)),
            ("w=100&h=800", (100, 300)),
            ("w=800&h=600&c=false", (400, 300)),
            ("w=800&h=150&c=false", (200, 150)),
            ("w=800&e=true", (800, 600)),
            ("w=500&h=500&e=true", (500, 500)),
            ("w=800&h=100&e=true", (800, 100)),
            ("w=600&h=600&c=false&e=true", (600, 450)),
        ],
    );
}

#[test]
fn a_portrait_is_cropped_and_fitted_to_exact_sizes() {
    expect_sizes(
        300,
        400,
        &[
            ("w=100", (100, 133)),
            ("h=100", (75, 100)),
            ("w=100&h=100", (100, 100)),
            ("w=200&h=100", (200, 100)),
            ("w=100&h=100&c=false", (75, 100)),
            ("w=50&h=300&c=false", (50, 67)),
            ("w=600&h=800", (300, 400)),
            ("w=600&h=200", (300, 200)),
            ("w=600&h=800&c=false", (300, 400)),
            ("w=600&h=800&e=true", (600, 800)),
            ("w=600&h=600&c=false&e=true", (450, 600)),
        ],
    );
}

#[test]
fn a_square_is_cropped_and_fitted_to_exact_sizes() {
    expect_sizes(
        301,
        301,
        &[
            ("w=100", (100, 100)),
            ("h=7", (7, 7)),
            ("w=200&h=100", (200, 100)),
            ("w=100&h=200", (100, 200)),
            ("w=200&h=100&c=false", (100, 100)),
            ("w=302&h=302", (301, 301)),
            ("w=602&e=true", (602, 602)),
        ],
    );
}

#[test]
fn an_image_one_pixel_wide_is_cropped_and_fitted_to_exact_sizes() {
    expect_sizes(
        1,
        400,
        &[
            ("", (1, 400)),
            ("w=1", (1, 400)),
            ("w=50", (1, 400)),
            ("h=100", (1, 100)),
            ("h=1", (1, 1)),
            ("w=50&h=50", (1, 50)),
            ("w=50&h=50&c=false", (1, 50)),
            ("w=1&h=1", (1, 1)),
            ("w=3&e=true", (3, 1200)),
            ("w=10&h=20&e=true", (10, 20)),
            ("w=10&h=800&c=false&e=true", (2, 800)),
        ],
    );
}

#[test]
fn an_image_one_pixel_high_is_cropped_and_fitted_to_exact_sizes() {
    expect_sizes(
        400,
        1,
        &[
            ("", (400, 1)),
            ("h=1", (400, 1)),
            ("h=50", (400, 1)),
            ("w=100", (100, 1)),
            ("w=1", (1, 1)),
            ("w=50&h=50", (50, 1)),
            ("w=50&h=50&c=false", (50, 1)),
            ("w=1&h=1", (1, 1)),
            ("h=3&e=true", (1200, 3)),
            ("w=20&h=10&e=true", (20, 10)),
            ("w=800&h=10&c=false&e=true", (800, 2)),
        ],
    );
}

#[test]
fn sizes_are_exact_with_shrink_on_load() {
    expect_sizes(
        997,
        613,
        &[
            ("w=997", (997, 613)),
            ("w=500", (500, 307)),
            ("w=499", (499, 307)),
            ("w=249", (249, 153)),
            ("w=125", (125, 77)),
            ("w=124", (124, 76)),
            ("h=77", (125, 77)),
            ("h=76", (124, 76)),
            ("w=125&h=77", (125, 77)),
            ("w=124&h=124", (124, 124)),
            ("w=498&h=307&c=false", (498, 306)),
            ("w=333&h=333&c=false", (333, 205)),
        ],
    );
}

#[test]
fn a_crop_keeps_the_aspect_ratio() {
    // A circle stays a circle.
    let circle = image::RgbImage::from_fn(400, 200, |x, y| {
        let dx = f64::from(x) - 199.5;
        let dy = f64::from(y) - 99.5;
        image::Rgb(if dx.hypot(dy) < 80.0 { BLUE } else { WHITE })
    });
    let directory = Directory::new().with("a.png", &images::png(circle));
    let server = Server::with_handler(directory.handler());
    let span = |line: Vec<[u8; 4]>| line.iter().filter(|pixel| close(**pixel, BLUE)).count() as i64;
    for (query, diameter) in
        [("w=100&h=100", 80), ("w=200&h=50", 80), ("w=50&h=100", 80), ("w=100&h=100&c=false", 40)]
    {
        let image = Image::decode(&server.get(&format!("/h/a.png?{query}")).ok().body).pixels;
        let (width, height) = image.dimensions();
        let across = span((0..width).map(|x| image.get_pixel(x, height / 2).0).collect());
        let down = span((0..height).map(|y| image.get_pixel(width / 2, y).0).collect());
        assert!((across - diameter.min(i64::from(width))).abs() <= 4, "{query}: {across} across");
        assert!((down - diameter.min(i64::from(height))).abs() <= 4, "{query}: {down} down");
    }
}

#[test]
fn exif_orientation_is_applied_before_sizes_are_computed() {
    let directory = Directory::new();
    for n in [1, 3, 6, 8] {
        directory.put(&format!("{n}.jpg"), &data(&format!("orient-{n}.jpg")));
    }
    let server = Server::with_handler(directory.handler());
    for n in [1, 3, 6, 8] {
        for (query, size) in [
            ("f=png", (600, 400)),
            ("f=png&w=300", (300, 200)),
            ("f=png&h=100", (150, 100)),
            ("f=png&w=300&h=300&c=false", (300, 200)),
        ] {
            let target = format!("/h/{n}.jpg?{query}");
            let image = Image::decode(&server.get(&target).ok().body);
            assert_eq!(image.size(), size, "{target}");
            for (x, y, channel) in [(2, 2, 0), (97, 2, 1), (2, 97, 2)] {
                let corner = image.at(x, y);
                let strongest = (0..3).max_by_key(|index| corner[*index]);
                assert_eq!(strongest, Some(channel), "{target}: {corner:?} at {x} %, {y} %");
            }
        }
        let cropped = server.get(&format!("/h/{n}.jpg?w=400&h=100")).ok();
        assert_eq!(size_of(&cropped.body), (400, 100));
        assert!(!holds(&cropped.body, b"Exif"), "a viewer would apply the orientation again");
    }
}

/// The stored image that EXIF orientation `n` brings to `upright`.
fn stored_for(upright: &image::RgbImage, n: u8) -> image::RgbImage {
    use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
    match n {
        1 => upright.clone(),
        2 => flip_horizontal(upright),
        3 => rotate180(upright),
        4 => flip_vertical(upright),
        // 5 is a transposition, which is its own inverse.
        5 => flip_horizontal(&rotate90(upright)),
        6 => rotate270(upright),
        7 => flip_horizontal(&rotate270(upright)),
        8 => rotate90(upright),
        _ => unreachable!(),
    }
}

#[test]
fn all_eight_exif_orientations_are_applied_in_jpeg_png_and_webp() {
    let directory = Directory::new();
    let kinds = [Kind::Jpeg, Kind::Png, Kind::Webp];
    for kind in kinds {
        for n in 1..=8 {
            let stored = stored_for(&images::quarters(), n);
            let bytes = images::with_metadata(kind, &stored, Some(images::exif(n)), None);
            directory.put(&format!("{n}.{}", kind.name()), &bytes);
        }
    }
    let server = Server::with_handler(directory.handler());
    for kind in kinds {
        for n in 1..=8 {
            for (query, size) in
                [("f=png", (64, 48)), ("f=png&w=32", (32, 24)), ("f=png&w=48&h=36", (48, 36))]
            {
                let target = format!("/h/{n}.{}?{query}", kind.name());
                let image = Image::decode(&server.get(&target).ok().body);
                assert_eq!(image.size(), size, "{target}");
                expect_quarters(&image, &target);
            }
        }
    }
}

#[test]
fn irot_and_imir_of_an_avif_are_applied() {
    // Their `irot` and `imir` bring the stored pixels to those of images::quarters().
    for name in ["turned-irot.avif", "turned-imir.avif"] {
        let directory = Directory::new().with(name, &data(name));
        let server = Server::with_handler(directory.handler());
        for (query, size) in [("f=png", (64, 48)), ("f=png&w=32", (32, 24))] {
            let target = format!("/h/{name}?{query}");
            let image = Image::decode(&server.get(&target).ok().body);
            assert_eq!(image.size(), size, "{target}");
            expect_quarters(&image, &target);
        }
        // `size_of` fails if the result has `irot` or `imir`.
        assert_eq!(size_of(&server.get(&format!("/h/{name}?f=avif")).ok().body), (64, 48));
    }
}

#[test]
fn metadata_is_stripped_with_and_without_other_options() {
    let exif = images::exif(1);
    let directory = Directory::new().with("gps.jpg", &data("gps.jpg"));
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
        let bytes = images::with_metadata(kind, &images::quarters(), Some(exif.clone()), None);
        directory.put(&format!("a.{}", kind.name()), &bytes);
    }
    let server = Server::with_handler(directory.handler());
    for source in ["gps.jpg", "a.jpg", "a.png", "a.webp"] {
        for query in ["", "?w=30", "?f=jpg", "?f=png", "?f=webp", "?f=avif", "?f=gif"] {
            let target = format!("/h/{source}{query}");
            let body = server.get(&target).ok().body;
            // How EXIF is marked in JPEG, WebP, AVIF and PNG, XMP, and how an EXIF block starts.
            for mark in [
                &b"Exif"[..],
                b"EXIF",
                b"eXIf",
                b"http://ns.adobe.com",
                b"TestCam",
                b"MM\0\x2a",
                b"II\x2a\0",
            ] {
                assert!(!holds(&body, mark), "{target}: {:?}", String::from_utf8_lossy(mark));
            }
        }
    }
}

/// The sRGB value of a colour of Display P3, by the matrices of SMPTE EG 432-1 and IEC 61966-2-1.
fn srgb_of_p3(colour: [u8; 3]) -> [u8; 3] {
    let linear = colour.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    let matrix = [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]];
    matrix.map(|row| {
        let sum: f64 = row.iter().zip(linear).map(|(factor, value)| factor * value).sum();
        let sum = sum.clamp(0.0, 1.0);
        let encoded =
            if sum <= 0.003_130_8 { sum * 12.92 } else { 1.055 * sum.powf(1.0 / 2.4) - 0.055 };
        (encoded * 255.0).round() as u8
    })
}

#[test]
fn colours_are_converted_to_srgb() {
    let profile = images::profile_of_jpeg(&data("p3-primaries.jpg"));
    let colours = [[200, 100, 50], [60, 160, 90], [40, 60, 170]];
    let source = images::columns(90, 30, &colours);
    let directory = Directory::new().with("primaries.jpg", &data("p3-primaries.jpg"));
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
        let name = kind.name();
        directory.put(
            &format!("tagged.{name}"),
            &images::with_metadata(kind, &source, None, Some(profile.clone())),
        );
        directory.put(&format!("plain.{name}"), &images::with_metadata(kind, &source, None, None));
    }
    let server = Server::with_handler(directory.handler());
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
        for query in ["f=png", "f=png&w=60", "f=webp&q=100", "f=jpg&q=100"] {
            let tagged =
                Image::decode(&server.get(&format!("/h/tagged.{}?{query}", kind.name())).ok().body);
            let plain =
                Image::decode(&server.get(&format!("/h/plain.{}?{query}", kind.name())).ok().body);
            assert!(!tagged.has_profile, "{kind:?} {query}: an sRGB answer needs no profile");
            for (x, colour) in [(17, colours[0]), (50, colours[1]), (83, colours[2])] {
                let expected = srgb_of_p3(colour);
                assert!(
                    within(plain.at(x, 50), colour, 10),
                    "{kind:?} {query}: {:?}",
                    plain.at(x, 50)
                );
                assert!(
                    within(tagged.at(x, 50), expected, 10),
                    "{kind:?} {query}: {colour:?} is {:?} and not {expected:?}",
                    tagged.at(x, 50)
                );
            }
        }
    }
    // Outside of the gamut of sRGB: clipped.
    let primaries = Image::decode(&server.get("/h/primaries.jpg?f=png").ok().body);
    for (x, colour) in [(17, RED), (50, GREEN), (83, BLUE)] {
        assert!(close(primaries.at(x, 50), colour), "{:?}", primaries.at(x, 50));
    }
}

/// Opaque red on the left, half transparent green in the middle, nothing on the right.
fn fading() -> RgbaImage {
    RgbaImage::from_fn(90, 30, |x, _| match x / 30 {
        0 => Rgba([255, 0, 0, 255]),
        1 => Rgba([0, 255, 0, 128]),
        _ => Rgba([0, 0, 255, 0]),
    })
}

#[test]
fn transparency_is_kept_if_the_format_has_it() {
    let directory = Directory::new()
        .with("a.png", &images::png(fading()))
        .with("a.webp", &images::webp(fading()))
        .with("a.avif", &data("fading.avif"));
    let server = Server::with_handler(directory.handler());
    for source in ["a.png", "a.webp", "a.avif"] {
        for (query, width) in [("", 90), ("&w=60", 60), ("&w=30&h=10&c=false", 30)] {
            for format in ["png", "webp"] {
                let target = format!("/h/{source}?f={format}{query}");
                let image = Image::decode(&server.get(&target).ok().body);
                assert_eq!(image.size().0, width, "{target}");
                assert!(image.has_alpha, "{target}");
                let [left, middle, right] = [16, 50, 84].map(|x| image.at(x, 50));
                assert!(close(left, RED) && left[3] > 250, "{target}: {left:?}");
                assert!(
                    within(middle, GREEN, 24) && middle[3].abs_diff(128) < 8,
                    "{target}: {middle:?}"
                );
                assert!(right[3] < 5, "{target}: {right:?}");
            }
            let target = format!("/h/{source}?f=avif{query}");
            assert!(avif_has_alpha(&server.get(&target).ok().body), "{target}");
            let target = format!("/h/{source}?f=gif{query}");
            let image = Image::decode(&server.get(&target).ok().body);
            let [left, right] = [16, 84].map(|x| image.at(x, 50));
            assert!(
                close(left, RED) && left[3] == 255 && right[3] == 0,
                "{target}: {left:?} {right:?}"
            );
        }
    }
    let opaque = Directory::new().with("a.png", &images::png(images::quarters()));
    let server = Server::with_handler(opaque.handler());
    assert!(!avif_has_alpha(&server.get("/h/a.png?f=avif").ok().body), "an opaque original");
}

#[test]
fn transparency_is_flattened_on_bg_if_the_format_has_none() {
    let directory = Directory::new()
        .with("a.png", &images::png(fading()))
        .with("a.webp", &images::webp(fading()))
        .with("a.gif", &images::gif(fading()))
        .with("a.avif", &data("fading.avif"));
    let server = Server::with_handler(directory.handler());
    for source in ["a.png", "a.webp", "a.gif", "a.avif"] {
        for (query, background) in [("", WHITE), ("&bg=0000ff", BLUE), ("&bg=0000ff&w=60", BLUE)] {
            let target = format!("/h/{source}?f=jpg&q=95{query}");
            let image = Image::decode(&server.get(&target).ok().body);
            let [left, middle, right] = [16, 50, 84].map(|x| image.at(x, 50));
            assert!(
                within(left, RED, 20) && within(right, background, 20),
                "{target}: {left:?} {right:?}"
            );
            if source != "a.gif" {
                let mixed = [background[0] / 2, 128 + background[1] / 2, background[2] / 2];
                assert!(within(middle, mixed, 24), "{target}: {middle:?} and not {mixed:?}");
            }
        }
    }
}

#[test]
fn resize_premultiplies_colours_of_transparent_pixels() {
    // Transparent blue beside red: without premultiplication the border is violet.
    let source = RgbaImage::from_fn(120, 40, |x, _| {
        if (x / 3) % 2 == 0 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 0]) }
    });
    let directory = Directory::new().with("a.png", &images::png(source));
    let server = Server::with_handler(directory.handler());
    let image = Image::decode(&server.get("/h/a.png?w=30&f=png").ok().body);
    assert!(image.pixels.pixels().any(|pixel| pixel.0[3] > 40));
    for pixel in image.pixels.pixels().filter(|pixel| pixel.0[3] > 40) {
        assert!(close(pixel.0, RED), "{pixel:?}");
    }
}

/// Four frames of different colours and times.
fn animation() -> Vec<(RgbaImage, u32)> {
    [(RED, 100), (GREEN, 200), (BLUE, 300), (WHITE, 50)]
        .map(|([r, g, b], time)| (RgbaImage::from_pixel(60, 40, Rgba([r, g, b, 255])), time))
        .into()
}

#[track_caller]
fn expect_animation(body: &[u8], size: (u32, u32), what: &str) {
    let image = Image::decode(body);
    assert_eq!(image.frames.len(), 4, "{what}");
    assert_eq!(image.shown, Some(0), "{what}: it must loop forever");
    for ((pixels, time), (expected, expected_time)) in image.frames.iter().zip(animation()) {
        assert_eq!((pixels.dimensions(), *time), (size, expected_time), "{what}");
        let [r, g, b, _] = colour_at(&expected, 50, 50);
        for (x, y) in [(0, 0), (50, 50), (99, 99)] {
            assert!(
                within(colour_at(pixels, x, y), [r, g, b], 16),
                "{what}: {:?}",
                colour_at(pixels, x, y)
            );
        }
    }
}

#[test]
fn an_animation_and_its_delays_are_kept_in_gif_and_webp() {
    let directory = Directory::new().with("a.gif", &images::animated_gif(&animation()));
    let server = Server::with_handler(directory.handler());
    let sizes = [
        ("", (60, 40)),
        ("&w=30", (30, 20)),
        ("&w=20&h=20", (20, 20)),
        ("&w=30&h=30&c=false", (30, 20)),
    ];
    for (query, size) in sizes {
        for format in ["gif", "webp"] {
            let target = format!("/h/a.gif?f={format}{query}");
            expect_animation(&server.get(&target).ok().body, size, &target);
        }
    }
    // From WebP.
    let moving = server.get("/h/a.gif?f=webp&q=100").ok().body;
    let directory = Directory::new().with("a.webp", &moving);
    let server = Server::with_handler(directory.handler());
    for (query, size) in sizes {
        for format in ["gif", "webp"] {
            let target = format!("/h/a.webp?f={format}{query}");
            expect_animation(&server.get(&target).ok().body, size, &target);
        }
    }
}

#[test]
fn an_animation_is_its_first_frame_in_other_formats() {
    let directory = Directory::new().with("a.gif", &images::animated_gif(&animation()));
    let server = Server::with_handler(directory.handler());
    for (query, size) in [("", (60, 40)), ("&w=30", (30, 20)), ("&w=20&h=20", (20, 20))] {
        for format in ["jpg", "png"] {
            let target = format!("/h/a.gif?f={format}{query}");
            let image = Image::decode(&server.get(&target).ok().body);
            assert_eq!(image.size(), size, "{target}");
            assert!(close(image.at(50, 50), RED) && close(image.at(50, 99), RED), "{target}");
        }
        assert_eq!(size_of(&server.get(&format!("/h/a.gif?f=avif{query}")).ok().body), size);
    }
}

#[test]
fn a_real_animation_keeps_its_frames_and_delays() {
    let source = data("anim.gif");
    let original = Image::decode(&source);
    let directory = Directory::new().with("a.gif", &source);
    let server = Server::with_handler(directory.handler());
    for format in ["gif", "webp"] {
        let answer = Image::decode(&server.get(&format!("/h/a.gif?w=120&f={format}")).ok().body);
        assert_eq!(answer.size(), (120, 120));
        assert_eq!(answer.frames.len(), original.frames.len());
        // As in browsers, delays of 10 ms and less may become 100 ms.
        let shown = |time: u32| if time <= 10 { 100 } else { time };
        let times =
            |image: &Image| image.frames.iter().map(|(_, time)| shown(*time)).collect::<Vec<_>>();
        assert_eq!(times(&answer), times(&original), "{format}");
        let different: HashSet<&[u8]> =
            answer.frames.iter().map(|(pixels, _)| pixels.as_raw().as_slice()).collect();
        assert!(different.len() > 30, "{format}: only {} different frames", different.len());
    }
}

#[test]
fn unsupported_formats_are_refused_by_their_bytes() {
    let svg =
        br#"<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>"#;
    let tiff = b"II*\0\x08\0\0\0\0\0\0\0\0\0";
    let refused: [(&str, &[u8]); 10] = [
        ("svg.svg", svg),
        ("svg.png", svg),
        ("svg-declared.jpg", b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        ("pdf.jpg", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"),
        ("text.jpg", b"not an image at all\n"),
        ("empty.jpg", b""),
        ("tiff.jpg", tiff),
        ("bmp.png", b"BM\x1a\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\0\0\0\0"),
        ("ppm.png", b"P6 1 1 255 abc"),
        ("heic.avif", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1\0\0\0\x08mdat"),
    ];
    let directory = Directory::new();
    for (name, bytes) in refused {
        directory.put(name, bytes);
    }
    let server = Server::with_handler(directory.handler());
    for (name, _) in refused {
        for query in ["", "?w=10&f=png"] {
            server.get(&format!("/h/{name}{query}")).failed("unsupported_format");
        }
    }
}

#[test]
fn a_truncated_original_is_refused_unless_fail_on_is_none() {
    let whole = data("photo-2mp.jpg");
    let png = images::png(images::gradient(300, 300));
    let directory = Directory::new()
        .with("half.jpg", &whole[..whole.len() / 2])
        .with("half.png", &png[..png.len() / 2])
        .with("start.jpg", &whole[..40])
        .with("start.png", &png[..20]);
    for kind in [Kind::Gif, Kind::Webp] {
        let bytes = images::in_format(kind, &images::noise(100, 100));
        directory.put(&format!("half.{}", kind.name()), &bytes[..bytes.len() / 2]);
    }
    let avif = data("quarters.avif");
    directory.put("half.avif", &avif[..avif.len() - 20]);
    let server = Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "lenient", "fail_on": "none"})),
        merged(directory.handler(), json!({"name": "strict", "fail_on": "warning"})),
    ]}));
    for name in
        ["half.jpg", "half.png", "half.gif", "half.webp", "half.avif", "start.jpg", "start.png"]
    {
        for query in ["?f=png", "?w=50&f=jpg"] {
            server.get(&format!("/h/{name}{query}")).failed("corrupt_image");
            server.get(&format!("/strict/{name}{query}")).failed("corrupt_image");
        }
    }
    let shown = server.get("/lenient/half.jpg?w=416").ok();
    assert_eq!(size_of(&shown.body), (416, 312));
    server.get("/lenient/start.png").failed("corrupt_image");
}

#[test]
fn source_max_pixels_refuses_an_original_before_it_is_decoded() {
    let directory = Directory::new()
        .with("bomb.png", &data("bomb-15000x15000-rgb.png"))
        .with("a.png", &images::png(images::solid(100, 100, RED)))
        .with("b.png", &images::png(images::solid(100, 101, RED)))
        .with("frames.gif", &images::animated_gif(&animation()));
    let wide = Server::with_handler(directory.handler());
    wide.get("/h/bomb.png?w=100").failed("too_many_pixels");
    wide.get("/h/bomb.png").failed("too_many_pixels");

    let narrow = Server::with_limits(directory.handler(), json!({"source_max_pixels": 10_000}));
    narrow.get("/h/a.png").ok();
    narrow.get("/h/b.png").failed("too_many_pixels");
    // 60 × 40 × 4: all frames count if they are all rendered.
    let frames =
        Server::with_limits(directory.handler(), json!({"source_max_total_pixels": 9_000}));
    frames.get("/h/frames.gif?f=gif").failed("animation_too_large");
    frames.get("/h/frames.gif?f=jpg").ok();
}

#[test]
fn a_header_with_absurd_sides_is_refused() {
    let directory = Directory::new()
        .with("absurd.png", &data("header-2147483647.png"))
        .with("a.png", &images::png(images::solid(10, 10, RED)));
    let server = Server::with_handler(directory.handler());
    let renderer = server.renderer();
    let answer = server.get("/h/absurd.png?w=10");
    answer.failed("side_too_long");
    server.get("/h/a.png").ok();
    assert!(renderer.lives(), "it must be refused, and not by a crash");
}

#[test]
fn a_header_that_understates_the_pixels_does_not_take_unbounded_memory() {
    let directory = Directory::new()
        .with("lie.avif", &data("lying-ispe.avif"))
        .with("large.avif", &data("hostile/flat-9000x9000.avif"))
        .with("a.png", &images::png(images::solid(10, 10, RED)));
    // These bound the memory of the renderer; decoding the whole image takes 1.2 GB.
    let limits = json!({
        "source_max_pixels": 1_000_000, "result_max_pixels": 1_000_000, "origin_max_bytes": 1_000_000,
    });
    let server = Server::with_limits(directory.handler(), limits);
    let renderer = server.renderer();
    // One states its size, and one understates it.
    server.get("/h/large.avif?w=50").failed("too_many_pixels");
    server.get("/h/lie.avif?w=50").failed("corrupt_image");
    assert!(renderer.lives(), "it must be refused, and not by a crash");
    let peak = renderer.peak();
    assert!(peak < 200 << 20, "{peak} bytes");
    server.get("/h/a.png").ok();
}

#[test]
fn result_max_pixels_bounds_enlargement() {
    let frame = |shade: u8| {
        (image::DynamicImage::from(images::solid(10, 10, [shade, 0, 0])).to_rgba8(), 50)
    };
    let directory = Directory::new()
        .with("frames.gif", &images::animated_gif(&(0..100).map(frame).collect::<Vec<_>>()))
        .with("line.png", &images::png(images::solid(1, 600, RED)));
    let server = Server::with_handler(directory.handler());
    for target in ["/h/frames.gif?w=3000&h=3000&e=true", "/h/line.png?w=3000&h=1&e=true&g=smart"] {
        server.get(target).failed("result_too_large");
    }
    // A single frame is within the limit, and so is a slightly larger animation.
    assert_eq!(
        size_of(&server.get("/h/frames.gif?w=300&h=300&e=true&f=jpg").ok().body),
        (300, 300)
    );
    assert_eq!(size_of(&server.get("/h/frames.gif?w=20&h=20&e=true").ok().body), (20, 20));
}

#[test]
fn an_image_that_is_slow_to_decode_does_not_delay_others() {
    let directory = Directory::new()
        .with("scans.jpg", &data("many-scans.jpg"))
        .with("a.png", &images::png(images::solid(10, 10, RED)));
    let server = Server::with_limits(
        directory.handler(),
        json!({"render_timeout": 3, "renders_at_once": 2}),
    );
    let mut slow = server.client();
    slow.send(&crate::support::client::request("GET", "/h/scans.jpg?w=300", &[]));
    server.get("/h/a.png?w=5").ok();
    // It may be refused, stopped or rendered, but it must end.
    let answer = slow.read();
    let refused = ["render_timeout", "corrupt_image", "too_many_scans"]
        .contains(&answer.header("X-Error").unwrap_or("-"));
    assert!(answer.status == 200 || (answer.status == 404 && refused), "{:?}", answer.headers);
    server.get("/h/a.png?w=6").ok();
}

#[test]
fn equal_requests_get_equal_bytes() {
    let directory = Directory::new().with("a.jpg", &data("photo-2mp.jpg"));
    let one = Server::with_handler(directory.handler());
    let two = Server::with_handler(directory.handler());
    for format in Kind::ALL.map(Kind::name) {
        let target = format!("/h/a.jpg?w=64&f={format}");
        let first = one.get(&target).ok();
        let second = two.get(&target).ok();
        assert_eq!(first.body, second.body, "{target}");
        assert_eq!(first.expect("ETag"), second.expect("ETag"), "{target}");
    }
}
