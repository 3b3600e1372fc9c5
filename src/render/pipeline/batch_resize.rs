//! Downscales several frames in one libvips pipeline without bleeding between frames.
//!
//! A pipeline for each frame costs more than its pixels. A horizontal resize works on each row alone, so the frames are
//! below each other for it; a vertical resize works on each column alone, so they are side by side.

use super::resize;
use crate::render::vips::{Error, Image, Space, Value};

/// The most pixels in a batch, as wide as the result and as high as the original.
pub const MAX_PIXELS: u32 = 2 << 20;
/// Width and height of libvips' tiles.
const TILE: u32 = 128;

/// How many frames to downscale in one batch; `None` if batches would be no faster.
pub fn batch_size(image: &Image, frame_height: u32, (width, height): (u32, u32)) -> Option<u32> {
    let is_downscale = width <= image.width() && height <= frame_height;
    let is_bytes = matches!(image.space(), Space::Srgb | Space::Gray);
    let max = MAX_PIXELS / width.saturating_mul(frame_height).max(1);
    (is_downscale && is_bytes && max > 1).then_some(max)
}

/// Resizes each frame to exactly this size, in memory.
pub fn resize<'b>(
    frames: Image<'b>,
    count: u32,
    (width, height): (u32, u32),
) -> Result<Image<'b>, Error> {
    let frame_height = frames.height() / count.max(1);
    let has_transparency = frames.has_transparency();
    let frames = if has_transparency { resize::premultiply(&frames)? } else { frames };
    let narrow = in_tiles(resize::scale(&frames, width, frames.height())?)?.copy_memory()?;
    let side_by_side = rearrange(narrow, width, frame_height, width.saturating_mul(count))?;
    let low = resize::scale(&side_by_side, side_by_side.width(), height)?;
    let low = if has_transparency { resize::unpremultiply(&low, &side_by_side)? } else { low };
    rearrange(low.copy_memory()?, width, count, width)
}

/// Computes pixels in tiles instead of strips of 16 lines, because libvips' threads wake each other after each strip. A
/// decoder gives its lines once, in their order, so a tile must be as wide as the image.
pub fn in_tiles(image: Image<'_>) -> Result<Image<'_>, Error> {
    if image.width() > TILE {
        return Ok(image);
    }
    // The only operation that asks for tiles and copies no pixels.
    image.apply(c"replicate", &[(c"across", Value::Int(1)), (c"down", Value::Int(1))])
}

/// Transposes lines of `line` pixels, of which a row has `in_row`: the first ones of all rows come first, then the
/// second ones, and so on, in an image of another width.
fn rearrange(image: Image<'_>, line: u32, in_row: u32, width: u32) -> Result<Image<'_>, Error> {
    let length = line.saturating_mul(image.bands()) as usize;
    let samples = transpose(image.samples()?, length, in_row as usize);
    image.with_samples(width, &samples)
}

fn transpose(samples: &[u8], length: usize, in_row: usize) -> Vec<u8> {
    let mut transposed = Vec::with_capacity(samples.len());
    let row = length.saturating_mul(in_row).max(1);
    for n in 0..in_row {
        let piece = |row| <[u8]>::get(row, n * length..(n + 1) * length);
        samples
            .chunks_exact(row)
            .filter_map(piece)
            .for_each(|piece| transposed.extend_from_slice(piece));
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    use crate::render::codec::gif::{Canvas, Pixel};
    use crate::render::pipeline::resize_frames::resize_frames;
    use crate::render::vips::Vips;

    /// The first frames of an animation of 245 × 245 pixels.
    static FRAMES: LazyLock<Vec<Pixel>> = LazyLock::new(|| {
        let mut canvas = Canvas::new(include_bytes!("../../../tests/data/anim.gif")).unwrap();
        let mut frame = || {
            canvas.draw_next(|| Ok::<(), Error>(())).unwrap();
            canvas.pixels().to_vec()
        };
        (0..5).flat_map(|_| frame()).collect()
    });

    fn animation<'b>() -> Image<'b> {
        let samples = FRAMES.as_flattened();
        Vips::start().unwrap().image_from_samples(samples, 245, 245 * 5, 4).unwrap()
    }

    #[test]
    fn transpose_moves_lines_between_rows() {
        assert_eq!(transpose(b"aabbccddeeff", 2, 3), b"aaddbbeeccff");
        assert_eq!(transpose(b"aaddbbeeccff", 2, 2), b"aabbccddeeff");
        assert_eq!(transpose(b"", 2, 2), b"");
        assert_eq!(transpose(b"aa", 0, 2), b"");
    }

    #[test]
    fn batch_resize_equals_a_resize_of_each_frame() {
        let all = animation();
        for (width, height) in [(100, 100), (245, 33), (60, 245), (180, 31), (1, 1)] {
            let together = resize(animation(), 5, (width, height)).unwrap();
            assert_eq!((together.width(), together.height()), (width, height * 5));
            for n in 0..5 {
                let frame = all.crop(0, n * 245, 245, 245).unwrap();
                let alone = resize::resize(frame, width, height).unwrap().copy_memory().unwrap();
                let same =
                    together.crop(0, n * height, width, height).unwrap().copy_memory().unwrap();
                let one = alone.samples().unwrap();
                let other = same.samples().unwrap();
                let difference: u64 =
                    one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                assert_eq!(one.len(), other.len());
                let mean = difference as f64 / one.len() as f64;
                assert!(mean <= 0.5, "{width} x {height}, frame {n}: {mean}");
            }
        }
    }

    #[test]
    fn batch_size_is_limited_by_pixels() {
        let colours: Vec<u8> = (0..12).collect();
        let samples: Vec<u8> = colours.iter().flat_map(|n| vec![n * 20; 600 * 600 * 4]).collect();
        let roll = animation().with_samples(600, &samples).unwrap();
        assert_eq!(batch_size(&roll, 600, (500, 500)), Some(6));
        assert_eq!(batch_size(&roll, 600, (300, 601)), None);
        assert_eq!(batch_size(&roll, 600, (601, 300)), None);
        assert_eq!(batch_size(&roll, 7200, (500, 500)), None);
        // Eleven frames are two batches, and the second one is not full.
        let roll = roll.crop(0, 0, 600, 600 * 11).unwrap();
        let result = resize_frames(roll, 11, (500, 500), false).unwrap().copy_memory().unwrap();
        assert_eq!((result.width(), result.height(), result.frame_height()), (500, 5500, 500));
        let samples = result.samples().unwrap();
        for (frame, n) in samples.chunks_exact(500 * 500 * 4).zip(colours) {
            assert!(frame.chunks_exact(4).all(|pixel| pixel[3] == n * 20), "{n}");
        }
    }
}
