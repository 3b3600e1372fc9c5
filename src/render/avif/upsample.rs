//! Chroma planes at the resolution of luma.
//!
//! Bilinear, as browsers show an AVIF: libavif, which Chromium uses, asks libyuv for its bilinear filter, and weighs
//! 9 : 3 : 3 : 1 itself where there is no libyuv. Like both, this takes chroma samples to lie at the center of the pixels
//! that share them and disregards `chroma_sample_position`. At the edges of a tile the outermost samples are repeated.

use super::{Chroma, Sample};
use crate::render::av1::Plane;

/// What upsampled chroma is multiplied by, so that nothing is lost to rounding: 12 bits by this still fit 16.
pub const SCALE: u16 = 16;

/// Rows of one chroma plane, upsampled one by one.
pub struct Upsampler<'f, S> {
    plane: Plane<'f, S>,
    chroma: Chroma,
    /// The part of the plane that is used.
    width: usize,
    height: usize,
    /// Two rows weighed, with two samples beside them.
    blended: Vec<u16>,
    row: Vec<u16>,
}

impl<'f, S: Sample> Upsampler<'f, S> {
    /// `width` × `height` is the part of the luma plane that is used, from its top left corner on.
    pub fn new(plane: Plane<'f, S>, chroma: Chroma, width: u32, height: u32) -> Self {
        let size = chroma.plane_size(width, height);
        let width = plane.width().min(size.0 as usize);
        Upsampler {
            plane,
            chroma,
            width,
            height: plane.height().min(size.1 as usize),
            blended: vec![0; width + 2],
            row: vec![0; 2 * width],
        }
    }

    /// The chroma of a row of luma, multiplied by [`SCALE`], of half the samples of 4:2:0 and 4:2:2 at least as long.
    pub fn row(&mut self, luma_row: usize) -> &[u16] {
        let used = |row: usize| {
            let row = self.plane.row(row.min(self.height.saturating_sub(1)));
            &row[..row.len().min(self.width)]
        };
        let inner = self.blended.iter_mut().skip(1);
        if self.chroma == Chroma::Yuv420 {
            let near = luma_row / 2;
            let far = if luma_row % 2 == 0 { near.saturating_sub(1) } else { near + 1 };
            for ((blended, near), far) in inner.zip(used(near)).zip(used(far)) {
                *blended = 3 * near.code() + far.code();
            }
        } else {
            inner.zip(used(luma_row)).for_each(|(blended, sample)| *blended = 4 * sample.code());
        }
        if let [first, second, ..] = &mut self.blended[..] {
            *first = *second;
        }
        if let [.., before, last] = &mut self.blended[..] {
            *last = *before;
        }
        let (left, rest) = (&self.blended[..], self.blended.get(1..).unwrap_or_default());
        let right = rest.get(1..).unwrap_or_default();
        let pairs = self.row.as_chunks_mut::<2>().0;
        for (((pair, left), middle), right) in pairs.iter_mut().zip(left).zip(rest).zip(right) {
            *pair = [3 * middle + left, 3 * middle + right];
        }
        &self.row
    }
}
