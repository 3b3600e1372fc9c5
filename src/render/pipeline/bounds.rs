//! How large originals and results may be.

use crate::error::{Code, Failure};
use crate::format::Format;

/// WebP's largest side (RFC 9649 §2.7).
const WEBP_LARGEST_SIDE: u32 = 16_383;
/// libheif refuses more with libaom 3.6.0, which has a bug there.
const AVIF_MOST_PIXELS: u64 = 1 << 25;
const AVIF_LIMIT: &str = "the AVIF encoder takes";
/// The largest side of the other formats that is sure to be written: JPEG's limit.
const LARGEST_SIDE: u32 = 65_500;

/// The most pixels, counted over all frames, that are worked on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of the original (`limits.source_max_pixels`).
    pub source: u64,
    /// Of the resized picture before it is cropped (`limits.result_max_pixels`): enlarging makes a large picture
    /// of a small one, and an animation many.
    pub result: u64,
}

/// Refuses a picture of more pixels than a limit.
pub fn check_pixels(
    what: &str,
    width: u32,
    height: u32,
    frames: u32,
    limit: &str,
    most: u64,
) -> Result<(), Failure> {
    let pixels = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(u64::from(frames));
    if pixels > most {
        let sentence = format!(
            "the {what} has {width} x {height} pixels in {frames} frames, more than {limit} ({most})"
        );
        return Err(Failure::new(Code::TooLarge, sentence));
    }
    Ok(())
}

fn check_side(format: Format, side: u32) -> Result<(), Failure> {
    let most = if format == Format::Webp { WEBP_LARGEST_SIDE } else { LARGEST_SIDE };
    if side > most {
        let sentence = format!("the result would be {side} pixels long; {} ends at {most}", format.name());
        return Err(Failure::new(Code::TooLarge, sentence));
    }
    Ok(())
}

/// Refuses a result that its format's encoder does not take.
pub fn check_encoder(format: Format, width: u32, height: u32) -> Result<(), Failure> {
    check_side(format, width.max(height))?;
    if format == Format::Avif {
        check_pixels("AVIF", width, height, 1, AVIF_LIMIT, AVIF_MOST_PIXELS)?;
    }
    Ok(())
}
