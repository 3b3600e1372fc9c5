//! `pad`: fills the rest of the box with `bg`.

use super::job::RenderJob;
use super::keep;
use super::step::{FrameStep, Stage, Step};
use crate::options::{Colour, Gravity, Size};
use crate::render::vips::{Error, Image, Value, pixels};

pub const STEP: Step = Step {
    name: "pad",
    applies: |job| {
        matches!(job.options.size, Size::Pad(width, height, _)
            if (width, height) != job.plan.crop.map_or(job.plan.size(), |crop| (crop.width, crop.height)))
    },
    stage: Stage::Frame(FrameStep { apply: pad, needs_memory: |_| false }),
};

fn pad<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let Size::Pad(width, height, gravity) = job.options.size else { return Ok(image) };
    let (image, background) = with_background(image, job)?;
    let free = (width.saturating_sub(image.width()), height.saturating_sub(image.height()));
    let place = |gravity: Gravity| gravity.place(free, (width, height));
    let (left, top) = place(gravity).or_else(|| place(Gravity::CENTRE)).unwrap_or_default();
    image.apply(
        c"embed",
        &[
            (c"x", pixels(left)),
            (c"y", pixels(top)),
            (c"width", pixels(width)),
            (c"height", pixels(height)),
            // `VIPS_EXTEND_BACKGROUND`
            (c"extend", Value::Int(5)),
            (c"background", Value::Doubles(&background)),
        ],
    )
}

/// The image with the channels that the background needs, and those of the background.
pub fn with_background<'b>(
    image: Image<'b>,
    job: &RenderJob,
) -> Result<(Image<'b>, Vec<f64>), Error> {
    let mut colour = keep::background(&image, job.options);
    if !job.format.keeps_transparency() {
        colour = colour.opaque();
    }
    let mut image = match_colour(image, colour)?;
    if colour.alpha() < u8::MAX && !image.has_transparency() {
        image = image.apply(c"addalpha", &[])?;
    }
    let background = channels(&image, colour);
    Ok((image, background))
}

/// Converts a grayscale image to sRGB for a colour that is no gray.
pub fn match_colour<'b>(image: Image<'b>, colour: Colour) -> Result<Image<'b>, Error> {
    let [red, green, blue] = colour.rgb();
    if image.bands() > 2 || (red == green && green == blue) {
        return Ok(image);
    }
    image.to_srgb()
}

/// The colour as the channels of this image.
fn channels(image: &Image, colour: Colour) -> Vec<f64> {
    let mut channels: Vec<f64> = colour.rgb().map(f64::from).into();
    // A grayscale image has a gray box.
    channels.truncate(if image.bands() < 3 { 1 } else { 3 });
    if image.has_transparency() {
        channels.push(f64::from(colour.alpha()));
    }
    channels
}
