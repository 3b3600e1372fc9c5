//! The steps from the pixels of the original to those that are encoded, in the order that docs/options.md states.

use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use super::{
    auto_orient, blur, colour_effects, crop, flatten, flip, frames, load, pad, pixelate, rectangle,
    resize, rotate, round, sharpen, trim, watermark,
};
use crate::render::vips::{Error, Image};

/// All steps, in their order. Where none applies, the result has the pixels of the original.
pub const STEPS: &[Step] = &[
    load::FRAMES_STEP,
    auto_orient::STEP,
    rectangle::STEP,
    trim::STEP,
    rotate::STEP,
    flip::STEP,
    resize::STEP,
    crop::STEP,
    colour_effects::STEP,
    pixelate::STEP,
    blur::STEP,
    sharpen::STEP,
    pad::STEP,
    round::STEP,
    flatten::STEP,
    watermark::STEP,
];

/// Applies the steps that follow the load.
pub fn apply<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let steps: Vec<_> = STEPS
        .iter()
        .filter_map(|step| match &step.stage {
            Stage::Load => None,
            Stage::Frame(frame_step) => (step.applies)(job).then_some((step, frame_step)),
        })
        .collect();
    if !job.frames.are_several() {
        // Pixels are computed when a step or the encoder asks for them.
        return apply_to_frame(image, &steps, job, false);
    }
    if steps.is_empty() {
        return Ok(image);
    }
    // A frame is finished before the next one begins, so that at most all frames are in memory twice: a pipeline that
    // is left to the encoder keeps the buffers of each step, for each frame, to the end.
    let frames = frames::split(image, job.frames.count)?
        .into_iter()
        .map(|frame| apply_to_frame(frame, &steps, job, true)?.copy_memory())
        .collect::<Result<Vec<_>, _>>()?;
    Image::join_frames(&frames)
}

fn apply_to_frame<'b>(
    mut image: Image<'b>,
    steps: &[(&Step, &FrameStep)],
    job: &RenderJob,
    mut is_in_memory: bool,
) -> Result<Image<'b>, Error> {
    for (step, FrameStep { apply, needs_memory }) in steps {
        if needs_memory(job) && !is_in_memory {
            image = image.copy_memory()?;
            // Later steps compute from these pixels, in any order.
            is_in_memory = true;
        }
        image = apply(image, job).map_err(|error| Error(format!("{}: {}", step.name, error.0)))?;
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_the_order_of_the_documentation() {
        let page = include_str!("../../../docs/options.md");
        let order = page
            .split("\n\n")
            .find(|paragraph| paragraph.matches('→').count() >= STEPS.len())
            .expect("a paragraph with the order, in which arrows separate the steps");
        let parts: Vec<&str> = order.split('→').collect();
        // The last part is the encoder's.
        assert_eq!(parts.len(), STEPS.len() + 1, "{order}");
        for (step, part) in STEPS.iter().zip(parts) {
            let mut words = part.split(|letter: char| !letter.is_alphanumeric());
            assert!(words.any(|word| word == step.name), "{} is not in {part:?}", step.name);
        }
    }

    #[test]
    fn load_steps_come_before_crop() {
        // `rot` and `flip` are stated before the resize, whose box is that of the rotated image, and run after it.
        let crop = STEPS.iter().position(|step| step.name == "crop");
        let last_load = STEPS.iter().rposition(|step| matches!(step.stage, Stage::Load));
        assert!(last_load < crop);
    }
}
