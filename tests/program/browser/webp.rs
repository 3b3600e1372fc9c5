//! WebP files (RFC 9649) of streams, metadata and frames.

use image::{Rgba, RgbaImage};

use super::png::{HEIGHT, WIDTH};
use crate::support::images;
use crate::support::server::data;

/// The bitstream of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Lossless,
    LosslessAlpha,
    Lossy,
    LossyAlpha,
}

pub const ALL: [Stream; 4] =
    [Stream::Lossless, Stream::LosslessAlpha, Stream::Lossy, Stream::LossyAlpha];

pub fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = [&kind[..], &(data.len() as u32).to_le_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

pub fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &chunks].concat()
}

/// Flags of `VP8X` (§2.7.1).
pub const ANIMATION: u8 = 0x02;
pub const XMP: u8 = 0x04;
pub const EXIF: u8 = 0x08;
pub const ALPHA: u8 = 0x10;
pub const PROFILE: u8 = 0x20;

pub fn extended(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let side = |side: u32| [(side - 1) as u8, ((side - 1) >> 8) as u8, 0];
    chunk(b"VP8X", &[&[flags, 0, 0, 0][..], &side(width), &side(height)].concat())
}

/// The chunks `ALPH`, `VP8 ` and `VP8L` of a file.
pub fn bitstream(file: &[u8]) -> Vec<u8> {
    let mut rest = &file[12..];
    let mut out = Vec::new();
    while rest.len() >= 8 {
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let (this, after) = rest.split_at(8 + length.next_multiple_of(2));
        if matches!(&this[..4], b"ALPH" | b"VP8 " | b"VP8L") {
            out.extend_from_slice(this);
        }
        rest = after;
    }
    out
}

impl Stream {
    pub fn bitstream(self) -> Vec<u8> {
        bitstream(&match self {
            Stream::Lossless => images::webp(image::DynamicImage::from(pixels(false)).into_rgb8()),
            Stream::LosslessAlpha => images::webp(pixels(true)),
            Stream::Lossy => data("browser/lossy.webp"),
            Stream::LossyAlpha => data("browser/lossy-alpha.webp"),
        })
    }

    pub fn alpha_flag(self) -> u8 {
        if matches!(self, Stream::LosslessAlpha | Stream::LossyAlpha) { ALPHA } else { 0 }
    }

    /// A simple file, or an extended one with a profile and an EXIF block.
    pub fn webp(self, profile: Option<&[u8]>, exif: Option<&[u8]>) -> Vec<u8> {
        if profile.is_none() && exif.is_none() && self != Stream::LossyAlpha {
            return riff(&[self.bitstream()]);
        }
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        let flags =
            self.alpha_flag() | flag(PROFILE, profile.is_some()) | flag(EXIF, exif.is_some());
        riff(&[
            extended(flags, WIDTH, HEIGHT),
            profile.map(|profile| chunk(b"ICCP", profile)).unwrap_or_default(),
            self.bitstream(),
            exif.map(|exif| chunk(b"EXIF", exif)).unwrap_or_default(),
        ])
    }
}

fn pixels(has_alpha: bool) -> RgbaImage {
    RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let alpha = if has_alpha { [255, 190, 85, 0][((x / 3 + y / 2) % 4) as usize] } else { 255 };
        Rgba(
            [x * 255 / 23, y * 255 / 15, (x * 7 + y * 5) % 24 * 11, alpha].map(|value| value as u8),
        )
    })
}

/// A frame of an animation (§2.7.1.1).
#[derive(Clone, Debug)]
pub struct Frame {
    /// Left and top; even numbers.
    pub at: (u32, u32),
    pub pixels: RgbaImage,
    pub time: u32,
    /// Whether its window becomes transparent after it.
    pub disposes: bool,
    /// Whether it is blended with the canvas.
    pub blends: bool,
}

impl Frame {
    /// A pattern whose colours depend on a number. With alpha it has opaque, half transparent and transparent pixels.
    pub fn pattern(
        (left, top, width, height): (u32, u32, u32, u32),
        number: u32,
        has_alpha: bool,
    ) -> Frame {
        let pixels = RgbaImage::from_fn(width, height, |x, y| {
            let alpha = if has_alpha { [255, 128, 0][((x + y) % 3) as usize] } else { 255 };
            Rgba([x * 15 + number * 60, y * 20, 255 - number * 80, alpha].map(|value| value as u8))
        });
        Frame { at: (left, top), pixels, time: 100, disposes: false, blends: true }
    }

    pub fn chunk(&self) -> Vec<u8> {
        let number = |value: u32| value.to_le_bytes()[..3].to_vec();
        let (width, height) = self.pixels.dimensions();
        let flags = u8::from(!self.blends) << 1 | u8::from(self.disposes);
        let is_opaque = self.pixels.pixels().all(|pixel| pixel.0[3] == 255);
        let file = if is_opaque {
            images::webp(image::DynamicImage::from(self.pixels.clone()).into_rgb8())
        } else {
            images::webp(self.pixels.clone())
        };
        let head = [self.at.0 / 2, self.at.1 / 2, width - 1, height - 1, self.time].map(number);
        chunk(b"ANMF", &[head.concat(), vec![flags], bitstream(&file)].concat())
    }
}

/// An animation on a canvas of this size, with a background (blue, green, red, alpha).
pub fn animation(size: (u32, u32), background: [u8; 4], loops: u16, frames: &[Frame]) -> Vec<u8> {
    let mut chunks = vec![
        extended(ANIMATION | ALPHA, size.0, size.1),
        chunk(b"ANIM", &[&background[..], &loops.to_le_bytes()].concat()),
    ];
    chunks.extend(frames.iter().map(Frame::chunk));
    riff(&chunks)
}
