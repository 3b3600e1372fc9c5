//! Maps pixels to a palette with error diffusion: quantizr's variant of Floyd and Steinberg's, in which large errors
//! fade. Pixels that are not mapped neither take nor pass on an error.

use super::nearest::{Colour, Nearest};
use crate::render::codec::gif::canvas::{Pixel, TRANSPARENT};

/// The shares of the four neighbours that are still to come: the next one in the row, and the previous, same and next
/// column of the row below. Their sum is 1, of which a sixteenth is lost.
const SHARES: [f32; 4] = [7.0, 3.0, 5.0, 1.0];
const SCALE: f32 = 15.0 / 256.0;
/// Errors whose square is greater than the mean squared error fade.
const FADE_TAKEN: f32 = 0.8;
const FADE_PASSED: f32 = 0.75;

type Error = [f32; 3];

/// The index of each pixel of some rows. A transparent pixel is not mapped, and gets `skipped`.
pub fn dither<E>(
    pixels: &[Pixel],
    width: usize,
    palette: &[Colour],
    skipped: u8,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut nearest = Nearest::new(palette);
    let mut indices = vec![skipped; pixels.len()];
    // One more at either side.
    let mut errors = vec![Error::default(); width + 2];
    let mut below = errors.clone();
    let fade_above = mean_error(pixels, &mut nearest, &mut check)?;
    let rows = pixels.chunks_exact(width.max(1)).zip(indices.chunks_exact_mut(width.max(1)));
    for (y, (row, indices)) in rows.enumerate() {
        check()?;
        for step in 0..width {
            // Every second row goes from right to left.
            let x = if y % 2 == 0 { step } else { width - 1 - step };
            let (Some(&pixel), Some(index)) = (row.get(x), indices.get_mut(x)) else { continue };
            if pixel == TRANSPARENT {
                continue;
            }
            let taken =
                fade(errors.get(x + 1).copied().unwrap_or_default(), fade_above, FADE_TAKEN);
            let [red, green, blue, _] = pixel;
            let wanted: Error =
                std::array::from_fn(|n| f32::from([red, green, blue][n]) + taken[n]);
            let (found, _) = nearest.find(wanted.map(|value| value.round() as u8));
            *index = found;
            let given = palette.get(usize::from(found)).copied().unwrap_or_default();
            let error = std::array::from_fn(|n| wanted[n] - f32::from(given[n]));
            let passed = fade(error, fade_above, FADE_PASSED).map(|value| value * SCALE);
            let (ahead, behind) = if y % 2 == 0 { (x + 2, x) } else { (x, x + 2) };
            add(&mut errors, ahead, passed, SHARES[0]);
            add(&mut below, behind, passed, SHARES[1]);
            add(&mut below, x + 1, passed, SHARES[2]);
            add(&mut below, ahead, passed, SHARES[3]);
        }
        std::mem::swap(&mut errors, &mut below);
        below.fill(Error::default());
    }
    Ok(indices)
}

fn fade(error: Error, above: f32, factor: f32) -> Error {
    let square: f32 = error.iter().map(|value| value * value).sum();
    if square > above { error.map(|value| value * factor) } else { error }
}

fn add(errors: &mut [Error], at: usize, error: Error, share: f32) {
    if let Some(sum) = errors.get_mut(at) {
        sum.iter_mut().zip(error).for_each(|(sum, error)| *sum += error * share);
    }
}

/// The mean squared error without dithering, of a sample.
fn mean_error<E>(
    pixels: &[Pixel],
    nearest: &mut Nearest,
    check: &mut impl FnMut() -> Result<(), E>,
) -> Result<f32, E> {
    check()?;
    let step = (pixels.len() / 10_000).max(1);
    let mut sum = 0.0;
    let mut count = 0_u32;
    for pixel in pixels.iter().step_by(step).filter(|pixel| **pixel != TRANSPARENT) {
        let [red, green, blue, _] = pixel;
        sum += f64::from(nearest.find([*red, *green, *blue]).1);
        count += 1;
    }
    Ok((sum / f64::from(count.max(1))) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dithered(pixels: &[Pixel], width: usize, palette: &[Colour]) -> Vec<u8> {
        dither(pixels, width, palette, 9, || Ok::<(), ()>(())).unwrap()
    }

    #[test]
    fn a_shade_between_two_colours_is_mixed() {
        let palette = [[100, 100, 100], [140, 140, 140]];
        let mut whites = Vec::new();
        for shade in [115, 120, 125] {
            let indices = dithered(&[[shade, shade, shade, 255]; 64 * 64], 64, &palette);
            whites.push(indices.iter().filter(|index| **index == 1).count());
        }
        assert!(whites.is_sorted(), "{whites:?}");
        assert!(whites.iter().all(|white| (400..3700).contains(white)), "{whites:?}");
    }

    #[test]
    fn colours_of_the_palette_are_exact_and_transparent_pixels_skipped() {
        let palette = [[10, 20, 30], [200, 100, 0]];
        let pixels: Vec<Pixel> = (0..100_u8)
            .map(|n| match n % 3 {
                0 => TRANSPARENT,
                1 => [10, 20, 30, 255],
                _ => [200, 100, 0, 255],
            })
            .collect();
        let expected: Vec<u8> = (0..100).map(|n| [9, 0, 1][n % 3]).collect();
        assert_eq!(dithered(&pixels, 10, &palette), expected);
    }
}
