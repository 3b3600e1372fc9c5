//! `bg`: replaces transparency by a colour, in a format that has none.

use super::job::RenderJob;
use super::keep;
use super::step::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image};

pub const STEP: Step = Step {
    name: "bg",
    applies: |job| {
        (job.header.has_transparency || job.options.round.is_some())
            && !job.format.keeps_transparency()
    },
    stage: Stage::Frame(FrameStep { apply: flatten, needs_memory: |_| false }),
};

fn flatten<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    // A GIF that may have transparency has none if its frames cover each other.
    if !image.has_transparency() {
        return Ok(image);
    }
    image.flatten(keep::background(&image, job.options).rgb())
}
