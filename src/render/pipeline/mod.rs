//! From the bytes of an original to the bytes of the result: one file a step.

mod animation;
mod auto_orient;
mod batch_resize;
mod clear_transparent;
mod colour;
mod crop;
mod effects;
mod encode;
mod estimate;
mod frames;
mod geometry;
mod header;
mod keep;
mod limits;
mod load;
#[cfg(test)]
mod mutation;
mod nearest;
mod original;
mod pad;
mod palette;
mod profile;
mod quality;
mod resize;
mod rotate;
mod steps;
mod trim;

pub use limits::Bounds;

use super::codec::inspect;
use super::vips::{Error, Vips};
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::{Format, formats_that, or_list};
use crate::options::{Options, Size};
use frames::Frames;
use geometry::plan;
use header::Header;
use limits::check_encoder;
use load::Wanted;
use trim::Trimmed;

/// Looks at an original before anything of it is decoded: refuses what is not allowed, and says how many bytes of
/// memory the work on it may take.
pub fn examine(
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: &Bounds,
) -> Result<u64, Failure> {
    let source = format_of(original)?;
    let format = options.format_of(source);
    let info = inspect(original, source)?;
    let frames = Frames::wanted(info.frames, options, format)?;
    bounds.check_source(&info, frames.decoded())?;
    if info.truncated_frame.is_some_and(|number| number < frames.decoded())
        && fail_on != FailOn::None
    {
        let sentence = "the original can't be decoded whole: its file ends within a frame";
        return Err(Failure::new(Code::CorruptImage, sentence));
    }
    let bytes = estimate::bytes(&info, source, frames.count, options, format);
    Ok(bytes.saturating_add(original.len() as u64))
}

/// Renders one image, which was examined.
pub fn render(
    vips: Vips,
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: Bounds,
) -> Result<(Vec<u8>, Format), Failure> {
    let source = format_of(original)?;
    let format = options.format_of(source);
    let header = Header::read(vips, original, source).map_err(|error| corrupt(source, error))?;
    let frames = Frames::wanted(header.frames, options, format)?;
    // Its container has said so, but only libvips has unpacked the profile.
    bounds.check_header(header.width, header.height, frames.decoded())?;
    bounds.check_metadata(header.profile_bytes)?;

    let upright = header.upright(frames.count);
    let (width, height) = rotate::sides(upright, (header.width, header.height));
    let keeps = keep::is_wanted(options, format);
    let mut wanted = Wanted {
        source,
        upright,
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
            let trimmed = whole.and_then(|whole| Trimmed::new(whole, frames, tolerance));
            Some(trimmed.map_err(|error| unmade(source, format, error))?)
        }
    };
    let measured = trimmed.as_ref().map_or((width, height), Trimmed::size);
    let (width, height) = rotate::sides(options.rotation, measured);
    let plan = plan(options.size, options.enlarge, width, height);
    bounds.check_result("resized image", plan.width, plan.height, frames.count)?;
    let mut result = plan.crop.map_or((plan.width, plan.height), |crop| (crop.width, crop.height));
    if let Size::Pad(width, height, _) = options.size {
        result = (width, height);
        bounds.check_result("padded image", width, height, frames.count)?;
    }
    check_encoder(format, result.0, result.1)?;

    (wanted.width, wanted.height) = rotate::sides(options.rotation, (plan.width, plan.height));
    let resized = match trimmed {
        Some(trimmed) => trimmed.resized(wanted.width, wanted.height),
        None => load::resized(vips, original, &header, &wanted),
    };
    let mut bytes = resized
        .and_then(|image| steps::made(image, frames, plan.crop.as_ref(), options, format))
        .and_then(|image| encode::encoded(&image, format, options))
        .map_err(|error| unmade(source, format, error))?;
    if keeps && let Some(copyright) = header.exif.as_deref().and_then(keep::Copyright::parse) {
        bytes = keep::with_copyright(bytes, format, &copyright);
    }
    if format == source && result == measured && frames.count == header.frames {
        bytes = original::or_smaller(bytes, format, original, options);
    }
    Ok((bytes, format))
}

fn format_of(original: &[u8]) -> Result<Format, Failure> {
    Format::of_original(original).ok_or_else(|| {
        let titles = or_list(formats_that(Format::is_read).map(Format::title));
        Failure::new(Code::UnsupportedFormat, format!("the original is not a {titles}"))
    })
}

/// Pixels are decoded while they are encoded, so libvips' own words must tell which of the two failed.
fn unmade(source: Format, format: Format, error: Error) -> Failure {
    let (from, to) = (source.name(), format.name());
    Failure::new(
        Code::CorruptImage,
        format!("the original can't be made from {from} into {to}: {}", error.0),
    )
}

fn corrupt(source: Format, error: Error) -> Failure {
    Failure::new(
        Code::CorruptImage,
        format!("the original can't be decoded as {}: {}", source.name(), error.0),
    )
}
