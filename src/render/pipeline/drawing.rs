//! `f=auto`: drawings, which may be smaller without loss.
//!
//! A screenshot, a chart or a logo whose pixels are those of its original has areas of one colour and few colours. Lossless
//! WebP stores it in half of the bytes, and without the noise around edges. Resized, it has many colours between the two
//! of each edge, and takes two to five times as many bytes as lossy (bench/results/encoders.md).

use std::collections::HashSet;

use super::limits::check_encoder;
use crate::format::Format;
use crate::options::Options;
use crate::render::vips::Image;

/// Larger images are not tried: this bounds the time of a second encoder, which can't be stopped.
const MAX_PIXELS: u64 = 2_500_000;
/// A drawing has at most one colour for so many pixels, ...
const PIXELS_PER_COLOUR: usize = 512;
/// ... but a small one may have so many, and a large one no more than that.
const MIN_COLOURS: usize = 256;
const MAX_COLOURS: usize = 2048;
/// At most one of so many of its pixels differs from the one before. In photographs, also gray ones, most do.
const PIXELS_PER_CHANGE: usize = 4;

/// The format in which a result of this size and number of frames is tried without loss, if it turns out to be a drawing.
pub fn lossless_format(
    options: &Options,
    original_format: Format,
    format: Format,
    frames: u32,
    pixels: u64,
) -> Option<Format> {
    let may_be = frames == 1 && format.has_quality() && pixels <= MAX_PIXELS;
    options.lossless_format(original_format).filter(|_| may_be)
}

/// Whether an image in memory is a drawing that the lossless format can hold.
pub fn is_drawing(image: &Image, lossless: Format) -> bool {
    check_encoder(lossless, image.width(), image.height()).is_ok()
        && image.samples().is_ok_and(|samples| has_few_colours(samples, image.bands() as usize))
}

fn has_few_colours(samples: &[u8], bands: usize) -> bool {
    let pixels = samples.len().checked_div(bands).unwrap_or_default();
    let most = (pixels / PIXELS_PER_COLOUR).clamp(MIN_COLOURS, MAX_COLOURS);
    let mut colours = HashSet::with_capacity(MIN_COLOURS);
    let mut changes = 0;
    let mut before = None;
    for pixel in samples.chunks_exact(bands.max(1)) {
        let colour = colour(pixel);
        if before == Some(colour) {
            continue;
        }
        before = Some(colour);
        changes += 1;
        colours.insert(colour);
        if colours.len() > most || changes > pixels / PIXELS_PER_CHANGE {
            return false;
        }
    }
    true
}

/// The samples of a pixel as one number. What is transparent has no colour.
fn colour(pixel: &[u8]) -> u32 {
    match pixel {
        [.., 0] if matches!(pixel.len(), 2 | 4) => 0,
        _ => pixel.iter().fold(1, |number: u32, sample| number.rotate_left(8) ^ u32::from(*sample)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 100 × 100 pixels.
    fn pixels<const N: usize>(pixel: impl Fn(u32, u32) -> [u8; N]) -> Vec<u8> {
        (0..100)
            .flat_map(|y| (0..100).map(move |x| (x, y)))
            .flat_map(|(x, y)| pixel(x, y))
            .collect()
    }

    #[test]
    fn areas_of_one_colour_are_a_drawing() {
        assert!(has_few_colours(&pixels(|_, _| [7, 8, 9]), 3));
        assert!(has_few_colours(&pixels(|x, y| [(x / 10 * 10) as u8, (y / 10 * 10) as u8, 0]), 3));
        assert!(has_few_colours(&pixels(|x, _| [(x / 20) as u8]), 1));
        assert!(has_few_colours(&pixels(|x, y| [(x / 5 + y / 50) as u8, 255]), 2));
    }

    #[test]
    fn many_colours_or_changes_are_none() {
        // A colour for each area of eight pixels, and one for each line.
        let areas = |x: u32, y: u32| [(x / 8) as u8, y as u8, (x / 8 * y) as u8];
        assert!(!has_few_colours(&pixels(areas), 3));
        assert!(has_few_colours(&pixels(|_, y| [y as u8, 1, 2]), 3));
        // Noise of two colours, and a gray photograph, whose colours are at most 256.
        assert!(!has_few_colours(
            &pixels(|x, y| [(x.wrapping_mul(y * 7 + 3) >> 2 & 1) as u8 * 255]),
            1
        ));
        assert!(!has_few_colours(&pixels(|x, y| [(x * 2 + y) as u8]), 1));
    }

    #[test]
    fn transparent_pixels_have_no_colour() {
        let noise = |x: u32, y: u32| (x * 7919 + y * 104_729) as u8;
        assert!(has_few_colours(&pixels(|x, y| [noise(x, y), noise(y, x), x as u8, 0]), 4));
        assert!(!has_few_colours(&pixels(|x, y| [noise(x, y), noise(y, x), x as u8, 1]), 4));
        assert!(has_few_colours(&pixels(|x, y| [noise(x, y), 0]), 2));
        // Without transparency, black is a colour, and the last sample is no alpha.
        assert!(!has_few_colours(&pixels(|x, y| [noise(x, y), noise(y, x), 0]), 3));
    }

    #[test]
    fn hostile_samples_are_no_panic() {
        for bands in 0..5 {
            has_few_colours(&[], bands);
            has_few_colours(&[1, 2, 3, 4, 5, 6, 7], bands);
        }
    }
}
