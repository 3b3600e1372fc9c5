//! `rot` and `flip`: the eight ways to lay an image on the table.

/// A turn by quarters, then a reflection. In normal form: what can be said without a reflection, or with the smaller
/// turn, is said so, and every way of laying an image is one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    quarters: u8,
    flip: Option<Flip>,
}

/// One reflection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// `h`: left becomes right.
    Horizontal,
    /// `v`: top becomes bottom.
    Vertical,
}

/// What may follow `rot=`; 0 is the default.
const DEGREES: [&str; 4] = ["0", "90", "180", "270"];

impl Rotation {
    /// From the values of `rot` in quarters and `flip`, of which both reflections together are half a turn.
    pub fn new(quarters: u8, flip: &[Flip]) -> Rotation {
        let (quarters, flip) = match flip {
            [] => (quarters, None),
            [one] => (quarters, Some(*one)),
            _ => (quarters + 2, None),
        };
        let quarters = quarters % 4;
        // Half a turn and a reflection is the other reflection.
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

    /// How many quarters of a turn clockwise a value of `rot` is.
    pub fn parse_rotation(written: &str) -> Option<u8> {
        DEGREES
            .iter()
            .position(|known| *known == written)
            .and_then(|quarters| u8::try_from(quarters).ok())
    }

    /// The reflections of a value of `flip`.
    pub fn parse_flip(written: &str) -> Option<&'static [Flip]> {
        match written {
            "none" => Some(&[]),
            "h" => Some(&[Flip::Horizontal]),
            "v" => Some(&[Flip::Vertical]),
            "hv" => Some(&[Flip::Horizontal, Flip::Vertical]),
            _ => None,
        }
    }

    /// Quarters of a turn clockwise, to be made first.
    pub fn quarters(self) -> u8 {
        self.quarters
    }

    /// The reflection to be made after that.
    pub fn flip(self) -> Option<Flip> {
        self.flip
    }

    /// Whether width and height are exchanged.
    pub fn swaps_sides(self) -> bool {
        self.quarters % 2 == 1
    }

    /// `rot` and `flip` as they stand in a canonical query, where they change something.
    pub fn written(self) -> (Option<&'static str>, Option<&'static str>) {
        let degrees = DEGREES.get(usize::from(self.quarters)).copied();
        let flip = self.flip.map(|flip| match flip {
            Flip::Horizontal => "h",
            Flip::Vertical => "v",
        });
        (degrees.filter(|_| self.quarters != 0), flip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the corners 0 1 2 3 (from the upper left one, clockwise) go to.
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
    fn each_of_the_eight_ways_has_one_value() {
        let mut seen = Vec::new();
        for quarters in 0..4 {
            for flip in ["none", "h", "v", "hv"] {
                let flips = Rotation::parse_flip(flip).unwrap();
                let turn = Rotation::new(quarters, flips);
                let normal: Vec<Flip> = turn.flip().into_iter().collect();
                assert_eq!(
                    corners(turn.quarters(), &normal),
                    corners(quarters, flips),
                    "{quarters} {flip}"
                );
                if !seen.contains(&turn) {
                    seen.push(turn);
                }
            }
        }
        assert_eq!(seen.len(), 8);
    }
}
