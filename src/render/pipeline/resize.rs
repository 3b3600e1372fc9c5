//! Brings an image to its exact size.

use super::{animation, batch_resize};
use crate::render::vips::{Error, Image, Value};

/// The image at exactly this size (Lanczos with three lobes; bicubic where it grows).
pub fn exactly(image: Image<'_>, width: u32, height: u32) -> Result<Image<'_>, Error> {
    brought_to(image, width, height, false)
}

/// An image, or each of so many frames, at exactly this size. `clear_is_black` says of its transparent pixels that they
/// have no colour and of all others that they are opaque.
///
/// Frames are resized batch_resize from each other: a frame's edge has nothing of the next one. And at once, one after the
/// other, because that is how they are decoded: asked for later, all together, each would decode again what it shares a
/// strip of pixels with.
pub fn frames_exactly<'b>(
    image: Image<'b>,
    frames: u32,
    (width, height): (u32, u32),
    clear_is_black: bool,
) -> Result<Image<'b>, Error> {
    let frame_height = image.height() / frames.max(1);
    if (image.width(), frame_height) == (width, height) {
        return Ok(image);
    }
    if frames < 2 {
        return brought_to(image, width, height, clear_is_black);
    }
    let parts: Result<Vec<_>, _> =
        match batch_resize::at_once(&image, frame_height, (width, height)) {
            Some(most) => (0..frames)
                .step_by(most as usize)
                .map(|first| {
                    let several = most.min(frames - first);
                    let part = image.window(
                        0,
                        first * frame_height,
                        image.width(),
                        several * frame_height,
                    )?;
                    batch_resize::scaled(part, several, (width, height), clear_is_black)
                })
                .collect(),
            None => animation::windows(&image, frame_height, (0, 0), (image.width(), frame_height))
                .map(|frame| brought_to(frame?, width, height, clear_is_black)?.in_memory())
                .collect(),
        };
    let parts = parts?;
    match &parts[..] {
        [all] => all.with_frame_height(height),
        // The last part may have fewer frames, and is filled up with black.
        _ => Image::animation(&parts)?
            .window(0, 0, width, frames.saturating_mul(height))?
            .with_frame_height(height),
    }
}

/// Colours count as much as they are opaque, so nothing shows of what nobody sees.
fn brought_to(
    image: Image<'_>,
    width: u32,
    height: u32,
    clear_is_black: bool,
) -> Result<Image<'_>, Error> {
    if (image.width(), image.height()) == (width, height) {
        return Ok(image);
    }
    match (image.has_transparency(), clear_is_black) {
        (false, _) => scaled(&image, width, height),
        (true, true) => unweighted(&scaled(&image, width, height)?, &image),
        (true, false) => unweighted(&scaled(&weighted(&image)?, width, height)?, &image),
    }
}

/// Colours as much as they are opaque. What libvips makes of it, and of its contrary, has fractions, which take four times
/// the memory and time.
pub fn weighted<'b>(image: &Image<'b>) -> Result<Image<'b>, Error> {
    image.made(c"premultiply", &[])?.stored_as(image)
}

/// The contrary, stored as this image.
pub fn unweighted<'b>(image: &Image<'b>, stored_as: &Image<'b>) -> Result<Image<'b>, Error> {
    image.made(c"unpremultiply", &[])?.stored_as(stored_as)
}

/// The image at this size, whatever its colours are worth.
pub fn scaled<'b>(image: &Image<'b>, width: u32, height: u32) -> Result<Image<'b>, Error> {
    let scale = |to: u32, from: u32| Value::Double(f64::from(to) / f64::from(from.max(1)));
    let arguments =
        [(c"scale", scale(width, image.width())), (c"vscale", scale(height, image.height()))];
    image.made(c"resize", &arguments)
}
