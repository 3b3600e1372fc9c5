//! `blur`

use super::job::RenderJob;
use super::resize::{premultiply, unpremultiply};
use super::step::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step = Step {
    name: "blur",
    applies: |job| job.options.blur.is_some(),
    // The mask is higher than the lines that a decoder keeps.
    stage: Stage::Frame(FrameStep { apply: blur, needs_memory: |_| true }),
};

/// Colours are premultiplied, so that transparent pixels do not bleed into others, and stored as 8 bits again: a wide
/// blur of a large image takes a minute with fractions and a second with bytes.
fn blur<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let Some(sigma) = job.options.blur else { return Ok(image) };
    // The default `min-ampl` cuts so much off the mask that the blur is a fifth narrower.
    let arguments = [(c"sigma", Value::Double(sigma.pixels())), (c"min-ampl", Value::Double(0.05))];
    if !image.has_transparency() {
        return image.apply(c"gaussblur", &arguments);
    }
    let premultiplied = premultiply(&image)?;
    unpremultiply(&premultiplied.apply(c"gaussblur", &arguments)?, &image)
}
