//! Decodes the frames of an AVIF image sequence, and resizes them meanwhile.

use super::batch_resize::MAX_PIXELS;
use super::frames::{self, Frames};
use super::job::RenderJob;
use super::resize_frames::resize_frames;
use super::window::is_precise;
use super::{colour, keep, profile, rectangle};
use crate::config::FailOn;
use crate::options::Window;
use crate::render::codec::avif::{
    AveragedSample, Avif, ConvertedSample, Crop, DecodeError, FrameDecoder, Shrink,
};
use crate::render::vips::{Error, Image, Sample, Vips, Work};

/// How much an AVIF of this size, or a window of it, is shrunk as it is decoded, before it is resized to `size`.
pub fn shrink(
    avif: &Avif,
    whole: (u32, u32),
    window: Option<Window>,
    (width, height): (u32, u32),
) -> Shrink {
    // As much as libvips' resize averages before its filter, which needs a factor of two.
    let twice = (width.saturating_mul(2), height.saturating_mul(2));
    let Some(window) = window else { return Shrink::to_at_least(avif, twice) };
    let least = |side: u32, to: u32, part: u32| {
        let least = u64::from(side) * u64::from(to) / u64::from(part.max(1));
        u32::try_from(least).unwrap_or(u32::MAX)
    };
    let least = (least(whole.0, twice.0, window.width), least(whole.1, twice.1, window.height));
    let is_in_place = |shrink: &Shrink| {
        let smaller = (shrink.side(whole.0), shrink.side(whole.1));
        is_precise(window, shrink.factors(), smaller, (width, height))
    };
    let strongest = Shrink::to_at_least(avif, least);
    strongest.and_weaker().find(is_in_place).unwrap_or(Shrink::NONE)
}

/// Loads the frames of the job in their stored orientation, resized to exactly this size, with the colours of the result.
/// Several are below each other.
pub fn load<'b>(
    vips: Vips,
    job: &RenderJob,
    avif: &Avif,
    size: (u32, u32),
) -> Result<Image<'b>, Error> {
    if avif.is_deep() {
        load_samples::<u16>(vips, job, avif, size)
    } else {
        load_samples::<u8>(vips, job, avif, size)
    }
}

fn load_samples<'b, S: Sample + AveragedSample + ConvertedSample>(
    vips: Vips,
    job: &RenderJob,
    avif: &Avif,
    size: (u32, u32),
) -> Result<Image<'b>, Error> {
    let whole = (job.header.width, job.header.height);
    let shrink = shrink(avif, whole, job.stored_window(), size);
    let mut decoder = Decoder::<S>::new(avif, shrink, job)?;
    let Frames { first, count } = job.frames;
    let in_batch = (MAX_PIXELS / decoder.width.saturating_mul(decoder.height).max(1)).max(1);
    let mut results = Results::default();
    let mut left = count;
    while left > 0 {
        let frames = left.min(in_batch);
        left -= frames;
        let samples = decoder.decode(frames)?;
        let (width, height) = (decoder.width, decoder.height.saturating_mul(frames));
        let image = vips.image_from_samples(&samples, width, height, avif.bands())?;
        let mut image = colour::with_profile(image, avif.icc, profile::from_avif(avif))?;
        if let Some(window) = job.stored_window() {
            image = rectangle::cut(image, window, shrink.factors(), frames)?;
        }
        let image = resize_frames(colour::prepare(image)?, frames, size, false)?;
        results.add(&keep::finish_colours(image, job.options, job.format)?)?;
    }
    let image = results.join(vips, size, count)?;
    let Some(sequence) = avif.frames.as_ref().filter(|_| count > 1) else { return Ok(image) };
    let delays = sequence.delays.iter().skip(first as usize).take(count as usize);
    let mut delays: Vec<u32> = delays.copied().collect();
    frames::limit_total(&mut delays);
    image.with_animation(size.1, &delays, sequence.plays)
}

/// Decodes the frames of a job, with their `clap` applied.
struct Decoder<'a, S> {
    decoder: FrameDecoder<'a>,
    shrink: Shrink,
    /// Pixels in a row of `frame`.
    stride: usize,
    bands: usize,
    crop: Option<Crop>,
    /// Of what is used of a frame.
    width: u32,
    height: u32,
    /// The last frame, without the crop.
    frame: Vec<S>,
    has_frame: bool,
    /// The number of the next frame in the file.
    number: u32,
    fail_on: FailOn,
}

impl<'a, S: Sample + AveragedSample + ConvertedSample> Decoder<'a, S> {
    /// Decodes the frames before the first one that is rendered, which others are predicted from.
    fn new(avif: &'a Avif<'a>, shrink: Shrink, job: &RenderJob) -> Result<Self, Error> {
        let [width, height] = [avif.colour.width, avif.colour.height].map(|side| shrink.side(side));
        let (stride, bands) = (width as usize, avif.bands());
        // A crop is in pixels of a frame that is not shrunk.
        let (width, height) = avif.crop.map_or((width, height), |crop| (crop.width, crop.height));
        let length = stride * shrink.side(avif.colour.height) as usize * bands;
        let mut decoder = Decoder {
            decoder: FrameDecoder::new(avif).map_err(|error| Error(error.to_string()))?,
            shrink,
            stride,
            bands,
            crop: avif.crop,
            width,
            height,
            frame: vec![S::default(); length],
            has_frame: false,
            number: 0,
            fail_on: job.fail_on,
        };
        for _ in 0..job.frames.first {
            // Where damage is shown as the frame before it, its pixels may be needed.
            decoder.next(job.fail_on == FailOn::None)?;
        }
        Ok(decoder)
    }

    /// Decodes frames into rows below each other.
    fn decode(&mut self, frames: u32) -> Result<Vec<S>, Error> {
        let row = self.stride * self.bands;
        let (left, top) = self.crop.map_or((0, 0), |crop| (crop.left as usize, crop.top as usize));
        let (width, height) = (self.width as usize * self.bands, self.height as usize);
        let mut roll = Vec::with_capacity(width * height * frames as usize);
        for _ in 0..frames {
            self.next(true)?;
            for line in self.frame.chunks_exact(row.max(1)).skip(top).take(height) {
                let start = left * self.bands;
                roll.extend_from_slice(line.get(start..start + width).unwrap_or_default());
            }
        }
        Ok(roll)
    }

    /// Decodes the next frame. With `fail_on: none`, one that can't be decoded is the same as the one before it.
    fn next(&mut self, is_shown: bool) -> Result<(), Error> {
        Work::check()?;
        let decoded = if is_shown {
            self.decoder.next(self.shrink, &mut self.frame)
        } else {
            self.decoder.skip()
        };
        let number = self.number;
        self.number += 1;
        match decoded {
            Ok(()) => self.has_frame = true,
            Err(
                DecodeError::Decoder(_)
                | DecodeError::Frame(_)
                | DecodeError::Mismatch(_)
                | DecodeError::Truncated,
            ) if self.fail_on == FailOn::None && self.has_frame => {}
            Err(error) => return Err(Error(format!("frame {number}: {error}"))),
        }
        Ok(())
    }
}

/// The frames of the result.
#[derive(Default)]
struct Results {
    samples: Vec<u8>,
    bands: u32,
    profile: Option<Vec<u8>>,
}

impl Results {
    fn add(&mut self, image: &Image) -> Result<(), Error> {
        self.samples.extend_from_slice(image.samples()?);
        self.bands = image.bands();
        self.profile = image.profile();
        Ok(())
    }

    fn join<'b>(
        self,
        vips: Vips,
        (width, height): (u32, u32),
        count: u32,
    ) -> Result<Image<'b>, Error> {
        let height = height.saturating_mul(count);
        let bands = self.bands as usize;
        let image = vips.image_from_copied_samples(&self.samples, width, height, bands)?;
        match &self.profile {
            Some(profile) => image.with_profile(profile),
            None => Ok(image),
        }
    }
}
