//! Opens an original so that its decoder does as much of the shrinking as it can do well.

use std::ffi::CStr;

use super::header::Header;
use super::{colour, profile, resize, rotate};
use crate::config::FailOn;
use crate::format::Format;
use crate::options::Rotation;
use crate::render::codec::{ImageInfo, inspect};
use crate::render::vips::{Error, Image, SEQUENTIAL, Value, Vips, pixels};

/// What to load, and how large it is to become.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The format of the original.
    pub source: Format,
    /// What brings it upright.
    pub upright: Rotation,
    /// Width of the upright result.
    pub width: u32,
    /// Height of the upright result; of one frame, when there are several.
    pub height: u32,
    /// The first frame to load.
    pub first: u32,
    /// How many to load, below each other. Several are an animation and one is an image.
    pub frames: u32,
    /// How broken the bytes may be.
    pub fail_on: FailOn,
    /// Leave the colours as the embedded profile has them.
    pub keep_profile: bool,
}

/// An encoded image, upright, in sRGB or gray, and resized to exactly this size when its pixels are asked for.
pub fn resized<'b>(
    vips: Vips,
    bytes: &'b [u8],
    header: &'b Header<'b>,
    wanted: &Wanted,
) -> Result<Image<'b>, Error> {
    let (width, height) = rotate::sides(wanted.upright, (wanted.width, wanted.height));
    let image = opened(vips, bytes, header, wanted, (width, height))?;
    let image = colour::prepared(image)?;
    // So libnsgif leaves what no frame has drawn on.
    let clear_is_black = wanted.source == Format::Gif;
    let image = resize::frames_exactly(image, wanted.frames, (width, height), clear_is_black)?;
    let image = if wanted.keep_profile { colour::kept(image)? } else { colour::finished(image)? };
    if wanted.upright == Rotation::default() {
        return Ok(image);
    }
    // Turned after the shrink: it takes the whole image in memory.
    rotate::turned(image.in_memory()?, wanted.upright)
}

/// The image as its loader gives it: at least as large as this, as it lies in the file.
fn opened<'b>(
    vips: Vips,
    bytes: &'b [u8],
    header: &'b Header<'b>,
    wanted: &Wanted,
    (width, height): (u32, u32),
) -> Result<Image<'b>, Error> {
    if let Some(decoded) = &header.avif {
        let image = decoded.image(vips)?;
        return match decoded.avif.icc {
            Some(profile) => image.with_profile(profile),
            None => with_profile(image, profile::of_avif(&decoded.avif)),
        };
    }
    let mut arguments = vec![(c"access", SEQUENTIAL), (c"fail_on", fail_on(wanted.fail_on))];
    let (from_width, from_height) = (header.width, header.height);
    let shrink_x = f64::from(from_width) / f64::from(width.max(1));
    let shrink_y = f64::from(from_height) / f64::from(height.max(1));
    match wanted.source {
        Format::Jpeg => {
            arguments
                .push((c"shrink", pixels(jpeg_shrink((from_width, from_height), (width, height)))));
        }
        // libwebp scales by any factor, with the mean of what falls together.
        Format::Webp if shrink_x.min(shrink_y) > 1.0 && can_be_scaled(bytes, header) => {
            arguments.push((c"scale", Value::Double(1.0 / shrink_x.min(shrink_y))));
        }
        _ => {}
    }
    let has_frames = matches!(wanted.source, Format::Gif | Format::Webp);
    if has_frames && (wanted.first, wanted.frames) != (0, 1) {
        arguments.push((c"page", pixels(wanted.first)));
        arguments.push((c"n", pixels(wanted.frames)));
    }
    let mut image = vips.loaded(bytes, loader(wanted.source)?, &arguments)?;
    if wanted.first > 0 {
        // The loaders tell the times of all frames of the file, and savers take them from the first one on.
        image = image.without_delays(wanted.first)?;
    }
    with_profile(image, if wanted.source == Format::Png { profile::of_png(bytes) } else { None })
}

fn with_profile<'b>(image: Image<'b>, profile: Option<Vec<u8>>) -> Result<Image<'b>, Error> {
    match profile {
        Some(profile) => image.with_profile(&profile),
        None => Ok(image),
    }
}

/// The largest part of 1 that libjpeg can decode at which leaves at least this size. Its scaled inverse DCT is as good
/// a shrink as any, so nothing has to be left over for a better one.
///
/// libvips rounds the sides down: what is left over at the right and at the bottom is lost, and the rest stretched over
/// it. That is to be no more than where `vips_thumbnail` shrinks, which always leaves a factor of two for the resize.
fn jpeg_shrink(from: (u32, u32), to: (u32, u32)) -> u32 {
    let fits = |shrink: u32, room: u32| {
        from.0 / shrink >= to.0.saturating_mul(room) && from.1 / shrink >= to.1.saturating_mul(room)
    };
    let lost = |shrink: u32| {
        // In pixels of the result.
        let side =
            |from: u32, to: u32| f64::from(from % shrink) * f64::from(to) / f64::from(from.max(1));
        side(from.0, to.0).max(side(from.1, to.1))
    };
    let bearable = [8, 4, 2].into_iter().find(|shrink| fits(*shrink, 2)).map_or(0.0, lost).max(0.1);
    [8, 4, 2].into_iter().find(|shrink| fits(*shrink, 1) && lost(*shrink) <= bearable).unwrap_or(1)
}

/// Whether libwebp may scale it: of what is transparent its lossy decoder takes the colours for as good as others, and
/// lays them around what is not.
fn can_be_scaled(bytes: &[u8], header: &Header) -> bool {
    !header.has_transparency || inspect(bytes, Format::Webp).is_ok_and(|info| is_scaled(&info))
}

/// The same of a WebP that has transparency if anything of it can have: all of it is lossless, or nothing has any.
pub fn is_scaled(info: &ImageInfo) -> bool {
    let is_lossless =
        info.frames == 1 && info.buffered_bytes >= info.frame_pixels.saturating_mul(4);
    is_lossless || info.buffered_bytes == 0
}

/// Named, and not found by libvips: what the bytes are has been decided.
fn loader(format: Format) -> Result<&'static CStr, Error> {
    match format {
        Format::Jpeg => Ok(c"jpegload_buffer"),
        Format::Png => Ok(c"pngload_buffer"),
        Format::Webp => Ok(c"webpload_buffer"),
        Format::Gif => Ok(c"gifload_buffer"),
        Format::Avif => Err(Error("libvips reads no AVIF here".into())),
    }
}

/// `VipsFailOn`, whose numbers go from lenient to strict.
const fn fail_on(fail_on: FailOn) -> Value<'static, 'static> {
    Value::Int(match fail_on {
        FailOn::None => 0,
        FailOn::Truncated => 1,
        FailOn::Error => 2,
        FailOn::Warning => 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_is_shrunk_as_far_as_the_result_allows_and_no_further() {
        for (from, to, shrink) in [
            ((1664, 1248), (300, 225), 4),
            ((1664, 1248), (1200, 900), 1),
            ((4000, 3000), (1200, 900), 2),
            ((1600, 1200), (200, 150), 8),
            ((1600, 1200), (201, 150), 4),
            ((997, 613), (124, 76), 4),
            ((992, 608), (124, 76), 8),
            // What is lost at 8 is almost a pixel of the result; at 4 it is what vips_thumbnail loses.
            ((1663, 1247), (207, 155), 4),
            ((1663, 1247), (415, 311), 2),
            ((1663, 1247), (831, 623), 1),
            ((4001, 3001), (400, 300), 8),
            ((100, 1), (1, 1), 1),
            ((100, 100), (200, 200), 1),
            ((0, 0), (1, 1), 1),
        ] {
            assert_eq!(jpeg_shrink(from, to), shrink, "{from:?} to {to:?}");
        }
    }
}
