//! `trim`: removes a border of one colour, or a transparent one.

use super::frames::{self, Frames};
use super::job::RenderJob;
use super::step::{Stage, Step};
use super::trim_search::{Area, Search};
use super::{keep, pad, resize};
use crate::options::{Colour, Opposite, Trim};
use crate::render::vips::{Error, Image, Vips};

pub const STEP: Step =
    Step { name: "trim", applies: |job| job.options.trim.is_some(), stage: Stage::Load };

/// Lines that are compared with the border at once.
const STRIP: u32 = 64;

/// An upright image without its border, in memory, before the resize.
pub struct Trimmed<'b> {
    /// One for a still image.
    frames: Vec<Image<'b>>,
    selected: Frames,
    keeping: Keeping,
}

/// Whether the colours are those of the original's profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Nothing,
    /// Unless the profile is one of grayscale.
    Colours,
    All,
}

impl Keeping {
    fn of(job: &RenderJob) -> Keeping {
        match keep::keeps_colours(job.options, job.format) {
            false => Keeping::Nothing,
            true if job.format.keeps_grayscale() => Keeping::All,
            true => Keeping::Colours,
        }
    }
}

impl Area {
    /// The area that is kept of a frame of this size, if the border is removed at these sides only.
    fn at_sides(self, trim: &Trim, (width, height): (u32, u32)) -> Area {
        let (left, right) = kept(trim.sides.horizontal(), (self.left, self.right), width);
        let (top, bottom) = kept(trim.sides.vertical(), (self.top, self.bottom), height);
        Area { left, top, right, bottom }
    }
}

/// The range that is kept in one direction.
fn kept(sides: Opposite, (start, end): (u32, u32), length: u32) -> (u32, u32) {
    let (before, after) = (start, length.saturating_sub(end));
    let (before, after) =
        if sides.equally { (before.min(after), before.min(after)) } else { (before, after) };
    let start = if sides.first { before } else { 0 };
    let end = if sides.last { length.saturating_sub(after) } else { length };
    (start, end)
}

impl<'b> Trimmed<'b> {
    /// Removes the rows and columns at the edges that differ from the upper left pixel, or a colour, by no more than the
    /// tolerance, in any channel. All frames of an animation keep the area that one of them needs. An image of one colour
    /// stays as it is.
    pub fn new(image: Image<'b>, job: &RenderJob, trim: &Trim) -> Result<Trimmed<'b>, Error> {
        let trimmed = |frames| Trimmed { frames, selected: job.frames, keeping: Keeping::of(job) };
        let frames = frames::split(image, job.frames.count)?;
        let mut kept: Option<Area> = None;
        let mut size = (0, 0);
        if let Some(first) = frames.first() {
            size = (first.width(), first.height());
            let colour = trim.colour.map(|colour| keep::in_space(first, colour, job.options));
            let Some(border) = border(first, colour, trim.tolerance)? else {
                return Ok(trimmed(frames));
            };
            for frame in &frames {
                let found = find(frame, colour, &border, trim.tolerance)?;
                kept = kept.into_iter().chain(found).reduce(Area::union);
            }
        }
        let Some(kept) = kept else { return Ok(trimmed(frames)) };
        let Area { left, top, right, bottom } = kept.at_sides(trim, size);
        let crop = |frame: &Image<'b>| frame.crop(left, top, right - left, bottom - top);
        Ok(trimmed(frames.iter().map(crop).collect::<Result<_, _>>()?))
    }

    /// Whether this is also what another job of the same original needs.
    pub fn serves(&self, job: &RenderJob) -> bool {
        self.selected == job.frames && self.keeping == Keeping::of(job)
    }

    /// Width and height of a frame.
    pub fn size(&self) -> (u32, u32) {
        self.frames.first().map_or((0, 0), |frame| (frame.width(), frame.height()))
    }

    /// Resizes to exactly this size.
    pub fn resize(&self, width: u32, height: u32) -> Result<Image<'b>, Error> {
        let resize = |frame: &Image<'b>| resize::resize(frame.apply(c"copy", &[])?, width, height);
        match &self.frames[..] {
            [still] => resize(still),
            frames if self.size() == (width, height) => Image::join_frames(frames),
            // A frame is finished before the next one begins, as in `steps`.
            frames => {
                let resize = |frame| resize(frame)?.copy_memory();
                Image::join_frames(&frames.iter().map(resize).collect::<Result<Vec<_>, _>>()?)
            }
        }
    }
}

/// A pixel of the border, premultiplied. `None`: no pixel can have its colour.
fn border<'b>(
    first: &Image<'b>,
    colour: Option<Colour>,
    tolerance: u8,
) -> Result<Option<Image<'b>>, Error> {
    let first = comparable(first, colour)?;
    let Some(colour) = colour else { return first.crop(0, 0, 1, 1)?.copy_memory().map(Some) };
    if !first.has_transparency() && u8::MAX - colour.alpha() > tolerance {
        return Ok(None);
    }
    let alpha = if first.has_transparency() { f64::from(colour.alpha()) / 255.0 } else { 1.0 };
    let mut samples: Vec<u8> =
        colour.rgb().iter().map(|value| (f64::from(*value) * alpha) as u8).collect();
    // A grayscale image has a gray border.
    samples.truncate(if first.bands() < 3 { 1 } else { 3 });
    if first.has_transparency() {
        samples.push(colour.alpha());
    }
    Vips::start()?.table(&samples, 1, samples.len()).map(Some)
}

/// The pixels of a frame with the channels of the border's colour, premultiplied: transparent ones are equal, of any
/// colour.
fn comparable<'b>(frame: &Image<'b>, colour: Option<Colour>) -> Result<Image<'b>, Error> {
    let frame = frame.apply(c"copy", &[])?;
    let frame = match colour {
        Some(colour) => pad::match_colour(frame, colour)?,
        None => frame,
    };
    if frame.has_transparency() { resize::premultiply(&frame) } else { Ok(frame) }
}

/// The area outside of which everything is border; `None` if everything is. The frame is in memory.
fn find(
    frame: &Image,
    colour: Option<Colour>,
    border: &Image,
    tolerance: u8,
) -> Result<Option<Area>, Error> {
    let border = border.samples()?;
    let (width, height) = (frame.width(), frame.height());
    let mut search = Search::new(border, tolerance);
    // What is compared is a copy, so it is made of some lines at a time.
    for top in (0..height).step_by(STRIP as usize) {
        let strip = frame.crop(0, top, width, STRIP.min(height - top))?;
        search.lines(comparable(&strip, colour)?.samples()?, width, top);
    }
    Ok(search.found())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::vips::Work;

    #[test]
    fn a_stopped_render_searches_no_border() {
        let vips = Vips::start().unwrap();
        let samples = [[255_u8; 12], [0; 12]].concat();
        for bands in [3, 4] {
            let frame = vips.image_from_samples(&samples[..bands * 6], 3, 2, bands).unwrap();
            let border = vips.table(&[255; 4][..bands], 1, bands).unwrap();
            assert!(find(&frame, None, &border, 0).unwrap().is_some());
            let work = Work::begin();
            work.stop_handle().stop();
            assert!(find(&frame, None, &border, 0).is_err(), "{bands}");
        }
    }
}
