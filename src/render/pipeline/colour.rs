//! From the colours of an original to sRGB, and to gray where it is gray.

use std::ffi::CStr;

use crate::render::vips::{Error, Image, Space, Value};

/// Libvips' own profiles of what is written: sRGB, and gray with sRGB's curve.
const SRGB: &CStr = c"srgb";
const GRAY: &CStr = c"sgrey";

/// Before the resize. What goes through a profile does so afterwards, when there is less of it; the rest is brought
/// to bytes of sRGB or gray, which is all that a resize of 16 bits would be good for.
pub fn prepared(image: Image<'_>) -> Result<Image<'_>, Error> {
    match image.space() {
        Space::Other if !image.has_profile() => image.in_srgb_or_gray(),
        _ => Ok(image),
    }
}

/// After the resize: what has a profile, or is made of inks, goes through it, with the relative colorimetric intent.
/// A profile that can't be used is as good as none, as in browsers.
pub fn finished(image: Image<'_>) -> Result<Image<'_>, Error> {
    if !image.has_profile() && image.space() != Space::Cmyk {
        return Ok(image);
    }
    let output = if image.bands() < 3 { GRAY } else { SRGB };
    // Without a profile, or with one for another kind of image, libvips takes its own for CMYK, RGB or gray.
    let arguments = [
        (c"output-profile", Value::Text(output)),
        (c"embedded", Value::Bool(true)),
        (c"depth", Value::Int(8)),
    ];
    image.made(c"icc_transform", &arguments).or_else(|_| image.in_srgb_or_gray())
}

/// After the resize, where the profile is going to be kept: what it is about stays as it is, in bytes. Inks are converted
/// all the same.
pub fn kept(image: Image<'_>) -> Result<Image<'_>, Error> {
    match image.space() {
        Space::Cmyk => finished(image),
        Space::Other => image.in_srgb_or_gray(),
        Space::Srgb | Space::Gray => Ok(image),
    }
}
