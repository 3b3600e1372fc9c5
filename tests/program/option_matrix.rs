//! Every option with every kind of original, in several formats: the answer has the format, size, frames and
//! transparency that the table says, or is refused with a sentence.
//!
//! A new option gets a row for each of its forms, and one for a value that is refused.

use image::{DynamicImage, ImageBuffer, Rgb, RgbaImage};
use serde_json::json;

use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::icc;
use crate::support::images::{self, Image, Kind, avif_has_alpha, quarters, size_of};
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

enum Outcome {
    /// An image, in each of the formats.
    Image {
        size: (u32, u32),
        /// At most, of an animation.
        frames: u32,
        /// Whether the options make pixels transparent, in a format that has transparency.
        adds_transparency: bool,
    },
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

const ROWS: &[Row] = &[
    same(""),
    // Size
    sized("w=32", 32, 24),
    sized("h=12", 16, 12),
    sized("w=30&h=30", 30, 30),
    sized("w=30&h=30&c=false", 30, 23),
    sized("w=128&e=true", 128, 96),
    sized("w=16&dpr=2", 32, 24),
    sized("w=30&h=30&g=smart", 30, 30),
    refused("w=0", "w: must be"),
    refused("w=8&dpr=9", "dpr: must be"),
    refused("w=8&h=8&g=up", "g: must be"),
    sized("w=30&h=40&fit=stretch", 30, 40),
    sized("w=30&h=30&fit=outside", 40, 30),
    sized("w=100&h=100&fit=ratio", 48, 48),
    sized("w=100&h=20&fit=ratio&g=s", 64, 13),
    sized("w=30&h=30&fit=contain", 30, 23),
    sized("w=30&h=30&fit=pad", 30, 30),
    sized("min-w=96", 96, 72),
    sized("w=20&min-h=36", 20, 36),
    sized("w=30&h=30&g=ne:0.1:3", 30, 30),
    refused("w=8&h=8&fit=fill", "fit: must be"),
    refused("w=8&h=8&fit=pad&c=true", "fit: can't be given"),
    refused("min-w=0", "min-w: must be"),
    refused("w=8&h=8&g=ne:1", "g: must be"),
    // Padding
    sized("w=30&h=30&pad=true&g=s:4:4", 30, 30),
    sized("w=30&h=30&pad=true", 30, 30),
    transparent("w=30&h=30&pad=true&bg=ff000040", 30, 30),
    // The rectangle, rotation, trimming
    same("crop=0:0:1:1"),
    sized("crop=10:6:21:17", 21, 17),
    sized("crop=20:12:99:99", 44, 36),
    sized("crop=0.25:0.5:0.5:0.5&w=16", 16, 12),
    sized("crop=0:0:1:1:px", 1, 1),
    failed("crop=64:0:1:1", 400, "crop_outside"),
    failed("crop=0:48:9:9", 400, "crop_outside"),
    refused("crop=1:2:3", "crop: must be"),
    sized("rot=30", 80, 74),
    sized("rot=30&w=40", 40, 37),
    sized("rot=200.5&w=30&h=30&flip=h", 30, 30),
    sized("rot=45&bg=336699&crop=0:0:32:24", 40, 40),
    transparent("rot=45&bg=00000000", 80, 80),
    refused("rot=361", "rot: must be"),
    same("trim=10:00ff00"),
    sized("trim=30:auto:l", 64, 48),
    refused("trim=10:red", "trim: must be"),
    // Corners
    transparent("round=8", 64, 48),
    transparent("w=40&h=40&round=max", 40, 40),
    transparent("w=40&h=60&fit=pad&round=5", 40, 60),
    refused("round=-1", "round: must be"),
    sized("rot=90", 48, 64),
    same("flip=h"),
    same("trim=10"),
    refused("flip=x", "flip: must be"),
    refused("trim=256", "trim: must be"),
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
    refused("pix=0", "pix: must be"),
    same("blur=1"),
    same("sharp=1"),
    refused("blur=101", "blur: must be"),
    // Format
    same("q=30"),
    same("strip=false"),
    refused("q=0", "q: must be"),
    refused("max_bytes=2000", "max_bytes: "),
    refused("raw=true", "raw: "),
    refused("wm=unknown", "wm: "),
    // Frames
    frames("frames=1", 1),
    refused("frames=0", "frames: must be"),
    failed("page=3", 404, "page_missing"),
];

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
        Outcome::Image { size, frames, adds_transparency } => (size, frames, adds_transparency),
    };
    assert_eq!(answer.status, 200, "{target}: {:?}", answer.header("X-Error"));
    let kind = kind.or(Kind::of(&original.bytes)).unwrap();
    assert_eq!(Kind::of(&answer.body), Some(kind), "{target}");
    assert_eq!(answer.expect("Content-Type"), kind.media_type(), "{target}");
    assert_eq!(size_of(&answer.body), size, "{target}");
    if kind == Kind::Avif {
        assert!(!adds_transparency || avif_has_alpha(&answer.body), "{target}");
        return;
    }
    let image = Image::decode(&answer.body);
    let holds_frames = original.is_animated && matches!(kind, Kind::Gif | Kind::Webp);
    assert_eq!(image.frames.len() as u32, if holds_frames { frames } else { 1 }, "{target}");
    if kind == Kind::Jpeg {
        assert!(!image.has_alpha, "{target}");
    } else if adds_transparency || (original.has_transparency && row.query.is_empty()) {
        assert!(image.has_alpha, "{target}");
    }
}

#[test]
fn every_option_with_every_kind_of_original_is_right_or_refused() {
    let directory = Directory::new();
    let originals = originals();
    for original in &originals {
        directory.put(original.file, &original.bytes);
    }
    let handler = merged(directory.handler(), json!({"error_status": "precise"}));
    let server = Server::with_handler(handler);
    std::thread::scope(|scope| {
        for original in &originals {
            let mut client = server.client();
            scope.spawn(move || {
                for row in ROWS {
                    FORMATS.into_iter().for_each(|kind| check(&mut client, original, row, kind));
                }
            });
        }
    });
}
