//! Brings a picture to its exact size.

use super::animation;
use crate::render::vips::{Error, Image, Value};

/// The picture at exactly this size (Lanczos with three lobes; bicubic where it grows).
pub fn exactly<'b>(image: Image<'b>, width: u32, height: u32) -> Result<Image<'b>, Error> {
    if (image.width(), image.height()) == (width, height) {
        return Ok(image);
    }
    premultiplied(image, |image| scaled(image, width, height))
}

/// Each of the frames at exactly this size. Apart from each other: a frame's edge has nothing of the next one. And at
/// once, one after the other, because that is how they are decoded: asked for later, all together, each would decode
/// again what it shares a strip of pixels with.
pub fn each_frame<'b>(image: Image<'b>, frames: u32, width: u32, height: u32) -> Result<Image<'b>, Error> {
    let frame_height = image.height() / frames.max(1);
    if (image.width(), frame_height) == (width, height) {
        return Ok(image);
    }
    let frames: Result<Vec<_>, _> =
        animation::windows(&image, frame_height, (0, 0), (image.width(), frame_height))
            .map(|frame| exactly(frame?, width, height)?.in_memory())
            .collect();
    Image::animation(&frames?)
}

/// Works on a picture whose colours count as much as they are opaque: nothing shows of what nobody sees.
fn premultiplied<'b>(
    image: Image<'b>,
    work: impl FnOnce(&Image<'b>) -> Result<Image<'b>, Error>,
) -> Result<Image<'b>, Error> {
    if !image.has_transparency() {
        return work(&image);
    }
    // Both make fractions, which take four times the memory and time.
    let worked = work(&image.made(c"premultiply", &[])?.stored_as(&image)?)?;
    worked.made(c"unpremultiply", &[])?.stored_as(&image)
}

fn scaled<'b>(image: &Image<'b>, width: u32, height: u32) -> Result<Image<'b>, Error> {
    let scale = |to: u32, from: u32| Value::Double(f64::from(to) / f64::from(from.max(1)));
    let arguments = [(c"scale", scale(width, image.width())), (c"vscale", scale(height, image.height()))];
    image.made(c"resize", &arguments)
}
