//! `strip=false`: keeps the colour profile, the copyright and the kind of source, and nothing else.
//!
//! libvips would add resolution, dimensions and an orientation to the EXIF block, so the block is built here and
//! inserted into the encoded image. So is the XMP packet, of which no byte is the original's.

use super::colour;
use super::header::Header;
use crate::format::Format;
use crate::options::{Colour, Options};
use crate::render::codec::{self, xmp::SourceType};
use crate::render::vips::{Error, Image};

pub use codec::exif::Copyright;

/// Whether metadata of the original is kept in this format.
pub fn is_enabled(options: &Options, format: Format) -> bool {
    !options.strip && format.keeps_metadata()
}

/// Whether the colours of the original and its profile are kept in this format. Colour effects are defined in sRGB.
pub fn keeps_colours(options: &Options, format: Format) -> bool {
    is_enabled(options, format) && !options.changes_colours()
}

/// `bg` in the space of the profile that an image keeps.
pub fn background(image: &Image, options: &Options) -> Colour {
    in_space(image, options.background, options)
}

/// A colour in the space of the profile that an image keeps. A profile that only leads out of its space leaves it as it
/// is, or as a gray of its luminance.
pub fn in_space(image: &Image, colour: Colour, options: &Options) -> Colour {
    let Some(profile) = image.profile().filter(|_| !options.strip) else {
        return colour;
    };
    let [red, green, blue, alpha] = colour.0;
    let [red, green, blue] = match colour::in_profile([red, green, blue], &profile).as_deref() {
        Ok([gray]) => [*gray; 3],
        Ok([red, green, blue]) => [*red, *green, *blue],
        _ if image.bands() < 3 => [luminance([red, green, blue]); 3],
        _ => [red, green, blue],
    };
    Colour([red, green, blue, alpha])
}

/// Rec. 709, as in libvips.
pub fn luminance(colour: [u8; 3]) -> u8 {
    let [red, green, blue] = colour.map(f64::from);
    (0.2126 * red + 0.7152 * green + 0.0722 * blue).round() as u8
}

/// Inserts an EXIF block into an encoded image, which stays as it is if that is not possible.
pub fn insert_copyright(image: Vec<u8>, format: Format, copyright: &Copyright) -> Vec<u8> {
    codec::insert_exif(&image, format, &copyright.to_exif()).unwrap_or(image)
}

/// The XMP packet of a result in this format: it says what kind of image the original says that it is.
pub fn xmp(
    original: &[u8],
    original_format: Format,
    header: &Header,
    options: &Options,
    format: Format,
) -> Option<String> {
    if !is_enabled(options, format) {
        return None;
    }
    let packet = match &header.avif {
        Some(decoded) => decoded.avif.xmp.as_deref(),
        None => codec::find_xmp(original, original_format),
    };
    SourceType::parse(packet?).map(|source_type| source_type.to_packet())
}

/// Inserts an XMP packet, as [`insert_copyright`] does. An AVIF has it already.
pub fn insert_xmp(image: Vec<u8>, format: Format, packet: &str) -> Vec<u8> {
    codec::insert_xmp(&image, format, packet.as_bytes()).unwrap_or(image)
}

/// Converts the colours after the resize to those of the result.
pub fn finish_colours<'b>(
    image: Image<'b>,
    options: &Options,
    format: Format,
) -> Result<Image<'b>, Error> {
    if keeps_colours(options, format) {
        colour::keep_profile(image, format)
    } else {
        colour::convert_to_srgb(image)
    }
}
