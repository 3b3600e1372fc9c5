//! Chroma planes at the resolution of luma.
//!
//! Bilinear, as browsers show an AVIF: libavif, which Chromium uses, asks libyuv for its bilinear filter, and weighs
//! 9 : 3 : 3 : 1 itself where there is no libyuv. Like both, this takes chroma samples to lie at the center of the pixels
//! that share them and disregards `chroma_sample_position`. At the edges of a tile the outermost samples are repeated.

use super::Chroma;
use super::sample::{Block, Sample, blocks};
use crate::render::codec::av1::Plane;

/// What upsampled chroma is multiplied by, so that nothing is lost to rounding: 12 bits by this still fit 16.
pub const SCALE: u16 = 16;

/// The rows of a chroma plane, one by one.
pub struct Upsampler<'f, S> {
    plane: Plane<'f, S>,
    chroma: Chroma,
    /// The part of the plane that is used.
    width: usize,
    height: usize,
    /// Two rows weighed, with a sample more at both ends.
    weighed: Vec<u16>,
    row: Vec<Block<u16>>,
}

impl<'f, S: Sample> Upsampler<'f, S> {
    /// `width` × `height` is the part of the luma plane that is used, from its top left corner on.
    pub fn new(plane: Plane<'f, S>, chroma: Chroma, width: u32, height: u32) -> Self {
        let size = chroma.plane_size(width, height);
        let used = plane.width().min(size.0 as usize);
        Upsampler {
            plane,
            chroma,
            width: used,
            height: plane.height().min(size.1 as usize),
            weighed: vec![0; used + 2],
            row: blocks(width as usize),
        }
    }

    /// The chroma of a row of luma, multiplied by [`SCALE`].
    pub fn row(&mut self, luma_row: usize) -> &[Block<u16>] {
        let used = |row: usize| {
            let row = self.plane.row(row.min(self.height.saturating_sub(1)));
            &row[..row.len().min(self.width)]
        };
        let out = self.row.as_flattened_mut();
        let inner = self.weighed.iter_mut().skip(1);
        match self.chroma {
            Chroma::Monochrome | Chroma::Yuv444 => {
                out.iter_mut()
                    .zip(used(luma_row))
                    .for_each(|(out, sample)| *out = SCALE * sample.code());
                return &self.row;
            }
            Chroma::Yuv422 => {
                inner
                    .zip(used(luma_row))
                    .for_each(|(weighed, sample)| *weighed = 4 * sample.code());
            }
            Chroma::Yuv420 => {
                let near = luma_row / 2;
                let far =
                    if luma_row.is_multiple_of(2) { near.saturating_sub(1) } else { near + 1 };
                for ((weighed, near), far) in inner.zip(used(near)).zip(used(far)) {
                    *weighed = 3 * near.code() + far.code();
                }
            }
        }
        if let [first, second, ..] = &mut self.weighed[..] {
            *first = *second;
        }
        if let [.., before, last] = &mut self.weighed[..] {
            *last = *before;
        }
        let triples = self.weighed.windows(3);
        for (pair, triple) in out.as_chunks_mut::<2>().0.iter_mut().zip(triples) {
            if let [left, middle, right] = triple {
                *pair = [3 * middle + left, 3 * middle + right];
            }
        }
        &self.row
    }
}
