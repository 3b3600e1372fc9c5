//! `sharp`

use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step = Step {
    name: "sharp",
    applies: |job| job.options.sharp.is_some(),
    // The mask is higher than the lines that a decoder keeps.
    stage: Stage::Frame(FrameStep { apply: sharpen, needs_memory: |_| true }),
};

/// libvips' defaults of `m1` and `m2` leave flat areas, and their noise, alone.
fn sharpen<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let Some(sigma) = job.options.sharp else { return Ok(image) };
    // Tiles overlap: without a copy, each would compute the blur of its margins again.
    let image = if job.options.blur.is_some() { image.copy_memory()? } else { image };
    image.apply(c"sharpen", &[(c"sigma", Value::Double(sigma.pixels()))])
}
