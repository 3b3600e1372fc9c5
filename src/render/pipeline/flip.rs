//! `flip`

use std::ffi::c_int;

use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use crate::options::Flip;
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step = Step {
    name: "flip",
    applies: |job| job.options.rotation.flip().is_some(),
    stage: Stage::Frame(FrameStep { apply: flip_frame, needs_memory: |_| true }),
};

/// Mirrors. The image should be in memory.
pub fn flip(image: Image<'_>, flip: Option<Flip>) -> Result<Image<'_>, Error> {
    // `VipsDirection`
    let direction: c_int = match flip {
        None => return Ok(image),
        Some(Flip::Horizontal) => 0,
        Some(Flip::Vertical) => 1,
    };
    image.apply(c"flip", &[(c"direction", Value::Int(direction))])
}

fn flip_frame<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    flip(image, job.options.rotation.flip())
}
