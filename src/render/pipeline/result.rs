//! The bytes of a result: encoded once, or as often as `max_bytes` and `f=auto` need.

use super::encode::{self, Mode};
use super::job::RenderJob;
use super::{drawing, fit, keep, level, original};
use crate::format::Format;
use crate::media_type::MediaType;
use crate::quality::Level;
use crate::render::vips::{Error, Image, Work};

/// With `f=auto`, an image of at most so many pixels gets the smaller one of AVIF and WebP: the container of an AVIF takes
/// some 250 bytes more (bench/results/encoders.md).
const SMALL_PIXELS: u64 = 10_000;

/// A result.
#[derive(Debug)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub media_type: MediaType,
    /// The quality that was found for `max_bytes`.
    pub quality: Option<Level>,
}

impl Encoded {
    fn new(bytes: Vec<u8>, format: Format) -> Encoded {
        Encoded { bytes, media_type: format.into(), quality: None }
    }
}

/// Encodes the pixels of a result, or takes the bytes of the original in their place.
pub fn encode(image: Image, original: &[u8], job: &RenderJob) -> Result<Encoded, Error> {
    let RenderJob { options, format, original_format, .. } = *job;
    let (width, height) = job.result();
    let pixels = u64::from(width) * u64::from(height);
    let lossless =
        drawing::lossless_format(options, original_format, format, job.frames.count, pixels);
    let max_bytes =
        options.max_bytes.filter(|_| format.has_quality() && !options.lossless).map(u64::from);
    // The pixels are computed once, and read several times.
    let image =
        if lossless.is_some() || max_bytes.is_some() { image.copy_memory()? } else { image };

    let level = options.quality.of(format);
    let (mut encoded, full_bytes) = match max_bytes {
        Some(max_bytes) => encode_to_fit(&image, original, job, level, max_bytes)?,
        None => {
            let bytes = encode_as(&image, original, job, format, lossy(format, level))?;
            let length = bytes.len();
            (Encoded::new(bytes, format), length)
        }
    };
    let mut chosen = format;
    let fits = |bytes: &[u8]| max_bytes.is_none_or(|max_bytes| bytes.len() as u64 <= max_bytes);
    if let Some(lossless) = lossless.filter(|lossless| drawing::is_drawing(&image, *lossless)) {
        let bytes = encode_as(&image, original, job, lossless, Mode::Drawing)?;
        // Without loss, it is better than a lower quality.
        let most = if fits(&bytes) { full_bytes } else { encoded.bytes.len() };
        if bytes.len() < most {
            chosen = lossless;
            encoded = Encoded::new(bytes, chosen);
        }
    }
    let is_small = format == Format::Avif && pixels <= SMALL_PIXELS && max_bytes.is_none();
    if is_small && lossless == Some(Format::Webp) {
        let mode = lossy(Format::Webp, options.quality.of(Format::Webp));
        let bytes = encode_as(&image, original, job, Format::Webp, mode)?;
        if bytes.len() < encoded.bytes.len() {
            chosen = Format::Webp;
            encoded = Encoded::new(bytes, chosen);
        }
    }
    let length = if chosen == format { full_bytes } else { encoded.bytes.len() };
    if fits(original) && original::can_replace(length, chosen, original, job) {
        return Ok(Encoded::new(original.to_vec(), chosen));
    }
    Ok(encoded)
}

fn lossy(format: Format, level: Level) -> Mode {
    Mode::Lossy(level::native(format, level))
}

fn encode_as(
    image: &Image,
    original: &[u8],
    job: &RenderJob,
    format: Format,
    mode: Mode,
) -> Result<Vec<u8>, Error> {
    Work::check()?;
    let RenderJob { options, header, original_format, .. } = *job;
    let mode = if options.lossless { Mode::Lossless } else { mode };
    let xmp = keep::xmp(original, original_format, header, options, format);
    let mut bytes = encode::encode(image, format, options, mode, xmp.as_deref())?;
    if let Some(xmp) = &xmp {
        bytes = keep::insert_xmp(bytes, format, xmp);
    }
    if keep::is_enabled(options, format)
        && let Some(copyright) = header.exif.as_deref().and_then(keep::Copyright::parse)
    {
        return Ok(keep::insert_copyright(bytes, format, &copyright));
    }
    Ok(bytes)
}

/// The best result that fits, and the length at the quality that was asked for.
fn encode_to_fit(
    image: &Image,
    original: &[u8],
    job: &RenderJob,
    level: Level,
    max_bytes: u64,
) -> Result<(Encoded, usize), Error> {
    let format = job.format;
    let (scale, number): (fn(u8) -> Level, u8) = match level {
        Level::Scaled(number) => (Level::Scaled, number),
        Level::Native(number) => (Level::Native, number),
    };
    let numbers = level::distinct(format, number, scale);
    let mut full_bytes = None;
    let fitted = fit::fit(&numbers, max_bytes, |number| {
        let bytes = encode_as(image, original, job, format, lossy(format, scale(number)))?;
        full_bytes.get_or_insert(bytes.len());
        Ok(bytes)
    })?;
    let fit::Fitted { index, bytes } = fitted.ok_or_else(|| Error("there is no quality".into()))?;
    let quality = numbers.get(index).copied().map(scale);
    Ok((Encoded { quality, ..Encoded::new(bytes, format) }, full_bytes.unwrap_or_default()))
}
