//! The settings of each encoder. They were chosen from the tables of bench/results/encoders.md.

use super::quality::encoder_quality;
use super::{clear, palette};
use crate::format::Format;
use crate::options::Options;
use crate::render::vips::{Error, Image};

/// From so many pixels on a JPEG is progressive: 4 % smaller, and seen early. A small one gets no smaller, and its
/// encoder takes twice the time for it.
const PROGRESSIVE_FROM: u64 = 1_500_000;

/// The picture in its format. Of the original's metadata at most the profile is kept.
pub fn encoded(image: &Image, format: Format, options: &Options) -> Result<Vec<u8>, Error> {
    if format == Format::Gif
        && image.height() > image.frame_height()
        && let Some(image) = palette::shared(image)?
    {
        return image.encoded(".gif[reuse,dither=0,keep=none]");
    }
    let suffix = suffix(format, options, u64::from(image.width()) * u64::from(image.height()));
    match format {
        // libvips would write the original's into JFIF's header.
        Format::Jpeg => image.without_density()?.encoded(&suffix),
        // The encoder of WebP does that itself.
        Format::Avif if !options.lossless && image.has_transparency() => {
            clear::filled(image)?.encoded(&suffix)
        }
        _ => image.encoded(&suffix),
    }
}

/// The libvips suffix with the options of each encoder.
fn suffix(format: Format, options: &Options, pixels: u64) -> String {
    let quality = encoder_quality(format, options.quality);
    let keep = if options.strip || !format.keeps_metadata() { "none" } else { "icc" };
    match format {
        Format::Jpeg => {
            let scans = if pixels >= PROGRESSIVE_FROM { "interlace" } else { "optimize_coding" };
            format!(".jpg[Q={quality},{scans},keep={keep}]")
        }
        // Photographs, which most are, are a quarter smaller with filters; drawings 4 % larger.
        Format::Png => format!(".png[compression=3,filter=all,keep={keep}]"),
        Format::Webp if options.lossless => format!(".webp[lossless,keep={keep}]"),
        Format::Webp => format!(".webp[Q={quality},effort=4,keep={keep}]"),
        Format::Avif if options.lossless => format!(".avif[lossless,effort=1,keep={keep}]"),
        // Effort 0 is three times as fast, for 6 % more bytes; 4 takes thirteen times as long, for 10 % less.
        Format::Avif => format!(".avif[Q={quality},effort=1,keep={keep}]"),
        // Its `effort` is for a quantiser that we don't have.
        Format::Gif => ".gif[keep=none]".into(),
    }
}
