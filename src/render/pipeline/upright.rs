//! How an original has to be turned before anybody sees it.

use crate::format::Format;
use crate::options::{Flip, Turn};
use crate::render::exif;
use crate::render::vips::Image;

/// The turn that the EXIF block of an original asks for, where this many frames of it are shown.
pub fn turn(header: &Image, source: Format, frames: u32) -> Turn {
    // A stack of frames can't be turned as one picture, and no animation says that it is to be. An AVIF is turned by
    // `irot` and `imir`, which libheif obeys; its EXIF only repeats them (ISO/IEC 23008-12).
    if frames != 1 || source == Format::Avif {
        return Turn::default();
    }
    header.blob(c"exif-data").map_or(Turn::default(), |block| of(exif::orientation(block)))
}

/// What brings an orientation upright (CIPA DC-008 §4.6.4).
fn of(orientation: u32) -> Turn {
    const MIRRORED: &[Flip] = &[Flip::Horizontal];
    let (quarters, flip): (u8, &[Flip]) = match orientation {
        2 => (0, MIRRORED),
        3 => (2, &[]),
        4 => (2, MIRRORED),
        5 => (1, MIRRORED),
        6 => (1, &[]),
        7 => (3, MIRRORED),
        8 => (3, &[]),
        _ => (0, &[]),
    };
    Turn::new(quarters, flip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::vips::Vips;

    #[test]
    fn exif_turns_a_still_picture_that_nothing_else_turns() {
        let photo = include_bytes!("../../../tests/data/orient-6.jpg");
        let header = Vips::start().unwrap().header(photo).unwrap();
        assert_eq!(turn(&header, Format::Jpeg, 1), Turn::new(1, &[]));
        assert_eq!(turn(&header, Format::Webp, 2), Turn::default(), "frames below each other");
        assert_eq!(turn(&header, Format::Avif, 1), Turn::default(), "it would be turned twice");
    }
}
