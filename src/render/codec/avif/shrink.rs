//! Averages blocks of samples of a plane, so that an image that is made much smaller is converted to RGB at a fraction
//! of its size.

use std::ops::AddAssign;

use super::sample::Sample;
use super::{Avif, Chroma};
use crate::render::codec::av1::Plane;

/// How many columns, and rows, become one: 1, 2, 4 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrink(u32);

impl Shrink {
    pub const NONE: Shrink = Shrink(1);

    /// The strongest one that leaves at least this size. Transparent pixels must not be averaged with others, a crop is
    /// in pixels of the whole image, and no block may be in two tiles: such an image is not shrunk.
    pub fn to_at_least(avif: &Avif<'_>, (width, height): (u32, u32)) -> Shrink {
        let colour = &avif.colour;
        let fits = |shrink: u32| {
            let divides = |tiles: u32, side: u32| tiles == 1 || side.is_multiple_of(shrink);
            colour.width / shrink >= width.max(1)
                && colour.height / shrink >= height.max(1)
                && divides(colour.columns, colour.tile_width)
                && divides(colour.rows, colour.tile_height)
        };
        if avif.alpha.is_some() || avif.crop.is_some() {
            return Shrink::NONE;
        }
        [8, 4, 2].into_iter().find(|shrink| fits(*shrink)).map_or(Shrink::NONE, Shrink)
    }

    /// This one and the weaker ones, the strongest first.
    pub fn and_weaker(self) -> impl Iterator<Item = Shrink> {
        [8, 4, 2, 1].into_iter().filter(move |shrink| *shrink <= self.0).map(Shrink)
    }

    /// How much smaller an image becomes, horizontally and vertically.
    pub fn factors(self) -> (f64, f64) {
        let factor = 1.0 / f64::from(self.0);
        (factor, factor)
    }

    /// The width or height of the shrunk image, whose last block is filled up with the samples at the edge.
    pub fn side(self, side: u32) -> u32 {
        side.div_ceil(self.0)
    }

    /// Columns and rows of a block of luma.
    pub fn luma_block(self) -> (u32, u32) {
        (self.0, self.0)
    }

    /// Columns and rows of a block of chroma, which is already subsampled, unless it is [`Shrink::NONE`].
    pub fn chroma_block(self, chroma: Chroma) -> (u32, u32) {
        match chroma {
            Chroma::Monochrome | Chroma::Yuv444 => (self.0, self.0),
            Chroma::Yuv420 => (self.0 / 2, self.0 / 2),
            Chroma::Yuv422 => (self.0 / 2, self.0),
        }
    }
}

/// A sample whose blocks can be averaged.
pub trait AveragedSample: Sample {
    /// Has room for the sum of eight.
    type Sum: Copy + Default + AddAssign + From<Self> + Into<u32>;

    fn from_code(code: u32) -> Self;
}

impl AveragedSample for u8 {
    type Sum = u16;

    fn from_code(code: u32) -> u8 {
        code as u8
    }
}

impl AveragedSample for u16 {
    type Sum = u32;

    fn from_code(code: u32) -> u16 {
        code as u16
    }
}

/// Averages the blocks of a plane row by row.
pub struct Averager<'f, S: AveragedSample> {
    plane: Plane<'f, S>,
    /// Columns and rows of a block.
    block: (usize, usize),
    /// The part of the plane that is used.
    width: usize,
    height: usize,
    /// Sums of columns, whole blocks.
    sums: Vec<S::Sum>,
}

impl<'f, S: AveragedSample> Averager<'f, S> {
    /// `width` × `height` is the part of the plane that is used, from the top left corner.
    pub fn new(plane: Plane<'f, S>, block: (u32, u32), (width, height): (u32, u32)) -> Self {
        let block = (block.0.max(1) as usize, block.1.max(1) as usize);
        let width = plane.width().min(width as usize);
        Averager {
            plane,
            block,
            width,
            height: plane.height().min(height as usize),
            sums: vec![S::Sum::default(); width.next_multiple_of(block.0)],
        }
    }

    /// Writes the means of a row of blocks, multiplied by `scale` and rounded to nearest.
    pub fn write<T>(
        &mut self,
        row: usize,
        scale: u16,
        out: &mut [T],
        from_code: impl Fn(u32) -> T,
    ) {
        self.sum_columns(row);
        let count = self.block.0 * self.block.1;
        let rule = (u32::from(scale), count.trailing_zeros());
        match self.block.0 {
            1 => write_means::<1, _, _>(&self.sums, rule, out, from_code),
            2 => write_means::<2, _, _>(&self.sums, rule, out, from_code),
            4 => write_means::<4, _, _>(&self.sums, rule, out, from_code),
            _ => write_means::<8, _, _>(&self.sums, rule, out, from_code),
        }
    }

    fn sum_columns(&mut self, row: usize) {
        self.sums.fill(S::Sum::default());
        let top = row * self.block.1;
        for row in top..top + self.block.1 {
            let samples = self.plane.row(row.min(self.height.saturating_sub(1)));
            let samples = &samples[..samples.len().min(self.width)];
            for (sum, sample) in self.sums.iter_mut().zip(samples) {
                *sum += S::Sum::from(*sample);
            }
        }
        if let Some((last, rest)) = self
            .sums
            .get_mut(self.width.saturating_sub(1)..)
            .and_then(|sums| sums.split_first_mut())
        {
            rest.fill(*last);
        }
    }
}

/// Divides sums of blocks by a power of two.
fn write_means<const COLUMNS: usize, S: Copy + Into<u32>, T>(
    sums: &[S],
    (scale, shift): (u32, u32),
    out: &mut [T],
    from_code: impl Fn(u32) -> T,
) {
    let half = (1 << shift) >> 1;
    for (out, block) in out.iter_mut().zip(sums.as_chunks::<COLUMNS>().0) {
        let sum: u32 = block.iter().map(|sum| (*sum).into()).sum();
        *out = from_code((sum * scale + half) >> shift);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::coded::{grid, still};
    use super::super::{Crop, decode, decode_shrunk};
    use super::*;
    use crate::render::codec::av1::{self, Planes, Settings};

    /// Luma is noise, chroma a slope, and no colour is out of range.
    fn stream((width, height): (u32, u32), chroma: Chroma) -> Vec<u8> {
        let (chroma_width, chroma_height) = chroma.plane_size(width, height);
        let luma: Vec<u8> = (0..width * height)
            .map(|at| 100 + (at.wrapping_mul(2_654_435_761) >> 26) as u8)
            .collect();
        let slope: Vec<u8> = (0..chroma_width * chroma_height)
            .map(|at| (118 + (at % chroma_width + at / chroma_width) / 8) as u8)
            .collect();
        let planes = [&luma[..], &slope, &slope];
        let image = Planes { width, height, chroma, primaries: 1, transfer: 13, matrix: 6, planes };
        av1::encode(&image, &Settings { options: &[(c"lossless", "1"), (c"cpu-used", "9")] })
            .unwrap()
    }

    /// Means of blocks, which are filled up with the pixels at the edge.
    fn means(rgb: &[u8], bands: usize, (width, height): (usize, usize), side: usize) -> Vec<f64> {
        let mut means = Vec::new();
        for top in (0..height).step_by(side) {
            for left in (0..width).step_by(side) {
                for band in 0..bands {
                    let places = (top..top + side)
                        .flat_map(|row| (left..left + side).map(move |column| (row, column)));
                    let sum: f64 = places
                        .map(|(row, column)| {
                            let pixel = row.min(height - 1) * width + column.min(width - 1);
                            f64::from(rgb[pixel * bands + band])
                        })
                        .sum();
                    means.push(sum / (side * side) as f64);
                }
            }
        }
        means
    }

    /// Returns the mean difference.
    fn assert_means(avif: &Avif<'_>, shrink: Shrink) -> f64 {
        let (width, height, bands) =
            (avif.colour.width as usize, avif.colour.height as usize, avif.bands());
        let mut whole = vec![0_u8; width * height * bands];
        decode(avif, &mut whole, || Ok(())).unwrap();
        let expected = means(&whole, bands, (width, height), shrink.0 as usize);
        let mut out = vec![0_u8; expected.len()];
        decode_shrunk(avif, shrink, &mut out, || Ok(())).unwrap();
        let mut sum = 0.0;
        for (at, (code, mean)) in out.iter().zip(&expected).enumerate() {
            let difference = f64::from(*code) - mean;
            assert!(difference.abs() <= 2.0, "{shrink:?} {width}x{height} at {at}: {code} {mean}");
            sum += difference;
        }
        sum / expected.len() as f64
    }

    #[test]
    fn avif_shrinks_to_the_means_of_blocks() {
        for chroma in [Chroma::Monochrome, Chroma::Yuv420, Chroma::Yuv444] {
            for size in [(64, 48), (61, 43), (9, 70), (8, 8)] {
                let avif = still(grid(size, size, chroma, vec![stream(size, chroma)]), None);
                for shrink in [2, 4, 8] {
                    let bias = assert_means(&avif, Shrink(shrink));
                    // Rounded to nearest. In a smaller image, the sum is a matter of luck.
                    assert!(size != (64, 48) || bias.abs() < 0.25, "{chroma:?} {shrink}: {bias}");
                }
            }
        }
    }

    #[test]
    fn avif_shrinks_tiles_to_the_means_of_blocks() {
        let tile = (16, 24);
        let tiles = vec![stream(tile, Chroma::Yuv420); 6];
        let avif = still(grid((45, 41), tile, Chroma::Yuv420, tiles), None);
        for shrink in [2, 4, 8] {
            let strongest = Shrink::to_at_least(&avif, (45 / shrink, 41 / shrink));
            assert_eq!(strongest, Shrink(shrink));
            assert_means(&avif, strongest);
        }
    }

    #[test]
    fn avif_shrink_leaves_the_requested_size() {
        let plain = |size| still(grid(size, size, Chroma::Yuv420, Vec::new()), None);
        for (from, to, shrink) in [
            ((1664, 1248), (600, 450), 2),
            ((1664, 1248), (416, 312), 4),
            ((1664, 1248), (417, 312), 2),
            ((1664, 1248), (416, 313), 2),
            ((1664, 1248), (10, 10), 8),
            ((1664, 1248), (833, 10), 1),
            ((7, 7), (0, 0), 4),
            ((1, 1), (0, 0), 1),
        ] {
            assert_eq!(Shrink::to_at_least(&plain(from), to), Shrink(shrink), "{from:?} {to:?}");
        }
        // A block must not be in two tiles.
        let tiled = |tile| still(grid((256, 256), tile, Chroma::Yuv420, Vec::new()), None);
        for (tile, shrink) in [
            ((64, 64), 8),
            ((68, 64), 4),
            ((64, 66), 2),
            ((65, 64), 1),
            ((256, 66), 2),
            ((65, 256), 1),
        ] {
            assert_eq!(Shrink::to_at_least(&tiled(tile), (8, 8)), Shrink(shrink), "{tile:?}");
        }
        let mut avif = plain((64, 64));
        avif.crop = Some(Crop { left: 1, top: 1, width: 62, height: 62 });
        assert_eq!(Shrink::to_at_least(&avif, (8, 8)), Shrink::NONE);
        let mut avif = plain((64, 64));
        avif.alpha = Some(grid((64, 64), (64, 64), Chroma::Monochrome, Vec::new()));
        assert_eq!(Shrink::to_at_least(&avif, (8, 8)), Shrink::NONE);
    }
}
