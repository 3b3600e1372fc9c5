//! Decodes an original, shrunk as far as its decoder can, and resizes it.

use std::ffi::CString;

use super::frames::Frames;
use crate::config::FailOn;
use crate::render::vips::{Colours, Error, Image, SIZE_FORCE, Value, Vips, pixels};

/// How to load and resize in one go.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Width of the upright result.
    pub width: u32,
    /// Height of the upright result; of one frame, when there are several.
    pub height: u32,
    /// The frames to load, below each other when there are several.
    pub frames: Frames,
    /// How broken the bytes may be.
    pub fail_on: FailOn,
    /// Convert from the embedded profile to sRGB.
    pub colours: Colours,
}

/// An encoded picture, shrunk as far as its decoder can, upright, in sRGB or gray, and resized to exactly this size
/// when its pixels are asked for.
pub fn resized<'b>(vips: Vips, bytes: &'b [u8], wanted: &Wanted) -> Result<Image<'b>, Error> {
    let options = load_options(wanted)?;
    let mut arguments = vec![
        (c"width", pixels(wanted.width)),
        (c"height", pixels(wanted.height)),
        (c"size", SIZE_FORCE),
        (c"option-string", Value::Text(&options)),
        // A stack of frames can't be turned as one picture.
        (c"no-rotate", Value::Bool(wanted.frames.are_several())),
    ];
    let import = match wanted.colours {
        Colours::Untagged => None,
        Colours::Profile => Some(c"srgb"),
        Colours::CmykProfile => Some(c"cmyk"),
    };
    if let Some(import) = import {
        arguments.push((c"import-profile", Value::Text(import)));
        arguments.push((c"export-profile", Value::Text(c"srgb")));
    }
    let image = vips.loaded(bytes, c"thumbnail_buffer", &arguments)?;
    // The loaders give the times of all frames of the file, and savers take them from the first one on.
    if wanted.frames.first > 0 { image.without_delays(wanted.frames.first) } else { Ok(image) }
}

/// The loader's options as libvips writes them behind a file name. `vips_thumbnail_buffer` of 8.16 has a
/// `fail_on` of its own and does not hand it to the loader, so it goes this way.
fn load_options(wanted: &Wanted) -> Result<CString, Error> {
    let Frames { first, count } = wanted.frames;
    let fail_on = match wanted.fail_on {
        FailOn::None => "none",
        FailOn::Truncated => "truncated",
        FailOn::Error => "error",
        FailOn::Warning => "warning",
    };
    // Loaders of still formats don't know these two.
    let pages = if (first, count) == (0, 1) { String::new() } else { format!("page={first},n={count},") };
    CString::new(format!("[{pages}fail_on={fail_on}]")).map_err(|error| Error(error.to_string()))
}
