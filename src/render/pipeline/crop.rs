//! Cuts the window of the result out of the resized image.

use super::geometry::Crop;
use crate::render::vips::{Error, Image};

/// The window with this left upper corner.
pub fn window<'b>(
    image: &Image<'b>,
    (left, top): (u32, u32),
    crop: &Crop,
) -> Result<Image<'b>, Error> {
    image.window(left, top, crop.width, crop.height)
}

/// The left upper corner of the window. Where it is looked for, the image should be in memory.
pub fn corner(image: &Image, crop: &Crop) -> Result<(u32, u32), Error> {
    match crop.corner(image.width(), image.height()) {
        Some(corner) => Ok(corner),
        None => attended(image, crop),
    }
}

/// The left upper corner of the window around the point that draws the most attention.
fn attended(image: &Image, crop: &Crop) -> Result<(u32, u32), Error> {
    let (x, y) = image.attention(crop.width, crop.height)?;
    let corner = |at: u32, window: u32, whole: u32| {
        at.saturating_sub(window / 2).min(whole.saturating_sub(window))
    };
    Ok((corner(x, crop.width, image.width()), corner(y, crop.height, image.height())))
}
