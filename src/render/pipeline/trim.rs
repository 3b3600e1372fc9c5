//! `trim`: removes a border of one colour, or a transparent one.

use std::ffi::c_int;

use super::frames::{self, Frames};
use super::job::RenderJob;
use super::step::{Stage, Step};
use super::{keep, pad, resize};
use crate::options::{Colour, Opposite, Trim};
use crate::render::vips::{Error, Image, Value, Vips, call, pixels};

pub const STEP: Step =
    Step { name: "trim", applies: |job| job.options.trim.is_some(), stage: Stage::Load };

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

/// The area that is kept. Right and bottom are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

impl Window {
    fn union(self, other: Window) -> Window {
        Window {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// The area that is kept of a frame of this size, if the border is removed at these sides only.
    fn at_sides(self, trim: &Trim, (width, height): (u32, u32)) -> Window {
        let (left, right) = kept(trim.sides.horizontal(), (self.left, self.right), width);
        let (top, bottom) = kept(trim.sides.vertical(), (self.top, self.bottom), height);
        Window { left, top, right, bottom }
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
        let mut kept: Option<Window> = None;
        let mut size = (0, 0);
        if let Some(first) = frames.first() {
            size = (first.width(), first.height());
            let colour = trim.colour.map(|colour| keep::in_space(first, colour, job.options));
            let Some(border) = border(first, colour, trim.tolerance)? else {
                return Ok(trimmed(frames));
            };
            for frame in &frames {
                let frame = comparable(frame, colour)?;
                let found = find(&frame, &border, trim.tolerance)?;
                kept = kept.into_iter().chain(found).reduce(Window::union);
            }
        }
        let Some(kept) = kept else { return Ok(trimmed(frames)) };
        let Window { left, top, right, bottom } = kept.at_sides(trim, size);
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

/// The area outside of which everything is border; `None` if everything is.
fn find(frame: &Image, border: &Image, tolerance: u8) -> Result<Option<Window>, Error> {
    let all_border = border.apply(
        c"replicate",
        &[(c"across", pixels(frame.width())), (c"down", pixels(frame.height()))],
    )?;
    let difference = call(
        c"subtract",
        &[(c"left", Value::Image(frame)), (c"right", Value::Image(&all_border))],
    )?
    .image(c"out")?
    .apply(c"abs", &[])?;
    // 4 is `VIPS_OPERATION_RELATIONAL_MORE`, 1 is `VIPS_OPERATION_BOOLEAN_OR`.
    let limit = [f64::from(tolerance)];
    let differs = difference
        .apply(
            c"relational_const",
            &[(c"relational", Value::Int(4)), (c"c", Value::Doubles(&limit))],
        )?
        .apply(c"bandbool", &[(c"boolean", Value::Int(1))])?;
    // `line-art` disables the median filter, which would remove a thin line as noise.
    let found = call(
        c"find_trim",
        &[
            (c"in", Value::Image(&differs)),
            (c"background", Value::Doubles(&[0.0])),
            (c"threshold", Value::Double(127.0)),
            (c"line-art", Value::Bool(true)),
        ],
    )?;
    let number = |name| found.int(name).map(|number: c_int| u32::try_from(number).unwrap_or(0));
    let left = number(c"left")?;
    let top = number(c"top")?;
    let width = number(c"width")?;
    let height = number(c"height")?;
    let window =
        Window { left, top, right: left.saturating_add(width), bottom: top.saturating_add(height) };
    Ok((width > 0 && height > 0).then_some(window))
}
