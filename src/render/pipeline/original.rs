//! The original in place of a result that is larger.

use crate::format::Format;
use crate::options::{Options, Rotation};
use crate::render::strip;

/// The smaller of a result and the original without its metadata, if both show the same pixels; the two are of one
/// format and size. An original that can't be stripped without decoding it stays out.
///
/// The result has been made by then, so an original that is broken has failed.
pub fn or_smaller(encoded: Vec<u8>, format: Format, original: &[u8], options: &Options) -> Vec<u8> {
    if !keeps_pixels(options) {
        return encoded;
    }
    let most = encoded.len().saturating_sub(1);
    strip::stripped(format, original, most).unwrap_or(encoded)
}

/// Whether nothing is asked for that makes other pixels of an image that stays as large.
fn keeps_pixels(options: &Options) -> bool {
    let Options { rotation, trim, blur, sharp, strip, .. } = options;
    *rotation == Rotation::default()
        && trim.is_none()
        && blur.is_none()
        && sharp.is_none()
        && *strip
}
