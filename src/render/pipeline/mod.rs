//! From the bytes of an original to the bytes of the result: one file a step.

mod bounds;
mod crop;
mod encode;
mod geometry;
mod load;
mod original;
mod palette;
mod quality;

pub use bounds::Bounds;

use super::vips::{Error, Image, Vips};
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::options::Options;
use bounds::{check_encoder, check_pixels};
use geometry::{Crop, plan};
use load::Wanted;

/// Renders one picture.
pub fn render(
    vips: Vips,
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: Bounds,
) -> Result<(Vec<u8>, Format), Failure> {
    let source = Format::of_bytes(original).ok_or_else(|| {
        Failure::new(Code::UnsupportedFormat, "the original is not a JPEG, PNG, WebP, AVIF or GIF")
    })?;
    let format = options.format.unwrap_or(source);
    let header = vips.header(original).map_err(|error| corrupt(source, error))?;
    let all_frames = format.keeps_animation() && header.frames_in_file() > 1;
    let frames = if all_frames { header.frames_in_file() } else { 1 };
    check_pixels(
        "original",
        header.width(),
        header.frame_height(),
        frames,
        "source_max_pixels",
        bounds.source,
    )?;

    let (width, height) = upright_size(&header, all_frames);
    let plan = plan(options.size, options.enlarge, width, height);
    check_pixels(
        "resized picture",
        plan.width,
        plan.height,
        frames,
        "limits.result_max_pixels",
        bounds.result,
    )?;
    let result = plan.crop.map_or((plan.width, plan.height), |crop| (crop.width, crop.height));
    check_encoder(format, result.0, result.1)?;

    let wanted =
        Wanted { width: plan.width, height: plan.height, all_frames, fail_on, colours: header.colours() };
    let bytes = steps(vips, original, &wanted, plan.crop, options, format)
        .map_err(|error| unmade(source, format, error))?;
    // As many pixels as in the original, and every one where it was.
    let is_whole = plan.crop.is_none() && (plan.width, plan.height) == (width, height);
    if format == source && is_whole && frames == header.frames_in_file() {
        return Ok((original::or_smaller(bytes, format, original), format));
    }
    Ok((bytes, format))
}

/// The steps in their order. Nothing is computed until the last one asks for pixels.
fn steps(
    vips: Vips,
    original: &[u8],
    wanted: &Wanted,
    crop: Option<Crop>,
    options: &Options,
    format: Format,
) -> Result<Vec<u8>, Error> {
    let mut image = load::resized(vips, original, wanted)?;
    if let Some(crop) = crop {
        image = if wanted.all_frames { crop::frames(&image, &crop)? } else { crop::picture(&image, &crop)? };
    }
    if image.has_transparency() && !format.keeps_transparency() {
        image = image.flattened(options.background)?;
    }
    encode::encoded(&image, format, options.quality)
}

fn upright_size(header: &Image, all_frames: bool) -> (u32, u32) {
    let (width, height) = (header.width(), header.frame_height());
    if header.lies_on_its_side() && !all_frames { (height, width) } else { (width, height) }
}

/// Pixels are decoded while they are encoded, so libvips' own words must tell which of the two failed.
fn unmade(source: Format, format: Format, error: Error) -> Failure {
    let (from, to) = (source.name(), format.name());
    Failure::new(Code::CorruptImage, format!("the original can't be made from {from} into {to}: {}", error.0))
}

fn corrupt(source: Format, error: Error) -> Failure {
    Failure::new(
        Code::CorruptImage,
        format!("the original can't be decoded as {}: {}", source.name(), error.0),
    )
}
