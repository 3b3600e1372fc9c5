//! Rotates and mirrors an original as its orientation says.

use super::flip::flip;
use super::frames;
use super::rotate::{is_odd, rotate};
use super::step::{Stage, Step};
use crate::options::Rotation;
use crate::render::vips::{Error, Image};

pub const STEP: Step = Step {
    name: "orientation",
    applies: |job| job.orientation != Rotation::default(),
    stage: Stage::Load,
};

/// Brings an image, or each of the frames of an animation, upright. Rotating takes it to memory.
pub fn orient(image: Image<'_>, orientation: Rotation, frames: u32) -> Result<Image<'_>, Error> {
    if orientation == Rotation::default() {
        return Ok(image);
    }
    let quarters = orientation.quarters().unwrap_or(0);
    let turn = |frame| flip(rotate(frame, quarters)?, orientation.flip());
    if frames < 2 {
        return turn(if is_odd(quarters) { image } else { image.copy_memory()? });
    }
    // A frame is finished before the next one begins, as in `steps`.
    let turned = frames::split(image, frames)?
        .into_iter()
        .map(|frame| turn(frame)?.copy_memory())
        .collect::<Result<Vec<_>, _>>()?;
    Image::join_frames(&turned)
}
