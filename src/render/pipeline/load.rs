//! Loads an original, and leaves as much of the resize to its decoder as the decoder does well (shrink-on-load).

use std::ffi::CStr;

use super::frames::{self, Frames};
use super::geometry::swap_sides;
use super::header::Header;
use super::job::RenderJob;
use super::jpeg_shrink::{jpeg_shrink, jpeg_shrink_of_window};
use super::profile::FromPng;
use super::resize_frames::resize_frames;
use super::step::{Stage, Step};
use super::window::{Factors, safe_factor};
use super::{
    auto_orient, avif_frames, colour, eighth, gif_frames, keep, profile, rectangle, transcoded,
};
use crate::config::FailOn;
use crate::format::Format;
use crate::options::Window;
use crate::render::codec::{ImageInfo, inspect, png_repair};
use crate::render::vips::{Error, Image, SEQUENTIAL, Value, Vips, pixels};

/// `page` and `frames`: the loader decodes no other frames.
pub const FRAMES_STEP: Step = Step {
    name: "frames",
    applies: |job| job.frames.count != job.header.frames,
    stage: Stage::Load,
};

/// Loads the frames of the job upright, in sRGB or grayscale, and resized to exactly this size when their pixels are
/// asked for: all of the original, or the rectangle of `crop`. An animation has its frames below each other.
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
    if let Some(decoded) = &job.header.avif
        && (job.frames.first, job.frames.count) != (0, 1)
    {
        let image = avif_frames::load(vips, job, &decoded.avif, size)?;
        return auto_orient::orient(image, job.orientation, job.frames.count);
    }
    let window = job.stored_window();
    let (mut image, factors) = decode(vips, bytes, job, window, size)?;
    if let Some(window) = window {
        image = rectangle::cut(image, window, factors, job.frames.count)?;
    }
    let image = colour::prepare(image)?;
    let image = resize_frames(image, job.frames.count, size, false)?;
    let image = keep::finish_colours(image, job.options, job.format)?;
    auto_orient::orient(image, job.orientation, job.frames.count)
}

/// The image as its loader gives it, in its stored orientation, and how much smaller than the original it is: the window,
/// or all of it, has at least this size.
fn decode<'b>(
    vips: Vips,
    bytes: &'b [u8],
    job: &RenderJob<'b>,
    window: Option<Window>,
    (width, height): (u32, u32),
) -> Result<(Image<'b>, Factors), Error> {
    let header = job.header;
    let whole = (header.width, header.height);
    if let Some(decoded) = &header.avif {
        let shrink = avif_frames::shrink(&decoded.avif, whole, window, (width, height));
        let (image, shrink) = decoded.image(vips, shrink)?;
        let image =
            colour::with_profile(image, decoded.avif.icc, profile::from_avif(&decoded.avif))?;
        return Ok((image, shrink.factors()));
    }
    let mut arguments = vec![(c"access", SEQUENTIAL), (c"fail_on", fail_on(job.fail_on))];
    let from = window.map_or(whole, |window| window.size());
    let shrink_x = f64::from(from.0) / f64::from(width.max(1));
    let shrink_y = f64::from(from.1) / f64::from(height.max(1));
    let shrink = match window {
        None => shrink_x.min(shrink_y),
        Some(window) => 1.0 / safe_factor(window, (width, height)),
    };
    let mut factors = (1.0, 1.0);
    let mut is_eighth = false;
    match job.original_format {
        Format::Jpeg => {
            let shrink = match window {
                None => jpeg_shrink(whole, (width, height)),
                Some(window) => jpeg_shrink_of_window(whole, window, (width, height)),
            };
            factors = (1.0 / f64::from(shrink), 1.0 / f64::from(shrink));
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
        return Ok((decoded, factors));
    }
    if job.original_format == Format::Jpeg
        && let Some(transcoded) = transcoded::transcoded(bytes, job)?
    {
        image = vips.load(transcoded, loader(job.original_format)?, &arguments)?;
    }
    if has_frames {
        let factor = |from: u32, to: u32| f64::from(to) / f64::from(from.max(1));
        factors = (factor(whole.0, image.width()), factor(whole.1, image.frame_height()));
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
        return Ok((colour::with_profile(image, embedded, None)?, factors));
    }
    let image = match profile::from_png(bytes) {
        FromPng::Overriding(profile) => image.with_profile(&profile),
        FromPng::Default(profile) => {
            let embedded =
                embedded.filter(|embedded| png_repair::is_profile_intact(bytes, embedded));
            colour::with_profile(image, embedded, profile)
        }
    };
    Ok((image?, factors))
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
        Format::Gif | Format::Avif | Format::Jxl => {
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
