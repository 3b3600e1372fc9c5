//! `rot` and `flip`.

use std::ffi::c_int;

use crate::options::{Flip, Rotation};
use crate::render::vips::{Error, Image, Value};

/// The sides of an image after its turn; since a turn is undone by exchanging them again, also those before it.
pub fn sides(turn: Rotation, (width, height): (u32, u32)) -> (u32, u32) {
    if turn.swaps_sides() { (height, width) } else { (width, height) }
}

/// The image, which should be in memory, or one frame turned.
pub fn turned(image: Image<'_>, turn: Rotation) -> Result<Image<'_>, Error> {
    if turn == Rotation::default() {
        return Ok(image);
    }
    // `VipsAngle` counts quarters clockwise, `VipsDirection` is 0 for horizontal and 1 for vertical.
    let angle = Value::Int(c_int::from(turn.quarters()));
    let turned = image.made(c"rot", &[(c"angle", angle)])?;
    match turn.flip() {
        None => Ok(turned),
        Some(flip) => {
            let direction = Value::Int(c_int::from(flip == Flip::Vertical));
            turned.made(c"flip", &[(c"direction", direction)])
        }
    }
}
