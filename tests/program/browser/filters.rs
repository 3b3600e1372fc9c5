//! The colour effects, compared with what Chromium shows for the original with CSS filters.

use image::{RgbImage, Rgba, RgbaImage, imageops};
use serde_json::json;

use super::comparison::premultiplied;
use crate::support::chromium::{self, As, Chromium};
use crate::support::directory::Directory;
use crate::support::images::{self, Image};
use crate::support::merged;
use crate::support::origin::{RawOrigin, answer};
use crate::support::server::Server;

/// The greatest difference of a sample, in 255ths.
const MOST: u8 = 3;

/// A query, and the filters that show the same.
const FILTERS: [(&str, &str); 34] = [
    ("bri=0", "brightness(0)"),
    ("bri=0.35", "brightness(0.35)"),
    ("bri=1.8", "brightness(180%)"),
    ("bri=10", "brightness(10)"),
    ("con=0", "contrast(0)"),
    ("con=0.4", "contrast(0.4)"),
    ("con=2.25", "contrast(2.25)"),
    ("con=10", "contrast(10)"),
    ("sat=0", "saturate(0)"),
    ("sat=0.45", "saturate(0.45)"),
    ("sat=2.5", "saturate(2.5)"),
    ("sat=10", "saturate(10)"),
    ("hue=30", "hue-rotate(30deg)"),
    ("hue=180", "hue-rotate(180deg)"),
    ("hue=-90", "hue-rotate(-90deg)"),
    ("hue=359.5", "hue-rotate(359.5deg)"),
    ("gray=1", "grayscale(1)"),
    ("gray=true", "grayscale()"),
    ("gray=0.4", "grayscale(0.4)"),
    ("neg=1", "invert(1)"),
    ("neg=true", "invert()"),
    ("neg=0.5", "invert(0.5)"),
    ("neg=0.8", "invert(80%)"),
    ("bri=1.5&con=1.4", "brightness(1.5) contrast(1.4)"),
    // Only a clamp before the contrast makes it black and white.
    ("bri=3&con=0.5", "brightness(3) contrast(0.5)"),
    ("sat=4&hue=60", "saturate(4) hue-rotate(60deg)"),
    ("hue=100&gray=0.5&neg=0.9", "hue-rotate(100deg) grayscale(0.5) invert(0.9)"),
    (
        "bri=1.2&con=1.3&sat=1.5&hue=45&gray=0.2&neg=1",
        "brightness(1.2) contrast(1.3) saturate(1.5) hue-rotate(45deg) grayscale(0.2) invert(1)",
    ),
    (
        "gamma=2.2",
        "<feComponentTransfer><feFuncR type='gamma' exponent='0.454545'/><feFuncG type='gamma' exponent='0.454545'/>\
         <feFuncB type='gamma' exponent='0.454545'/></feComponentTransfer>",
    ),
    (
        "gamma=0.5",
        "<feComponentTransfer><feFuncR type='gamma' exponent='2'/><feFuncG type='gamma' exponent='2'/>\
         <feFuncB type='gamma' exponent='2'/></feComponentTransfer>",
    ),
    // Luminance, and then a table between the two colours.
    (
        "duo=003366:ffcc99",
        "grayscale(1)|<feComponentTransfer><feFuncR type='table' tableValues='0 1'/>\
         <feFuncG type='table' tableValues='0.2 0.8'/><feFuncB type='table' tableValues='0.4 0.6'/></feComponentTransfer>",
    ),
    (
        "tint=ff9900:1",
        "grayscale(1)|<feComponentTransfer><feFuncG type='linear' slope='0.6'/>\
         <feFuncB type='linear' slope='0'/></feComponentTransfer>",
    ),
    // 0.6 of the colours and 0.4 of the luminance times the tint.
    (
        "tint=ff9900:0.4",
        "<feColorMatrix values='0.68504 0.28608 0.02888 0 0  0.051024 0.771648 0.017328 0 0  0 0 0.6 0 0  0 0 0 1 0'/>",
    ),
    (
        "sat=2&tint=ff9900:1&neg=1",
        "saturate(2) grayscale(1)|<feComponentTransfer><feFuncG type='linear' slope='0.6'/>\
         <feFuncB type='linear' slope='0'/></feComponentTransfer>|invert(1)",
    ),
];

/// Width and height of the originals.
const SIZE: (u32, u32) = (108, 54);

/// Every 15th value of each channel, once opaque and once with six opacities, with which the browser premultiplies these
/// values exactly.
fn originals() -> [(&'static str, RgbaImage); 2] {
    let with = |alpha: fn(u32) -> u32| {
        RgbaImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            let n = y * SIZE.0 + x;
            let colour = [n / 324, n / 18 % 18, n % 18].map(|n| 15 * n as u8);
            let [red, green, blue] = colour;
            Rgba([red, green, blue, alpha(n) as u8])
        })
    };
    [("opaque.png", with(|_| 255)), ("clear.png", with(|n| n * 7 % 6 * 51))]
}

/// The greatest difference of what is seen of two images.
fn difference(one: &RgbaImage, other: &RgbaImage) -> u8 {
    assert_eq!(one.dimensions(), other.dimensions());
    let pairs = one.pixels().zip(other.pixels());
    let seen = pairs.map(|(one, other)| (premultiplied(one.0), premultiplied(other.0)));
    seen.flat_map(|(one, other)| one.into_iter().zip(other))
        .map(|(one, other)| one.abs_diff(other))
        .max()
        .unwrap()
}

#[test]
fn colour_effects_are_shown_as_css_filters_are() {
    let directory = Directory::new();
    let [(opaque, pixels), (clear, transparent)] = originals();
    directory.put(opaque, &images::png(image::DynamicImage::from(pixels).into_rgb8()));
    directory.put(clear, &images::png(transparent));
    let handler = merged(directory.handler(), json!({"cors_origin": "*"}));
    let server = Server::with_handler(handler);
    let Some(browser) = Chromium::start(directory) else { return };
    let mut cases = Vec::new();
    let mut shown = Vec::new();
    for (query, filter) in FILTERS {
        for name in [opaque, clear] {
            let target = format!("/h/{name}?f=png&{query}");
            cases.push(target.clone());
            shown.push((As::Filtered(filter), browser.original(name)));
            shown.push((As::Element, format!("http://{}{target}", server.http())));
            // Without its filter, the original is another image.
            shown.push((As::Element, browser.original(name)));
        }
    }
    let outcomes = browser.show(&shown);
    let mut wrong = Vec::new();
    for (target, outcomes) in cases.iter().zip(outcomes.chunks_exact(3)) {
        let [filtered, changed, plain] = [0, 1, 2].map(|n| {
            let shown = outcomes[n].as_ref().unwrap_or_else(|error| panic!("{target}: {error}"));
            &shown.frames[0].1
        });
        let most = difference(filtered, changed);
        eprintln!("{target}: {most}");
        if most > MOST {
            wrong.push(format!("{target}: differs by {most}"));
        }
        assert!(difference(filtered, plain) > MOST || target.contains("359.5"), "{target}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Filters of elements are computed by the compositor, others by a canvas.
#[test]
fn colour_effects_are_shown_as_filtered_elements_are() {
    if !chromium::is_installed() {
        return;
    }
    const COLUMNS: u32 = 6;
    let [(name, pixels), _] = originals();
    let opaque: RgbImage = image::DynamicImage::from(pixels).into_rgb8();
    let png = images::png(opaque);
    let directory = Directory::new().with(name, &png);
    let server = Server::with_handler(directory.handler());
    let filters: Vec<_> = FILTERS.iter().filter(|(_, filter)| !filter.contains('<')).collect();
    let place = |n: usize| {
        let n = n as u32;
        (n % COLUMNS * SIZE.0, n / COLUMNS * SIZE.1)
    };
    let images: String = filters
        .iter()
        .enumerate()
        .map(|(n, (_, filter))| {
            let (left, top) = place(n);
            format!("<img src=a.png style='left:{left}px;top:{top}px;filter:{filter}'>")
        })
        .collect();
    let page = format!("<!doctype html><style>img {{ position: absolute }}</style>{images}");
    let pages = RawOrigin::start(move |request, peer| {
        let (media_type, body) = match request.path().as_str() {
            "/a.png" => ("image/png", &png[..]),
            _ => ("text/html", page.as_bytes()),
        };
        peer.send(&answer(200, &[("Content-Type", media_type), ("Connection", "close")], body))
    });
    let window = (SIZE.0 * COLUMNS, SIZE.1 * (filters.len() as u32).div_ceil(COLUMNS) + 200);
    let document = chromium::open(&format!("http://{}/", pages.address()), window);
    let mut wrong = Vec::new();
    for (n, (query, filter)) in filters.iter().enumerate() {
        let (left, top) = place(n);
        let shown = imageops::crop_imm(&document.screenshot, left, top, SIZE.0, SIZE.1).to_image();
        let changed = Image::decode(&server.get(&format!("/h/{name}?{query}")).ok().body);
        let most = difference(&shown, &changed.pixels);
        eprintln!("{filter}: {most}");
        if most > MOST {
            wrong.push(format!("{query}: differs by {most} from {filter}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
