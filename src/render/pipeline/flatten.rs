//! `bg`: replaces transparency by a colour, in a format that has none.

use super::job::Job;
use super::keep;
use super::steps::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image};

pub const STEP: Step = Step {
    name: "bg",
    applies: |job| job.header.has_transparency && !job.format.keeps_transparency(),
    stage: Stage::Frame(FrameStep { apply: flatten, needs_memory: |_| false }),
};

fn flatten<'b>(image: Image<'b>, job: &Job) -> Result<Image<'b>, Error> {
    image.flatten(keep::background(&image, job.options).rgb())
}
