//! The orientation: rotates and mirrors an original as its EXIF block, or an AVIF's properties, say.

use super::flip::flip;
use super::rotate::rotate;
use super::steps::{Stage, Step};
use crate::options::{Flip, Rotation};
use crate::render::codec::avif::Orient;
use crate::render::codec::exif;
use crate::render::vips::{Error, Image};

pub const STEP: Step = Step {
    name: "orientation",
    applies: |job| job.orientation != Rotation::default(),
    stage: Stage::Load,
};

const MIRRORED: &[Flip] = &[Flip::Horizontal];

/// Brings an image upright. Rotating takes it to memory.
pub fn orient(image: Image<'_>, orientation: Rotation) -> Result<Image<'_>, Error> {
    if orientation == Rotation::default() {
        return Ok(image);
    }
    flip(rotate(image.copy_memory()?, orientation.quarters())?, orientation.flip())
}

/// The rotation that an EXIF block asks for (CIPA DC-008 §4.6.4).
pub fn from_exif(block: &[u8]) -> Rotation {
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

/// The rotation that a sequence of `irot` and `imir` properties asks for.
pub fn from_avif(orientation: &[Orient]) -> Rotation {
    // A rotation clockwise, and then perhaps a horizontal mirror.
    let mut quarters = 0;
    let mut is_mirrored = false;
    for orient in orientation {
        let (clockwise, mirrors) = match orient {
            Orient::Rotate(counterclockwise) => (4 - counterclockwise % 4, false),
            Orient::MirrorHorizontally => (0, true),
            // Half a turn and a horizontal mirror.
            Orient::MirrorVertically => (2, true),
        };
        // A rotation after a mirror is the opposite rotation before it.
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
    fn exif_orientation_applies_to_still_images() {
        let photo = include_bytes!("../../../tests/data/orient-6.jpg");
        let header = Header::read(Vips::start().unwrap(), photo, Format::Jpeg).unwrap();
        assert_eq!(header.orientation(1), Rotation::new(1, &[]));
        assert_eq!(header.orientation(2), Rotation::default(), "an animation");
    }

    #[test]
    fn irot_and_imir_are_applied_in_their_order() {
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
            assert_eq!(from_avif(orientation), expected, "{orientation:?}");
        }
    }
}
