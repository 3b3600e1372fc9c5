//! `c` and `g`: crops the resized image to the requested box.

use super::geometry::Crop;
use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image};

pub const STEP: Step = Step {
    name: "crop",
    applies: |job| job.plan.crop.is_some(),
    // libvips looks at the pixels for `smart`, and the crop reads them again.
    stage: Stage::Frame(FrameStep {
        apply: crop,
        needs_memory: |job| job.plan.crop.is_some_and(|crop| crop.depends_on_pixels()),
    }),
};

fn crop<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let Some(crop) = &job.plan.crop else { return Ok(image) };
    let (left, top) = match job.crop_corner.get() {
        Some(corner) => *corner,
        None => {
            let corner = corner(&image, crop)?;
            *job.crop_corner.get_or_init(|| corner)
        }
    };
    image.crop(left, top, crop.width, crop.height)
}

fn corner(image: &Image, crop: &Crop) -> Result<(u32, u32), Error> {
    match crop.corner(image.width(), image.height()) {
        Some(corner) => Ok(corner),
        None => smart_corner(image, crop),
    }
}

/// The upper left corner of the window around the point that draws the most attention.
fn smart_corner(image: &Image, crop: &Crop) -> Result<(u32, u32), Error> {
    let (x, y) = image.find_attention(crop.width, crop.height)?;
    let corner = |at: u32, window: u32, side: u32| {
        at.saturating_sub(window / 2).min(side.saturating_sub(window))
    };
    Ok((corner(x, crop.width, image.width()), corner(y, crop.height, image.height())))
}
