//! Multiplies rows of luma and chroma by a matrix, in plain loops that compilers vectorise for SSE2.

use super::sample::{Block, Sample};
use super::upsample;

/// Red, green and blue, from 0 to 1, as sums of (Y - black), (U - middle) and (V - middle), each with a factor. Y, U
/// and V are codes of the planes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    pub black: f64,
    /// The code of zero chroma.
    pub middle: f64,
    pub luma: f64,
    /// The factors of U and V for red, green and blue.
    pub chroma: [[f64; 2]; 3],
}

/// Converts rows.
pub trait Rows<S: Sample> {
    fn new(factors: &Factors) -> Self;

    /// Converts as many blocks as the shortest row has; chroma is scaled by [`upsample::SCALE`].
    fn convert(
        &self,
        y: &[Block<S>],
        u: &[Block<u16>],
        v: &[Block<u16>],
        out: [&mut [Block<S>]; 3],
    );
}

/// A sample that is converted from luma and chroma.
pub trait ConvertedSample: Sample {
    type Matrix: Rows<Self>;
}

impl ConvertedSample for u8 {
    type Matrix = Fixed;
}

impl ConvertedSample for u16 {
    type Matrix = Float;
}

/// For samples of more than 8 bits: `f32`.
#[derive(Clone, Copy, Debug)]
pub struct Float {
    luma: f32,
    /// Factors of U and V, and an offset.
    red: [f32; 3],
    green: [f32; 3],
    blue: [f32; 3],
}

impl Rows<u16> for Float {
    fn new(factors: &Factors) -> Float {
        let max = f64::from(u16::MAX);
        let [red, green, blue] = factors.chroma.map(|[u, v]| {
            let scale = f64::from(upsample::SCALE);
            let offset = -factors.black * factors.luma - factors.middle * (u + v);
            [u * max / scale, v * max / scale, offset * max].map(|factor| factor as f32)
        });
        Float { luma: (factors.luma * max) as f32, red, green, blue }
    }

    fn convert(
        &self,
        y: &[Block<u16>],
        u: &[Block<u16>],
        v: &[Block<u16>],
        [red, green, blue]: [&mut [Block<u16>]; 3],
    ) {
        let Float { luma, red: r, green: g, blue: b } = *self;
        let out = red.iter_mut().zip(green).zip(blue);
        for (((y, u), v), ((red, green), blue)) in y.iter().zip(u).zip(v).zip(out) {
            for at in 0..y.len() {
                let (y, u, v) = (f32::from(y[at]) * luma, f32::from(u[at]), f32::from(v[at]));
                red[at] = u16::from_f32(y + r[0] * u + r[1] * v + r[2]);
                green[at] = u16::from_f32(y + g[0] * u + g[1] * v + g[2]);
                blue[at] = u16::from_f32(y + b[0] * u + b[1] * v + b[2]);
            }
        }
    }
}

/// For 8 bits: fixed point, twice as fast as [`Float`], within 1 of the exact result. A factor is a block, because
/// compilers use `pmulhw` only if both operands are read from memory.
#[derive(Clone, Debug)]
pub struct Fixed {
    luma: Block<i16>,
    offset: Block<i16>,
    red: [Block<i16>; 2],
    green: [Block<i16>; 2],
    blue: [Block<i16>; 2],
}

/// Fraction bits of a sum, which leaves a maximum of 1,023. Larger sums saturate, and are clamped anyway.
const FRACTION_BITS: u32 = 5;

/// The upper 16 bits of a product.
#[inline(always)]
fn upper_half(one: i16, other: i16) -> i16 {
    ((i32::from(one) * i32::from(other)) >> 16) as i16
}

impl Rows<u8> for Fixed {
    fn new(factors: &Factors) -> Fixed {
        let unit = 255.0 * f64::from(1 << FRACTION_BITS);
        let block = |value: f64| [value.round() as i16; _];
        // Y is scaled by 2^7 and chroma by 2^8; the lower 16 bits of the product are dropped.
        let [red, green, blue] =
            factors.chroma.map(|pair| pair.map(|factor| block(factor * unit * f64::from(1 << 8))));
        Fixed {
            luma: block(factors.luma * unit * f64::from(1 << 9)),
            // Half a unit, for rounding.
            offset: block(
                f64::from(1 << (FRACTION_BITS - 1)) - factors.black * factors.luma * unit,
            ),
            red,
            green,
            blue,
        }
    }

    fn convert(
        &self,
        y: &[Block<u8>],
        u: &[Block<u16>],
        v: &[Block<u16>],
        [red, green, blue]: [&mut [Block<u8>]; 3],
    ) {
        let Fixed { luma, offset, red: r, green: g, blue: b } = self;
        let out = red.iter_mut().zip(green).zip(blue);
        for (((y, u), v), ((red, green), blue)) in y.iter().zip(u).zip(v).zip(out) {
            for at in 0..y.len() {
                let y = upper_half(i16::from(y[at]) << 7, luma[at]).wrapping_add(offset[at]);
                let [u, v] = [u[at], v[at]]
                    .map(|code| (code as i16).wrapping_sub(128 * upsample::SCALE as i16) << 4);
                let sum = |factors: &[Block<i16>; 2]| {
                    let chroma =
                        upper_half(u, factors[0][at]).saturating_add(upper_half(v, factors[1][at]));
                    (y.saturating_add(chroma) >> FRACTION_BITS).clamp(0, 255) as u8
                };
                red[at] = sum(r);
                green[at] = sum(g);
                blue[at] = sum(b);
            }
        }
    }
}
