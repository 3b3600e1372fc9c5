//! Converts YUV to RGB (ITU-T H.273 §8.3).

use super::decode_error::DecodeError;
use super::matrix::{ConvertedSample, Factors, Rows};
use super::sample::{Block, Sample};
use super::{Chroma, Nclx, upsample};
use crate::render::codec::primaries::{BT709, chromaticities};

/// Kr and Kb of H.273 table 4.
type Weights = (f64, f64);

/// The conversion for the samples of an image.
#[derive(Clone, Debug)]
pub enum Conversion<S: ConvertedSample> {
    /// 4:0:0: gray is luma.
    Gray(Expansion),
    /// Matrix 0: the planes are green, blue and red; blue and red are scaled by [`upsample::SCALE`].
    Identity(Expansion, Expansion),
    Matrix(S::Matrix),
}

/// Whether these matrix coefficients are supported with this subsampling.
pub fn is_supported(nclx: Nclx, chroma: Chroma) -> bool {
    Conversion::<u8>::new(nclx, chroma, 8).is_ok()
}

impl<S: ConvertedSample> Conversion<S> {
    pub fn new(nclx: Nclx, chroma: Chroma, depth: u8) -> Result<Self, DecodeError> {
        let expansion = Expansion::new::<S>(depth, nclx.is_full_range);
        if chroma == Chroma::Monochrome {
            return Ok(Conversion::Gray(expansion));
        }
        match nclx.matrix {
            0 if chroma == Chroma::Yuv444 => {
                let scaled = expansion.factor / f32::from(upsample::SCALE);
                Ok(Conversion::Identity(expansion, Expansion { factor: scaled, ..expansion }))
            }
            8 => Ok(Conversion::Matrix(S::Matrix::new(&ycgco_factors(nclx, depth)))),
            matrix => {
                let weights = weights(matrix, nclx.primaries).ok_or(DecodeError::Matrix(matrix))?;
                Ok(Conversion::Matrix(S::Matrix::new(&ycbcr_factors(weights, nclx, depth))))
            }
        }
    }

    /// Converts a row of three planes of the same width; chroma is scaled by [`upsample::SCALE`].
    pub fn convert_row(
        &self,
        y: &[Block<S>],
        [u, v]: [&[Block<u16>]; 2],
        [red, green, blue]: [&mut [Block<S>]; 3],
    ) {
        match self {
            Conversion::Gray(expansion) => {
                expansion.expand_row(y.as_flattened(), green.as_flattened_mut())
            }
            Conversion::Identity(luma, chroma) => {
                luma.expand_row(y.as_flattened(), green.as_flattened_mut());
                chroma.expand_row(u.as_flattened(), blue.as_flattened_mut());
                chroma.expand_row(v.as_flattened(), red.as_flattened_mut());
            }
            Conversion::Matrix(matrix) => matrix.convert(y, u, v, [red, green, blue]),
        }
    }
}

/// Expands samples of full or limited range to all codes of the output.
#[derive(Clone, Copy, Debug)]
pub struct Expansion {
    factor: f32,
    offset: f32,
}

impl Expansion {
    /// For samples of `depth` bits in the range of luma.
    pub fn new<S: Sample>(depth: u8, is_full_range: bool) -> Expansion {
        let (black, range) = luma_range(depth, is_full_range);
        let factor = f64::from(S::MAX) / range;
        Expansion { factor: factor as f32, offset: (-black * factor) as f32 }
    }

    /// Expands as many samples as the shorter row has.
    pub fn expand_row<I: Sample, O: Sample>(self, row: &[I], out: &mut [O]) {
        for (out, sample) in out.iter_mut().zip(row) {
            *out = O::from_f32(f32::from(sample.code()) * self.factor + self.offset);
        }
    }
}

/// The inverse of H.273 equations 38 to 40.
fn ycbcr_factors((kr, kb): Weights, nclx: Nclx, depth: u8) -> Factors {
    let (black, range) = luma_range(depth, nclx.is_full_range);
    let chroma_range = if nclx.is_full_range { range } else { 224.0 * unit(depth) };
    let kg = 1.0 - kr - kb;
    let u = 2.0 * (1.0 - kb) / chroma_range;
    let v = 2.0 * (1.0 - kr) / chroma_range;
    Factors {
        black,
        middle: 128.0 * unit(depth),
        luma: 1.0 / range,
        chroma: [[0.0, v], [-u * kb / kg, -v * kr / kg], [u, 0.0]],
    }
}

/// U is Cg and V is Co. They are sums of codes of red, green and blue (H.273 equations 47 to 49), so that in limited
/// range they have the scale of luma.
fn ycgco_factors(nclx: Nclx, depth: u8) -> Factors {
    let (black, range) = luma_range(depth, nclx.is_full_range);
    let one = 1.0 / range;
    Factors {
        black,
        middle: 128.0 * unit(depth),
        luma: one,
        chroma: [[-one, one], [one, 0.0], [-one, -one]],
    }
}

/// Scale of codes of `depth` bits relative to 8 bits.
fn unit(depth: u8) -> f64 {
    f64::from(1_u32 << depth.saturating_sub(8).min(8))
}

/// The code of black, and the distance to the code of white (H.273 §8.3, equations 20 to 31).
fn luma_range(depth: u8, is_full_range: bool) -> (f64, f64) {
    if is_full_range {
        (0.0, 256.0 * unit(depth) - 1.0)
    } else {
        (16.0 * unit(depth), 219.0 * unit(depth))
    }
}

/// Kr and Kb of matrix coefficients. Unspecified (2) means BT.601, as in libavif.
fn weights(matrix: u16, primaries: u16) -> Option<Weights> {
    match matrix {
        1 => Some((0.2126, 0.0722)),
        2 | 5 | 6 => Some((0.299, 0.114)),
        4 => Some((0.30, 0.11)),
        7 => Some((0.212, 0.087)),
        9 => Some((0.2627, 0.0593)),
        12 => weights_of_primaries(primaries),
        _ => None,
    }
}

/// Kr and Kb from the chromaticities of H.273 table 2 (equations 32 to 37).
fn weights_of_primaries(primaries: u16) -> Option<Weights> {
    // Unspecified means BT.709, as in libavif.
    let points = if primaries == 2 { BT709 } else { chromaticities(primaries)? };
    let [red, green, blue, white] = points.map(|(x, y)| [x, y]);
    let z = |[x, y]: [f64; 2]| 1.0 - x - y;
    let cross = |one: [f64; 2], other: [f64; 2]| {
        [
            one[1] * z(other) - other[1] * z(one),
            other[0] * z(one) - one[0] * z(other),
            one[0] * other[1] - other[0] * one[1],
        ]
    };
    let times =
        |[x, y]: [f64; 2], vector: [f64; 3]| x * vector[0] + y * vector[1] + z([x, y]) * vector[2];
    let whole = white[1] * times(red, cross(green, blue));
    Some((
        red[1] * times(white, cross(green, blue)) / whole,
        blue[1] * times(white, cross(red, green)) / whole,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::sample::{BLOCK, blocks};
    use super::*;

    fn nclx(matrix: u16, primaries: u16, is_full_range: bool) -> Nclx {
        Nclx { primaries, transfer: 13, matrix, is_full_range }
    }

    /// The formulas of H.273 §8.3 in floating point, results from 0 to 1.
    fn exact(nclx: Nclx, depth: u8, [y, u, v]: [u16; 3]) -> [f64; 3] {
        let [y, u, v] = [y, u, v].map(f64::from);
        let unit = f64::from(1_u32 << (depth - 8));
        let max = f64::from((1_u32 << depth) - 1);
        let luma = |code: f64| {
            if nclx.is_full_range { code / max } else { (code / unit - 16.0) / 219.0 }
        };
        let chroma = |code: f64| {
            let code = code - 128.0 * unit;
            if nclx.is_full_range { code / max } else { code / unit / 224.0 }
        };
        let all = match nclx.matrix {
            0 => [luma(v), luma(y), luma(u)],
            8 => {
                let (cg, co) = (u - 128.0 * unit, v - 128.0 * unit);
                let t = y - cg;
                [t + co, y + cg, t - co].map(luma)
            }
            matrix => {
                let (kr, kb) = weights(matrix, nclx.primaries).unwrap();
                let (y, u, v) = (luma(y), chroma(u), chroma(v));
                let (red, blue) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
                [red, (y - kr * red - kb * blue) / (1.0 - kr - kb), blue]
            }
        };
        all.map(|value| value.clamp(0.0, 1.0))
    }

    /// Converts all combinations of some codes and returns the largest error.
    fn max_error<S: ConvertedSample>(nclx: Nclx, depth: u8, code: impl Fn(u16) -> S) -> f64 {
        let max = (1_u16 << depth) - 1;
        let some = || (0..=max).step_by(usize::from(max / 15)).chain([max / 2, max / 2 + 1, max]);
        let mut codes = Vec::new();
        for y in some() {
            for u in some() {
                codes.extend(some().map(|v| [y, u, v]));
            }
        }
        let conversion = Conversion::<S>::new(nclx, Chroma::Yuv444, depth).unwrap();
        let mut worst = 0.0_f64;
        for codes in codes.chunks(50 * BLOCK) {
            let mut y = blocks::<S>(codes.len());
            let [mut u, mut v] = [(); 2].map(|()| blocks::<u16>(codes.len()));
            for (at, codes) in codes.iter().enumerate() {
                y.as_flattened_mut()[at] = code(codes[0]);
                u.as_flattened_mut()[at] = codes[1] * upsample::SCALE;
                v.as_flattened_mut()[at] = codes[2] * upsample::SCALE;
            }
            let [mut red, mut green, mut blue] = [(); 3].map(|()| blocks::<S>(codes.len()));
            conversion.convert_row(&y, [&u, &v], [&mut red, &mut green, &mut blue]);
            for (at, codes) in codes.iter().enumerate() {
                let exact = exact(nclx, depth, *codes);
                for (plane, exact) in [&red, &green, &blue].into_iter().zip(exact) {
                    let difference =
                        f64::from(plane.as_flattened()[at].code()) - exact * f64::from(S::MAX);
                    worst = worst.max(difference.abs());
                }
            }
        }
        worst
    }

    #[test]
    fn yuv_conversion_matches_the_formulas() {
        for is_full_range in [false, true] {
            for matrix in [0, 1, 2, 4, 5, 6, 7, 8, 9, 12] {
                for primaries in if matrix == 12 { &[1, 9, 12][..] } else { &[1] } {
                    let nclx = nclx(matrix, *primaries, is_full_range);
                    let error = max_error::<u8>(nclx, 8, |code| code as u8);
                    assert!(error < 0.7, "{nclx:?}: {error}");
                    for depth in [10, 12] {
                        let error = max_error::<u16>(nclx, depth, |code| code);
                        assert!(error < 0.6, "{nclx:?}, {depth} bits: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn yuv_conversion_keeps_gray() {
        for is_full_range in [false, true] {
            for matrix in [1, 6, 8, 9] {
                let conversion =
                    Conversion::<u8>::new(nclx(matrix, 1, is_full_range), Chroma::Yuv444, 8)
                        .unwrap();
                let mut y = blocks::<u8>(256);
                y.as_flattened_mut()
                    .iter_mut()
                    .zip(0..=255)
                    .for_each(|(sample, code)| *sample = code);
                let chroma = vec![[128 * upsample::SCALE; BLOCK]; y.len()];
                let [mut red, mut green, mut blue] = [(); 3].map(|()| blocks::<u8>(256));
                conversion.convert_row(&y, [&chroma, &chroma], [&mut red, &mut green, &mut blue]);
                assert_eq!((&red, &blue), (&green, &green), "{matrix}");
                let ends = (green.as_flattened().first(), green.as_flattened().last());
                assert_eq!(ends, (Some(&0), Some(&255)));
                assert!(!is_full_range || green == y);
            }
        }
    }

    #[test]
    fn yuv_weights_are_derived_from_primaries() {
        for (primaries, expected) in
            [(1, (0.2126, 0.0722)), (9, (0.2627, 0.0593)), (12, (0.229, 0.0793))]
        {
            let (kr, kb) = weights(12, primaries).unwrap();
            assert!(
                (kr - expected.0).abs() < 1e-4 && (kb - expected.1).abs() < 1e-4,
                "{primaries}: {kr} {kb}"
            );
        }
        for primaries in [4, 5, 6, 7, 8, 11, 22] {
            let (kr, kb) = weights(12, primaries).unwrap();
            assert!(
                (0.15..0.35).contains(&kr) && (0.0..0.15).contains(&kb),
                "{primaries}: {kr} {kb}"
            );
        }
    }

    #[test]
    fn yuv_unsupported_matrices_are_refused() {
        for matrix in [3, 10, 11, 13, 14, 15, 16, 17, 255] {
            let error =
                Conversion::<u8>::new(nclx(matrix, 1, true), Chroma::Yuv444, 8).unwrap_err();
            assert_eq!(error, DecodeError::Matrix(matrix));
        }
        assert!(Conversion::<u8>::new(nclx(12, 3, true), Chroma::Yuv444, 8).is_err());
        for chroma in [Chroma::Yuv420, Chroma::Yuv422] {
            assert!(Conversion::<u8>::new(nclx(0, 1, true), chroma, 8).is_err());
        }
        assert!(Conversion::<u8>::new(nclx(0, 1, true), Chroma::Monochrome, 8).is_ok());
    }
}
