//! Encodes the result, with settings chosen from the tables in bench/results/encoders.md.

use super::{clear_transparent, colour};
use crate::format::Format;
use crate::options::Options;
use crate::quality::DEFAULT_QUALITY;
use crate::render::codec::avif::{self, Encoding, Metadata};
use crate::render::codec::gif::{self, Animation, Pixel};
use crate::render::codec::jxl;
use crate::render::vips::{Error, Image, Space, Work};

/// The fewest pixels of a progressive JPEG, which is 4 % smaller and shown early. Below, it is no smaller and takes
/// twice the time to encode.
const PROGRESSIVE_MIN_PIXELS: u64 = 1_500_000;

/// How an image is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With a quality on the scale of the encoder. PNG and GIF have none.
    Lossy(u8),
    /// `lossless=true`
    Lossless,
    /// A drawing of `f=auto`, without loss.
    Drawing,
}

/// Encodes an image. Of the original's metadata, only the profile can be kept. An AVIF gets the XMP packet; other formats
/// get it afterwards.
pub fn encode(
    image: &Image,
    format: Format,
    options: &Options,
    mode: Mode,
    xmp: Option<&str>,
) -> Result<Vec<u8>, Error> {
    match format {
        Format::Gif => return encode_gif(image),
        Format::Avif => return encode_avif(image, options, mode, xmp),
        Format::Jxl => return encode_jxl(image, options, mode),
        Format::Jpeg | Format::Png | Format::Webp => {}
    }
    let pixels = u64::from(image.width()) * u64::from(image.height());
    let suffix = suffix(format, options, mode, pixels);
    match format {
        // libvips would write the density of the original into the JFIF header.
        Format::Jpeg => image.without_density()?.encode(&suffix),
        _ => image.encode(&suffix),
    }
}

/// From this quality on, which is that of q=90, AVIF is not chroma-subsampled (4:4:4); neither is libvips' JPEG.
const FULL_CHROMA_MIN_QUALITY: u8 = 86;

fn encode_avif(
    image: &Image,
    options: &Options,
    mode: Mode,
    xmp: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let quality = quality_of(mode);
    let is_lossless = !matches!(mode, Mode::Lossy(_));
    let encoding = Encoding {
        quality,
        is_lossless,
        is_full_chroma: quality >= FULL_CHROMA_MIN_QUALITY,
        options: &[],
    };
    let write = |image: &Image| {
        let profile = if options.strip { None } else { image.blob(c"icc-profile-data") };
        let width = image.width();
        let height = image.height();
        let bands = image.bands() as usize;
        let metadata = Metadata { icc: profile.as_deref(), xmp: xmp.map(str::as_bytes) };
        let frame_height = image.frame_height();
        if frame_height == height {
            return avif::encode(image.samples()?, width, height, bands, &encoding, metadata)
                .map_err(|error| Error(error.to_string()));
        }
        let mut delays = image.delays()?;
        delays.resize((height / frame_height.max(1)) as usize, 0);
        let animation = avif::Animation {
            samples: image.samples()?,
            bands,
            width,
            height: frame_height,
            delays: &delays,
            plays: image.plays(),
            metadata,
        };
        avif::encode_animation(&animation, &encoding, Work::is_stopped)
            .map_err(|error| Error(error.to_string()))?
            .ok_or_else(|| Error("the encoder was stopped".into()))
    };
    // libwebp does this itself.
    if !is_lossless && image.has_transparency() {
        write(&clear_transparent::fill(image)?)
    } else {
        write(image)
    }
}

fn encode_jxl(image: &Image, options: &Options, mode: Mode) -> Result<Vec<u8>, Error> {
    let is_lossless = !matches!(mode, Mode::Lossy(_));
    let encoding = jxl::Encoding { quality: quality_of(mode), is_lossless };
    let write = |image: &Image, profile: Option<&[u8]>| {
        let size = (image.width(), image.height());
        let bands = image.bands() as usize;
        Ok(jxl::encode(image.samples()?, size, bands, encoding, profile, Work::is_stopped))
    };
    let profile = if options.strip { None } else { image.blob(c"icc-profile-data") };
    let encoded = match (write(image, profile.as_deref())?, profile) {
        // The encoder knows colours by their profile, which other formats only pass on.
        (Err(jxl::Error::Profile), Some(_)) => {
            write(&colour::convert_to_srgb(image.apply(c"copy", &[])?)?, None)?
        }
        (encoded, _) => encoded,
    };
    encoded.map_err(|error| Error(error.to_string()))
}

/// The quality of an encoder in this mode; without loss it has no effect.
fn quality_of(mode: Mode) -> u8 {
    match mode {
        Mode::Lossy(quality) => quality,
        Mode::Lossless | Mode::Drawing => DEFAULT_QUALITY,
    }
}

fn encode_gif(image: &Image) -> Result<Vec<u8>, Error> {
    let image =
        if image.space() == Space::Srgb { image.apply(c"copy", &[])? } else { image.to_srgb()? };
    let samples = image.samples()?;
    let pixels: Vec<Pixel> = match image.bands() {
        4 => samples.as_chunks().0.iter().map(|pixel| gif::to_pixel(*pixel)).collect(),
        _ => {
            let opaque = |[red, green, blue]: &[u8; 3]| [*red, *green, *blue, 255];
            samples.as_chunks().0.iter().map(opaque).collect()
        }
    };
    let height = image.frame_height();
    let side = |side| u16::try_from(side).map_err(|_| Error("too large for GIF".into()));
    let mut delays = image.delays()?;
    delays.resize((image.height() / height.max(1)) as usize, 0);
    let animation = Animation {
        pixels: &pixels,
        width: side(image.width())?,
        height: side(height)?,
        delays: &delays,
        plays: image.plays(),
    };
    gif::encode(&animation, Work::check)
}

/// The suffix that names libvips' saver, with its options.
fn suffix(format: Format, options: &Options, mode: Mode, pixels: u64) -> String {
    let quality = quality_of(mode);
    let keep = if options.strip || !format.keeps_metadata() { "none" } else { "icc" };
    match format {
        Format::Jpeg => {
            let scans =
                if pixels >= PROGRESSIVE_MIN_PIXELS { "interlace" } else { "optimize_coding" };
            format!(".jpg[Q={quality},{scans},keep={keep}]")
        }
        // Without filters, equal pixels are equal bytes.
        Format::Png if mode == Mode::Drawing => {
            format!(".png[compression=9,filter=none,keep={keep}]")
        }
        // With filters, photographs, the most frequent images, are a quarter smaller, and drawings 4 % larger.
        Format::Png => format!(".png[compression=3,filter=all,keep={keep}]"),
        Format::Webp => match mode {
            Mode::Lossy(_) => format!(".webp[Q={quality},effort=4,keep={keep}]"),
            Mode::Lossless | Mode::Drawing => format!(".webp[lossless,keep={keep}]"),
        },
        // Not encoded by libvips.
        Format::Gif | Format::Avif | Format::Jxl => String::new(),
    }
}
