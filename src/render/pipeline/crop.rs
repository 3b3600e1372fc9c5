//! Cuts the window of the result out of the resized picture.

use super::animation;
use super::geometry::Crop;
use crate::render::vips::{Error, Image};

/// Cuts the window out of a still picture.
pub fn picture<'b>(image: &Image<'b>, crop: &Crop) -> Result<Image<'b>, Error> {
    match crop.corner(image.width(), image.height()) {
        Some((left, top)) => image.window(left, top, crop.width, crop.height),
        None => {
            // The search reads the picture more than once.
            let image = image.in_memory()?;
            let (left, top) = attended(&image, crop)?;
            image.window(left, top, crop.width, crop.height)
        }
    }
}

/// Cuts the same window out of each frame. What draws attention in the first one decides: a window that moved with it
/// would shake.
pub fn frames<'b>(image: &Image<'b>, crop: &Crop) -> Result<Image<'b>, Error> {
    let image = image.in_memory()?;
    let height = image.frame_height().max(1);
    let corner = match crop.corner(image.width(), height) {
        Some(corner) => corner,
        None => attended(&image.window(0, 0, image.width(), height)?, crop)?,
    };
    let frames: Result<Vec<_>, _> =
        animation::windows(&image, height, corner, (crop.width, crop.height)).collect();
    Image::animation(&frames?)
}

/// The left upper corner of the window around the point that draws the most attention.
fn attended(image: &Image, crop: &Crop) -> Result<(u32, u32), Error> {
    let (x, y) = image.attention(crop.width, crop.height)?;
    let corner =
        |at: u32, window: u32, whole: u32| at.saturating_sub(window / 2).min(whole.saturating_sub(window));
    Ok((corner(x, crop.width, image.width()), corner(y, crop.height, image.height())))
}
