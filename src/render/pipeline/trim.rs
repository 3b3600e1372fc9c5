//! `trim`: a border of one colour, or of nothing, is cut off.

use std::ffi::c_int;

use super::frames::{self, Frames};
use super::resize;
use crate::render::vips::{Error, Image, Value, call, pixels};

/// An upright image without its border, in memory, in its full size.
pub struct Trimmed<'b> {
    /// One for a still image.
    frames: Vec<Image<'b>>,
}

/// Left, top, right and bottom of what is kept; the last two lie behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

impl Window {
    fn around(self, other: Window) -> Window {
        Window {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

impl<'b> Trimmed<'b> {
    /// Cuts off what differs from the upper left pixel by no more than the tolerance, in any channel. An animation is
    /// cut where nothing of any frame is lost, and an image of nothing but border stays as it is.
    pub fn new(whole: Image<'b>, frames: Frames, tolerance: u8) -> Result<Trimmed<'b>, Error> {
        // The border is looked for first and the image cut then.
        let frames = frames::split(whole, frames.count)?;
        let mut kept: Option<Window> = None;
        if let Some(first) = frames.first() {
            let border = visible(first)?.window(0, 0, 1, 1)?.in_memory()?;
            for frame in &frames {
                let found = find(&visible(frame)?, &border, tolerance)?;
                kept = kept.into_iter().chain(found).reduce(Window::around);
            }
        }
        let Some(Window { left, top, right, bottom }) = kept else { return Ok(Trimmed { frames }) };
        let cut = |frame: &Image<'b>| frame.window(left, top, right - left, bottom - top);
        Ok(Trimmed { frames: frames.iter().map(cut).collect::<Result<_, _>>()? })
    }

    /// Width and height of a frame.
    pub fn size(&self) -> (u32, u32) {
        self.frames.first().map_or((0, 0), |frame| (frame.width(), frame.height()))
    }

    /// Resized to exactly this.
    pub fn resized(&self, width: u32, height: u32) -> Result<Image<'b>, Error> {
        let resized = |frame: &Image<'b>| resize::exactly(frame.made(c"copy", &[])?, width, height);
        match &self.frames[..] {
            [still] => resized(still),
            frames if self.size() == (width, height) => Image::animation(frames),
            // One after the other, as those that are not trimmed.
            frames => {
                let finished = |frame| resized(frame)?.in_memory();
                Image::animation(&frames.iter().map(finished).collect::<Result<Vec<_>, _>>()?)
            }
        }
    }
}

/// The colours as they are seen: what is transparent looks alike, whatever colour it hides.
fn visible<'b>(frame: &Image<'b>) -> Result<Image<'b>, Error> {
    if !frame.has_transparency() {
        return frame.made(c"copy", &[]);
    }
    frame.made(c"premultiply", &[])?.stored_as(frame)
}

/// The window outside of which everything is like the border; `None` if everything is.
fn find(frame: &Image, border: &Image, tolerance: u8) -> Result<Option<Window>, Error> {
    let all_border = border.made(
        c"replicate",
        &[(c"across", pixels(frame.width())), (c"down", pixels(frame.height()))],
    )?;
    let difference = call(
        c"subtract",
        &[(c"left", Value::Image(frame)), (c"right", Value::Image(&all_border))],
    )?
    .image(c"out")?
    .made(c"abs", &[])?;
    // 4 is `VIPS_OPERATION_RELATIONAL_MORE`, 1 is `VIPS_OPERATION_BOOLEAN_OR`.
    let limit = [f64::from(tolerance)];
    let differs = difference
        .made(
            c"relational_const",
            &[(c"relational", Value::Int(4)), (c"c", Value::Doubles(&limit))],
        )?
        .made(c"bandbool", &[(c"boolean", Value::Int(1))])?;
    // `line-art` is without the median filter, which would take a thin line for noise.
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
    let (left, top) = (number(c"left")?, number(c"top")?);
    let (width, height) = (number(c"width")?, number(c"height")?);
    let window =
        Window { left, top, right: left.saturating_add(width), bottom: top.saturating_add(height) };
    Ok((width > 0 && height > 0).then_some(window))
}
