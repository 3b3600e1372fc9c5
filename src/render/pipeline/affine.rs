//! Affine maps of colours: those of CSS filter functions (Filter Effects Level 1 §6.1, and §9.6 and §9.7 for the filter
//! primitives that define them), and of `tint` and `duo`.

/// Weights of red, green and blue in the luminance, as in `grayscale()`.
pub const LUMINANCE: [f64; 3] = [0.2126, 0.7152, 0.0722];

/// A matrix times red, green and blue, plus an offset. Values are from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    pub matrix: [[f64; 3]; 3],
    pub offset: [f64; 3],
}

const MAX: f64 = 255.0;
/// Larger than the sum of all rounding errors.
const EPSILON: f64 = 1e-6;

impl Affine {
    pub const UNCHANGED: Affine =
        Affine { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], offset: [0.0; 3] };

    /// The same for each channel.
    fn uniform(slope: f64, intercept: f64) -> Affine {
        let matrix = Affine::UNCHANGED.matrix.map(|row| row.map(|one| one * slope));
        Affine { matrix, offset: [intercept; 3] }
    }

    fn linear(matrix: [[f64; 3]; 3]) -> Affine {
        Affine { matrix, offset: [0.0; 3] }
    }

    /// The luminance between two colours.
    pub fn between(dark: [u8; 3], light: [u8; 3]) -> Affine {
        let [dark, light] = [dark, light].map(|colour| colour.map(f64::from));
        let range: [f64; 3] = std::array::from_fn(|n| (light[n] - dark[n]) / MAX);
        Affine { matrix: range.map(|range| LUMINANCE.map(|weight| range * weight)), offset: dark }
    }

    /// This one with a weight from 0 to 1, and for the rest no change.
    pub fn mixed(self, weight: f64) -> Affine {
        let unchanged = Affine::UNCHANGED.matrix;
        let mix = |one: f64, other: f64| weight * one + (1.0 - weight) * other;
        Affine {
            matrix: std::array::from_fn(|row| {
                std::array::from_fn(|n| mix(self.matrix[row][n], unchanged[row][n]))
            }),
            offset: self.offset.map(|offset| mix(offset, 0.0)),
        }
    }

    /// `brightness()`
    pub fn brightness(factor: f64) -> Affine {
        Affine::uniform(factor, 0.0)
    }

    /// `contrast()`
    pub fn contrast(factor: f64) -> Affine {
        Affine::uniform(factor, (0.5 - 0.5 * factor) * MAX)
    }

    /// `saturate()`: `feColorMatrix` with `saturate`, whose weights have three digits.
    pub fn saturate(factor: f64) -> Affine {
        let s = factor;
        Affine::linear([
            [0.213 + 0.787 * s, 0.715 - 0.715 * s, 0.072 - 0.072 * s],
            [0.213 - 0.213 * s, 0.715 + 0.285 * s, 0.072 - 0.072 * s],
            [0.213 - 0.213 * s, 0.715 - 0.715 * s, 0.072 + 0.928 * s],
        ])
    }

    /// `hue-rotate()`: `feColorMatrix` with `hueRotate`.
    pub fn hue_rotate(degrees: f64) -> Affine {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let constant = [0.213, 0.715, 0.072];
        let of_cos = [[0.787, -0.715, -0.072], [-0.213, 0.285, -0.072], [-0.213, -0.715, 0.928]];
        let of_sin = [[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]];
        Affine::linear(std::array::from_fn(|row| {
            std::array::from_fn(|n| constant[n] + cos * of_cos[row][n] + sin * of_sin[row][n])
        }))
    }

    /// `grayscale()`
    pub fn grayscale(amount: f64) -> Affine {
        Affine::between([0; 3], [u8::MAX; 3]).mixed(amount)
    }

    /// `invert()`
    pub fn invert(amount: f64) -> Affine {
        Affine::uniform(1.0 - 2.0 * amount, amount * MAX)
    }

    /// Slope and intercept, if they are the same for each channel.
    pub fn as_uniform(&self) -> Option<(f64, f64)> {
        let (slope, intercept) = (self.matrix[0][0], self.offset[0]);
        (*self == Affine::uniform(slope, intercept)).then_some((slope, intercept))
    }

    /// Whether every result is from 0 to 255 without being clamped.
    pub fn needs_no_clamp(&self) -> bool {
        self.matrix.iter().zip(self.offset).all(|(row, offset)| {
            let sum =
                |sign: f64| row.iter().map(|value| MAX * (sign * value).max(0.0)).sum::<f64>();
            offset - sum(-1.0) >= -EPSILON && offset + sum(1.0) <= MAX + EPSILON
        })
    }

    /// This one and then another one, without a clamp in between.
    pub fn then(&self, next: &Affine) -> Affine {
        let dot = |row: &[f64; 3], column: [f64; 3]| -> f64 {
            row.iter().zip(column).map(|(one, other)| one * other).sum()
        };
        Affine {
            matrix: next
                .matrix
                .map(|row| std::array::from_fn(|n| dot(&row, self.matrix.map(|column| column[n])))),
            offset: std::array::from_fn(|n| dot(&next.matrix[n], self.offset) + next.offset[n]),
        }
    }

    /// Clamped, as CSS does after each function.
    pub fn apply(&self, colour: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|n| {
            let sum: f64 = self.matrix[n].iter().zip(colour).map(|(one, other)| one * other).sum();
            (sum + self.offset[n]).clamp(0.0, MAX)
        })
    }

    /// Whether all channels of a result are equal.
    pub fn is_gray(&self) -> bool {
        let [first, others @ ..] = self.matrix;
        let [offset, offsets @ ..] = self.offset;
        others.iter().all(|row| *row == first) && offsets.iter().all(|other| *other == offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(colour: [f64; 3]) -> [u8; 3] {
        colour.map(|value| value.round() as u8)
    }

    #[test]
    fn matrices_are_those_of_css() {
        // By hand: 200 * 0.213 + 100 * 0.715 + 50 * 0.072 is 117.7.
        let colour = [200.0, 100.0, 50.0];
        for (affine, expected) in [
            (Affine::brightness(1.5), [255, 150, 75]),
            (Affine::contrast(2.0), [255, 73, 0]),
            (Affine::saturate(0.0), [118, 118, 118]),
            (Affine::saturate(2.0), [255, 82, 0]),
            (Affine::grayscale(1.0), [118, 118, 118]),
            (Affine::grayscale(0.5), [159, 109, 84]),
            (Affine::invert(1.0), [55, 155, 205]),
            (Affine::invert(0.5), [128, 128, 128]),
            (Affine::hue_rotate(0.0), [200, 100, 50]),
            // 0.426 * 200 + 1.43 * 100 + 0.144 * 50 less the colour.
            (Affine::hue_rotate(180.0), [35, 135, 185]),
        ] {
            assert_eq!(round(affine.apply(colour)), expected, "{affine:?}");
        }
    }

    #[test]
    fn gray_stays_gray() {
        for affine in [Affine::saturate(7.0), Affine::hue_rotate(77.0), Affine::grayscale(0.3)] {
            for value in [0.0, 1.0, 100.0, 255.0] {
                assert!(affine.apply([value; 3]).iter().all(|other| (other - value).abs() < 1e-9));
            }
        }
        assert!(Affine::grayscale(1.0).is_gray());
        assert!(!Affine::grayscale(0.99).is_gray());
    }

    #[test]
    fn maps_that_leave_the_range_need_a_clamp() {
        for affine in [
            Affine::brightness(1.0),
            Affine::contrast(0.3),
            Affine::saturate(1.0),
            Affine::saturate(0.0),
            Affine::grayscale(0.7),
            Affine::invert(0.2),
            Affine::between([255, 0, 9], [0, 255, 200]),
            Affine::between([0; 3], [9, 99, 255]).mixed(0.4),
        ] {
            assert!(affine.needs_no_clamp(), "{affine:?}");
        }
        for affine in [
            Affine::brightness(1.01),
            Affine::contrast(1.01),
            Affine::saturate(1.01),
            Affine::hue_rotate(1.0),
        ] {
            assert!(!affine.needs_no_clamp(), "{affine:?}");
        }
    }

    #[test]
    fn then_is_one_map_after_the_other() {
        let one = Affine::between([10, 20, 30], [200, 180, 160]).mixed(0.5);
        let other = Affine::hue_rotate(40.0).then(&Affine::invert(1.0));
        for colour in [[0.0, 128.0, 255.0], [12.0, 34.0, 56.0], [255.0; 3]] {
            let together = one.then(&other).apply(colour);
            let apart = other.apply(one.apply(colour));
            assert!(together.iter().zip(apart).all(|(a, b)| (a - b).abs() < 1e-9), "{colour:?}");
        }
    }

    #[test]
    fn only_equal_channels_are_uniform() {
        assert_eq!(Affine::brightness(2.0).as_uniform(), Some((2.0, 0.0)));
        assert_eq!(Affine::invert(1.0).as_uniform(), Some((-1.0, 255.0)));
        assert_eq!(Affine::saturate(0.5).as_uniform(), None);
        assert_eq!(Affine::between([1; 3], [2; 3]).as_uniform(), None);
    }
}
