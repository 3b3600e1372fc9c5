//! `strip=false`: the colour profile and the copyright survive, and nothing else.
//!
//! libvips' own way of writing EXIF adds resolution, dimensions and an orientation, so the block is made here and put into
//! the encoded image.

use crate::format::Format;
use crate::options::{Colour, Options};
use crate::render::codec;
use crate::render::vips::Image;

pub use codec::exif::Copyright;

/// Whether something of the original's metadata is kept in this format.
pub fn is_wanted(options: &Options, format: Format) -> bool {
    !options.strip && format.keeps_metadata()
}

/// `bg`, as bright and without its colour where a gray image stays gray because its profile is about gray.
pub fn background(image: &Image, options: &Options) -> Colour {
    let [red, green, blue, alpha] = options.background.0;
    if options.strip || image.bands() > 2 || !image.has_profile() {
        return options.background;
    }
    // Rec. 709, as libvips' own gray.
    let [red, green, blue] = [red, green, blue].map(f64::from);
    let gray = (0.2126 * red + 0.7152 * green + 0.0722 * blue).round() as u8;
    Colour([gray, gray, gray, alpha])
}

/// The encoded image with these fields in it; without them where it can't be changed.
pub fn with_copyright(image: Vec<u8>, format: Format, copyright: &Copyright) -> Vec<u8> {
    codec::insert_exif(&image, format, &copyright.to_exif()).unwrap_or(image)
}
