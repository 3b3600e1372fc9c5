//! Cuts the window of the result out of the resized picture.

use super::geometry::Crop;
use crate::render::vips::{Error, Image};

/// Cuts the window out of a still picture.
pub fn picture<'b>(image: &Image<'b>, crop: &Crop) -> Result<Image<'b>, Error> {
    match crop.corner(image.width(), image.height()) {
        Some((left, top)) => image.window(left, top, crop.width, crop.height),
        // The search reads the picture more than once.
        None => image.in_memory()?.smart_window(crop.width, crop.height),
    }
}

/// Cuts the same window out of each frame.
pub fn frames<'b>(image: &Image<'b>, crop: &Crop) -> Result<Image<'b>, Error> {
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
