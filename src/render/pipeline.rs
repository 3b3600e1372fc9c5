//! From the bytes of an original to the bytes of the result.

use super::geometry::{Crop, plan};
use super::vips::{Error, Image, Thumbnail, Vips};
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::options::Options;

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
    check_side(format, result.0.max(result.1))?;
    if format == Format::Avif {
        check_pixels("AVIF", result.0, result.1, 1, AVIF_LIMIT, AVIF_MOST_PIXELS)?;
    }

    let wanted =
        Thumbnail { width: plan.width, height: plan.height, all_frames, fail_on, colours: header.colours() };
    let bytes = resize(vips, original, &wanted, plan.crop, options, format)
        .map_err(|error| unmade(source, format, error))?;
    Ok((bytes, format))
}

fn resize(
    vips: Vips,
    original: &[u8],
    wanted: &Thumbnail,
    crop: Option<Crop>,
    options: &Options,
    format: Format,
) -> Result<Vec<u8>, Error> {
    let mut image = vips.thumbnail(original, wanted)?;
    if let Some(crop) = crop {
        image = if wanted.all_frames { crop_frames(&image, &crop)? } else { crop_picture(&image, &crop)? };
    }
    if image.has_transparency() && !format.keeps_transparency() {
        image = image.flattened(options.background)?;
    }
    image.encoded(&suffix(format, options.quality))
}

fn crop_picture<'b>(image: &Image<'b>, crop: &Crop) -> Result<Image<'b>, Error> {
    match crop.corner(image.width(), image.height()) {
        Some((left, top)) => image.window(left, top, crop.width, crop.height),
        // The search reads the picture more than once.
        None => image.in_memory()?.smart_window(crop.width, crop.height),
    }
}

/// Cuts the same window out of each frame.
fn crop_frames<'b>(image: &Image<'b>, crop: &Crop) -> Result<Image<'b>, Error> {
    let image = image.in_memory()?;
    let height = image.frame_height().max(1);
    // What attention finds in one frame need not stand still in the next, so a moving picture is cut at its centre.
    let (left, top) = crop.corner(image.width(), height).unwrap_or((
        (image.width() - crop.width.min(image.width())) / 2,
        (height - crop.height.min(height)) / 2,
    ));
    let frames = (0..image.height() / height)
        .map(|frame| image.window(left, frame * height + top, crop.width, crop.height))
        .collect::<Result<Vec<_>, _>>()?;
    Image::animation(&frames)
}

/// The libvips suffix with the options of each encoder. Nothing of the original's metadata is kept.
fn suffix(format: Format, quality: u8) -> String {
    match format {
        Format::Jpeg => format!(".jpg[Q={quality},optimize_coding,keep=none]"),
        Format::Png => ".png[keep=none]".into(),
        Format::Webp => format!(".webp[Q={quality},keep=none]"),
        Format::Avif => format!(".avif[Q={quality},effort=2,keep=none]"),
        // libvips' default effort is 7; 3 takes a third of the time for 5 % more bytes.
        Format::Gif => ".gif[effort=3,keep=none]".into(),
    }
}

fn upright_size(header: &Image, all_frames: bool) -> (u32, u32) {
    let (width, height) = (header.width(), header.frame_height());
    if header.lies_on_its_side() && !all_frames { (height, width) } else { (width, height) }
}

fn check_pixels(
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
