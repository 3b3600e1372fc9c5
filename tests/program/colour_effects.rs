//! `bri`, `con`, `gamma`, `sat`, `hue`, `gray`, `tint`, `duo`, `neg` and `pix`, compared with the formulas of CSS Filter
//! Effects Level 1 and of docs/options.md. `browser::filters` compares them with a browser.

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, LumaA, Rgb, Rgba, RgbaImage};

use crate::support::directory::Directory;
use crate::support::icc::{self, DISPLAY_P3};
use crate::support::images::{self, BLUE, Image, Kind, RED, size_of, within};
use crate::support::png_chunks::{self, with_chunk};
use crate::support::server::{Server, data};

/// Red, green and blue from 0 to 1.
type Colour = [f64; 3];

/// The effects in their order, with the names of the parameters.
const ORDER: [&str; 9] = ["bri", "con", "gamma", "sat", "hue", "gray", "tint", "duo", "neg"];

fn luminance([red, green, blue]: Colour) -> f64 {
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn colour(text: &str) -> Colour {
    [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&text[at..at + 2], 16).unwrap()) / 255.0)
}

fn times(matrix: [[f64; 3]; 3], [red, green, blue]: Colour) -> Colour {
    matrix.map(|row| row[0] * red + row[1] * green + row[2] * blue)
}

/// One effect, by the formulas of the specification.
fn effect(name: &str, value: &str, of: Colour) -> Colour {
    let number = || value.parse::<f64>().unwrap();
    let changed = match name {
        // feFuncX of type "linear".
        "bri" => of.map(|value| value * number()),
        "con" => of.map(|value| value * number() - 0.5 * number() + 0.5),
        "gamma" => of.map(|value| value.powf(1.0 / number())),
        // feColorMatrix of type "saturate".
        "sat" => {
            let s = number();
            let row = |[red, green, blue]: [f64; 3]| {
                [0.213 + red * s, 0.715 + green * s, 0.072 + blue * s]
            };
            let rows = [[0.787, -0.715, -0.072], [-0.213, 0.285, -0.072], [-0.213, -0.715, 0.928]];
            times(rows.map(row), of)
        }
        // feColorMatrix of type "hueRotate".
        "hue" => {
            let (s, c) = number().to_radians().sin_cos();
            times(
                [
                    [
                        0.213 + c * 0.787 - s * 0.213,
                        0.715 - c * 0.715 - s * 0.715,
                        0.072 - c * 0.072 + s * 0.928,
                    ],
                    [
                        0.213 - c * 0.213 + s * 0.143,
                        0.715 + c * 0.285 + s * 0.140,
                        0.072 - c * 0.072 - s * 0.283,
                    ],
                    [
                        0.213 - c * 0.213 - s * 0.787,
                        0.715 - c * 0.715 + s * 0.715,
                        0.072 + c * 0.928 + s * 0.072,
                    ],
                ],
                of,
            )
        }
        "gray" => {
            let amount = if value == "true" { 1.0 } else { number() };
            of.map(|value| amount * luminance(of) + (1.0 - amount) * value)
        }
        "tint" => {
            let (tint, strength) = value.split_once(':').unwrap_or((value, "1"));
            let strength: f64 = strength.parse().unwrap();
            let tint = colour(tint);
            [0, 1, 2].map(|n| (1.0 - strength) * of[n] + strength * tint[n] * luminance(of))
        }
        "duo" => {
            let (dark, light) = value.split_once(':').unwrap();
            let (dark, light) = (colour(dark), colour(light));
            [0, 1, 2].map(|n| dark[n] + (light[n] - dark[n]) * luminance(of))
        }
        // feFuncX of type "table" with the values amount and 1 - amount.
        "neg" => {
            let amount = if value == "true" { 1.0 } else { number() };
            of.map(|value| amount + (1.0 - 2.0 * amount) * value)
        }
        _ => panic!("{name}"),
    };
    changed.map(|value| value.clamp(0.0, 1.0))
}

/// The effects of a query, as samples that are not rounded.
fn expected(query: &str, [red, green, blue]: [u8; 3]) -> [f64; 3] {
    let mut of = [red, green, blue].map(|value| f64::from(value) / 255.0);
    for name in ORDER {
        for pair in query.split('&') {
            if let Some((_, value)) = pair.split_once('=').filter(|(of, _)| *of == name) {
                of = effect(name, value, of);
            }
        }
    }
    of.map(|value| value * 255.0)
}

/// Each effect, and chains.
const QUERIES: [&str; 21] = [
    "bri=0.4",
    "bri=1.7",
    "con=0.3",
    "con=2.5",
    "gamma=0.45",
    "gamma=2.2",
    "sat=0.4",
    "sat=3",
    "sat=0",
    "hue=77",
    "hue=-77",
    "gray=true",
    "gray=0.6",
    "tint=ff8040:0.35",
    "tint=4080ff",
    "duo=102040:ffe0b0",
    "neg=true",
    "neg=0.7",
    "neg=1&sat=2&bri=1.5",
    "con=1.5&bri=0.8&gamma=1.3&hue=200&gray=0.3&tint=c0ffee:0.5&neg=0.9",
    "bri=4&con=3&sat=9&hue=123&duo=ff0000:00ffff",
];

/// Every 17th value of each channel.
fn cube() -> Vec<[u8; 3]> {
    (0..16 * 16 * 16_u32).map(|n| [n / 256, n / 16 % 16, n % 16].map(|n| 17 * n as u8)).collect()
}

#[track_caller]
fn fetch(server: &Server, target: &str) -> Image {
    Image::decode(&server.get(target).ok().body)
}

/// Fails unless the second image is the first one with the effects of a query, and has the same transparency.
#[track_caller]
fn expect_effects(query: &str, plain: &RgbaImage, changed: &RgbaImage, most: f64) {
    assert_eq!(plain.dimensions(), changed.dimensions());
    for (one, other) in plain.pixels().zip(changed.pixels()) {
        let Rgba([red, green, blue, alpha]) = *one;
        assert_eq!(alpha, other.0[3], "{query}");
        // Nobody sees it.
        if alpha == 0 {
            continue;
        }
        let expected = expected(query, [red, green, blue]);
        for (found, expected) in other.0.iter().zip(expected) {
            let difference = (f64::from(*found) - expected).abs();
            assert!(difference <= most, "{query} of {one:?}: {other:?}, not {expected}");
        }
    }
}

#[test]
fn effects_are_those_of_css_in_a_fixed_order() {
    let colours = cube();
    let opaque = image::RgbImage::from_fn(64, 64, |x, y| Rgb(colours[(y * 64 + x) as usize]));
    let clear = RgbaImage::from_fn(64, 64, |x, y| {
        let [red, green, blue] = colours[(y * 64 + x) as usize];
        Rgba([red, green, blue, (x * 5 + y * 11) as u8])
    });
    let deep = ImageBuffer::<Rgb<u16>, Vec<u16>>::from_fn(64, 64, |x, y| {
        Rgb(opaque.get_pixel(x, y).0.map(|value| u16::from(value) * 257))
    });
    let directory = Directory::new()
        .with("opaque.png", &images::png(opaque.clone()))
        .with("clear.png", &images::png(clear.clone()))
        .with("deep.png", &images::png(DynamicImage::ImageRgb16(deep)));
    let server = Server::with_handler(directory.handler());
    let opaque = DynamicImage::from(opaque).into_rgba8();
    for query in QUERIES {
        for (name, plain) in [("opaque", &opaque), ("clear", &clear), ("deep", &opaque)] {
            let image = fetch(&server, &format!("/h/{name}.png?{query}"));
            // Rounded once, either way if it is a half.
            expect_effects(query, plain, &image.pixels, 0.501);
        }
    }
    // Each effect before each later one, with values for which the order makes a difference.
    let values = [
        "bri=1.6",
        "con=0.6",
        "gamma=2",
        "sat=2.5",
        "hue=50",
        "gray=0.5",
        "tint=ff8040:0.6",
        "duo=102040:ffe0b0",
        "neg=0.8",
    ];
    assert!(values.iter().zip(ORDER).all(|(value, name)| value.starts_with(name)));
    for (index, first) in values.iter().enumerate() {
        for second in &values[index + 1..] {
            let query = format!("{second}&{first}");
            let image = fetch(&server, &format!("/h/opaque.png?{query}"));
            expect_effects(&query, &opaque, &image.pixels, 0.501);
        }
    }
    // The order of the parameters does not matter.
    let [one, other] = ["bri=2&con=0.5&sat=2", "sat=2&con=0.50&bri=2.0"]
        .map(|query| server.get(&format!("/h/opaque.png?{query}")).ok().body);
    assert!(one == other);
}

#[test]
fn every_kind_of_original_is_changed_after_its_conversion() {
    let noise = images::noise(24, 16);
    let clear = RgbaImage::from_fn(24, 16, |x, y| {
        let Rgb([red, green, blue]) = *noise.get_pixel(x, y);
        Rgba([red, green, blue, (x * 11) as u8])
    });
    let gray_alpha =
        GrayAlphaImage::from_fn(24, 16, |x, y| LumaA([(x * 9 + y) as u8, (x * 11) as u8]));
    let inks: Vec<[u8; 4]> = (0..16).map(|n| [n * 13, 255 - n * 7, n * 5, n * 3]).collect();
    let directory = Directory::new()
        .with("a.jpg", &images::jpeg(noise.clone()))
        .with("clear.png", &images::png(clear))
        .with("gray.png", &images::png(DynamicImage::from(noise.clone()).to_luma8()))
        .with("gray-alpha.png", &images::png(gray_alpha))
        .with("gray.jpg", &images::jpeg(DynamicImage::from(noise.clone()).to_luma8()))
        .with("inks.jpg", &icc::cmyk_jpeg(&inks, Some(&icc::cmyk_profile())))
        .with("a.webp", &images::webp(noise))
        .with("a.avif", &data("alpha.avif"))
        .with("gray.avif", &data("monochrome.avif"))
        .with("a.gif", &data("anim.gif"));
    let server = Server::with_handler(directory.handler());
    for name in [
        "a.jpg",
        "clear.png",
        "gray.png",
        "gray-alpha.png",
        "gray.jpg",
        "inks.jpg",
        "a.webp",
        "a.avif",
        "gray.avif",
        "a.gif",
    ] {
        let plain = fetch(&server, &format!("/h/{name}?f=png"));
        for query in QUERIES {
            let image = fetch(&server, &format!("/h/{name}?f=png&{query}"));
            expect_effects(query, &plain.pixels, &image.pixels, 0.501);
        }
    }
}

#[test]
fn every_frame_of_an_animation_is_changed() {
    let frame = |colour: [u8; 3], shift: u32| {
        RgbaImage::from_fn(30, 20, |x, _| {
            let [red, green, blue] = colour;
            if (x + shift) % 10 < 4 { Rgba([0; 4]) } else { Rgba([red, green, blue, 255]) }
        })
    };
    let frames = [(frame(RED, 0), 100), (frame(BLUE, 3), 200), (frame([90, 60, 30], 5), 300)];
    let directory = Directory::new().with("a.gif", &images::animated_gif(&frames));
    let server = Server::with_handler(directory.handler());
    let lossless = "f=webp&lossless=true";
    directory.put("a.webp", &server.get(&format!("/h/a.gif?{lossless}")).ok().body);
    // libwebp composes the frames.
    let frames_of = |name: &str| {
        [0, 1, 2].map(|page| fetch(&server, &format!("/h/{name}?f=png&page={page}")).pixels)
    };
    for (number, name) in ["a.gif", "a.webp"].into_iter().enumerate() {
        let plain = frames_of(name);
        for (n, query) in QUERIES.iter().chain(&["pix=10", "pix=7&blur=0"]).enumerate() {
            let body = server.get(&format!("/h/{name}?{lossless}&{query}")).ok().body;
            let times: Vec<u32> = Image::decode(&body).frames.iter().map(|frame| frame.1).collect();
            assert_eq!(times, [100, 200, 300], "{name}?{query}");
            let changed = format!("{number}-{n}.webp");
            directory.put(&changed, &body);
            for (one, other) in plain.iter().zip(&frames_of(&changed)) {
                match query.strip_prefix("pix=").map(|side| side.split('&').next().unwrap()) {
                    Some(side) => expect_squares(one, other, side.parse().unwrap()),
                    None => expect_effects(query, one, other, 0.501),
                }
            }
        }
    }
}

/// The colour type of a PNG, or the number of channels of a JPEG.
fn channels(bytes: &[u8]) -> u8 {
    match Kind::of(bytes) {
        Some(Kind::Png) => bytes[25],
        _ => {
            let at = bytes.windows(2).position(|pair| matches!(pair, [0xff, 0xc0..=0xc2])).unwrap();
            bytes[at + 9]
        }
    }
}

#[test]
fn grayscale_stays_grayscale_unless_an_effect_has_a_colour() {
    let gray = GrayImage::from_fn(24, 16, |x, y| image::Luma([(x * 10 + y) as u8]));
    let directory = Directory::new()
        .with("gray.png", &images::png(gray))
        .with("a.png", &images::png(images::noise(24, 16)));
    let server = Server::with_handler(directory.handler());
    for (target, png, jpeg) in [
        ("gray.png?bri=1.2&con=2&gamma=2&sat=3&hue=9&gray=0.5&neg=1&pix=3", 0, 1),
        ("gray.png?duo=000000:808080", 0, 1),
        ("gray.png?tint=808080:0.5", 0, 1),
        ("gray.png?tint=808081:0.5", 2, 3),
        ("gray.png?duo=000000:ff0000", 2, 3),
        ("a.png?gray=1", 0, 1),
        ("a.png?sat=0&neg=1", 0, 1),
        ("a.png?duo=101010:e0e0e0", 0, 1),
        ("a.png?gray=0.9", 2, 3),
        // The box has a colour.
        ("a.png?gray=1&w=40&h=40&pad=true&bg=ff0000", 2, 3),
    ] {
        for (format, expected) in [("png", png), ("jpg", jpeg)] {
            let body = server.get(&format!("/h/{target}&f={format}")).ok().body;
            assert_eq!(channels(&body), expected, "{target}, {format}");
        }
        for format in ["webp", "gif", "avif"] {
            server.get(&format!("/h/{target}&f={format}")).ok();
        }
    }
}

#[test]
fn an_image_with_a_profile_is_converted_to_srgb() {
    let profile = icc::profile(&DISPLAY_P3);
    let png = images::png(images::noise(24, 16));
    let directory = Directory::new()
        .with("a.png", &with_chunk(&png, b"iCCP", &png_chunks::profile(&profile)))
        .with("a.jpg", &images::jpeg_with_profile(&images::jpeg(images::noise(24, 16)), &profile));
    let server = Server::with_handler(directory.handler());
    let plain = fetch(&server, "/h/a.png");
    for query in QUERIES {
        let image = fetch(&server, &format!("/h/a.png?{query}"));
        assert!(!image.has_profile);
        expect_effects(query, &plain.pixels, &image.pixels, 0.501);
        for trim in ["", "&trim=0"] {
            let kept = fetch(&server, &format!("/h/a.png?{query}&strip=false{trim}"));
            assert!(!kept.has_profile && kept.pixels == image.pixels, "{query}{trim}");
        }
    }
    for format in ["png", "jpg", "webp"] {
        for (query, has_profile) in [("neg=1", false), ("pix=2", true), ("blur=1", true)] {
            let image = fetch(&server, &format!("/h/a.jpg?strip=false&f={format}&{query}"));
            assert_eq!(image.has_profile, has_profile, "{format}, {query}");
        }
    }
}

/// Fails unless an image has squares of this side, each with the mean of the other image.
#[track_caller]
fn expect_squares(plain: &RgbaImage, pixels: &RgbaImage, side: u32) {
    let (width, height) = plain.dimensions();
    assert_eq!(pixels.dimensions(), (width, height));
    for (x, y, pixel) in pixels.enumerate_pixels() {
        let (left, top) = (x / side * side, y / side * side);
        let mut sums = [0_u64; 3];
        let (mut opacity, mut count) = (0, 0);
        for row in top..(top + side).min(height) {
            for column in left..(left + side).min(width) {
                let Rgba([red, green, blue, alpha]) = *plain.get_pixel(column, row);
                for (sum, value) in sums.iter_mut().zip([red, green, blue]) {
                    *sum += u64::from(value) * u64::from(alpha);
                }
                opacity += u64::from(alpha);
                count += 1;
            }
        }
        let alpha = (2 * opacity + count) / (2 * count);
        assert_eq!(u64::from(pixel.0[3]), alpha, "at {x}, {y}");
        if alpha == 0 {
            continue;
        }
        for (sum, value) in sums.iter().zip(pixel.0) {
            assert_eq!(u64::from(value), (2 * sum + opacity) / (2 * opacity), "at {x}, {y}");
        }
    }
}

#[test]
fn pix_is_the_mean_of_squares_weighted_by_opacity() {
    let opaque = images::noise(47, 31);
    let clear = RgbaImage::from_fn(47, 31, |x, y| {
        let Rgb([red, green, blue]) = *opaque.get_pixel(x, y);
        Rgba([red, green, blue, if x < 12 { 0 } else { (x * 40 + y * 17) as u8 }])
    });
    let gray = DynamicImage::from(opaque.clone()).to_luma8();
    let directory = Directory::new()
        .with("opaque.png", &images::png(opaque.clone()))
        .with("clear.png", &images::png(clear.clone()))
        .with("gray.png", &images::png(gray.clone()));
    let server = Server::with_handler(directory.handler());
    let opaque = DynamicImage::from(opaque).into_rgba8();
    let gray = DynamicImage::from(gray).into_rgba8();
    for (name, plain) in [("opaque", &opaque), ("clear", &clear), ("gray", &gray)] {
        for side in [2, 3, 10, 31, 47, 48, 1000] {
            let image = fetch(&server, &format!("/h/{name}.png?pix={side}"));
            expect_squares(plain, &image.pixels, side);
        }
        // Of the result.
        let small = fetch(&server, &format!("/h/{name}.png?w=20")).pixels;
        expect_squares(&small, &fetch(&server, &format!("/h/{name}.png?w=20&pix=4")).pixels, 4);
        let turned = fetch(&server, &format!("/h/{name}.png?w=20&rot=90")).pixels;
        let image = fetch(&server, &format!("/h/{name}.png?w=20&rot=90&pix=4"));
        expect_squares(&turned, &image.pixels, 4);
    }
}

#[test]
fn colours_come_before_pix_and_pix_before_blur_and_pad() {
    let halves = images::columns(40, 20, &[RED, BLUE]);
    let directory = Directory::new().with("a.png", &images::png(halves));
    let server = Server::with_handler(directory.handler());
    // Red and blue are black and white before their mean is taken.
    let image = fetch(&server, "/h/a.png?con=10&bri=0.6&gray=1&neg=1&pix=40");
    let one = expected("con=10&bri=0.6&gray=1&neg=1", RED)[0].round();
    let other = expected("con=10&bri=0.6&gray=1&neg=1", BLUE)[0].round();
    let mean = ((one + other) / 2.0).round() as u8;
    assert!(image.pixels.pixels().all(|pixel| within(pixel.0, [mean; 3], 1)), "{mean}");
    // The blur softens the squares.
    let image = fetch(&server, "/h/a.png?pix=20&blur=2");
    let middle = image.pixels.get_pixel(20, 10).0;
    assert!((60..200).contains(&middle[0]), "{middle:?}");
    // The box has its own colour.
    let image = fetch(&server, "/h/a.png?neg=1&pix=40&w=40&h=40&pad=true&bg=123456");
    assert_eq!(image.at(50, 5), [0x12, 0x34, 0x56, 255]);
    // Flattened onto a colour that is not changed.
    let clear = RgbaImage::from_pixel(20, 20, Rgba([0, 0, 0, 0]));
    directory.put("clear.png", &images::png(clear));
    let image = fetch(&server, "/h/clear.png?neg=1&f=jpg&bg=ff0000");
    assert!(within(image.at(50, 50), RED, 4), "{:?}", image.at(50, 50));
    assert_eq!(size_of(&server.get("/h/a.png?pix=1000&w=1&h=1").ok().body), (1, 1));
}
