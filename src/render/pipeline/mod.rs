//! From the bytes of an original to the bytes of the result.
//!
//! [`examine`] checks the container and estimates the memory; [`render`] loads, applies the steps (`steps`) and
//! encodes.

mod affine;
mod auto_orient;
mod avif_frames;
mod batch_resize;
mod blur;
mod choice;
mod clear_transparent;
mod colour;
mod colour_effects;
mod crop;
mod drawing;
mod eighth;
mod encode;
mod estimate;
mod fit;
mod flatten;
mod flip;
mod frames;
mod geometry;
mod gif_downscale;
mod gif_frames;
mod header;
mod info;
mod job;
mod jpeg_shrink;
mod keep;
mod level;
mod limits;
mod load;
#[cfg(test)]
mod mutation;
mod orientation;
mod original;
mod overlay;
mod pad;
mod pixelate;
mod profile;
mod quality;
mod rectangle;
mod resize;
mod resize_frames;
mod result;
mod rotate;
mod round;
mod sharpen;
mod step;
mod steps;
mod transcoded;
mod trim;
mod trim_search;
mod turn;
mod watermark;
mod window;

use std::borrow::Cow;
use std::time::Instant;

pub use choice::Examined;
pub use limits::Bounds;
pub use result::Encoded;
pub use watermark::{check as check_watermark, decode_once as decode_watermark};

use super::codec::{ImageInfo, inspect, jpeg, png_repair};
use super::vips::{Error, Vips, Work};
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::{Format, formats_that, or_list};
use crate::options::{Needs, Options, Size};
use crate::phases::{Phases, Side};
use frames::Frames;
use header::Header;
use job::RenderJob;
use limits::check_encoder;
use trim::Trimmed;
use turn::Turn;

/// Checks an original before anything is decoded.
pub fn examine(
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: &Bounds,
) -> Result<Examined, Failure> {
    if options.description().is_some() {
        return info::examine(original, options, fail_on, bounds);
    }
    let original_format = format_of(original)?;
    let copies = copies(original, original_format, fail_on)?;
    let info = inspect(original, original_format)?;
    let animation = Frames::select_all(info.frames, options)?.are_several();
    // Whether the original has transparency is not known yet. It makes no other limit or memory.
    let formats = options.formats(original_format, Needs { animation, transparency: false });
    let examined = |info: &ImageInfo| {
        Examined::new(&formats, |format| {
            let frames = Frames::select(info.frames, options, format)?;
            check_container(info, frames, fail_on, bounds)?;
            let bytes = estimate::bytes(info, original_format, frames.count, options, format);
            Ok(bytes.saturating_add(copies * original.len() as u64))
        })
    };
    let full = examined(&info)?;
    let buffered_bytes = match original_format {
        Format::Jpeg => transcoded::buffered_bytes(&info, original, options, fail_on),
        _ => None,
    };
    match buffered_bytes {
        Some(buffered_bytes) if buffered_bytes < info.buffered_bytes => {
            let mut reduced = examined(&ImageInfo { buffered_bytes, ..info })?;
            reduced.memory_if_damaged = Some(full.memory);
            Ok(reduced)
        }
        _ => Ok(full),
    }
}

/// Renders an original that [`examine`] has accepted. `None` if it turns out to be damaged, and takes
/// `memory_if_damaged`. Adds to the times of `phases`, also if it fails.
pub fn render(
    vips: Vips,
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: Bounds,
    examined: &Examined,
    phases: &mut Phases,
) -> Result<Option<Encoded>, Failure> {
    let started = Instant::now();
    let encode = phases.encode;
    let rendered = decode_and_encode(vips, original, options, fail_on, bounds, examined, phases);
    phases.decode += started.elapsed().saturating_sub(phases.encode.saturating_sub(encode));
    rendered
}

fn decode_and_encode(
    vips: Vips,
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: Bounds,
    examined: &Examined,
    phases: &mut Phases,
) -> Result<Option<Encoded>, Failure> {
    let original_format = format_of(original)?;
    let completed = if needs_completion(original, original_format, fail_on) {
        jpeg::complete(original, &Work::is_stopped)
    } else {
        None
    };
    let stored = original;
    let original = completed.as_deref().unwrap_or(original);
    let readable = if needs_repair(original, original_format)? {
        Cow::Owned(png_repair::repaired(original))
    } else {
        Cow::Borrowed(original)
    };
    let header = Header::read(vips, &readable, original_format).map_err(|error| {
        corrupt(format!("the original can't be decoded as {}: {}", original_format.name(), error.0))
    })?;
    bounds.check_metadata(header.profile_bytes)?;
    let side = |format: Format, (width, height), frames: u32| {
        let frame = u64::from(width) * u64::from(height);
        Some(Side { media_type: format.into(), pixels: frame * u64::from(frames) })
    };
    if let Some(description) = options.description() {
        phases.input = side(original_format, (header.width, header.height), 1);
        let source = info::Source {
            original: stored,
            readable: &readable,
            format: original_format,
            header: &header,
        };
        let memory_is_reduced = examined.memory_if_damaged.is_some();
        let limits = (fail_on, bounds);
        let described =
            info::describe(vips, &source, options, description, limits, memory_is_reduced)?;
        let encoded = |(bytes, media_type)| Encoded { bytes, media_type, quality: None };
        return Ok(described.map(encoded));
    }
    let needs = Needs {
        animation: Frames::select_all(header.frames, options)?.are_several(),
        transparency: header.has_transparency || options.adds_transparency(),
    };
    let mut trimmed: Option<Trimmed> = None;
    let job = examined.choose(&options.formats(original_format, needs), |format| {
        let frames = Frames::select(header.frames, options, format)?;
        // `examine` has checked the container, but only libvips decompresses the profile.
        bounds.check_header(header.width, header.height, frames.decoded())?;
        let mut job = RenderJob::new(options, &header, (original_format, format), frames, fail_on)?;
        job.memory_is_reduced = examined.memory_if_damaged.is_some();
        if let Some(trim) = &options.trim {
            if !trimmed.as_ref().is_some_and(|trimmed| trimmed.serves(&job)) {
                // The memory of the one before is freed first.
                trimmed = None;
                let image = load::load(vips, &readable, &job, job.size);
                let image = image.and_then(|image| Trimmed::new(image, &job, trim));
                trimmed = Some(image.map_err(|error| conversion_failed(&job, error))?);
            }
            if let Some(trimmed) = &trimmed {
                job.set_trimmed_size(trimmed.size());
            }
        }
        check_sizes(&job, &bounds)?;
        Ok(job)
    });
    if header.needs_full_memory.get() {
        return Ok(None);
    }
    let job = job?;
    phases.input = side(original_format, (header.width, header.height), job.frames.count);
    phases.output = side(job.format, job.result(), job.frames.count);

    let (width, height) = job.resized();
    let resized = match trimmed {
        Some(trimmed) => trimmed.resize(width, height),
        None => load::load(vips, &readable, &job, (width, height)),
    };
    if header.needs_full_memory.get() {
        return Ok(None);
    }
    let encoded = resized
        .and_then(|image| steps::apply(image, &job))
        .and_then(|image| {
            let started = Instant::now();
            let encoded = result::encode(image, original, &job);
            phases.encode += started.elapsed();
            encoded
        })
        .map_err(|error| conversion_failed(&job, error))?;
    if let Some(output) = &mut phases.output {
        output.media_type = encoded.media_type;
    }
    Ok(Some(encoded))
}

fn check_container(
    info: &ImageInfo,
    frames: Frames,
    fail_on: FailOn,
    bounds: &Bounds,
) -> Result<(), Failure> {
    bounds.check_source(info, frames.decoded())?;
    if info.truncated_frame.is_some_and(|number| number < frames.decoded())
        && fail_on != FailOn::None
    {
        let sentence = "the original is truncated: its file ends within a frame";
        return Err(Failure::new(Code::CorruptImage, sentence));
    }
    Ok(())
}

fn check_sizes(job: &RenderJob, bounds: &Bounds) -> Result<(), Failure> {
    let frames = job.frames.count;
    bounds.check_result("resized image", job.plan.width, job.plan.height, frames)?;
    if let Some(Turn { canvas: (width, height), .. }) = job.turn {
        bounds.check_result("rotated image", width, height, frames)?;
    }
    let (width, height) = job.result();
    if let Size::Pad(..) = job.options.size {
        bounds.check_result("padded image", width, height, frames)?;
    }
    check_encoder(job.format, width, height)
}

/// How many times the bytes of the original are in memory.
fn copies(original: &[u8], original_format: Format, fail_on: FailOn) -> Result<u64, Failure> {
    let is_copied = needs_repair(original, original_format)?
        || needs_completion(original, original_format, fail_on);
    Ok(if is_copied { 2 } else { 1 })
}

/// Whether libvips gets a repaired copy of the original.
fn needs_repair(original: &[u8], original_format: Format) -> Result<bool, Failure> {
    if original_format != Format::Png {
        return Ok(false);
    }
    png_repair::needs_repair(original).map_err(|reason| {
        corrupt(format!("the original can't be decoded as {}: {reason}", original_format.name()))
    })
}

/// Whether the original may lack no more than its end.
fn needs_completion(original: &[u8], original_format: Format, fail_on: FailOn) -> bool {
    original_format == Format::Jpeg && fail_on != FailOn::None && jpeg::may_be_completed(original)
}

fn format_of(original: &[u8]) -> Result<Format, Failure> {
    Format::of_original(original).ok_or_else(|| {
        let titles = or_list(formats_that(Format::is_read).map(Format::title));
        Failure::new(Code::UnsupportedFormat, format!("the original is not a {titles}"))
    })
}

/// Decoding goes on while the result is encoded: only libvips' message tells which of the two failed.
fn conversion_failed(job: &RenderJob, error: Error) -> Failure {
    let from = job.original_format.name();
    let to = job.format.name();
    corrupt(format!("the original can't be converted from {from} to {to}: {}", error.0))
}

fn corrupt(sentence: String) -> Failure {
    Failure::new(Code::CorruptImage, sentence)
}
