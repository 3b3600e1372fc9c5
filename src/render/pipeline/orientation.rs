//! The orientation of an original: its EXIF block's, or that of an AVIF's properties.

use crate::options::{Flip, Rotation};
use crate::render::codec::avif::Orient;
use crate::render::codec::exif;

const MIRRORED: &[Flip] = &[Flip::Horizontal];

/// The rotation that an EXIF block asks for (CIPA DC-008 §4.6.4).
pub fn from_exif(block: &[u8]) -> Rotation {
    of_value(exif::orientation(block))
}

/// The value of EXIF, from 1 to 8, that asks for a rotation.
pub fn to_exif(rotation: Rotation) -> u8 {
    (1..=8).find(|value| of_value(u32::from(*value)) == rotation).unwrap_or(1)
}

fn of_value(value: u32) -> Rotation {
    let (quarters, flip): (u8, &[Flip]) = match value {
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

/// The rotation that `irot` and `imir` properties ask for: the first of each, and the rotation first, as MIAF §7.3.6.7
/// orders them. Chromium does the same with files that have more of them or list them in another order.
pub fn from_avif(orientation: &[Orient]) -> Rotation {
    let counterclockwise = orientation.iter().find_map(|orient| match orient {
        Orient::Rotate(counterclockwise) => Some(counterclockwise % 4),
        _ => None,
    });
    let quarters = (4 - counterclockwise.unwrap_or(0)) % 4;
    let mirror = orientation.iter().find(|orient| !matches!(orient, Orient::Rotate(_)));
    match mirror {
        None => Rotation::new(quarters, &[]),
        Some(Orient::MirrorVertically) => {
            // Half a turn and a horizontal mirror.
            Rotation::new((quarters + 2) % 4, MIRRORED)
        }
        Some(_) => Rotation::new(quarters, MIRRORED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_orientation_has_its_value() {
        for value in 1..=8 {
            assert_eq!(to_exif(of_value(u32::from(value))), value);
        }
    }

    #[test]
    fn the_first_irot_is_applied_before_the_first_imir() {
        use Orient::{MirrorHorizontally, MirrorVertically, Rotate};
        for (orientation, expected) in [
            (&[][..], Rotation::default()),
            (&[Rotate(1)], Rotation::new(3, &[])),
            (&[Rotate(3)], Rotation::new(1, &[])),
            (&[MirrorHorizontally], Rotation::new(0, &[Flip::Horizontal])),
            (&[MirrorVertically], Rotation::new(0, &[Flip::Vertical])),
            (&[Rotate(1), MirrorHorizontally], Rotation::new(3, &[Flip::Horizontal])),
            (&[Rotate(1), MirrorVertically], Rotation::new(1, &[Flip::Horizontal])),
            (&[MirrorHorizontally, Rotate(1)], Rotation::new(3, &[Flip::Horizontal])),
            (&[MirrorHorizontally, MirrorVertically], Rotation::new(0, &[Flip::Horizontal])),
            (&[Rotate(2), Rotate(1)], Rotation::new(2, &[])),
        ] {
            assert_eq!(from_avif(orientation), expected, "{orientation:?}");
        }
    }
}
