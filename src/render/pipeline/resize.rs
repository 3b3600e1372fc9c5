//! Resizes to an exact size: Lanczos with three lobes, and bicubic where an image is enlarged.

use super::step::{Stage, Step};
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step =
    Step { name: "resize", applies: |job| job.resized() != job.size, stage: Stage::Load };

/// Resizes an image to exactly this size.
pub fn resize(image: Image<'_>, width: u32, height: u32) -> Result<Image<'_>, Error> {
    resize_one(image, width, height, false)
}

/// Resizes an image to exactly this size. With `transparent_is_black`, pixels are either opaque, or transparent and
/// black.
///
/// Colours are premultiplied, so that transparent pixels do not bleed into others. Those that are black already are.
pub fn resize_one(
    image: Image<'_>,
    width: u32,
    height: u32,
    transparent_is_black: bool,
) -> Result<Image<'_>, Error> {
    if (image.width(), image.height()) == (width, height) {
        return Ok(image);
    }
    if !image.has_transparency() {
        scale(&image, width, height)
    } else if transparent_is_black {
        unpremultiply(&scale(&image, width, height)?, &image)
    } else {
        unpremultiply(&scale(&premultiply(&image)?, width, height)?, &image)
    }
}

/// Premultiplies, in the image's own number format: libvips' fractions take four times the memory and time.
pub fn premultiply<'b>(image: &Image<'b>) -> Result<Image<'b>, Error> {
    image.apply(c"premultiply", &[])?.cast_like(image)
}

/// Undoes [`premultiply`], in the number format of `like`.
pub fn unpremultiply<'b>(image: &Image<'b>, like: &Image<'b>) -> Result<Image<'b>, Error> {
    image.apply(c"unpremultiply", &[])?.cast_like(like)
}

/// Scales to this size, ignoring transparency.
pub fn scale<'b>(image: &Image<'b>, width: u32, height: u32) -> Result<Image<'b>, Error> {
    let factor = |to: u32, from: u32| Value::Double(f64::from(to) / f64::from(from.max(1)));
    let arguments =
        [(c"scale", factor(width, image.width())), (c"vscale", factor(height, image.height()))];
    image.apply(c"resize", &arguments)
}
