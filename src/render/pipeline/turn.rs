//! `rot` and `flip`.

use std::ffi::c_int;

use super::frames;
use crate::options::{Flip, Turn};
use crate::render::vips::{Error, Image, Value};

/// The sides of a picture after its turn; since a turn is undone by exchanging them again, also those before it.
pub fn sides(turn: Turn, (width, height): (u32, u32)) -> (u32, u32) {
    if turn.swaps_sides() { (height, width) } else { (width, height) }
}

/// The picture turned, each frame on its own. It should be as small as it is going to be: all of it is held in memory.
pub fn turned<'b>(image: Image<'b>, turn: Turn) -> Result<Image<'b>, Error> {
    if turn == Turn::default() {
        return Ok(image);
    }
    // The last line is asked for first.
    frames::each(&image.in_memory()?, |frame| {
        // `VipsAngle` counts quarters clockwise, `VipsDirection` is 0 for horizontal and 1 for vertical.
        let angle = Value::Int(c_int::from(turn.quarters()));
        let turned = frame.made(c"rot", &[(c"angle", angle)])?;
        match turn.flip() {
            None => Ok(turned),
            Some(flip) => {
                let direction = Value::Int(c_int::from(flip == Flip::Vertical));
                turned.made(c"flip", &[(c"direction", direction)])
            }
        }
    })
}
