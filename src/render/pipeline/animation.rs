//! An animation is an image with its frames below each other, which are worked on one by one.

use crate::render::vips::{Error, Image};

/// The same window of each frame, the first one first.
pub fn windows<'i, 'b>(
    image: &'i Image<'b>,
    frame_height: u32,
    (left, top): (u32, u32),
    (width, height): (u32, u32),
) -> impl Iterator<Item = Result<Image<'b>, Error>> + use<'i, 'b> {
    let frames = image.height() / frame_height.max(1);
    (0..frames).map(move |frame| image.window(left, frame * frame_height + top, width, height))
}
