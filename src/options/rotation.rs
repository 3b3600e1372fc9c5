//! `rot` and `flip`: the orientation of an image.

use super::values::decimal;

/// A clockwise rotation, then a reflection, in normal form: each orientation has one value, without a reflection where
/// possible, else with the smaller rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Hundredths of a degree, less than a whole turn.
    angle: u16,
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

/// In hundredths of a degree.
const QUARTER: u16 = 90_00;
const HALF: u16 = 2 * QUARTER;
const TURN: u16 = 4 * QUARTER;

impl Rotation {
    /// From clockwise quarter turns and the reflections of `flip`.
    pub fn new(quarters: u8, flip: &[Flip]) -> Rotation {
        Rotation::by(u16::from(quarters % 4) * QUARTER, flip)
    }

    /// From hundredths of a degree, clockwise and less than a whole turn, and the reflections of `flip`.
    pub(super) fn by(angle: u16, flip: &[Flip]) -> Rotation {
        let half_more = |angle: u16| if angle < HALF { angle + HALF } else { angle - HALF };
        match *flip {
            [] => Rotation { angle, flip: None },
            // A half turn and a reflection are the other reflection.
            [Flip::Horizontal] if angle >= HALF => {
                Rotation { angle: angle - HALF, flip: Some(Flip::Vertical) }
            }
            [Flip::Vertical] if angle >= HALF => {
                Rotation { angle: angle - HALF, flip: Some(Flip::Horizontal) }
            }
            [one] => Rotation { angle, flip: Some(one) },
            // Both reflections are a half turn.
            _ => Rotation { angle: half_more(angle), flip: None },
        }
    }

    /// A value of `rot`, degrees from 0 to 360, in hundredths of a degree.
    pub(super) fn parse_rotation(text: &str) -> Option<u16> {
        let degrees = decimal(text).filter(|degrees| (0.0..=360.0).contains(degrees))?;
        // The range makes the conversion exact.
        Some((degrees * 100.0).round() as u16 % TURN)
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

    /// Clockwise quarter turns, applied before the reflection. `None`: another angle.
    pub fn quarters(self) -> Option<u8> {
        let is_right = self.angle.is_multiple_of(QUARTER);
        is_right.then(|| u8::try_from(self.angle / QUARTER).unwrap_or(0))
    }

    /// The clockwise angle in degrees, applied before the reflection, if it is no multiple of a quarter turn.
    pub fn oblique(self) -> Option<f64> {
        self.quarters().is_none().then(|| self.degrees())
    }

    fn degrees(self) -> f64 {
        f64::from(self.angle) / 100.0
    }

    pub fn flip(self) -> Option<Flip> {
        self.flip
    }

    /// Whether width and height are exchanged.
    pub fn swaps_sides(self) -> bool {
        self.quarters().is_some_and(|quarters| quarters % 2 == 1)
    }

    /// `rot` in the canonical query; `None` for the default.
    pub(super) fn canonical_degrees(self) -> Option<f64> {
        (self.angle != 0).then(|| self.degrees())
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
                    corners(rotation.quarters().unwrap(), &normal),
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
    /// Where a point of the plane goes.
    fn moved(angle: f64, flips: &[Flip]) -> [f64; 2] {
        let (x, y) = (3.0, 2.0);
        let (sin, cos) = angle.to_radians().sin_cos();
        let mut point = [x * cos - y * sin, x * sin + y * cos];
        for flip in flips {
            match flip {
                Flip::Horizontal => point[0] = -point[0],
                Flip::Vertical => point[1] = -point[1],
            }
        }
        point
    }

    #[test]
    fn every_angle_has_one_value_with_each_reflection() {
        for angle in (0..TURN).step_by(7) {
            for flip in ["none", "h", "v", "hv"] {
                let flips = Rotation::parse_flip(flip).unwrap();
                let rotation = Rotation::by(angle, flips);
                let normal: Vec<Flip> = rotation.flip().into_iter().collect();
                let [one, other] =
                    [moved(rotation.degrees(), &normal), moved(f64::from(angle) / 100.0, flips)];
                let is_same = one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-9);
                assert!(is_same, "{angle} {flip}: {rotation:?}");
                assert!(rotation.flip.is_none() || rotation.angle < HALF);
            }
        }
    }
}
