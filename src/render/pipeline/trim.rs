//! `trim`: removes a border of one colour, or a transparent one.

use std::ffi::c_int;

use super::frames::{self, Frames};
use super::job::RenderJob;
use super::step::{Stage, Step};
use super::{keep, resize};
use crate::render::vips::{Error, Image, Value, call, pixels};

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
}

impl<'b> Trimmed<'b> {
    /// Removes the rows and columns at the edges that differ from the upper left pixel by no more than the tolerance,
    /// in any channel. All frames of an animation keep the area that one of them needs. An image of one colour stays
    /// as it is.
    pub fn new(image: Image<'b>, job: &RenderJob, tolerance: u8) -> Result<Trimmed<'b>, Error> {
        let trimmed = |frames| Trimmed { frames, selected: job.frames, keeping: Keeping::of(job) };
        let frames = frames::split(image, job.frames.count)?;
        let mut kept: Option<Window> = None;
        if let Some(first) = frames.first() {
            let border = premultiply(first)?.crop(0, 0, 1, 1)?.copy_memory()?;
            for frame in &frames {
                let found = find(&premultiply(frame)?, &border, tolerance)?;
                kept = kept.into_iter().chain(found).reduce(Window::union);
            }
        }
        let Some(Window { left, top, right, bottom }) = kept else { return Ok(trimmed(frames)) };
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

/// Makes transparent pixels equal, of any colour.
fn premultiply<'b>(frame: &Image<'b>) -> Result<Image<'b>, Error> {
    if frame.has_transparency() { resize::premultiply(frame) } else { frame.apply(c"copy", &[]) }
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
