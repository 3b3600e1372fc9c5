//! What a request wants done with an image: the query parameters, checked, resolved and brought into the one
//! canonical spelling that the renderer is asked with and that the cache key is made of.

mod canonical;
mod gravity;
mod query;
mod resolve;
mod rotation;
mod values;

use crate::format::Format;

pub use gravity::Gravity;
pub use query::{BadQuery, Query};
pub use rotation::{Flip, Rotation};
pub use values::{Colour, Sigma};

/// The default of `q`.
pub const DEFAULT_QUALITY: u8 = 75;

/// What a request wants. Two requests with equal options get the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `w`, `h`, `c`, `g`, `pad` and `dpr`, resolved.
    pub size: Size,
    /// The format to write; `None` keeps the original's, as [`Options::format_of`] says.
    pub format: Option<Format>,
    /// `q`
    pub quality: u8,
    /// `e`
    pub enlarge: bool,
    /// `bg`
    pub background: Colour,
    /// `rot` and `flip`
    pub rotation: Rotation,
    /// `trim`: how much a channel of the border may differ from the upper left pixel.
    pub trim: Option<u8>,
    /// `blur`
    pub blur: Option<Sigma>,
    /// `sharp`
    pub sharp: Option<Sigma>,
    /// `lossless`
    pub lossless: bool,
    /// `page`: the frame to begin with, from 0.
    pub page: u32,
    /// `frames`: how many of them at most.
    pub frames: Option<u32>,
    /// `strip`: whether neither the colour profile nor the copyright is kept.
    pub strip: bool,
}

/// The box to bring the image into, in pixels of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As it is.
    Original,
    /// This wide; the height follows.
    Width(u32),
    /// This high; the width follows.
    Height(u32),
    /// Whole, inside the box.
    Fit(u32, u32),
    /// Whole, inside the box, and the rest of the box filled. The image stands where the gravity says.
    Pad(u32, u32, Gravity),
    /// The box filled, the rest cropped.
    Fill(u32, u32, Gravity),
}

impl Size {
    /// Width and height, as far as they are asked for.
    pub const fn sides(self) -> (Option<u32>, Option<u32>) {
        match self {
            Size::Original => (None, None),
            Size::Width(width) => (Some(width), None),
            Size::Height(height) => (None, Some(height)),
            Size::Fit(width, height)
            | Size::Pad(width, height, _)
            | Size::Fill(width, height, _) => (Some(width), Some(height)),
        }
    }
}

impl Options {
    /// The format to write for an original in this one. Where its own can't be what is asked for, it is PNG.
    pub fn format_of(&self, original: Format) -> Format {
        match self.format {
            Some(format) => format,
            None => original.output(self.lossless),
        }
    }

    /// The same size and format, and nothing else of it: an error image is a message, and not the image.
    pub fn of_error_image(&self) -> Options {
        let (rotation, trim, blur, sharp) = (Rotation::default(), None, None, None);
        let rest = self.clone();
        Options {
            rotation,
            trim,
            blur,
            sharp,
            lossless: false,
            page: 0,
            frames: None,
            strip: true,
            ..rest
        }
        .normal()
    }
}

#[cfg(test)]
mod tests;
