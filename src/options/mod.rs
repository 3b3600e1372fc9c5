//! The options of a request: its query parameters, checked, resolved with the handler's defaults, and written as the
//! canonical query, which the edge sends to the renderer and which is part of the cache key.

mod as_it_is;
mod bad_query;
mod colours;
mod control;
mod described;
mod description;
mod download;
mod fit;
mod format_choice;
mod gravity;
mod output;
mod parameter;
mod parameter_table;
mod parameters;
mod quality;
mod query;
mod raw;
mod rectangle;
mod resolve;
mod rotation;
mod round;
mod trim;
mod values;
mod watermark;

use crate::format::Format;

pub use bad_query::BadQuery;
pub use colours::{Duotone, Hundredths, Tint};
pub use control::Control;
pub use description::Description;
pub use download::Download;
pub use gravity::{Gravity, scale_by_ten_thousandths};
pub use output::{Needs, Output};
pub use parameter::Parameter;
#[cfg(test)]
pub use parameters::markdown;
pub use parameters::{Options, PARAMETERS};
pub use quality::Quality;
pub use query::Query;
pub use raw::Raw;
pub use rectangle::{Rectangle, Window};
pub use resolve::Defaults;
pub use rotation::{Flip, Rotation};
pub use round::Radius;
pub use trim::{Opposite, Trim};
pub use values::{Colour, Sigma};
pub use watermark::{
    HandlerWatermarks, Length, MAX_WATERMARKS, NO_WATERMARKS, Placement, Position, Watermark,
    is_watermark_name,
};

/// The default of `max_dimension`: the width of 4K UHD, and the largest that Next.js asks for by default.
pub const DEFAULT_MAX_DIMENSION: u32 = 3840;

/// The box that the image is resized to, in pixels of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The original's size.
    Original,
    /// This width; the height keeps the aspect ratio.
    Width(u32),
    /// This height; the width keeps the aspect ratio.
    Height(u32),
    /// The whole image, inside the box.
    Fit(u32, u32),
    /// The whole image, inside the box at this position, and the rest of the box filled with the background.
    Pad(u32, u32, Gravity),
    /// The box filled, the rest of the image cropped.
    Fill(u32, u32, Gravity),
    /// Exactly the box, whatever the aspect ratio of the image.
    Stretch(u32, u32),
    /// The box covered, and nothing cropped.
    Outside(u32, u32),
    /// As [`Size::Fill`], but cropped to the shape of the box also if the image is smaller.
    Ratio(u32, u32, Gravity),
}

/// The least size of the resized image, before the crop to the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minimum {
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// The part that the crop keeps, for a size that has no gravity of its own.
    pub gravity: Gravity,
}

impl Size {
    /// Width and height, where they are given.
    pub const fn sides(self) -> (Option<u32>, Option<u32>) {
        match self {
            Size::Original => (None, None),
            Size::Width(width) => (Some(width), None),
            Size::Height(height) => (None, Some(height)),
            Size::Fit(width, height)
            | Size::Pad(width, height, _)
            | Size::Fill(width, height, _)
            | Size::Stretch(width, height)
            | Size::Outside(width, height)
            | Size::Ratio(width, height, _) => (Some(width), Some(height)),
        }
    }

    /// Largest width and height of the result, where they follow from what is given.
    pub const fn limits(self) -> (Option<u32>, Option<u32>) {
        match self {
            Size::Outside(..) => (None, None),
            _ => self.sides(),
        }
    }

    /// Where it has one.
    pub const fn gravity(self) -> Option<Gravity> {
        match self {
            Size::Pad(_, _, gravity) | Size::Fill(_, _, gravity) | Size::Ratio(_, _, gravity) => {
                Some(gravity)
            }
            _ => None,
        }
    }
}

impl Options {
    /// The formats to write for an original in this format, the best one first. A later one is for a result that is
    /// over a limit in those before.
    ///
    /// With `f=auto`, formats without animation come after those with it if the result has several frames, and then
    /// those without transparency after those with it.
    pub fn formats(&self, original: Format, needs: Needs) -> Vec<Format> {
        self.format.formats(original, self.lossless, needs)
    }

    /// Whether colours are changed, other than by `pix`, `blur` and `sharp`, which work in any colour space.
    pub fn changes_colours(&self) -> bool {
        let factors = [self.brightness, self.contrast, self.gamma];
        factors.iter().any(|factor| *factor != Hundredths::ONE)
            || self.negative != Hundredths::ZERO
            || self.mixes_channels()
    }

    /// Whether a channel of a colour depends on others.
    pub fn mixes_channels(&self) -> bool {
        self.saturation != Hundredths::ONE
            || self.hue != Hundredths::ZERO
            || self.gray != Hundredths::ZERO
            || self.tint.is_some()
            || self.duotone.is_some()
    }

    /// The format in which a drawing may be lossless, if `f=auto` leaves that to the renderer.
    pub fn lossless_format(&self, original: Format) -> Option<Format> {
        if self.lossless || !self.strip { None } else { self.format.lossless_format(original) }
    }

    /// `g`, where it has an effect.
    pub fn gravity(&self) -> Option<Gravity> {
        self.size.gravity().or(self.minimum.map(|minimum| minimum.gravity))
    }

    /// Whether pixels are added around the image, in the colour of the background: by `pad`, or by `rot`.
    pub fn adds_background(&self) -> bool {
        matches!(self.size, Size::Pad(..)) || self.rotation.oblique().is_some()
    }

    /// Whether pixels become transparent where the format has transparency.
    pub fn adds_transparency(&self) -> bool {
        self.round.is_some() || (self.adds_background() && self.background.alpha() < u8::MAX)
    }
}

#[cfg(test)]
mod tests;
