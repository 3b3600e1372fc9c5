//! The steps after the resize, in their order, with each frame on its own: nothing of one gets into the next.

use super::frames::{self, Frames};
use super::geometry::Crop;
use super::{crop, effects, keep, pad, rotate};
use crate::format::Format;
use crate::options::{Options, Rotation, Size};
use crate::render::vips::{Error, Image};

/// The resized image as it is to be encoded.
pub fn made<'b>(
    resized: Image<'b>,
    frames: Frames,
    crop: Option<&Crop>,
    options: &Options,
    format: Format,
) -> Result<Image<'b>, Error> {
    let image = match frames.are_several() {
        true => of_animation(resized, frames, crop, options, format)?,
        false => of_image(resized, crop, options, format)?,
    };
    if image.has_transparency() && !format.keeps_transparency() {
        return image.flattened(keep::background(&image, options).rgb());
    }
    Ok(image)
}

/// Whether more is asked for than a window of the pixels.
fn change_pixels(options: &Options) -> bool {
    let is_padded = matches!(options.size, Size::Pad(..));
    options.rotation != Rotation::default()
        || options.blur.is_some()
        || options.sharp.is_some()
        || is_padded
}

/// Nothing is computed until a step asks for pixels, which most leave to the encoder.
fn of_image<'b>(
    mut image: Image<'b>,
    crop: Option<&Crop>,
    options: &Options,
    format: Format,
) -> Result<Image<'b>, Error> {
    if options.rotation != Rotation::default() {
        // Its last line is asked for first.
        image = image.in_memory()?;
    }
    image = rotate::turned(image, options.rotation)?;
    if let Some(crop) = crop {
        if crop.is_looked_for() {
            // More than once.
            image = image.in_memory()?;
        }
        image = crop::window(&image, crop::corner(&image, crop)?, crop)?;
    }
    if effects::are_wanted(options) {
        // Their masks are higher than what a decoder keeps of the lines above.
        image = image.in_memory()?;
    }
    image = effects::applied(image, options)?;
    pad::padded(image, options, format.keeps_transparency())
}

/// One frame after the other is finished, so that at most all of them are there twice: what is left to the encoder
/// keeps what it computes with, for each frame, to the end.
fn of_animation<'b>(
    image: Image<'b>,
    frames: Frames,
    crop: Option<&Crop>,
    options: &Options,
    format: Format,
) -> Result<Image<'b>, Error> {
    if crop.is_none() && !change_pixels(options) {
        return Ok(image);
    }
    let frames = frames::split(image, frames.count)?;
    // What draws attention in the first one decides: a window that moved with it would shake.
    let corner = match (crop, frames.first()) {
        (Some(crop), Some(first)) => {
            let first = rotate::turned(first.made(c"copy", &[])?, options.rotation)?.in_memory()?;
            Some((crop, crop::corner(&first, crop)?))
        }
        _ => None,
    };
    let finished = |frame: Image<'b>| {
        let mut frame = rotate::turned(frame, options.rotation)?;
        if let Some((crop, corner)) = corner {
            frame = crop::window(&frame, corner, crop)?;
        }
        frame = effects::applied(frame, options)?;
        frame = pad::padded(frame, options, format.keeps_transparency())?;
        frame.in_memory()
    };
    Image::animation(&frames.into_iter().map(finished).collect::<Result<Vec<_>, _>>()?)
}
