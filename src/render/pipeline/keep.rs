//! `strip=false`: keeps the colour profile and the copyright, and nothing else.
//!
//! libvips would add resolution, dimensions and an orientation to the EXIF block, so the block is built here and
//! inserted into the encoded image.

use super::colour;
use crate::format::Format;
use crate::options::{Colour, Options};
use crate::render::codec;
use crate::render::vips::Image;

pub use codec::exif::Copyright;

/// Whether metadata of the original is kept in this format.
pub fn is_enabled(options: &Options, format: Format) -> bool {
    !options.strip && format.keeps_metadata()
}

/// `bg` in the space of the profile that an image keeps. A profile that only leads out of its space leaves it as it is,
/// or as a gray of its luminance.
pub fn background(image: &Image, options: &Options) -> Colour {
    let Some(profile) = image.profile().filter(|_| !options.strip) else {
        return options.background;
    };
    let [red, green, blue, alpha] = options.background.0;
    let [red, green, blue] = match colour::in_profile([red, green, blue], &profile).as_deref() {
        Ok([gray]) => [*gray; 3],
        Ok([red, green, blue]) => [*red, *green, *blue],
        _ if image.bands() < 3 => [luminance([red, green, blue]); 3],
        _ => [red, green, blue],
    };
    Colour([red, green, blue, alpha])
}

/// Rec. 709, as in libvips.
fn luminance(colour: [u8; 3]) -> u8 {
    let [red, green, blue] = colour.map(f64::from);
    (0.2126 * red + 0.7152 * green + 0.0722 * blue).round() as u8
}

/// Inserts an EXIF block into an encoded image, which stays as it is if that is not possible.
pub fn insert_copyright(image: Vec<u8>, format: Format, copyright: &Copyright) -> Vec<u8> {
    codec::insert_exif(&image, format, &copyright.to_exif()).unwrap_or(image)
}
