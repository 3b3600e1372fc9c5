//! Decodes the frames of a GIF, and downscales them meanwhile.

use super::frames;
use super::gif_downscale::Downscale;
use super::header::GifFrames;
use super::job::RenderJob;
use super::resize_frames::resize_frames;
use crate::config::FailOn;
use crate::render::codec::gif::{Area, Canvas, Drawn, End, Pixel};
use crate::render::vips::{Error, Image, Vips, Work};

/// Loads the frames of the job, resized to exactly this size. Several are below each other.
pub fn load<'b>(
    vips: Vips,
    bytes: &[u8],
    job: &RenderJob<'b>,
    gif: &'b GifFrames,
    (width, height): (u32, u32),
) -> Result<Image<'b>, Error> {
    let original = (job.header.width, job.header.height);
    let count = job.frames.count;
    let is_downscale =
        count > 1 && (width, height) != original && width <= original.0 && height <= original.1;
    let mut decoder = Decoder::new(bytes, job)?;
    let roll = if is_downscale {
        downscale(vips, &mut decoder, count, (width, height))?
    } else {
        whole(&mut decoder, count)?
    };
    let Decoder { mut delays, are_all_opaque, .. } = decoder;
    let samples = roll.into_flattened();
    let samples = if are_all_opaque { without_opacity(samples) } else { samples };
    let bands = if are_all_opaque { 3 } else { 4 };
    gif.samples.set(samples).map_err(|_| Error("the frames have been decoded before".into()))?;
    let samples = gif.samples.get().map(Vec::as_slice).unwrap_or_default();
    let size = if is_downscale { (width, height) } else { original };
    let image = vips.image_from_samples(samples, size.0, size.1.saturating_mul(count), bands)?;
    let image = resize_frames(image, count, (width, height), true)?;
    if count < 2 {
        return Ok(image);
    }
    frames::limit_total(&mut delays);
    image.with_animation(height, &delays, gif.plays)
}

/// All frames at their full size.
fn whole(decoder: &mut Decoder, count: u32) -> Result<Vec<Pixel>, Error> {
    if count == 1 {
        decoder.draw_next()?;
        return Ok(decoder.canvas.take_pixels());
    }
    let mut roll = Vec::new();
    for _ in 0..count {
        decoder.draw_next()?;
        roll.extend_from_slice(decoder.canvas.pixels());
    }
    Ok(roll)
}

fn downscale(
    vips: Vips,
    decoder: &mut Decoder,
    count: u32,
    size: (u32, u32),
) -> Result<Vec<Pixel>, Error> {
    let mut downscale = Downscale::new(vips, decoder.canvas.size(), size);
    for number in 0..count {
        let changed = decoder.draw_next()?.changed;
        let (width, height) = decoder.canvas.size();
        let changed = if number == 0 { Area::whole(width, height) } else { changed };
        downscale.push(decoder.canvas.pixels(), changed, decoder.canvas.is_opaque())?;
    }
    downscale.finish()
}

/// Draws the frames of a job.
struct Decoder<'b> {
    canvas: Canvas<'b>,
    fail_on: FailOn,
    /// The number of the next frame in the file.
    number: u32,
    /// Of the frames that are rendered, in milliseconds.
    delays: Vec<u32>,
    are_all_opaque: bool,
}

impl<'b> Decoder<'b> {
    /// Draws the frames before the first one that is rendered.
    fn new(bytes: &'b [u8], job: &RenderJob) -> Result<Decoder<'b>, Error> {
        let canvas = Canvas::new(bytes).ok_or_else(|| Error("it has no size".into()))?;
        let mut decoder = Decoder {
            canvas,
            fail_on: job.fail_on,
            number: 0,
            delays: Vec::new(),
            are_all_opaque: true,
        };
        for _ in 0..job.frames.first {
            decoder.draw()?;
        }
        Ok(decoder)
    }

    fn draw(&mut self) -> Result<Drawn, Error> {
        let check = || {
            if Work::is_stopped() { Err(Error("the decoder was stopped".into())) } else { Ok(()) }
        };
        let drawn = self.canvas.draw_next(check)?;
        let drawn = drawn.ok_or_else(|| Error("a frame is missing".into()))?;
        let fault = match (drawn.end, self.fail_on) {
            (End::Damaged, FailOn::Truncated | FailOn::Error | FailOn::Warning) => "damaged",
            (End::Short, FailOn::Error | FailOn::Warning) => "incomplete",
            _ => "",
        };
        if !fault.is_empty() {
            return Err(Error(format!("the data of frame {} is {fault}", self.number)));
        }
        self.number += 1;
        Ok(drawn)
    }

    fn draw_next(&mut self) -> Result<Drawn, Error> {
        let drawn = self.draw()?;
        self.delays.push(u32::from(drawn.delay) * 10);
        self.are_all_opaque &= self.canvas.is_opaque();
        Ok(drawn)
    }
}

/// RGB samples from RGBA samples.
fn without_opacity(mut samples: Vec<u8>) -> Vec<u8> {
    let count = samples.len() / 4;
    for n in 0..count {
        samples.copy_within(4 * n..4 * n + 3, 3 * n);
    }
    samples.truncate(3 * count);
    samples
}
