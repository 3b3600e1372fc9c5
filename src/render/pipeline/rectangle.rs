//! `crop`: cuts a rectangle out of the original before anything else.

use super::frames::each;
use super::step::{Stage, Step};
use super::window::{Factors, nearest};
use crate::options::Window;
use crate::render::vips::{Error, Image};

pub const STEP: Step =
    Step { name: "rectangle", applies: |job| job.window.is_some(), stage: Stage::Load };

/// Cuts a window of the original, in its stored orientation, out of what a decoder gives: an image, or frames below each
/// other.
pub fn cut<'b>(
    image: Image<'b>,
    window: Window,
    factors: Factors,
    frames: u32,
) -> Result<Image<'b>, Error> {
    let frame_height = image.height() / frames.max(1);
    let Window { left, top, width, height } =
        nearest(window, factors, (image.width(), frame_height));
    if frames < 2 {
        return image.crop(left, top, width, height);
    }
    // A decoder gives its lines once, in their order.
    let cut = each(&image, frame_height)
        .map(|frame| frame?.crop(left, top, width, height)?.copy_memory())
        .collect::<Result<Vec<_>, _>>()?;
    Image::join_frames(&cut)
}
