//! Rotates and mirrors an original as its orientation says.

use super::flip::flip;
use super::rotate::rotate;
use super::step::{Stage, Step};
use crate::options::Rotation;
use crate::render::vips::{Error, Image};

pub const STEP: Step = Step {
    name: "orientation",
    applies: |job| job.orientation != Rotation::default(),
    stage: Stage::Load,
};

/// Brings an image upright. Rotating takes it to memory.
pub fn orient(image: Image<'_>, orientation: Rotation) -> Result<Image<'_>, Error> {
    if orientation == Rotation::default() {
        return Ok(image);
    }
    flip(rotate(image.copy_memory()?, orientation.quarters())?, orientation.flip())
}
