//! `rot`

use std::ffi::c_int;

use super::job::Job;
use super::steps::{FrameStep, Stage, Step};
use crate::options::Rotation;
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step = Step {
    name: "rot",
    applies: |job| job.options.rotation.quarters() != 0,
    stage: Stage::Frame(FrameStep { apply: rotate_frame, needs_memory: |_| true }),
};

/// The sides after a rotation, and, since it is its own inverse, before it.
pub fn swap_sides(rotation: Rotation, (width, height): (u32, u32)) -> (u32, u32) {
    if rotation.swaps_sides() { (height, width) } else { (width, height) }
}

/// Rotates clockwise by quarters of a turn. The image should be in memory.
pub fn rotate(image: Image<'_>, quarters: u8) -> Result<Image<'_>, Error> {
    match quarters {
        0 => Ok(image),
        // The values of `VipsAngle` are quarters, clockwise.
        _ => image.apply(c"rot", &[(c"angle", Value::Int(c_int::from(quarters)))]),
    }
}

fn rotate_frame<'b>(image: Image<'b>, job: &Job) -> Result<Image<'b>, Error> {
    rotate(image, job.options.rotation.quarters())
}
