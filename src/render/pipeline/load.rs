//! Loads an original, and leaves as much of the resize to its decoder as the decoder does well (shrink-on-load).

use std::ffi::CStr;

use super::frames::{self, Frames};
use super::geometry::swap_sides;
use super::header::Header;
use super::job::RenderJob;
use super::profile::FromPng;
use super::resize_frames::resize_frames;
use super::step::{Stage, Step};
use super::{auto_orient, colour, eighth, gif_frames, jpeg_shrink, keep, profile, transcoded};
use crate::config::FailOn;
use crate::format::Format;
use crate::render::codec::avif::Shrink;
use crate::render::codec::{ImageInfo, inspect, png_repair};
use crate::render::vips::{Error, Image, SEQUENTIAL, Value, Vips, pixels};

/// `page` and `frames`: the loader decodes no other frames.
pub const FRAMES_STEP: Step = Step {
    name: "frames",
    applies: |job| job.frames.count != job.header.frames,
    stage: Stage::Load,
};

/// Loads the frames of the job upright, in sRGB or grayscale, and resized to exactly this size when their pixels are
/// asked for. An animation has its frames below each other.
pub fn load<'b>(
    vips: Vips,
    bytes: &'b [u8],
    job: &RenderJob<'b>,
    upright_size: (u32, u32),
) -> Result<Image<'b>, Error> {
    if let Some(gif) = &job.header.gif {
        return gif_frames::load(vips, bytes, job, gif, upright_size);
    }
    let size = swap_sides(job.orientation, upright_size);
    let image = decode(vips, bytes, job, size)?;
    let image = colour::prepare(image)?;
    let image = resize_frames(image, job.frames.count, size, false)?;
    let image = if keep::keeps_colours(job.options, job.format) {
        colour::keep_profile(image, job.format)?
    } else {
        colour::convert_to_srgb(image)?
    };
    auto_orient::orient(image, job.orientation, job.frames.count)
}

/// The image as its loader gives it: stored orientation, and at least this size.
fn decode<'b>(
    vips: Vips,
    bytes: &'b [u8],
    job: &RenderJob<'b>,
    (width, height): (u32, u32),
) -> Result<Image<'b>, Error> {
    let header = job.header;
    if let Some(decoded) = &header.avif {
        // As much as libvips' resize averages before its filter, which needs a factor of two.
        let shrink =
            Shrink::to_at_least(&decoded.avif, (width.saturating_mul(2), height.saturating_mul(2)));
        return colour::with_profile(
            decoded.image(vips, shrink)?,
            decoded.avif.icc,
            profile::from_avif(&decoded.avif),
        );
    }
    let mut arguments = vec![(c"access", SEQUENTIAL), (c"fail_on", fail_on(job.fail_on))];
    let shrink_x = f64::from(header.width) / f64::from(width.max(1));
    let shrink_y = f64::from(header.height) / f64::from(height.max(1));
    let shrink = shrink_x.min(shrink_y);
    let mut is_eighth = false;
    match job.original_format {
        Format::Jpeg => {
            let shrink = jpeg_shrink::jpeg_shrink((header.width, header.height), (width, height));
            arguments.push((c"shrink", pixels(shrink)));
            // Without it, the hundredth warning of libjpeg is an error at any `fail_on`.
            arguments.push((c"unlimited", Value::Bool(true)));
            is_eighth = shrink == 8;
        }
        // libwebp scales by any factor, with the mean of the pixels that fall together.
        Format::Webp if shrink > 1.0 && can_scale(bytes, header) => {
            arguments.push((c"scale", Value::Double(1.0 / shrink)));
        }
        _ => {}
    }
    let has_frames = job.original_format == Format::Webp;
    let Frames { first, count } = job.frames;
    if has_frames && (first, count) != (0, 1) {
        arguments.push((c"page", pixels(first)));
        arguments.push((c"n", pixels(count)));
    }
    let mut image = vips.load(bytes, loader(job.original_format)?, &arguments)?;
    if is_eighth && let Some(decoded) = eighth::decode(&image, bytes, job)? {
        return Ok(decoded);
    }
    if job.original_format == Format::Jpeg
        && let Some(transcoded) = transcoded::transcoded(bytes, job)?
    {
        image = vips.load(transcoded, loader(job.original_format)?, &arguments)?;
    }
    if first > 0 {
        // Loaders give the delays of all frames of the file, and savers take them from the start.
        image = image.without_delays(first)?;
    }
    if count > 1 {
        let mut delays = image.delays()?;
        frames::limit_total(&mut delays);
        image = image.with_animation(image.frame_height(), &delays, image.plays())?;
    }
    let embedded = image.profile();
    let embedded = embedded.as_deref();
    if job.original_format != Format::Png {
        return colour::with_profile(image, embedded, None);
    }
    match profile::from_png(bytes) {
        FromPng::Overriding(profile) => image.with_profile(&profile),
        FromPng::Default(profile) => {
            let embedded =
                embedded.filter(|embedded| png_repair::is_profile_intact(bytes, embedded));
            colour::with_profile(image, embedded, profile)
        }
    }
}

/// Whether libwebp may scale. In a lossy image with transparency its means include the colours of transparent pixels,
/// which then surround opaque ones.
fn can_scale(bytes: &[u8], header: &Header) -> bool {
    !header.has_transparency || inspect(bytes, Format::Webp).is_ok_and(|info| scales_webp(&info))
}

/// Whether libwebp may scale a WebP that can have transparency: it is lossless, or none of it has transparency.
pub fn scales_webp(info: &ImageInfo) -> bool {
    let is_lossless =
        info.frames == 1 && info.buffered_bytes >= info.frame_pixels.saturating_mul(4);
    is_lossless || info.buffered_bytes == 0
}

/// The loader is named, since the format is known: libvips would look for one by the first bytes.
fn loader(format: Format) -> Result<&'static CStr, Error> {
    match format {
        Format::Jpeg => Ok(c"jpegload_buffer"),
        Format::Png => Ok(c"pngload_buffer"),
        Format::Webp => Ok(c"webpload_buffer"),
        Format::Gif | Format::Avif => {
            Err(Error(format!("{} is not loaded by libvips", format.title())))
        }
    }
}

/// `VipsFailOn`
const fn fail_on(fail_on: FailOn) -> Value<'static, 'static> {
    Value::Int(match fail_on {
        FailOn::None => 0,
        FailOn::Truncated => 1,
        FailOn::Error => 2,
        FailOn::Warning => 3,
    })
}
