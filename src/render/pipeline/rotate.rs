//! `rot`

use std::ffi::c_int;

use super::job::RenderJob;
use super::pad;
use super::resize::{premultiply, resize, unpremultiply};
use super::step::{FrameStep, Stage, Step};
use super::turn::Turn;
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step = Step {
    name: "rot",
    applies: |job| job.options.rotation.quarters() != Some(0),
    stage: Stage::Frame(FrameStep {
        apply: rotate_frame,
        needs_memory: |job| {
            job.options.rotation.quarters().is_none_or(|quarters| !is_odd(quarters))
        },
    }),
};

/// Rotates clockwise by quarters of a turn. By an odd number, the result is in memory; otherwise the image should be.
pub fn rotate(image: Image<'_>, quarters: u8) -> Result<Image<'_>, Error> {
    match quarters {
        0 => Ok(image),
        // libvips' `rot` would need a copy in memory, and reads it column by column.
        1 | 3 => image.copy_rotated(quarters == 1),
        // The values of `VipsAngle` are quarters, clockwise.
        _ => image.apply(c"rot", &[(c"angle", Value::Int(c_int::from(quarters)))]),
    }
}

/// Whether a rotation by so many quarters exchanges the sides.
pub fn is_odd(quarters: u8) -> bool {
    quarters % 2 == 1
}

fn rotate_frame<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    match (job.options.rotation.quarters(), &job.turn) {
        (Some(quarters), _) => rotate(image, quarters),
        (None, Some(turn)) => {
            let image = onto_canvas(image, job, turn)?;
            resize(image, job.plan.width, job.plan.height)
        }
        (None, None) => Ok(image),
    }
}

/// Rotates an image about its centre onto a canvas of the background's colour, with bicubic interpolation. Its edges are
/// antialiased, because they are interpolated with the background.
fn onto_canvas<'b>(image: Image<'b>, job: &RenderJob, turn: &Turn) -> Result<Image<'b>, Error> {
    let (image, mut background) = pad::with_background(image, job)?;
    let has_transparency = image.has_transparency();
    if has_transparency && let Some((alpha, colours)) = background.split_last_mut() {
        colours.iter_mut().for_each(|colour| *colour = (*colour * *alpha / 255.0).round());
    }
    let straight =
        if has_transparency { premultiply(&image)? } else { image.apply(c"copy", &[])? };
    let half = |side: u32| f64::from(side) / 2.0;
    let (width, height) = turn.canvas;
    let area = [0.0, 0.0, f64::from(width), f64::from(height)];
    // libvips counts from the centre of the first pixel.
    let turned = straight.apply(
        c"affine",
        &[
            (c"matrix", Value::Doubles(&turn.matrix)),
            (c"interpolate", Value::Interpolator(c"bicubic")),
            (c"oarea", Value::Doubles(&area)),
            (c"idx", Value::Double(0.5 - half(image.width()))),
            (c"idy", Value::Double(0.5 - half(image.height()))),
            (c"odx", Value::Double(half(width) - 0.5)),
            (c"ody", Value::Double(half(height) - 0.5)),
            (c"background", Value::Doubles(&background)),
            // `VIPS_EXTEND_BACKGROUND`
            (c"extend", Value::Int(5)),
            (c"premultiplied", Value::Bool(true)),
        ],
    )?;
    if has_transparency { unpremultiply(&turned, &image) } else { Ok(turned) }
}
