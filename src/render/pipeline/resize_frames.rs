//! Resizes animations.

use super::batch_resize;
use super::frames::each;
use super::resize::resize_one;
use crate::render::vips::{Error, Image};

/// Resizes an image, or each frame of an animation, to exactly this size. With `transparent_is_black`, pixels are
/// either opaque, or transparent and black.
///
/// Each frame is resized on its own, so that frames do not bleed into each other. They are computed here, in the order
/// in which they are decoded: frames that share a strip of lines would decode it once more each.
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
                    batch_resize::resize(part, in_batch, (width, height))
                })
                .collect(),
            None => each(&image, frame_height)
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
