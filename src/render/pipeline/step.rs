//! The definition of a pipeline step.

use super::job::RenderJob;
use crate::render::vips::{Error, Image};

/// One step.
pub struct Step {
    /// A word that occurs in its part of the order in docs/options.md.
    pub name: &'static str,
    /// Whether it does anything in this render.
    pub applies: fn(&RenderJob) -> bool,
    pub stage: Stage,
}

/// When a step runs.
pub enum Stage {
    /// While the original is loaded (`load`, and `trim` which needs all of its pixels): decoders select frames and
    /// shrink, and orientation and `rot` are cheaper after the resize.
    Load,
    /// After the load, on a still image or on one frame after the other.
    Frame(FrameStep),
}

/// A step on a still image or one frame.
pub struct FrameStep {
    pub apply: for<'b> fn(Image<'b>, &RenderJob) -> Result<Image<'b>, Error>,
    /// Whether it reads lines more than once, or in another order than a decoder gives them.
    pub needs_memory: fn(&RenderJob) -> bool,
}
