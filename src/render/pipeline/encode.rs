//! The settings of each encoder. They were chosen from the tables of bench/results/encoders.md.

use super::quality::encoder_quality;
use super::{clear_transparent, palette};
use crate::format::Format;
use crate::options::Options;
use crate::render::codec::avif::{self, Encoding};
use crate::render::vips::{Error, Image};

/// From so many pixels on a JPEG is progressive: 4 % smaller, and seen early. A small one gets no smaller, and its
/// encoder takes twice the time for it.
const PROGRESSIVE_FROM: u64 = 1_500_000;

/// The image in its format. Of the original's metadata at most the profile is kept.
pub fn encoded(image: &Image, format: Format, options: &Options) -> Result<Vec<u8>, Error> {
    if format == Format::Gif
        && image.height() > image.frame_height()
        && let Some(image) = palette::shared(image)?
    {
        return image.encoded(".gif[reuse,dither=0,keep=none]");
    }
    if format == Format::Avif {
        return avif(image, options);
    }
    let suffix = suffix(format, options, u64::from(image.width()) * u64::from(image.height()));
    match format {
        // libvips would write the original's into JFIF's header.
        Format::Jpeg => image.without_density()?.encoded(&suffix),
        _ => image.encoded(&suffix),
    }
}

/// From this quality on AVIF keeps the color of every pixel (4:4:4).
const FULL_CHROMA_FROM: u8 = 90;

fn avif(image: &Image, options: &Options) -> Result<Vec<u8>, Error> {
    let quality = encoder_quality(Format::Avif, options.quality);
    let encoding = Encoding {
        quality,
        is_lossless: options.lossless,
        is_full_chroma: quality >= FULL_CHROMA_FROM,
        options: &[],
    };
    let write = |image: &Image| {
        let profile = if options.strip { None } else { image.blob(c"icc-profile-data") };
        let (width, height, bands) = (image.width(), image.height(), image.bands() as usize);
        avif::encode(image.samples()?, width, height, bands, &encoding, profile.as_deref())
            .map_err(|error| Error(error.to_string()))
    };
    // The encoder of WebP does that itself.
    if !options.lossless && image.has_transparency() {
        write(&clear_transparent::filled(image)?)
    } else {
        write(image)
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
        // Its `effort` is for a quantiser that we don't have; AVIF is not libvips' to write.
        Format::Gif | Format::Avif => ".gif[keep=none]".into(),
    }
}
