//! JPEGs (T.81) with the segments that say what their components are.

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageEncoder, Luma, Rgb, RgbImage};

use super::png::{HEIGHT, WIDTH};
use crate::support::icc;

/// What the components of a JPEG are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Components {
    Gray,
    Yuv,
    /// Without the JFIF segment, and with Adobe's that says YCbCr.
    AdobeYuv,
    /// Without either.
    Bare,
    /// Adobe's segment says RGB. The colours are not those of the others.
    AdobeRgb,
    /// The names of the components are R, G and B.
    NamedRgb,
    Cmyk,
    /// Adobe's segment says YCCK.
    Ycck,
    /// Without Adobe's segment, and not inverted.
    BareCmyk,
}

pub const ALL: [Components; 6] = [
    Components::Gray,
    Components::Yuv,
    Components::AdobeYuv,
    Components::Bare,
    Components::AdobeRgb,
    Components::NamedRgb,
];
pub const INKS: [Components; 3] = [Components::Cmyk, Components::Ycck, Components::BareCmyk];

pub fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    [&[0xff, marker][..], &(data.len() as u16 + 2).to_be_bytes(), data].concat()
}

/// The profile in as many segments as it takes (ICC.1 annex B.4).
pub fn profile_segments(profile: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = profile.chunks(65_519).collect();
    let count = parts.len() as u8;
    let numbered = parts.iter().zip(1_u8..);
    numbered
        .flat_map(|(part, n)| segment(0xe2, &[b"ICC_PROFILE\0", &[n, count][..], *part].concat()))
        .collect()
}

pub fn exif_segment(block: &[u8]) -> Vec<u8> {
    segment(0xe1, &[b"Exif\0\0", block].concat())
}

/// A JPEG with segments after its first one.
pub fn jpeg(components: Components, segments: &[u8]) -> Vec<u8> {
    let whole = base(components);
    let adobe = |transform: u8| segment(0xee, &[b"Adobe\0\x64\0\0\0\0", &[transform][..]].concat());
    let jfif = segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    let start = match components {
        Components::Gray | Components::Yuv => jfif,
        Components::AdobeYuv => adobe(1),
        Components::AdobeRgb | Components::Cmyk => adobe(0),
        Components::Ycck => adobe(2),
        Components::Bare | Components::NamedRgb | Components::BareCmyk => Vec::new(),
    };
    [&[0xff, 0xd8][..], &start, segments, &whole].concat()
}

/// The tables and scans, without the application segments.
fn base(components: Components) -> Vec<u8> {
    let whole = match components {
        Components::Cmyk | Components::Ycck | Components::BareCmyk => inks(),
        Components::Gray => encode(GrayImage::from_fn(WIDTH, HEIGHT, |x, y| {
            Luma([if y < HEIGHT / 2 { x * 255 / 23 } else { (x * 7 + y * 5) % 24 * 11 } as u8])
        })),
        _ => encode(RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
            Rgb([x * 255 / 23, y * 255 / 15, (x / 4 * 60 + y / 4 * 37) % 256]
                .map(|value| value as u8))
        })),
    };
    let mut rest = &whole[2..];
    let mut out = Vec::new();
    while let [0xff, marker, high, low, ..] = *rest {
        if marker == 0xda {
            break;
        }
        let (this, after) = rest.split_at(2 + usize::from(u16::from_be_bytes([high, low])));
        // APP0 to APP15.
        if !(0xe0..=0xef).contains(&marker) {
            out.extend_from_slice(this);
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    if components == Components::NamedRgb {
        name_components(&mut out, b"RGB");
    }
    out
}

fn encode(image: impl Into<DynamicImage>) -> Vec<u8> {
    let image = image.into();
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 98)
        .write_image(image.as_bytes(), WIDTH, HEIGHT, image.color().into())
        .unwrap();
    out
}

/// Chromium shows full black as if it were all other inks.
fn inks() -> Vec<u8> {
    let full = (0..8_u8).map(|n| [2, 1, 0].map(|bit| if n >> bit & 1 == 1 { 255 } else { 0 }));
    let full = full.map(|[c, m, y]| [c, m, y, 0]);
    let part = (0..8_u8).map(|n| [n * 30, 255 - n * 30, 128, n * 16]);
    icc::cmyk_jpeg(&full.chain(part).collect::<Vec<_>>(), None)
}

/// Renames the components in the frame and scan headers (T.81 B.2.2, B.2.3).
fn name_components(jpeg: &mut [u8], names: &[u8; 3]) {
    let mut at = 0;
    while let [0xff, marker, high, low] = jpeg[at..at + 4] {
        match marker {
            0xc0..=0xc2 => (0..3).for_each(|n| jpeg[at + 10 + 3 * n] = names[n]),
            0xda => return (0..3).for_each(|n| jpeg[at + 5 + 2 * n] = names[n]),
            _ => {}
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
}
