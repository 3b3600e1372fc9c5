//! From the bytes of an original to the bytes of the result.
//!
//! [`examine`] checks the container and estimates the memory; [`render`] loads, applies the steps (`steps`) and
//! encodes.

mod auto_orient;
mod batch_resize;
mod blur;
mod clear_transparent;
mod colour;
mod crop;
mod encode;
mod estimate;
mod flatten;
mod flip;
mod frames;
mod geometry;
mod header;
mod job;
mod keep;
mod limits;
mod load;
#[cfg(test)]
mod mutation;
mod nearest;
mod orientation;
mod original;
mod pad;
mod palette;
mod profile;
mod quality;
mod resize;
mod resize_frames;
mod rotate;
mod sharpen;
mod step;
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
use header::Header;
use job::Job;
use limits::check_encoder;
use trim::Trimmed;

/// Checks an original before anything is decoded. Returns the memory in bytes that rendering may take.
pub fn examine(
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: &Bounds,
) -> Result<u64, Failure> {
    let source = format_of(original)?;
    let format = options.format_of(source);
    let info = inspect(original, source)?;
    let frames = Frames::select(info.frames, options, format)?;
    bounds.check_source(&info, frames.decoded())?;
    if info.truncated_frame.is_some_and(|number| number < frames.decoded())
        && fail_on != FailOn::None
    {
        let sentence = "the original is truncated: its file ends within a frame";
        return Err(Failure::new(Code::CorruptImage, sentence));
    }
    let bytes = estimate::bytes(&info, source, frames.count, options, format);
    Ok(bytes.saturating_add(original.len() as u64))
}

/// Renders an original that [`examine`] has accepted.
pub fn render(
    vips: Vips,
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: Bounds,
) -> Result<(Vec<u8>, Format), Failure> {
    let source = format_of(original)?;
    let format = options.format_of(source);
    let header = Header::read(vips, original, source).map_err(|error| {
        corrupt(format!("the original can't be decoded as {}: {}", source.name(), error.0))
    })?;
    let frames = Frames::select(header.frames, options, format)?;
    // `examine` has checked the container, but only libvips decompresses the profile.
    bounds.check_header(header.width, header.height, frames.decoded())?;
    bounds.check_metadata(header.profile_bytes)?;
    // Decoding goes on while the result is encoded: only libvips' message tells which of the two failed.
    let failed = |error: Error| {
        let from = source.name();
        let to = format.name();
        corrupt(format!("the original can't be converted from {from} to {to}: {}", error.0))
    };

    let mut job = Job::new(options, &header, (source, format), frames, fail_on);
    let mut trimmed = None;
    if let Some(tolerance) = options.trim {
        let image = load::load(vips, original, &job, job.size).map_err(failed)?;
        let image = Trimmed::new(image, frames, tolerance).map_err(failed)?;
        job.set_trimmed_size(image.size());
        trimmed = Some(image);
    }
    check_sizes(&job, &bounds)?;

    let (width, height) = job.resized();
    let resized = match trimmed {
        Some(trimmed) => trimmed.resize(width, height),
        None => load::load(vips, original, &job, (width, height)),
    };
    let mut bytes = resized
        .and_then(|image| steps::apply(image, &job))
        .and_then(|image| encode::encode(&image, format, options))
        .map_err(failed)?;
    if keep::is_enabled(options, format)
        && let Some(copyright) = header.exif.as_deref().and_then(keep::Copyright::parse)
    {
        bytes = keep::insert_copyright(bytes, format, &copyright);
    }
    if original::can_replace(&bytes, original, &job) {
        bytes = original.to_vec();
    }
    Ok((bytes, format))
}

fn check_sizes(job: &Job, bounds: &Bounds) -> Result<(), Failure> {
    let frames = job.frames.count;
    bounds.check_result("resized image", job.plan.width, job.plan.height, frames)?;
    let (width, height) = job.result();
    if let Size::Pad(..) = job.options.size {
        bounds.check_result("padded image", width, height, frames)?;
    }
    check_encoder(job.format, width, height)
}

fn format_of(original: &[u8]) -> Result<Format, Failure> {
    Format::of_original(original).ok_or_else(|| {
        let titles = or_list(formats_that(Format::is_read).map(Format::title));
        Failure::new(Code::UnsupportedFormat, format!("the original is not a {titles}"))
    })
}

fn corrupt(sentence: String) -> Failure {
    Failure::new(Code::CorruptImage, sentence)
}
