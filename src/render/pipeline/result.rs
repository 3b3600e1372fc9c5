//! The bytes of a result: encoded once, or as often as `max_bytes` needs.

use super::job::RenderJob;
use super::{encode, fit, keep, level, original};
use crate::media_type::MediaType;
use crate::quality::Level;
use crate::render::vips::{Error, Image, Work};

/// A result.
#[derive(Debug)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub media_type: MediaType,
    /// The quality that was found for `max_bytes`.
    pub quality: Option<Level>,
}

/// Encodes the pixels of a result, or takes the bytes of the original in their place.
pub fn encode(image: Image, original: &[u8], job: &RenderJob) -> Result<Encoded, Error> {
    let level = job.options.quality.of(job.format);
    match job.options.max_bytes {
        Some(max_bytes) if job.format.has_quality() && !job.options.lossless => {
            encode_to_fit(&image, original, job, level, max_bytes.into())
        }
        _ => {
            let bytes = encode_once(&image, original, job, level)?;
            let is_replaced = original::can_replace(bytes.len(), original, job);
            let bytes = if is_replaced { original.to_vec() } else { bytes };
            Ok(Encoded { bytes, media_type: job.format.into(), quality: None })
        }
    }
}

fn encode_once(
    image: &Image,
    original: &[u8],
    job: &RenderJob,
    level: Level,
) -> Result<Vec<u8>, Error> {
    let RenderJob { options, format, header, original_format, .. } = *job;
    let xmp = keep::xmp(original, original_format, header, options, format);
    let quality = level::native(format, level);
    let mut bytes = encode::encode(image, format, options, quality, xmp.as_deref())?;
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

fn encode_to_fit(
    image: &Image,
    original: &[u8],
    job: &RenderJob,
    level: Level,
    max_bytes: u64,
) -> Result<Encoded, Error> {
    // The pixels are computed once, and encoded several times.
    let image = image.copy_memory()?;
    let (scale, number): (fn(u8) -> Level, u8) = match level {
        Level::Scaled(number) => (Level::Scaled, number),
        Level::Native(number) => (Level::Native, number),
    };
    let numbers = level::distinct(job.format, number, scale);
    let mut at_level = None;
    let fitted = fit::fit(&numbers, max_bytes, |number| {
        if Work::is_stopped() {
            return Err(Error("the encoder was stopped".into()));
        }
        let bytes = encode_once(&image, original, job, scale(number))?;
        at_level.get_or_insert(bytes.len());
        Ok(bytes)
    })?;
    let fitted = fitted.ok_or_else(|| Error("there is no quality".into()))?;
    let is_replaced = original.len() as u64 <= max_bytes
        && original::can_replace(at_level.unwrap_or_default(), original, job);
    Ok(if is_replaced {
        Encoded { bytes: original.to_vec(), media_type: job.format.into(), quality: None }
    } else {
        let quality = numbers.get(fitted.index).copied().map(scale);
        Encoded { bytes: fitted.bytes, media_type: job.format.into(), quality }
    })
}
