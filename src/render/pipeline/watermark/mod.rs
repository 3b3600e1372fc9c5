//! `wm`: draws the watermarks.
//!
//! * `decode` makes the overlay of a watermark, which has the size that a result needs; `kept` keeps it for the next one.
//! * `place` computes size and position, `blend` the pixels.

mod blend;
mod decode;
mod kept;
mod place;

use std::borrow::Cow;
use std::sync::Arc;

use super::colour;
use super::job::RenderJob;
use super::keep;
use super::overlay::Overlay;
use super::step::{FrameStep, Stage, Step};
use crate::options::Watermark;
use crate::render::vips::{Error, Image, Vips};
use blend::Layer;

pub use decode::{check, decode_once, memory};

pub const STEP: Step = Step {
    name: "wm",
    applies: |job| !job.options.watermarks.is_empty(),
    stage: Stage::Frame(FrameStep { apply: draw_all, needs_memory: |_| false }),
};

fn draw_all<'b>(mut image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let size = (image.width(), image.height());
    if image.has_transparency() {
        // Several operations read each pixel.
        image = image.copy_memory()?;
    }
    for (index, watermark) in job.options.watermarks.iter().enumerate() {
        let overlay = overlay_of(job, index, watermark, size)?;
        image = draw(image, job, watermark, &overlay)?;
    }
    Ok(image)
}

/// The overlay of a watermark of the job, which is the same for all frames.
fn overlay_of(
    job: &RenderJob,
    index: usize,
    watermark: &Watermark,
    size: (u32, u32),
) -> Result<Arc<Overlay>, Error> {
    if let Some(overlay) = job.overlays.borrow().get(index) {
        return Ok(Arc::clone(overlay));
    }
    let overlay = decode::find(watermark, size)
        .map_err(|error| Error(format!("{}: {}", watermark.name, error.0)))?;
    job.overlays.borrow_mut().push(Arc::clone(&overlay));
    Ok(overlay)
}

fn draw<'b>(
    mut image: Image<'b>,
    job: &RenderJob,
    watermark: &Watermark,
    overlay: &Overlay,
) -> Result<Image<'b>, Error> {
    let profile = image.profile().filter(|_| !job.options.strip);
    if image.bands() < 3 && !overlay.is_gray && profile.is_none() {
        image = image.to_srgb()?;
    }
    let (colours, bands) = colours(&image, overlay, profile.as_deref())?;
    let vips = Vips::start()?;
    let Overlay { width, height, .. } = *overlay;
    let layer = Layer {
        colours: vips.copied(&colours, width, height, bands)?,
        transparency: vips.copied(&overlay.transparency, width, height, 1)?,
    };
    let size = (image.width(), image.height());
    let corner = place::corner(&watermark.placement, size, (width, height));
    let layer = match &watermark.placement.tile {
        None => layer.placed(corner, size)?,
        Some(spacing) => layer.tiled(corner, place::spacing(spacing, size), size)?,
    };
    blend::over(&image, &layer)
}

/// The colours of an overlay in the colour space and with the channels of an image, without transparency.
fn colours<'s>(
    image: &Image,
    overlay: &'s Overlay,
    profile: Option<&[u8]>,
) -> Result<(Cow<'s, [u8]>, usize), Error> {
    let bands = if image.bands() < 3 { 1 } else { 3 };
    let pixels = overlay.colours.as_chunks::<3>().0;
    if let Some(profile) = profile {
        let converted =
            colour::samples_in_profile(&overlay.colours, overlay.width, overlay.height, profile);
        // As for `bg`: a profile may only lead out of its space.
        return Ok(match converted {
            Ok(samples) if samples.len() == pixels.len() * bands => (samples.into(), bands),
            _ if bands == 1 => {
                let gray: Vec<u8> = pixels.iter().map(|pixel| keep::luminance(*pixel)).collect();
                (gray.into(), bands)
            }
            _ => (Cow::Borrowed(&overlay.colours), bands),
        });
    }
    if bands == 3 {
        return Ok((Cow::Borrowed(&overlay.colours), bands));
    }
    let gray: Vec<u8> = pixels.iter().map(|[gray, _, _]| *gray).collect();
    Ok((gray.into(), bands))
}
