//! Decodes an original, shrunk as far as its decoder can, and resizes it.

use std::ffi::CStr;

use crate::config::FailOn;
use crate::render::vips::{Colours, Error, Image, SIZE_FORCE, Value, Vips, pixels};

/// How to load and resize in one go.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Width of the upright result.
    pub width: u32,
    /// Height of the upright result; of one frame, when there are several.
    pub height: u32,
    /// Load every frame, below each other, and not only the first.
    pub all_frames: bool,
    /// How broken the bytes may be.
    pub fail_on: FailOn,
    /// Convert from the embedded profile to sRGB.
    pub colours: Colours,
}

/// An encoded picture, shrunk as far as its decoder can, upright, in sRGB or gray, and resized to exactly this size
/// when its pixels are asked for.
pub fn resized<'b>(vips: Vips, bytes: &'b [u8], wanted: &Wanted) -> Result<Image<'b>, Error> {
    let mut arguments = vec![
        (c"width", pixels(wanted.width)),
        (c"height", pixels(wanted.height)),
        (c"size", SIZE_FORCE),
        (c"option-string", Value::Text(load_options(wanted))),
        // A stack of frames can't be turned as one picture.
        (c"no-rotate", Value::Bool(wanted.all_frames)),
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
    vips.loaded(bytes, c"thumbnail_buffer", &arguments)
}

/// The loader's options as libvips writes them behind a file name. `vips_thumbnail_buffer` of 8.16 has a
/// `fail_on` of its own and does not hand it to the loader, so it goes this way.
fn load_options(wanted: &Wanted) -> &'static CStr {
    match (wanted.all_frames, wanted.fail_on) {
        (false, FailOn::None) => c"[fail_on=none]",
        (false, FailOn::Truncated) => c"[fail_on=truncated]",
        (false, FailOn::Error) => c"[fail_on=error]",
        (false, FailOn::Warning) => c"[fail_on=warning]",
        (true, FailOn::None) => c"[n=-1,fail_on=none]",
        (true, FailOn::Truncated) => c"[n=-1,fail_on=truncated]",
        (true, FailOn::Error) => c"[n=-1,fail_on=error]",
        (true, FailOn::Warning) => c"[n=-1,fail_on=warning]",
    }
}
