//! From luma and chroma to red, green and blue (ITU-T H.273 §8.3).
//!
//! Written for compilers to vectorise: rows of `f32`, no branches, no table. Results are those of the formulas, rounded.

use super::decode::{Error, Sample};
use super::upsample::SCALE;
use super::{Chroma, Nclx};

/// Kr and Kb of H.273 table 4.
type Weights = (f64, f64);

/// How the samples of one image are converted. The offsets and scales of its depth and range are part of the factors.
#[derive(Clone, Copy, Debug)]
pub enum Conversion {
    /// 4:0:0: luma is the result.
    Gray(Expansion),
    /// Matrix 0: the planes are green, blue and red.
    Identity(Expansion),
    /// All others.
    Matrix(Matrix),
}

/// Luma, identity or alpha samples to the full range of the result.
#[derive(Clone, Copy, Debug)]
pub struct Expansion {
    factor: f32,
    offset: f32,
}

/// Each result is `luma` of Y, its two factors of U and V, and its offset.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    luma: f32,
    red: [f32; 3],
    green: [f32; 3],
    blue: [f32; 3],
}

impl Expansion {
    /// For samples of `depth` bits, to results of at most `max`.
    pub fn new(depth: u8, is_full_range: bool, max: f32) -> Expansion {
        let (zero, range) = luma_range(depth, is_full_range);
        let factor = f64::from(max) / range;
        Expansion { factor: factor as f32, offset: (-zero * factor) as f32 }
    }

    /// Expands a row.
    pub fn row<I: Sample, O: Sample>(self, row: &[I], out: &mut [O]) {
        for (out, sample) in out.iter_mut().zip(row) {
            *out = O::rounded(sample.value() * self.factor + self.offset);
        }
    }
}

impl Conversion {
    /// Of an image with samples of `depth` bits to results of at most `max`.
    pub fn new(nclx: Nclx, chroma: Chroma, depth: u8, max: f32) -> Result<Conversion, Error> {
        if chroma == Chroma::Monochrome {
            return Ok(Conversion::Gray(Expansion::new(depth, nclx.is_full_range, max)));
        }
        let linear = match nclx.matrix {
            0 if chroma == Chroma::Yuv444 => {
                return Ok(Conversion::Identity(Expansion::new(depth, nclx.is_full_range, max)));
            }
            8 => Linear::YCGCO,
            matrix => Linear::of(weights(matrix, nclx.primaries).ok_or(Error::Matrix(matrix))?),
        };
        Ok(Conversion::Matrix(linear.matrix(nclx, chroma, depth, max)))
    }
}

impl Matrix {
    /// Converts a row; chroma that was upsampled is multiplied by [`SCALE`]. As many pixels as the shortest slice has.
    pub fn row<Y: Sample, C: Sample>(&self, y: &[Y], [u, v]: [&[C]; 2], [red, green, blue]: [&mut [Y]; 3]) {
        let lengths = [y.len(), u.len(), v.len(), red.len(), green.len(), blue.len()];
        let length = lengths.into_iter().fold(usize::MAX, usize::min);
        // Slices of one length need no check inside the loop.
        let (y, u, v) = (&y[..length], &u[..length], &v[..length]);
        let (red, green, blue) = (&mut red[..length], &mut green[..length], &mut blue[..length]);
        let Matrix { luma, red: r, green: g, blue: b } = *self;
        for at in 0..length {
            let (y, u, v) = (y[at].value() * luma, u[at].value(), v[at].value());
            red[at] = Y::rounded(y + r[0] * u + r[1] * v + r[2]);
            green[at] = Y::rounded(y + g[0] * u + g[1] * v + g[2]);
            blue[at] = Y::rounded(y + b[0] * u + b[1] * v + b[2]);
        }
    }
}

/// Results of Y in 0..=1 and of U and V in -0.5..=0.5.
struct Linear {
    red: [f64; 2],
    green: [f64; 2],
    blue: [f64; 2],
    /// Of YCgCo the code values of red, green and blue are transformed (H.273 equations 52 to 55), so that chroma has the
    /// scale of luma in limited range as well.
    is_of_codes: bool,
}

impl Linear {
    /// U is Cg and V is Co.
    const YCGCO: Linear =
        Linear { red: [-1.0, 1.0], green: [1.0, 0.0], blue: [-1.0, -1.0], is_of_codes: true };

    /// The inverse of H.273 equations 38 to 40.
    fn of((kr, kb): Weights) -> Linear {
        let kg = 1.0 - kr - kb;
        let (u, v) = (2.0 * (1.0 - kb), 2.0 * (1.0 - kr));
        Linear { red: [0.0, v], green: [-u * kb / kg, -v * kr / kg], blue: [u, 0.0], is_of_codes: false }
    }

    fn matrix(&self, nclx: Nclx, chroma: Chroma, depth: u8, max: f32) -> Matrix {
        let (zero, luma_range) = luma_range(depth, nclx.is_full_range);
        let chroma_range = if nclx.is_full_range || self.is_of_codes {
            luma_range
        } else {
            224.0 * f64::from(1_u32 << (depth - 8))
        };
        let middle = f64::from(1_u32 << (depth - 1));
        let scale = if chroma == Chroma::Yuv444 { 1.0 } else { f64::from(SCALE) };
        let max = f64::from(max);
        let line = |[u, v]: [f64; 2]| {
            let [u, v] = [u, v].map(|factor| factor * max / chroma_range);
            [(u / scale) as f32, (v / scale) as f32, (-zero * max / luma_range - middle * (u + v)) as f32]
        };
        Matrix {
            luma: (max / luma_range) as f32,
            red: line(self.red),
            green: line(self.green),
            blue: line(self.blue),
        }
    }
}

/// The code of black and what lies between it and white (H.273 §8.3, equations 20 to 31).
fn luma_range(depth: u8, is_full_range: bool) -> (f64, f64) {
    if is_full_range {
        (0.0, f64::from((1_u32 << depth) - 1))
    } else {
        let step = f64::from(1_u32 << (depth - 8));
        (16.0 * step, 219.0 * step)
    }
}

/// Kr and Kb of the matrix coefficients that have them. What is unspecified (2) is taken for BT.601, as libavif does.
fn weights(matrix: u16, primaries: u16) -> Option<Weights> {
    match matrix {
        1 => Some((0.2126, 0.0722)),
        2 | 5 | 6 => Some((0.299, 0.114)),
        4 => Some((0.30, 0.11)),
        7 => Some((0.212, 0.087)),
        9 => Some((0.2627, 0.0593)),
        12 => derived(primaries),
        _ => None,
    }
}

/// Kr and Kb out of the chromaticities of H.273 table 2 (equations 32 to 37).
fn derived(primaries: u16) -> Option<Weights> {
    const C: [f64; 2] = [0.310, 0.316];
    const D65: [f64; 2] = [0.3127, 0.3290];
    /// Red, green, blue and white.
    type Chromaticities = [[f64; 2]; 4];
    let [red, green, blue, white]: Chromaticities = match primaries {
        // Unspecified: as libavif, BT.709.
        1 | 2 => [[0.640, 0.330], [0.300, 0.600], [0.150, 0.060], D65],
        4 => [[0.67, 0.33], [0.21, 0.71], [0.14, 0.08], C],
        5 => [[0.64, 0.33], [0.29, 0.60], [0.15, 0.06], D65],
        6 | 7 => [[0.630, 0.340], [0.310, 0.595], [0.155, 0.070], D65],
        8 => [[0.681, 0.319], [0.243, 0.692], [0.145, 0.049], C],
        9 => [[0.708, 0.292], [0.170, 0.797], [0.131, 0.046], D65],
        11 => [[0.680, 0.320], [0.265, 0.690], [0.150, 0.060], [0.314, 0.351]],
        12 => [[0.680, 0.320], [0.265, 0.690], [0.150, 0.060], D65],
        22 => [[0.630, 0.340], [0.295, 0.605], [0.155, 0.077], D65],
        _ => return None,
    };
    let z = |[x, y]: [f64; 2]| 1.0 - x - y;
    let cross = |one: [f64; 2], other: [f64; 2]| {
        [
            one[1] * z(other) - other[1] * z(one),
            other[0] * z(one) - one[0] * z(other),
            one[0] * other[1] - other[0] * one[1],
        ]
    };
    let times = |[x, y]: [f64; 2], vector: [f64; 3]| x * vector[0] + y * vector[1] + z([x, y]) * vector[2];
    let whole = white[1] * times(red, cross(green, blue));
    Some((
        red[1] * times(white, cross(green, blue)) / whole,
        blue[1] * times(white, cross(red, green)) / whole,
    ))
}
