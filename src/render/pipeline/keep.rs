//! `strip=false`: keeps the colour profile and the copyright, and nothing else.
//!
//! libvips would add resolution, dimensions and an orientation to the EXIF block, so the block is built here and
//! inserted into the encoded image.

use crate::format::Format;
use crate::options::{Colour, Options};
use crate::render::codec;
use crate::render::vips::Image;

pub use codec::exif::Copyright;

/// Whether metadata of the original is kept in this format.
pub fn is_enabled(options: &Options, format: Format) -> bool {
    !options.strip && format.keeps_metadata()
}

/// `bg`, or a gray of its luminance if the image keeps a grayscale profile.
pub fn background(image: &Image, options: &Options) -> Colour {
    let [red, green, blue, alpha] = options.background.0;
    if options.strip || image.bands() > 2 || !image.has_profile() {
        return options.background;
    }
    // Rec. 709, as in libvips.
    let [red, green, blue] = [red, green, blue].map(f64::from);
    let gray = (0.2126 * red + 0.7152 * green + 0.0722 * blue).round() as u8;
    Colour([gray, gray, gray, alpha])
}

/// Inserts an EXIF block into an encoded image, which stays as it is if that is not possible.
pub fn insert_copyright(image: Vec<u8>, format: Format, copyright: &Copyright) -> Vec<u8> {
    codec::insert_exif(&image, format, &copyright.to_exif()).unwrap_or(image)
}
