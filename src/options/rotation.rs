//! `rot` and `flip`: the eight orientations of an image.

/// A clockwise rotation, then a reflection, in normal form: each of the eight orientations has one value, without a
/// reflection where possible, else with the smaller rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    quarters: u8,
    flip: Option<Flip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// `h`: left becomes right.
    Horizontal,
    /// `v`: top becomes bottom.
    Vertical,
}

/// The default of `flip`.
pub(super) const NO_FLIP: &[Flip] = &[];

/// The values of `rot`, by quarter turns.
const DEGREES: [&str; 4] = ["0", "90", "180", "270"];

impl Rotation {
    /// From the values of `rot`, in quarter turns, and `flip`.
    pub fn new(quarters: u8, flip: &[Flip]) -> Rotation {
        let (quarters, flip) = match flip {
            [] => (quarters, None),
            [one] => (quarters, Some(*one)),
            // Both reflections are a half turn.
            _ => (quarters + 2, None),
        };
        let quarters = quarters % 4;
        // A half turn and a reflection are the other reflection.
        match (quarters, flip) {
            (2 | 3, Some(Flip::Horizontal)) => {
                Rotation { quarters: quarters - 2, flip: Some(Flip::Vertical) }
            }
            (2 | 3, Some(Flip::Vertical)) => {
                Rotation { quarters: quarters - 2, flip: Some(Flip::Horizontal) }
            }
            _ => Rotation { quarters, flip },
        }
    }

    /// A value of `rot` in clockwise quarter turns.
    pub fn parse_rotation(text: &str) -> Option<u8> {
        DEGREES
            .iter()
            .position(|known| *known == text)
            .and_then(|quarters| u8::try_from(quarters).ok())
    }

    /// The reflections of a value of `flip`.
    pub fn parse_flip(text: &str) -> Option<&'static [Flip]> {
        match text {
            "none" => Some(NO_FLIP),
            "h" => Some(&[Flip::Horizontal]),
            "v" => Some(&[Flip::Vertical]),
            "hv" => Some(&[Flip::Horizontal, Flip::Vertical]),
            _ => None,
        }
    }

    /// Clockwise quarter turns, applied before the reflection.
    pub fn quarters(self) -> u8 {
        self.quarters
    }

    pub fn flip(self) -> Option<Flip> {
        self.flip
    }

    /// Whether width and height are exchanged.
    pub fn swaps_sides(self) -> bool {
        self.quarters % 2 == 1
    }

    /// `rot` in the canonical query; `None` for the default.
    pub fn canonical_degrees(self) -> Option<&'static str> {
        DEGREES.get(usize::from(self.quarters)).copied().filter(|_| self.quarters != 0)
    }

    /// `flip` in the canonical query; `None` for the default.
    pub fn canonical_flip(self) -> Option<&'static str> {
        self.flip.map(|flip| match flip {
            Flip::Horizontal => "h",
            Flip::Vertical => "v",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corners of the result, clockwise from the upper left one, by their number in the original.
    fn corners(quarters: u8, flips: &[Flip]) -> [u8; 4] {
        let mut corners = [0, 1, 2, 3];
        corners.rotate_right(usize::from(quarters));
        for flip in flips {
            match flip {
                Flip::Horizontal => corners = [corners[1], corners[0], corners[3], corners[2]],
                Flip::Vertical => corners = [corners[3], corners[2], corners[1], corners[0]],
            }
        }
        corners
    }

    #[test]
    fn each_of_the_eight_orientations_has_one_value() {
        let mut seen = Vec::new();
        for quarters in 0..4 {
            for flip in ["none", "h", "v", "hv"] {
                let flips = Rotation::parse_flip(flip).unwrap();
                let rotation = Rotation::new(quarters, flips);
                let normal: Vec<Flip> = rotation.flip().into_iter().collect();
                assert_eq!(
                    corners(rotation.quarters(), &normal),
                    corners(quarters, flips),
                    "{quarters} {flip}"
                );
                if !seen.contains(&rotation) {
                    seen.push(rotation);
                }
            }
        }
        assert_eq!(seen.len(), 8);
    }
}
