//! Decodes the frames of a GIF, and downscales them meanwhile.

use std::borrow::Cow;

use super::frames;
use super::gif_downscale::Downscale;
use super::header::GifFrames;
use super::job::RenderJob;
use super::resize_frames::resize_frames;
use crate::config::FailOn;
use crate::options::Window;
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
    let original = job.window.map_or((job.header.width, job.header.height), |window| window.size());
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
    if count == 1 && decoder.window.is_none() {
        decoder.draw_next()?;
        return Ok(decoder.canvas.take_pixels());
    }
    let mut roll = Vec::new();
    for _ in 0..count {
        decoder.draw_next()?;
        roll.extend_from_slice(&decoder.pixels());
    }
    Ok(roll)
}

fn downscale(
    vips: Vips,
    decoder: &mut Decoder,
    count: u32,
    size: (u32, u32),
) -> Result<Vec<Pixel>, Error> {
    let (width, height) = decoder.size();
    let mut downscale = Downscale::new(vips, (width, height), size);
    for number in 0..count {
        let changed = decoder.draw_next()?.changed;
        let changed = if number == 0 { Area::whole(width, height) } else { decoder.used(changed) };
        downscale.push(&decoder.pixels(), changed, decoder.canvas.is_opaque())?;
    }
    downscale.finish()
}

/// Draws the frames of a job.
struct Decoder<'b> {
    canvas: Canvas<'b>,
    /// The rectangle of the canvas that is used, if it is not all of it.
    window: Option<Area>,
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
        let window = job.window.map(|Window { left, top, width, height }| {
            let [left, top, width, height] = [left, top, width, height].map(|side| side as usize);
            Area { left, top, right: left + width, bottom: top + height }
        });
        let mut decoder = Decoder {
            canvas,
            window,
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

    /// Width and height of what is used of the canvas.
    fn size(&self) -> (usize, usize) {
        self.window.map_or(self.canvas.size(), |window| (window.width(), window.height()))
    }

    /// The part of an area that is used.
    fn used(&self, area: Area) -> Area {
        let Some(window) = self.window else { return area };
        let Area { left, top, right, bottom } = area.intersection(window);
        if right <= left || bottom <= top {
            return Area::default();
        }
        Area {
            left: left - window.left,
            top: top - window.top,
            right: right - window.left,
            bottom: bottom - window.top,
        }
    }

    fn pixels(&self) -> Cow<'_, [Pixel]> {
        let pixels = self.canvas.pixels();
        match self.window {
            None => Cow::Borrowed(pixels),
            Some(window) => {
                let rows = window.rows(self.canvas.size().0);
                Cow::Owned(rows.filter_map(|row| pixels.get(row)).flatten().copied().collect())
            }
        }
    }

    fn draw(&mut self) -> Result<Drawn, Error> {
        let drawn = self.canvas.draw_next(Work::check)?;
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
