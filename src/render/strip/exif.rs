//! As much of EXIF as decides how an image stands.

use crate::render::codec::exif::stored_orientation;

/// Whether this EXIF block, which starts with its TIFF header, leaves the image as it is stored. One that can't be
/// read does not: a decoder may be more lenient.
pub fn is_upright(tiff: &[u8]) -> bool {
    stored_orientation(tiff) == Some(1)
}
