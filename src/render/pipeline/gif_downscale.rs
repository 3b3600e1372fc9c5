//! Downscales the frames of a GIF, and of each frame only what differs from the one before.
//!
//! A horizontal resize works on each row alone, so the rows of many frames are below each other for it; a vertical
//! resize works on each column alone, so their columns are side by side. The result is that of a resize of each whole
//! frame, for a part of the time, and a pipeline of libvips is not set up for each frame.

use std::ops::Range;

use super::batch_resize::{MAX_PIXELS, in_tiles};
use super::resize::scale;
use crate::render::codec::gif::{Area, Pixel};
use crate::render::vips::{Error, Vips};

/// Frames that have been decoded, and their rows that are still to be downscaled.
pub struct Downscale {
    vips: Vips,
    width: usize,
    height: usize,
    /// Width and height of a result.
    to: (usize, usize),
    /// The changed rows of the frames of this batch.
    rows: Vec<Pixel>,
    batch: Vec<Changed>,
    /// The last frame, as wide as the result and as high as the original.
    narrow: Vec<Pixel>,
    /// The last result.
    small: Vec<Pixel>,
    results: Vec<Pixel>,
}

/// What differs in a frame.
struct Changed {
    /// Rows of the original.
    rows: Range<usize>,
    /// Columns of the result.
    columns: Range<usize>,
    is_opaque: bool,
}

impl Downscale {
    pub fn new(vips: Vips, (width, height): (usize, usize), to: (u32, u32)) -> Downscale {
        let to = (to.0 as usize, to.1 as usize);
        Downscale {
            vips,
            width,
            height,
            to,
            rows: Vec::new(),
            batch: Vec::new(),
            narrow: vec![[0; 4]; to.0 * height],
            small: vec![[0; 4]; to.0 * to.1],
            results: Vec::new(),
        }
    }

    /// Adds a frame. Of the first one, everything must have changed.
    pub fn push(&mut self, frame: &[Pixel], changed: Area, is_opaque: bool) -> Result<(), Error> {
        let rows = if changed.is_empty() { 0..0 } else { changed.top..changed.bottom };
        let columns =
            if changed.is_empty() { 0..0 } else { self.columns(changed.left..changed.right) };
        let pixels = rows.len() * self.width;
        let across: usize = self.batch.iter().map(|changed| changed.columns.len()).sum();
        let max = MAX_PIXELS as usize;
        if self.rows.len() + pixels > max || (across + columns.len()) * self.height > max {
            self.flush()?;
        }
        let range = rows.start * self.width..rows.end * self.width;
        self.rows.extend_from_slice(frame.get(range).unwrap_or_default());
        self.batch.push(Changed { rows, columns, is_opaque });
        Ok(())
    }

    /// The results, below each other.
    pub fn finish(mut self) -> Result<Vec<Pixel>, Error> {
        self.flush()?;
        Ok(self.results)
    }

    /// The columns of the result that depend on these columns of a frame. The kernel reaches three pixels of the result
    /// to either side (Lanczos); libvips may take the mean of some columns before, and rounds positions.
    fn columns(&self, changed: Range<usize>) -> Range<usize> {
        let factor = self.width as f64 / self.to.0.max(1) as f64;
        let first = (changed.start as f64 / factor).floor() as usize;
        let last = (changed.end as f64 / factor).ceil() as usize;
        first.saturating_sub(5)..(last + 5).min(self.to.0)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.rows);
        let batch = std::mem::take(&mut self.batch);
        let rows = self.scale(rows, self.width, (self.to.0, None))?;
        let columns = self.collect_columns(&rows, &batch);
        drop(rows);
        let across = batch.iter().map(|changed| changed.columns.len()).sum();
        let columns = self.scale(columns, across, (across, Some(self.to.1)))?;
        let mut left = 0;
        for changed in &batch {
            let right = left + changed.columns.len();
            let lines = columns.chunks_exact(across.max(1));
            for (small, line) in self.small.chunks_exact_mut(self.to.0.max(1)).zip(lines) {
                let (Some(small), Some(line)) =
                    (small.get_mut(changed.columns.clone()), line.get(left..right))
                else {
                    continue;
                };
                if changed.is_opaque {
                    small.copy_from_slice(line);
                } else {
                    small.iter_mut().zip(line).for_each(|(to, from)| *to = unpremultiply(*from));
                }
            }
            self.results.extend_from_slice(&self.small);
            left = right;
        }
        Ok(())
    }

    /// Updates the narrow frame with the rows of each frame of a batch, and puts its changed columns side by side.
    fn collect_columns(&mut self, rows: &[Pixel], batch: &[Changed]) -> Vec<Pixel> {
        let across: usize = batch.iter().map(|changed| changed.columns.len()).sum();
        let mut collected = vec![[0; 4]; across * self.height];
        let mut left = 0;
        let mut rows = rows;
        let width = self.to.0;
        for changed in batch {
            let (taken, rest) = rows.split_at(rows.len().min(changed.rows.len() * width));
            rows = rest;
            let start = changed.rows.start * width;
            if let Some(narrow) = self.narrow.get_mut(start..start + taken.len()) {
                narrow.copy_from_slice(taken);
            }
            let right = left + changed.columns.len();
            let lines = collected.chunks_exact_mut(across.max(1));
            for (line, narrow) in lines.zip(self.narrow.chunks_exact(width.max(1))) {
                if let (Some(to), Some(from)) =
                    (line.get_mut(left..right), narrow.get(changed.columns.clone()))
                {
                    to.copy_from_slice(from);
                }
            }
            left = right;
        }
        collected
    }

    /// Scales pixels of this width to a width and, if given, a height.
    fn scale(
        &self,
        pixels: Vec<Pixel>,
        width: usize,
        to: (usize, Option<usize>),
    ) -> Result<Vec<Pixel>, Error> {
        let height = pixels.len() / width.max(1);
        let (to_width, to_height) = (to.0, to.1.unwrap_or(height));
        if height == 0 || (to_width, to_height) == (width, height) {
            return Ok(pixels);
        }
        let [width, height, to_width, to_height] = [width, height, to_width, to_height]
            .map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        let image = self.vips.image_from_samples(pixels.as_flattened(), width, height, 4)?;
        let mut image = scale(&image, to_width, to_height)?;
        if to.1.is_none() {
            image = in_tiles(image)?;
        }
        let image = image.copy_memory()?;
        Ok(image.samples()?.as_chunks().0.to_vec())
    }
}

/// Transparent pixels of a GIF are black, so the means are of premultiplied colours.
fn unpremultiply([red, green, blue, alpha]: Pixel) -> Pixel {
    match u32::from(alpha) {
        0 => [0; 4],
        255 => [red, green, blue, alpha],
        opacity => {
            let colour = |value: u8| {
                u8::try_from((u32::from(value) * 255 + opacity / 2) / opacity).unwrap_or(255)
            };
            [colour(red), colour(green), colour(blue), alpha]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::pipeline::resize::resize;

    /// A frame with a gradient, of which the right half is transparent if it is not opaque.
    fn background(width: usize, height: usize, is_opaque: bool) -> Vec<Pixel> {
        (0..width * height)
            .map(|n| {
                let (x, y) = (n % width, n / width);
                if !is_opaque && 2 * x >= width {
                    return [0; 4];
                }
                [(x * 255 / width) as u8, (y * 255 / height) as u8, (x * y % 251) as u8, 255]
            })
            .collect()
    }

    #[test]
    fn changed_parts_are_resized_like_whole_frames() {
        let vips = Vips::start().unwrap();
        for (width, height, to) in [
            (97, 61, (40, 25)),
            (97, 61, (97, 30)),
            (97, 61, (50, 61)),
            (200, 90, (13, 11)),
            (150, 150, (149, 149)),
            (64, 64, (1, 1)),
        ] {
            for is_opaque in [true, false] {
                let mut frame = background(width, height, is_opaque);
                let mut downscale = Downscale::new(vips, (width, height), to);
                let mut whole_frames = Downscale::new(vips, (width, height), to);
                let mut expected = Vec::new();
                for (number, changed) in [
                    Area::whole(width, height),
                    Area { left: 30, top: 20, right: 45, bottom: 31 },
                    Area::default(),
                    Area { left: 0, top: 0, right: 5, bottom: 60 },
                    Area { left: 60, top: 50, right: 64, bottom: 61 },
                ]
                .into_iter()
                .enumerate()
                {
                    if number > 0 {
                        for row in changed.rows(width) {
                            frame[row].fill([250, 10, (number * 60) as u8, 255]);
                        }
                    }
                    downscale.push(&frame, changed, is_opaque).unwrap();
                    whole_frames.push(&frame, Area::whole(width, height), is_opaque).unwrap();
                    let [across, down] = [width, height].map(|side| side as u32);
                    let whole =
                        vips.image_from_samples(frame.as_flattened(), across, down, 4).unwrap();
                    let small = resize(whole, to.0, to.1).unwrap().copy_memory().unwrap();
                    expected.extend_from_slice(small.samples().unwrap());
                }
                let results = downscale.finish().unwrap();
                assert!(results == whole_frames.finish().unwrap(), "{width} x {height} to {to:?}");
                // libvips resizes vertically first, and rounds in between.
                let results = results.as_flattened();
                assert_eq!(results.len(), expected.len());
                let difference = |(one, other): (&u8, &u8)| u64::from(one.abs_diff(*other));
                let sum: u64 = results.iter().zip(&expected).map(difference).sum();
                let mean = sum as f64 / results.len() as f64;
                assert!(mean < 1.0, "{width} x {height} to {to:?}: {mean}");
            }
        }
    }

    #[test]
    fn batches_are_limited() {
        let vips = Vips::start().unwrap();
        let frame = background(1500, 1000, true);
        let mut downscale = Downscale::new(vips, (1500, 1000), (30, 20));
        for _ in 0..3 {
            downscale.push(&frame, Area::whole(1500, 1000), true).unwrap();
            assert!(downscale.batch.len() == 1 && downscale.rows.len() <= MAX_PIXELS as usize);
        }
        assert_eq!(downscale.finish().unwrap().len(), 3 * 30 * 20);
    }
}
