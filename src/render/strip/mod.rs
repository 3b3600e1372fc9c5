//! An encoded image without its metadata, its pixels untouched.
//!
//! What decides how the pixels look can't be left out, and what can't be understood can't be judged: an image with a
//! colour profile, an orientation, or a structure that is not exactly the specification's is left alone (`None`).

mod exif;
mod gif;
mod jpeg;
mod kept;
mod png;
#[cfg(test)]
mod tests;
mod webp;

use crate::format::Format;
use kept::Kept;

/// The same image without metadata; `None` where it can't be had without decoding, or in no more than `most` bytes.
pub fn stripped(format: Format, bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    let kept = || Kept::at_most(most.min(bytes.len()));
    match format {
        Format::Jpeg => jpeg::stripped(bytes, kept()),
        Format::Png => png::stripped(bytes, kept()),
        Format::Webp => webp::stripped(bytes, kept()),
        Format::Gif => gif::stripped(bytes, kept()),
        // Its metadata are items of a box that names offsets into the file: nothing can be left out of it alone.
        Format::Avif => None,
    }
}
