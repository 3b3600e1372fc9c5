//! `strip=false`: the colour profile and the copyright survive, and nothing else.
//!
//! libvips' own way of writing EXIF adds resolution, dimensions and an orientation, so the block is made here and put into
//! the encoded picture.

mod container;
mod exif;

use crate::format::Format;
use crate::options::Options;
use crate::render::vips::{Colours, Image};

pub use exif::Copyright;

/// What the colours have to go through: a kept profile says what they are, and CMYK is converted all the same.
pub fn colours(header: &Image, strip: bool) -> Colours {
    match header.colours() {
        Colours::Profile if !strip => Colours::Untagged,
        colours => colours,
    }
}

/// Whether something of the original's metadata is kept in this format.
pub fn is_wanted(options: &Options, format: Format) -> bool {
    !options.strip && format.keeps_metadata()
}

/// The copyright fields of an original, as far as its format has such.
pub fn copyright(header: &Image) -> Option<Copyright> {
    header.blob(c"exif-data").and_then(|exif| Copyright::read(&exif))
}

/// The encoded picture with these fields in it; without them where it can't be changed.
pub fn with_copyright(picture: Vec<u8>, format: Format, copyright: &Copyright) -> Vec<u8> {
    let exif = copyright.exif();
    let changed = match format {
        Format::Jpeg => container::jpeg(&picture, &exif),
        Format::Png => container::png(&picture, &exif),
        Format::Webp => container::webp(&picture, &exif),
        Format::Avif | Format::Gif => None,
    };
    changed.unwrap_or(picture)
}
