//! `pix`: squares of one colour.

use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use crate::render::vips::{Error, Image, Work};

pub const STEP: Step = Step {
    name: "pix",
    applies: |job| job.options.pixelate > 1,
    // A square has several lines.
    stage: Stage::Frame(FrameStep { apply: pixelate, needs_memory: |_| true }),
};

/// Squares begin at the upper left corner; those at the right and lower edge may be smaller.
fn pixelate<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let side = job.options.pixelate.max(1);
    let (width, height) = (image.width(), image.height());
    let samples = image.samples()?;
    let means = match (image.bands(), image.has_transparency()) {
        (1, _) => means::<1>(samples, width, side, false),
        (2, _) => means::<2>(samples, width, side, true),
        (3, _) => means::<3>(samples, width, side, false),
        (_, has_transparency) => means::<4>(samples, width, side, has_transparency),
    }?;
    let small = image.with_samples(width.div_ceil(side), &means)?;
    small.repeat_pixels(side)?.crop(0, 0, width, height)
}

/// The mean of each square, row by row, rounded half up. Colours are weighted by their opacity, which comes last.
fn means<const BANDS: usize>(
    samples: &[u8],
    width: u32,
    side: u32,
    has_transparency: bool,
) -> Result<Vec<u8>, Error> {
    let (width, side) = ((width as usize).max(1), (side as usize).max(1));
    let mut sums = vec![Sums::<BANDS>::default(); width.div_ceil(side)];
    let mut all = Vec::new();
    let pixels: &[[u8; BANDS]] = samples.as_chunks().0;
    for rows in pixels.chunks(width.saturating_mul(side)) {
        sums.fill(Sums::default());
        for row in rows.chunks_exact(width) {
            Work::check()?;
            for (sums, square) in sums.iter_mut().zip(row.chunks(side)) {
                if has_transparency {
                    square.iter().for_each(|pixel| sums.add_transparent(pixel));
                } else {
                    square.iter().for_each(|pixel| sums.add(pixel));
                }
            }
        }
        for sums in &sums {
            all.extend(sums.means(has_transparency));
        }
    }
    Ok(all)
}

/// The sums of a square.
#[derive(Clone, Copy, Debug)]
struct Sums<const BANDS: usize> {
    of_bands: [u64; BANDS],
    /// Of the opacity, or the number of pixels.
    weight: u64,
    count: u64,
}

impl<const BANDS: usize> Default for Sums<BANDS> {
    fn default() -> Sums<BANDS> {
        Sums { of_bands: [0; BANDS], weight: 0, count: 0 }
    }
}

impl<const BANDS: usize> Sums<BANDS> {
    fn add(&mut self, pixel: &[u8; BANDS]) {
        self.of_bands.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(*value));
        self.weight += 1;
        self.count += 1;
    }

    fn add_transparent(&mut self, pixel: &[u8; BANDS]) {
        let opacity = u64::from(pixel[BANDS - 1]);
        for (sum, value) in self.of_bands.iter_mut().zip(pixel) {
            *sum += opacity * u64::from(*value);
        }
        self.weight += opacity;
        self.count += 1;
    }

    fn means(&self, has_transparency: bool) -> [u8; BANDS] {
        let mean = |sum: u64, count: u64| {
            let count = count.max(1);
            u8::try_from((sum + count / 2) / count).unwrap_or(u8::MAX)
        };
        let mut means = self.of_bands.map(|sum| mean(sum, self.weight));
        if has_transparency {
            means[BANDS - 1] = mean(self.weight, self.count);
        }
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_at_the_edges_are_smaller() {
        let samples = [
            0, 10, 20, 30, 7, //
            40, 50, 60, 70, 8, //
            1, 2, 4, 4, 9,
        ];
        assert_eq!(means::<1>(&samples, 5, 2, false).unwrap(), [25, 45, 8, 2, 4, 9]);
        assert_eq!(means::<1>(&samples, 5, 100, false).unwrap(), [21]);
        assert_eq!(means::<1>(&samples, 5, 1, false).unwrap(), samples);
    }

    #[test]
    fn means_are_weighted_by_opacity() {
        let samples = [200, 100, 0, 255, 0, 0, 0, 0, 100, 0, 50, 255, 9, 9, 9, 0];
        assert_eq!(means::<4>(&samples, 2, 2, true).unwrap(), [150, 50, 25, 128]);
        assert_eq!(means::<2>(&[9, 0, 7, 0], 2, 2, true).unwrap(), [0, 0]);
        assert_eq!(means::<2>(&[100, 1, 10, 3], 2, 2, true).unwrap(), [33, 2]);
    }

    #[test]
    fn a_stopped_render_has_no_means() {
        let work = Work::begin();
        work.stop_handle().stop();
        assert!(means::<1>(&[1, 2, 3, 4], 2, 2, false).is_err());
    }
}
