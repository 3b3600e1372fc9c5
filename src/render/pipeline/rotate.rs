//! `rot`

use std::ffi::c_int;

use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step = Step {
    name: "rot",
    applies: |job| job.options.rotation.quarters() != 0,
    stage: Stage::Frame(FrameStep { apply: rotate_frame, needs_memory: |_| true }),
};

/// Rotates clockwise by quarters of a turn. The image should be in memory.
pub fn rotate(image: Image<'_>, quarters: u8) -> Result<Image<'_>, Error> {
    match quarters {
        0 => Ok(image),
        // The values of `VipsAngle` are quarters, clockwise.
        _ => image.apply(c"rot", &[(c"angle", Value::Int(c_int::from(quarters)))]),
    }
}

fn rotate_frame<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    rotate(image, job.options.rotation.quarters())
}
