//! How an original has to be turned before anybody sees it.

use crate::options::{Flip, Rotation};
use crate::render::codec::avif::Orient;
use crate::render::codec::exif;

const MIRRORED: &[Flip] = &[Flip::Horizontal];

/// The turn that an EXIF block asks for (CIPA DC-008 §4.6.4).
pub fn of_exif(block: &[u8]) -> Rotation {
    let (quarters, flip): (u8, &[Flip]) = match exif::orientation(block) {
        2 => (0, MIRRORED),
        3 => (2, &[]),
        4 => (2, MIRRORED),
        5 => (1, MIRRORED),
        6 => (1, &[]),
        7 => (3, MIRRORED),
        8 => (3, &[]),
        _ => (0, &[]),
    };
    Rotation::new(quarters, flip)
}

/// The turn that `irot` and `imir` ask for, one after the other.
pub fn of_avif(orientation: &[Orient]) -> Rotation {
    // So many quarters clockwise, then perhaps a mirror.
    let (mut quarters, mut is_mirrored) = (0, false);
    for orient in orientation {
        let (clockwise, mirrors) = match orient {
            Orient::Rotate(counterclockwise) => (4 - counterclockwise % 4, false),
            Orient::MirrorHorizontally => (0, true),
            // Half a turn and a mirror.
            Orient::MirrorVertically => (2, true),
        };
        // A turn after a mirror is the opposite turn before it.
        quarters += if is_mirrored { 4 - clockwise } else { clockwise };
        is_mirrored ^= mirrors;
    }
    Rotation::new(quarters % 4, if is_mirrored { MIRRORED } else { &[] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::render::pipeline::header::Header;
    use crate::render::vips::Vips;

    #[test]
    fn exif_turns_a_still_image_that_nothing_else_turns() {
        let photo = include_bytes!("../../../tests/data/orient-6.jpg");
        let header = Header::read(Vips::start().unwrap(), photo, Format::Jpeg).unwrap();
        assert_eq!(header.upright(1), Rotation::new(1, &[]));
        assert_eq!(header.upright(2), Rotation::default(), "frames below each other");
    }

    #[test]
    fn rotations_and_mirrors_of_an_avif_are_applied_in_their_order() {
        use Orient::{MirrorHorizontally, MirrorVertically, Rotate};
        for (orientation, expected) in [
            (&[][..], Rotation::default()),
            (&[Rotate(1)], Rotation::new(3, &[])),
            (&[Rotate(3)], Rotation::new(1, &[])),
            (&[MirrorHorizontally], Rotation::new(0, &[Flip::Horizontal])),
            (&[MirrorVertically], Rotation::new(0, &[Flip::Vertical])),
            (&[Rotate(1), MirrorHorizontally], Rotation::new(3, &[Flip::Horizontal])),
            (&[MirrorHorizontally, Rotate(1)], Rotation::new(1, &[Flip::Horizontal])),
            (&[MirrorHorizontally, MirrorVertically], Rotation::new(2, &[])),
            (&[Rotate(2), Rotate(2)], Rotation::default()),
        ] {
            assert_eq!(of_avif(orientation), expected, "{orientation:?}");
        }
    }
}
