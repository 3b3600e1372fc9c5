//! `sharp`

use super::job::Job;
use super::steps::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step = Step {
    name: "sharp",
    applies: |job| job.options.sharp.is_some(),
    changes_pixels: true,
    // The mask is higher than the lines that a decoder keeps, and tiles overlap: a blur would be computed again for each.
    stage: Stage::Frame(FrameStep { apply: sharpen, needs_memory: |_| true }),
};

/// libvips' defaults of `m1` and `m2` leave flat areas, and their noise, alone.
fn sharpen<'b>(image: Image<'b>, job: &Job) -> Result<Image<'b>, Error> {
    match job.options.sharp {
        Some(sigma) => image.apply(c"sharpen", &[(c"sigma", Value::Double(sigma.pixels()))]),
        None => Ok(image),
    }
}
