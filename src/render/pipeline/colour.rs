//! Converts the colours of an original to sRGB, or to grayscale if it is grayscale.

use std::ffi::CStr;

use crate::render::vips::{Error, Image, Space, Value};

/// Built-in profiles of libvips: sRGB, and grayscale with sRGB's curve.
const SRGB: &CStr = c"srgb";
const GRAY: &CStr = c"sgrey";

/// Prepares the colours for the resize. A profile is applied after it, to fewer pixels. Without one, the image is
/// converted to 8 bits: since the output has 8 bits, resizing at 16 would gain nothing.
pub fn prepare(image: Image<'_>) -> Result<Image<'_>, Error> {
    match image.space() {
        Space::Other if !image.has_profile() => image.to_srgb_or_gray(),
        _ => Ok(image),
    }
}

/// Converts to sRGB or grayscale after the resize, by the embedded profile, or libvips' profile of CMYK, with relative
/// colorimetric intent. As in browsers, a profile that can't be used is ignored.
pub fn convert_to_srgb(image: Image<'_>) -> Result<Image<'_>, Error> {
    if !image.has_profile() && image.space() != Space::Cmyk {
        return Ok(image);
    }
    let output = if image.bands() < 3 { GRAY } else { SRGB };
    // Without a profile, or with one of another colour space, libvips uses a built-in one for CMYK, RGB or grayscale.
    let arguments = [
        (c"output-profile", Value::Text(output)),
        (c"embedded", Value::Bool(true)),
        (c"depth", Value::Int(8)),
    ];
    image.apply(c"icc_transform", &arguments).or_else(|_| image.to_srgb_or_gray())
}

/// Prepares the colours for a result that keeps the profile: colours stay in its space, with 8 bits. CMYK is
/// converted all the same.
pub fn keep_profile(image: Image<'_>) -> Result<Image<'_>, Error> {
    match image.space() {
        Space::Cmyk => convert_to_srgb(image),
        Space::Other => image.to_srgb_or_gray(),
        Space::Srgb | Space::Gray => Ok(image),
    }
}
