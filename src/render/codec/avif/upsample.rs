//! Upsamples chroma planes to the resolution of luma.
//!
//! Bilinear, as in browsers: libavif, which Chromium uses, asks libyuv for its bilinear filter and uses weights of
//! 9 : 3 : 3 : 1 without libyuv. Like both, this puts chroma samples at the centre of the pixels that share them and
//! ignores `chroma_sample_position`. The outermost samples of a tile are repeated.

use super::Chroma;
use super::sample::{Block, Sample, blocks};
use crate::render::codec::av1::Plane;

/// Scale of upsampled chroma, which makes it exact; 12 bits scaled by this fit 16.
pub const SCALE: u16 = 16;

/// Upsamples a chroma plane row by row.
pub struct Upsampler<'f, S> {
    plane: Plane<'f, S>,
    chroma: Chroma,
    /// The part of the plane that is used.
    width: usize,
    height: usize,
    /// Weighted sum of two rows, with one more sample at both ends.
    weighted: Vec<u16>,
    row: Vec<Block<u16>>,
}

impl<'f, S: Sample> Upsampler<'f, S> {
    /// `width` × `height` is the part of the luma plane that is used, from the top left corner.
    pub fn new(plane: Plane<'f, S>, chroma: Chroma, width: u32, height: u32) -> Self {
        let size = chroma.plane_size(width, height);
        let used = plane.width().min(size.0 as usize);
        Upsampler {
            plane,
            chroma,
            width: used,
            height: plane.height().min(size.1 as usize),
            weighted: vec![0; used + 2],
            row: blocks(width as usize),
        }
    }

    /// The chroma of a row of luma, scaled by [`SCALE`].
    pub fn row(&mut self, luma_row: usize) -> &[Block<u16>] {
        let used = |row: usize| {
            let row = self.plane.row(row.min(self.height.saturating_sub(1)));
            &row[..row.len().min(self.width)]
        };
        let out = self.row.as_flattened_mut();
        let inner = self.weighted.iter_mut().skip(1);
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
                    .for_each(|(weighted, sample)| *weighted = 4 * sample.code());
            }
            Chroma::Yuv420 => {
                let near = luma_row / 2;
                let far =
                    if luma_row.is_multiple_of(2) { near.saturating_sub(1) } else { near + 1 };
                for ((weighted, near), far) in inner.zip(used(near)).zip(used(far)) {
                    *weighted = 3 * near.code() + far.code();
                }
            }
        }
        if let [first, second, ..] = &mut self.weighted[..] {
            *first = *second;
        }
        if let [.., before, last] = &mut self.weighted[..] {
            *last = *before;
        }
        let triples = self.weighted.windows(3);
        for (pair, triple) in out.as_chunks_mut::<2>().0.iter_mut().zip(triples) {
            if let [left, middle, right] = triple {
                *pair = [3 * middle + left, 3 * middle + right];
            }
        }
        &self.row
    }
}
