//! Samples of 8 and 16 bits, and rows of blocks of them.

use crate::render::codec::av1::{Frame, Plane};

/// Pixels per block. Compilers vectorise loops over arrays of a fixed length best.
pub const BLOCK: usize = 32;

/// A part of a row.
pub type Block<T> = [T; BLOCK];

/// Blocks for a row of `width` samples.
pub fn blocks<T: Copy + Default>(width: usize) -> Vec<Block<T>> {
    vec![[T::default(); BLOCK]; width.div_ceil(BLOCK)]
}

/// A sample of a plane or of the output: `u8` or `u16`. Output of `u16` uses all 16 bits.
pub trait Sample: Copy + Default + 'static {
    /// Largest output value.
    const MAX: u16;

    /// A plane of a frame, if its samples are of this type.
    fn plane(frame: &Frame, index: usize) -> Option<Plane<'_, Self>>;

    fn code(self) -> u16;

    /// Rounds to the nearest code from 0 to [`MAX`](Self::MAX).
    fn from_f32(value: f32) -> Self;

    /// Interleaves red, green and blue into a row of three samples per pixel.
    fn write_rgb(row: &mut [Self], planes: [&[Block<Self>]; 3]);
}

/// The nearest integer in the low bits: an `f32` above 2^23 has no fraction bits. Unlike a saturating cast, this is
/// vectorised.
#[inline(always)]
fn round_to_bits(value: f32, max: f32) -> u32 {
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < max { value } else { max };
    (value + 8_388_608.0).to_bits()
}

impl Sample for u8 {
    const MAX: u16 = 255;

    fn plane(frame: &Frame, index: usize) -> Option<Plane<'_, u8>> {
        frame.plane_u8(index)
    }

    #[inline(always)]
    fn code(self) -> u16 {
        self.into()
    }

    #[inline(always)]
    fn from_f32(value: f32) -> u8 {
        round_to_bits(value, 255.0) as u8
    }

    fn write_rgb(row: &mut [u8], [red, green, blue]: [&[Block<u8>]; 3]) {
        let (whole, rest) = row.as_chunks_mut();
        let mut planes = red.iter().zip(green).zip(blue);
        for (out, ((red, green), blue)) in whole.iter_mut().zip(&mut planes) {
            interleave(red, green, blue, out);
        }
        if let Some(((red, green), blue)) = planes.next() {
            let mut last = [0; _];
            interleave(red, green, blue, &mut last);
            rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
        }
    }
}

/// Packs four pixels into three words, because stores of three samples are not vectorised.
#[inline(always)]
fn interleave(red: &Block<u8>, green: &Block<u8>, blue: &Block<u8>, out: &mut [u8; 3 * BLOCK]) {
    let mut pixels = [0; BLOCK];
    for at in 0..BLOCK {
        pixels[at] = u32::from(red[at]) | u32::from(green[at]) << 8 | u32::from(blue[at]) << 16;
    }
    for (samples, [a, b, c, d]) in out.as_chunks_mut::<12>().0.iter_mut().zip(pixels.as_chunks().0)
    {
        let words = [a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8];
        for (samples, word) in samples.as_chunks_mut().0.iter_mut().zip(words) {
            *samples = word.to_le_bytes();
        }
    }
}

impl Sample for u16 {
    const MAX: u16 = 65_535;

    fn plane(frame: &Frame, index: usize) -> Option<Plane<'_, u16>> {
        frame.plane_u16(index)
    }

    #[inline(always)]
    fn code(self) -> u16 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> u16 {
        round_to_bits(value, 65_535.0) as u16
    }

    fn write_rgb(row: &mut [u16], planes: [&[Block<u16>]; 3]) {
        let [red, green, blue] = planes.map(|plane| plane.as_flattened().iter());
        for (samples, ((red, green), blue)) in
            row.as_chunks_mut().0.iter_mut().zip(red.zip(green).zip(blue))
        {
            *samples = [*red, *green, *blue];
        }
    }
}
