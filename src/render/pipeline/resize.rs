//! Resizes to an exact size: Lanczos with three lobes, and bicubic where an image is enlarged.

use super::steps::{Stage, Step};
use super::{batch_resize, frames};
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step =
    Step { name: "resize", applies: |job| job.resized() != job.size, stage: Stage::Load };

/// Resizes an image to exactly this size.
pub fn resize(image: Image<'_>, width: u32, height: u32) -> Result<Image<'_>, Error> {
    resize_one(image, width, height, false)
}

/// Resizes an image, or each frame of an animation, to exactly this size. With `transparent_is_black`, pixels are
/// either opaque, or transparent and black.
///
/// Each frame is resized on its own, so that its edges have nothing of the next one. They are computed here, in the
/// order in which they are decoded: frames that share a strip of lines would decode it once more each.
pub fn resize_frames<'b>(
    image: Image<'b>,
    count: u32,
    (width, height): (u32, u32),
    transparent_is_black: bool,
) -> Result<Image<'b>, Error> {
    let frame_height = image.height() / count.max(1);
    if (image.width(), frame_height) == (width, height) {
        return Ok(image);
    }
    if count < 2 {
        return resize_one(image, width, height, transparent_is_black);
    }
    let parts: Result<Vec<_>, _> =
        match batch_resize::batch_size(&image, frame_height, (width, height)) {
            Some(batch) => (0..count)
                .step_by(batch as usize)
                .map(|first| {
                    let in_batch = batch.min(count - first);
                    let top = first * frame_height;
                    let part = image.crop(0, top, image.width(), in_batch * frame_height)?;
                    batch_resize::resize(part, in_batch, (width, height), transparent_is_black)
                })
                .collect(),
            None => frames::each(&image, frame_height)
                .map(|frame| resize_one(frame?, width, height, transparent_is_black)?.copy_memory())
                .collect(),
        };
    let parts = parts?;
    match &parts[..] {
        [all] => all.with_frame_height(height),
        // The last batch may have fewer frames, and is filled up with black.
        _ => Image::join_frames(&parts)?
            .crop(0, 0, width, count.saturating_mul(height))?
            .with_frame_height(height),
    }
}

/// Colours are premultiplied, so that transparent pixels do not bleed into others. Those that are black already are.
fn resize_one(
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

/// Scales to this size without a look at transparency.
pub fn scale<'b>(image: &Image<'b>, width: u32, height: u32) -> Result<Image<'b>, Error> {
    let factor = |to: u32, from: u32| Value::Double(f64::from(to) / f64::from(from.max(1)));
    let arguments =
        [(c"scale", factor(width, image.width())), (c"vscale", factor(height, image.height()))];
    image.apply(c"resize", &arguments)
}
