//! From the bytes of an original to the bytes of the result: one file a step.

mod animation;
mod bounds;
mod colour;
mod crop;
mod effects;
mod encode;
mod frames;
mod geometry;
mod keep;
mod load;
mod original;
mod pad;
mod palette;
mod profile;
mod quality;
mod resize;
mod trim;
mod turn;

pub use bounds::Bounds;

use super::vips::{Error, Image, Vips};
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::options::{Options, Size};
use bounds::{check_encoder, check_pixels};
use frames::Frames;
use geometry::{Crop, plan};
use load::Wanted;
use trim::Trimmed;

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
    let format = options.format_of(source);
    let header = vips.header(original).map_err(|error| corrupt(source, error))?;
    let frames = Frames::wanted(header.frames_in_file(), options, format)?;
    check_pixels(
        "original",
        header.width(),
        header.frame_height(),
        frames.decoded(),
        "source_max_pixels",
        bounds.source,
    )?;

    let (width, height) = upright_size(&header, frames);
    let keeps = keep::is_wanted(options, format);
    let mut wanted = Wanted {
        source,
        width,
        height,
        first: frames.first,
        frames: frames.count,
        fail_on,
        keep_profile: keeps,
    };
    let trimmed = match options.trim {
        None => None,
        Some(tolerance) => {
            let whole = load::resized(vips, original, &header, &wanted);
            let trimmed = whole.and_then(|whole| Trimmed::new(&whole, tolerance));
            Some(trimmed.map_err(|error| unmade(source, format, error))?)
        }
    };
    let measured = trimmed.as_ref().map_or((width, height), Trimmed::size);
    let (width, height) = turn::sides(options.turn, measured);
    let plan = plan(options.size, options.enlarge, width, height);
    let check_result = |what, (width, height)| {
        check_pixels(what, width, height, frames.count, "limits.result_max_pixels", bounds.result)
    };
    check_result("resized picture", (plan.width, plan.height))?;
    let mut result = plan.crop.map_or((plan.width, plan.height), |crop| (crop.width, crop.height));
    if let Size::Pad(width, height, _) = options.size {
        result = (width, height);
        check_result("padded picture", result)?;
    }
    check_encoder(format, result.0, result.1)?;

    (wanted.width, wanted.height) = turn::sides(options.turn, (plan.width, plan.height));
    let mut bytes = steps(vips, original, &header, &wanted, trimmed, plan.crop, options, format)
        .map_err(|error| unmade(source, format, error))?;
    if keeps && let Some(copyright) = keep::copyright(&header) {
        bytes = keep::with_copyright(bytes, format, &copyright);
    }
    if format == source && result == measured && frames.count == header.frames_in_file() {
        bytes = original::or_smaller(bytes, format, original, options);
    }
    Ok((bytes, format))
}

/// The steps in their order. Nothing is computed until one asks for pixels, which most leave to the last.
fn steps<'b>(
    vips: Vips,
    original: &'b [u8],
    header: &Image<'b>,
    wanted: &Wanted,
    trimmed: Option<Trimmed<'b>>,
    crop: Option<Crop>,
    options: &Options,
    format: Format,
) -> Result<Vec<u8>, Error> {
    let mut image = match trimmed {
        Some(trimmed) => trimmed.resized(wanted.width, wanted.height)?,
        None => load::resized(vips, original, header, wanted)?,
    };
    image = turn::turned(image, options.turn)?;
    if let Some(crop) = crop {
        let moves = wanted.frames > 1;
        image = if moves { crop::frames(&image, &crop)? } else { crop::picture(&image, &crop)? };
    }
    image = effects::applied(image, options)?;
    image = pad::padded(image, options, format.keeps_transparency())?;
    if image.has_transparency() && !format.keeps_transparency() {
        image = image.flattened(keep::background(&image, options).rgb())?;
    }
    encode::encoded(&image, format, options)
}

fn upright_size(header: &Image, frames: Frames) -> (u32, u32) {
    let (width, height) = (header.width(), header.frame_height());
    if header.lies_on_its_side() && !frames.are_several() { (height, width) } else { (width, height) }
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
