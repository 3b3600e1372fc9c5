//! The settings of each encoder. They were chosen from the tables of bench/results/encoders.md.

use super::palette;
use super::quality::encoder_quality;
use crate::format::Format;
use crate::render::vips::{Error, Image};

/// From so many pixels on a JPEG is progressive: 4 % smaller, and seen early. A small one gets no smaller, and its
/// encoder takes twice the time for it.
const PROGRESSIVE_FROM: u64 = 1_500_000;

/// The picture in its format. Nothing of the original's metadata is kept.
pub fn encoded(image: &Image, format: Format, quality: u8) -> Result<Vec<u8>, Error> {
    if format == Format::Gif && image.height() > image.frame_height() {
        if let Some(image) = palette::shared(image)? {
            return image.encoded(".gif[reuse,dither=0,keep=none]");
        }
    }
    image.encoded(&suffix(format, quality, u64::from(image.width()) * u64::from(image.height())))
}

/// The libvips suffix with the options of each encoder.
fn suffix(format: Format, quality: u8, pixels: u64) -> String {
    let quality = encoder_quality(format, quality);
    match format {
        Format::Jpeg => {
            let scans = if pixels >= PROGRESSIVE_FROM { "interlace" } else { "optimize_coding" };
            format!(".jpg[Q={quality},{scans},keep=none]")
        }
        // Photographs, which most are, are a quarter smaller with filters; drawings 4 % larger.
        Format::Png => ".png[compression=3,filter=all,keep=none]".into(),
        Format::Webp => format!(".webp[Q={quality},effort=4,keep=none]"),
        // Effort 0 is three times as fast, for 6 % more bytes; 4 takes thirteen times as long, for 10 % less.
        Format::Avif => format!(".avif[Q={quality},effort=1,keep=none]"),
        // Its `effort` is for a quantiser that we don't have.
        Format::Gif => ".gif[keep=none]".into(),
    }
}
