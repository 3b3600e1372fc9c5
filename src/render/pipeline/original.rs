//! The original's own bytes in place of a result that is larger.

use super::job::RenderJob;
use super::steps::STEPS;
use crate::format::Format;
use crate::options::Options;
use crate::render::codec::has_only_pixels;

/// Whether the original can be served in place of the encoded result: it is smaller, shows the same pixels, and has no
/// metadata. The result has been encoded by then, so that a broken original has failed.
pub fn can_replace(encoded_bytes: usize, format: Format, original: &[u8], job: &RenderJob) -> bool {
    let Options {
        strip,
        // Those of the steps, and of the format.
        size: _,
        minimum: _,
        enlarge: _,
        background: _,
        rotation: _,
        watermarks: _,
        rectangle: _,
        trim: _,
        brightness: _,
        contrast: _,
        gamma: _,
        saturation: _,
        hue: _,
        gray: _,
        tint: _,
        duotone: _,
        negative: _,
        pixelate: _,
        blur: _,
        sharp: _,
        round: _,
        page: _,
        frames: _,
        format: _,
        // An original that is smaller has lost no less than was asked for.
        quality: _,
        lossless: _,
        // Not rendered.
        raw: _,
        max_bytes: _,
    } = job.options;
    original.len() < encoded_bytes
        && *strip
        && format == job.original_format
        && !STEPS.iter().any(|step| (step.applies)(job))
        && has_only_pixels(original, job.original_format)
}
