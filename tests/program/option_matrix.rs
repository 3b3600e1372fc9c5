//! Every option with every kind of original, in several formats: the answer has the format, size, frames and
//! transparency that the table says, or is refused with a sentence.
//!
//! A new option gets a row for each of its forms, and one for a value that is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageBuffer, Rgb, RgbaImage};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::directory::Directory;
use crate::support::icc;
use crate::support::images::{
    self, BLACK, Image, Kind, avif_has_alpha, avif_times, quarters, size_of, within,
};
use crate::support::merged;
use crate::support::server::{Server, data};

/// Width and height of every original.
const SIZE: (u32, u32) = (64, 48);
/// Frames of the animations.
const FRAMES: u32 = 3;

/// A query, and what it must be answered with.
struct Row {
    query: &'static str,
    outcome: Outcome,
}

#[derive(Clone, Copy)]
enum Outcome {
    /// An image, in each of the formats.
    Image {
        size: (u32, u32),
        /// At most, of an animation.
        frames: u32,
        /// Whether the options make pixels transparent, in a format that has transparency.
        adds_transparency: bool,
    },
    /// An image of this size with watermarks: each place has the opacity of black over it in percent.
    Marked((u32, u32), &'static [((u32, u32), u32)]),
    /// A description of a result of this size.
    Document(u32, u32),
    /// A hash, as text.
    Hash,
    /// The status, and the start of the text, or of `X-Error` where the original decides.
    Refused(u16, &'static str),
}

const fn sized(query: &'static str, width: u32, height: u32) -> Row {
    let outcome =
        Outcome::Image { size: (width, height), frames: FRAMES, adds_transparency: false };
    Row { query, outcome }
}

/// The size of the original.
const fn same(query: &'static str) -> Row {
    sized(query, SIZE.0, SIZE.1)
}

/// With transparency that the original does not have.
const fn transparent(query: &'static str, width: u32, height: u32) -> Row {
    let outcome = Outcome::Image { size: (width, height), frames: FRAMES, adds_transparency: true };
    Row { query, outcome }
}

const fn frames(query: &'static str, frames: u32) -> Row {
    Row { query, outcome: Outcome::Image { size: SIZE, frames, adds_transparency: false } }
}

const fn refused(query: &'static str, start: &'static str) -> Row {
    Row { query, outcome: Outcome::Refused(400, start) }
}

/// Refused only once the original is known.
const fn failed(query: &'static str, status: u16, code: &'static str) -> Row {
    Row { query, outcome: Outcome::Refused(status, code) }
}

const fn row(query: &'static str, outcome: Outcome) -> Row {
    Row { query, outcome }
}

const ROWS: &[Row] = &[
    same(""),
    // Size: `w`, `h`, `e`, `dpr`, `c`, `g`
    sized("w=32", 32, 24),
    sized("h=12", 16, 12),
    sized("w=128&e=true", 128, 96),
    sized("w=16&dpr=2", 32, 24),
    sized("w=30&h=30", 30, 30),
    sized("w=30&h=30&c=false", 30, 23),
    sized("w=30&h=30&g=smart", 30, 30),
    sized("w=30&h=30&g=ne:0.1:3", 30, 30),
    refused("w=0", "w: must be"),
    refused("w=8&dpr=9", "dpr: must be"),
    refused("w=8&h=8&g=up", "g: must be"),
    refused("w=8&h=8&g=ne:1", "g: must be"),
    refused("w=8&h=8&g=ne:-1:0", "g: must be"),
    refused("w=8&h=8&g=ce:0:-0.5", "g: must be"),
    // `fit`, `min-w`, `min-h`
    sized("w=30&h=30&fit=contain", 30, 23),
    sized("w=30&h=40&fit=stretch", 30, 40),
    sized("w=30&h=30&fit=outside", 40, 30),
    sized("w=100&h=100&fit=ratio", 48, 48),
    sized("w=100&h=20&fit=ratio&g=s", 64, 13),
    sized("min-w=96", 96, 72),
    sized("w=20&min-h=36", 20, 36),
    refused("w=8&h=8&fit=fill", "fit: must be"),
    refused("w=8&h=8&fit=pad&c=true", "fit: can't be given"),
    refused("min-w=0", "min-w: must be"),
    // `pad`, `bg`
    sized("w=30&h=30&fit=pad", 30, 30),
    sized("w=30&h=30&pad=true&g=s:4:4", 30, 30),
    transparent("w=30&h=30&pad=true&bg=ff000040", 30, 30),
    refused("bg=red", "bg: must be"),
    // `crop`
    same("crop=0:0:1:1"),
    sized("crop=10:6:21:17", 21, 17),
    sized("crop=20:12:99:99", 44, 36),
    sized("crop=0.25:0.5:0.5:0.5&w=16", 16, 12),
    sized("crop=0:0:1:1:px", 1, 1),
    failed("crop=64:0:1:1", 400, "crop_outside"),
    failed("crop=0:48:9:9", 400, "crop_outside"),
    refused("crop=1:2:3", "crop: must be"),
    // `rot`, `flip`
    sized("rot=90", 48, 64),
    sized("rot=30", 80, 74),
    sized("rot=30&w=40", 40, 37),
    sized("rot=200.5&w=30&h=30&flip=h", 30, 30),
    sized("rot=45&bg=336699&crop=0:0:32:24", 40, 40),
    transparent("rot=45&bg=00000000", 80, 80),
    refused("rot=361", "rot: must be"),
    same("flip=h"),
    refused("flip=x", "flip: must be"),
    // `trim`
    same("trim=10"),
    same("trim=10:00ff00"),
    same("trim=30:auto:l"),
    refused("trim=256", "trim: must be"),
    refused("trim=10:red", "trim: must be"),
    // `round`
    transparent("round=8", 64, 48),
    transparent("w=40&h=40&round=max", 40, 40),
    transparent("w=40&h=60&fit=pad&round=5", 40, 60),
    refused("round=-1", "round: must be"),
    // Colours
    same("bri=1.4"),
    same("con=1.5"),
    same("gamma=2"),
    same("sat=0.5"),
    same("hue=90"),
    same("gray=1"),
    same("tint=ff8800:0.4"),
    same("duo=1d2a6b:ffd9a0"),
    same("neg=1"),
    refused("bri=-1", "bri: must be"),
    refused("hue=361", "hue: must be"),
    refused("tint=red", "tint: must be"),
    // Effects
    same("pix=4"),
    same("blur=1"),
    same("sharp=1"),
    refused("pix=0", "pix: must be"),
    refused("blur=101", "blur: must be"),
    // Watermarks, those of `watermarks()`
    row("wm=mark", Outcome::Marked(SIZE, &[((52, 38), 100), ((10, 10), 0)])),
    row(
        "wm=tiles",
        Outcome::Marked(SIZE, &[((4, 4), 50), ((24, 4), 50), ((44, 4), 50), ((14, 4), 0)]),
    ),
    row("wm=tiles,mark", Outcome::Marked(SIZE, &[((52, 38), 100), ((44, 4), 50), ((14, 14), 0)])),
    row("w=32&wm=mark", Outcome::Marked((32, 24), &[((22, 16), 100), ((6, 6), 0)])),
    row(
        "w=48&h=48&fit=cover&wm=mark",
        Outcome::Marked((48, 48), &[((36, 38), 100), ((10, 10), 0)]),
    ),
    row("neg=1&wm=mark", Outcome::Marked(SIZE, &[((52, 38), 100), ((10, 10), 0)])),
    same("wm=none"),
    refused("wm=unknown", "wm: there is no"),
    refused("wm=mark,mark", "wm: must be"),
    // Descriptions
    row("f=json", Outcome::Document(SIZE.0, SIZE.1)),
    row("f=json&w=32&rot=90", Outcome::Document(32, 43)),
    row("f=json&crop=10:6:21:17", Outcome::Document(21, 17)),
    row("f=json&w=30&h=30&pad=true&wm=mark", Outcome::Document(30, 30)),
    row("f=thumbhash", Outcome::Hash),
    row("f=thumbhash&w=20&h=40", Outcome::Hash),
    row("f=blurhash", Outcome::Hash),
    failed("f=json&crop=64:0:1:1", 400, "crop_outside"),
    failed("f=blurhash&page=3", 404, "page_missing"),
    refused("f=jsonp", "f: must be"),
    // Format
    same("q=30"),
    same("strip=false"),
    refused("q=0", "q: must be"),
    refused("max_bytes=2000", "max_bytes: "),
    refused("raw=true", "raw: "),
    // Frames
    frames("frames=1", 1),
    refused("frames=0", "frames: must be"),
    failed("page=3", 404, "page_missing"),
];

/// A black square of 12 × 12 pixels, 6 pixels from the right and 4 from the bottom, and copies of one of 8 × 8 pixels.
fn watermarks(marks: &Directory) -> Value {
    let black = |side| images::png(images::solid(side, side, BLACK));
    json!({
        "mark": {"file": marks.put("mark.png", &black(12)), "offset": [6, 4]},
        "tiles": {
            "file": marks.put("tile.png", &black(8)), "position": "nw", "tile": true, "spacing": [12, 12],
            "opacity": 0.5,
        },
    })
}

/// An original of a kind: its file, whether it is animated, and whether it has transparency.
struct Original {
    file: &'static str,
    bytes: Vec<u8>,
    is_animated: bool,
    has_transparency: bool,
}

impl Original {
    fn new(file: &'static str, bytes: Vec<u8>) -> Original {
        Original { file, bytes, is_animated: false, has_transparency: false }
    }
}

fn originals() -> Vec<Original> {
    let colours = quarters();
    let mut transparent = DynamicImage::from(colours.clone()).into_rgba8();
    transparent
        .enumerate_pixels_mut()
        .filter(|(x, y, _)| *x > 40 && *y > 30)
        .for_each(|(_, _, pixel)| pixel[3] = 0);
    let deep = ImageBuffer::from_fn(SIZE.0, SIZE.1, |x, y| {
        Rgb(colours.get_pixel(x, y).0.map(|value| u16::from(value) * 257))
    });
    let animation: Vec<(RgbaImage, u32)> = (0..FRAMES)
        .map(|frame| {
            // No two frames have a colour in the same place, but for white.
            let mut image = DynamicImage::from(colours.clone()).into_rgba8();
            image.pixels_mut().for_each(|pixel| pixel.0[..3].rotate_right(frame as usize));
            (image, 100)
        })
        .collect();
    // Quarters of magenta and yellow, cyan and yellow, cyan and magenta, and no ink: red, green, blue, white.
    let inks = icc::cmyk_blocks((8, 6), |column, row| match (column < 4, row < 3) {
        (true, true) => [0, 255, 255, 0],
        (false, true) => [255, 0, 255, 0],
        (true, false) => [255, 255, 0, 0],
        (false, false) => [0; 4],
    });
    vec![
        Original::new("photo.jpg", images::jpeg(colours.clone())),
        Original {
            has_transparency: true,
            ..Original::new("transparent.png", images::png(transparent))
        },
        Original::new("deep.png", images::png(DynamicImage::ImageRgb16(deep))),
        Original::new("gray.png", images::png(DynamicImage::from(colours).into_luma8())),
        Original::new("inks.jpg", inks),
        Original::new("quarters.avif", data("quarters.avif")),
        Original { is_animated: true, ..Original::new("moving.avif", data("animated.avif")) },
        Original {
            is_animated: true,
            ..Original::new("moving.gif", images::animated_gif(&animation))
        },
        Original {
            is_animated: true,
            ..Original::new("moving.webp", images::animated_webp(&animation))
        },
    ]
}

/// Formats to ask for; `None` keeps the original's.
const FORMATS: [Option<Kind>; 6] =
    [None, Some(Kind::Jpeg), Some(Kind::Png), Some(Kind::Webp), Some(Kind::Avif), Some(Kind::Jxl)];

fn check(client: &mut Client, original: &Original, row: &Row, kind: Option<Kind>) {
    let format = kind.map(|kind| format!("&f={}", kind.name())).unwrap_or_default();
    let target = format!("/h/{}?{}{format}", original.file, row.query);
    let answer = client.get(&target);
    let (size, frames, adds_transparency) = match row.outcome {
        Outcome::Refused(status, start) => {
            let text = answer.header("X-Error").unwrap_or_else(|| answer.text());
            assert_eq!(answer.status, status, "{target}: {text}");
            assert!(text.starts_with(start), "{target}: {text}");
            return;
        }
        Outcome::Document(..) | Outcome::Hash => return check_description(&answer, original, row),
        Outcome::Image { size, frames, adds_transparency } => (size, frames, adds_transparency),
        Outcome::Marked(size, _) => (size, FRAMES, false),
    };
    assert_eq!(answer.status, 200, "{target}: {:?}", answer.header("X-Error"));
    let kind = kind.or(Kind::of(&original.bytes)).unwrap();
    assert_eq!(Kind::of(&answer.body), Some(kind), "{target}");
    assert_eq!(answer.expect("Content-Type"), kind.media_type(), "{target}");
    assert_eq!(size_of(&answer.body), size, "{target}");
    let frames = if original.is_animated { frames } else { 1 };
    if kind == Kind::Avif {
        assert!(!adds_transparency || avif_has_alpha(&answer.body), "{target}");
        assert_eq!((avif_times(&answer.body).len() as u32).max(1), frames, "{target}");
        return;
    }
    let image = Image::decode(&answer.body);
    let holds_frames = matches!(kind, Kind::Gif | Kind::Webp);
    assert_eq!(image.frames.len() as u32, if holds_frames { frames } else { 1 }, "{target}");
    if kind == Kind::Jpeg {
        assert!(!image.has_alpha, "{target}");
    } else if adds_transparency || (original.has_transparency && row.query.is_empty()) {
        assert!(image.has_alpha, "{target}");
    }
    if let Outcome::Marked(_, places) = row.outcome {
        let options = row.query.split('&').filter(|pair| !pair.starts_with("wm="));
        let plain = options.collect::<Vec<_>>().join("&");
        let plain = client.get(&format!("/h/{}?{plain}&f=webp&lossless=true", original.file)).ok();
        for (below, drawn) in Image::decode(&plain.body).frames.iter().zip(&image.frames) {
            for ((x, y), opacity) in places {
                let [below, drawn] = [below, drawn].map(|frame| frame.0.get_pixel(*x, *y).0);
                let expected =
                    [0, 1, 2].map(|n| (u32::from(below[n]) * (100 - opacity) / 100) as u8);
                // Of a lossy format.
                assert!(
                    within(drawn, expected, 40),
                    "{target} at {x}, {y}: {drawn:?}, {expected:?}"
                );
            }
        }
    }
}

/// Checks a document or a hash.
fn check_description(answer: &Answer, original: &Original, row: &Row) {
    let what = format!("{} of {}", row.query, original.file);
    assert_eq!(answer.status, 200, "{what}: {:?}", answer.header("X-Error"));
    let Outcome::Document(width, height) = row.outcome else {
        assert_eq!(answer.expect("Content-Type"), "text/plain; charset=utf-8", "{what}");
        let hash = answer.text();
        if row.query.starts_with("f=blurhash") {
            // Of 4 × 3 components, which the first digit says: 3 + 9 × 2.
            assert!(hash.len() == 28 && hash.starts_with('L'), "{what}: {hash}");
        } else {
            let bytes = STANDARD.decode(hash).unwrap();
            assert!((5..=25).contains(&bytes.len()), "{what}: {hash}");
            assert_eq!(bytes[2] >> 7 == 1, original.has_transparency, "{what}: {hash}");
        }
        return;
    };
    assert_eq!(answer.expect("Content-Type"), "application/json", "{what}");
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    let format = Kind::of(&original.bytes).unwrap().name();
    let frames = if original.is_animated { FRAMES } else { 1 };
    let about = &document["original"];
    for (field, expected) in [
        ("format", json!(format)),
        ("bytes", json!(original.bytes.len())),
        ("width", json!(SIZE.0)),
        ("height", json!(SIZE.1)),
        ("orientation", json!(1)),
        ("frames", json!(frames)),
        // That of an animation is what its container says of all frames.
        (
            "alpha",
            json!(
                original.has_transparency
                    || ["moving.webp", "moving.avif"].contains(&original.file)
            ),
        ),
    ] {
        assert_eq!(about[field], expected, "{what}: {field}");
    }
    let result = &document["result"];
    for (field, expected) in [
        ("format", json!(format)),
        ("width", json!(width)),
        ("height", json!(height)),
        ("frames", json!(frames)),
    ] {
        assert_eq!(result[field], expected, "{what}: {field}");
    }
    assert!(!document["placeholder"]["dominant"].as_array().unwrap().is_empty(), "{what}");
}

#[test]
fn every_option_with_every_kind_of_original_is_right_or_refused() {
    let directory = Directory::new();
    let originals = originals();
    for original in &originals {
        directory.put(original.file, &original.bytes);
    }
    let marks = Directory::new();
    let fields = json!({"error_status": "precise", "watermarks": watermarks(&marks)});
    let handler = merged(directory.handler(), fields);
    let server = Server::with_handler(handler);
    std::thread::scope(|scope| {
        for original in &originals {
            let mut client = server.client();
            scope.spawn(move || {
                for row in ROWS {
                    // A description is one in place of a format.
                    let count = if row.query.contains("f=") { 1 } else { FORMATS.len() };
                    let formats = FORMATS.into_iter().take(count);
                    formats.for_each(|kind| check(&mut client, original, row, kind));
                }
            });
        }
    });
}
