//! How much memory the work on a picture takes, by what its container says.
//!
//! Measured with the decoders and encoders that `native/` builds, and rounded up. It decides who may work beside
//! whom and not what is allowed: what takes more than the whole budget works alone.

use super::geometry::plan;
use crate::format::Format;
use crate::options::{Options, Size};
use crate::render::inspect::Facts;

/// For what every picture needs: the thread's arena, tables, a few lines.
const BASE: u64 = 8 << 20;
/// So many lines of a picture that is handed out line by line are there at the same time.
const LINES: u64 = 256;
/// Red, green, blue and transparency.
const CANVAS: u64 = 4;

/// The most bytes that are held at the same time for a picture of so many frames.
pub fn bytes(facts: &Facts, source: Format, frames: u32, options: &Options, format: Format) -> u64 {
    let line = u64::from(facts.width).saturating_mul(facts.bytes_per_pixel);
    let (resized, canvas) = resized_pixels(facts, options);
    let all = resized.saturating_mul(u64::from(frames));
    let decoder = match source {
        // Two canvases beside what the decoder keeps, as large as it is asked for; the first one of an animation
        // may be needed whole.
        Format::Webp if facts.frames > 1 => facts.frame_pixels.saturating_mul(2 * CANVAS),
        Format::Webp => resized.min(facts.frame_pixels).saturating_mul(2 * CANVAS),
        _ => 0,
    };
    // Frames are kept for as long as they are cropped; one that is looked at for its attention, or turned, as well.
    let kept = all.saturating_mul(CANVAS * if facts.bytes_per_pixel > 4 { 2 } else { 1 });
    // A border is looked for in the whole picture.
    let trimmed = match options.trim {
        Some(_) => {
            facts.frame_pixels.saturating_mul(u64::from(frames)).saturating_mul(2 * facts.bytes_per_pixel)
        }
        None => 0,
    };
    [BASE, line.saturating_mul(LINES), facts.held, facts.inflated_bytes, decoder, kept, trimmed]
        .into_iter()
        .chain([canvas.saturating_mul(encoder_bytes_per_pixel(format))])
        .fold(0, u64::saturating_add)
}

/// Pixels of the resized picture, of one frame; and of what of it is encoded at the same time.
fn resized_pixels(facts: &Facts, options: &Options) -> (u64, u64) {
    // Whether it stands upright is not known yet.
    let [one, other] = [(facts.width, facts.height), (facts.height, facts.width)].map(|(width, height)| {
        let plan = plan(options.size, options.enlarge, width, height);
        u64::from(plan.width).saturating_mul(u64::from(plan.height))
    });
    let resized = one.max(other);
    let result = match options.size {
        Size::Fill(width, height, _) => resized.min(u64::from(width).saturating_mul(u64::from(height))),
        Size::Pad(width, height, _) => u64::from(width).saturating_mul(u64::from(height)),
        _ => resized,
    };
    (resized, result)
}

/// What an encoder keeps for each pixel of a frame.
fn encoder_bytes_per_pixel(format: Format) -> u64 {
    match format {
        // Coefficients for the optimised tables, and the bytes.
        Format::Jpeg => 8,
        Format::Png => 8,
        Format::Webp => 16,
        Format::Avif => 40,
        Format::Gif => 16,
    }
}
