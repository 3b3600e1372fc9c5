//! Computes palettes.
//!
//! Most animations have the same colours from the first frame to the last, so one palette for all frames is good
//! enough. It costs a palette for each frame less, needs no dithering, which would flicker, and leaves still areas the
//! same from frame to frame (bench/results/encoders.md).

use quantizr::{Histogram, Image, Options, QuantizeResult};

use super::nearest::{Colour, Nearest};
use crate::render::codec::gif::canvas::{Pixel, TRANSPARENT};

/// About how many pixels of all frames are sampled for a shared palette.
const SAMPLED_PIXELS: usize = 20_000;
/// At most how many pixels of a frame are sampled for its own palette. The quantiser can't be stopped, and takes up to
/// a microsecond for each.
const MAX_SAMPLED_PIXELS: usize = 1 << 17;
/// One index is for transparent pixels.
pub const MAX_COLOURS: usize = 255;
/// The greatest mean squared error, over the four samples of a pixel, that is not visible (38 dB). Below it no
/// dithering is needed, which would flicker.
const MAX_ERROR: f32 = 32.0;
/// The greatest squared distance to the nearest colour of the palette that is not visible in a single pixel. A thin
/// line of its own colour hardly changes the mean error, and may not be sampled at all.
const MAX_DISTANCE: u32 = 40 * 40;
/// At most one pixel in this many may exceed `MAX_DISTANCE`.
const PIXELS_PER_FAR_PIXEL: usize = 5000;
/// The index of transparent pixels, beside those of a shared palette.
pub const CLEAR: u8 = u8::MAX;

/// The opaque colours of pixels: at most 256.
struct ColourSet {
    /// Open addressing; a pixel that is opaque is not 0.
    slots: [u32; 1024],
    colours: Vec<Colour>,
    last: u32,
}

impl ColourSet {
    fn new() -> ColourSet {
        ColourSet { slots: [0; 1024], colours: Vec::new(), last: 0 }
    }

    /// Adds the colours of pixels. Returns whether there are at most this many.
    fn add(&mut self, pixels: &[Pixel], max: usize) -> bool {
        pixels.iter().all(|pixel| {
            let key = u32::from_le_bytes(*pixel);
            if key == self.last || *pixel == TRANSPARENT {
                return true;
            }
            self.last = key;
            let mut slot = (key.wrapping_mul(0x9e37_79b1) >> 22) as usize;
            loop {
                match self.slots.get_mut(slot % 1024) {
                    Some(found) if *found == key => return true,
                    Some(free) if *free == 0 => {
                        *free = key;
                        let [red, green, blue, _] = *pixel;
                        self.colours.push([red, green, blue]);
                        return self.colours.len() <= max;
                    }
                    _ => slot += 1,
                }
            }
        })
    }

    fn sorted(mut self) -> Vec<Colour> {
        self.colours.sort_unstable();
        self.colours
    }
}

/// The opaque colours of pixels, if there are at most this many, which is at most 256.
pub fn exact(pixels: &[Pixel], max: usize) -> Option<Vec<Colour>> {
    let mut set = ColourSet::new();
    set.add(pixels, max).then(|| set.sorted())
}

/// At most this many colours for pixels, of which some are taken. Transparent ones count as a colour, which is not
/// returned. The second value is the mean squared error.
fn quantise(pixels: &[Pixel], max: usize) -> Option<(Vec<Colour>, f32)> {
    let image = Image::new(pixels.as_flattened(), pixels.len(), 1).ok()?;
    let mut histogram = Histogram::new();
    histogram.add_image(&image);
    let mut options = Options::default();
    options.set_max_colors(i32::try_from(max).ok()?).ok()?;
    let quantised = QuantizeResult::quantize_histogram(&histogram, &options);
    let palette = quantised.get_palette();
    let entries = palette.entries.iter().take(palette.count as usize);
    let colours: Vec<Colour> = entries
        .filter(|colour| colour.a != 0)
        .map(|colour| [colour.r, colour.g, colour.b])
        .collect();
    (!colours.is_empty()).then(|| (colours, quantised.get_error()))
}

/// A palette of at most this many colours for the opaque ones of these pixels.
pub fn of_pixels(pixels: &[Pixel], max: usize) -> Vec<Colour> {
    let opaque = || pixels.iter().filter(|pixel| **pixel != TRANSPARENT).copied();
    let step = opaque().count().div_ceil(MAX_SAMPLED_PIXELS).max(1);
    let sampled: Vec<Pixel> = opaque().step_by(step).collect();
    quantise(&sampled, max).map_or_else(|| vec![[0; 3]], |(colours, _)| colours)
}

/// The palette of an animation.
pub struct Shared {
    pub colours: Vec<Colour>,
    /// The index of each pixel, or [`CLEAR`].
    pub indices: Vec<u8>,
}

/// One palette for all frames of an animation; `None` if none is good enough.
/// `frame` is the number of pixels in a frame.
pub fn shared<E>(
    pixels: &[Pixel],
    width: usize,
    frame: usize,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Option<Shared>, E> {
    let mut exact = Some(ColourSet::new());
    for frame in pixels.chunks(frame.max(1)) {
        check()?;
        exact = exact.and_then(|mut set| set.add(frame, MAX_COLOURS).then_some(set));
    }
    let exact = exact.map(ColourSet::sorted);
    let Some(colours) = exact.or_else(|| sampled(pixels, width, frame)) else { return Ok(None) };
    check()?;
    let indices = map(&colours, pixels, frame, check)?;
    Ok(indices.map(|indices| Shared { colours, indices }))
}

/// The palette of a grid of pixels of all frames; `None` if its error is visible.
fn sampled(pixels: &[Pixel], width: usize, frame: usize) -> Option<Vec<Colour>> {
    let step = (pixels.len() as f64 / SAMPLED_PIXELS as f64).sqrt().ceil() as usize;
    let step = step.min(width).min(frame / width.max(1)).max(1);
    let rows = pixels.chunks_exact(width.max(1)).step_by(step);
    let sampled: Vec<Pixel> = rows.flat_map(|row| row.iter().step_by(step).copied()).collect();
    let (colours, error) = quantise(&sampled, MAX_COLOURS)?;
    (error <= MAX_ERROR).then_some(colours)
}

/// The index of the nearest colour of each pixel; `None` if too many pixels are far from theirs.
///
/// A pixel that changes too little for another index is then unchanged, and takes no bytes.
fn map<E>(
    colours: &[Colour],
    pixels: &[Pixel],
    frame: usize,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Option<Vec<u8>>, E> {
    let mut nearest = Nearest::new(colours);
    let mut indices: Vec<u8> = Vec::with_capacity(pixels.len());
    // Whether each pixel of the last frame is far from its colour.
    let mut are_far = vec![false; frame];
    let mut last = (TRANSPARENT, CLEAR, false);
    let mut far = 0_usize;
    let mut before: &[Pixel] = &[];
    for frame in pixels.chunks(frame.max(1)) {
        check()?;
        let start = indices.len() - before.len();
        for ((at, pixel), is_far) in frame.iter().enumerate().zip(&mut are_far) {
            // As in the frame before.
            if before.get(at) == Some(pixel)
                && let Some(index) = indices.get(start + at)
            {
                indices.push(*index);
            } else {
                if last.0 != *pixel {
                    let [red, green, blue, alpha] = *pixel;
                    last = if alpha == 0 {
                        (*pixel, CLEAR, false)
                    } else {
                        let (index, distance) = nearest.find([red, green, blue]);
                        (*pixel, index, distance > MAX_DISTANCE)
                    };
                }
                indices.push(last.1);
                *is_far = last.2;
            }
            far += usize::from(*is_far);
        }
        before = frame;
    }
    Ok((far <= pixels.len() / PIXELS_PER_FAR_PIXEL).then_some(indices))
}

/// The index of the nearest colour of each pixel of a part; `None` if the palette of these colours is not good enough.
pub fn indices_if_close<E>(
    nearest: &mut Nearest,
    pixels: &[Pixel],
    transparent: u8,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Option<Vec<u8>>, E> {
    check()?;
    let mut indices = Vec::with_capacity(pixels.len());
    let (mut far, mut error) = (0_usize, 0_u64);
    for pixel in pixels {
        if *pixel == TRANSPARENT {
            indices.push(transparent);
            continue;
        }
        let [red, green, blue, _] = *pixel;
        let (index, distance) = nearest.find([red, green, blue]);
        error += u64::from(distance);
        far += usize::from(distance > MAX_DISTANCE);
        if far > pixels.len() / PIXELS_PER_FAR_PIXEL {
            return Ok(None);
        }
        indices.push(index);
    }
    // Four samples each.
    let is_close = error as f32 <= MAX_ERROR * 4.0 * pixels.len() as f32;
    Ok(is_close.then_some(indices))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstopped() -> Result<(), std::convert::Infallible> {
        Ok(())
    }

    fn is_shared(pixels: &[Pixel], width: usize, frame: usize) -> bool {
        shared(pixels, width, frame, unstopped).unwrap().is_some()
    }

    #[test]
    fn few_colours_are_exact() {
        let colours = (0..=254).map(|n: u8| [n, n / 2, 255 - n, 255]).chain([TRANSPARENT]);
        let pixels: Vec<Pixel> = colours.collect();
        let found = exact(&pixels, 255).unwrap();
        assert_eq!(found.len(), 255);
        assert!(found.contains(&[77, 38, 178]));
        assert_eq!(exact(&[&pixels[..], &[[9, 9, 9, 255]]].concat(), 255), None);
        assert_eq!(exact(&pixels, 254), None);
        assert_eq!(exact(&[TRANSPARENT], 2), Some(Vec::new()));
        let Shared { colours, indices } = shared(&pixels, 16, 256, unstopped).unwrap().unwrap();
        for (pixel, index) in pixels.iter().zip(indices) {
            match colours.get(usize::from(index)) {
                Some([red, green, blue]) => assert_eq!(*pixel, [*red, *green, *blue, 255]),
                None => assert_eq!((*pixel, index), (TRANSPARENT, CLEAR)),
            }
        }
    }

    #[test]
    fn a_palette_is_shared_if_its_error_is_not_visible() {
        let cube = |scale: usize| -> Vec<Pixel> {
            (0..256 * 256)
                .map(|n| {
                    let (x, y) = (n % 256, n / 256);
                    [(x / scale) as u8, (y / scale) as u8, (x * y / 7 / scale) as u8, 255]
                })
                .collect()
        };
        assert!(!is_shared(&cube(1), 256, 256 * 64));
        assert!(is_shared(&cube(16), 256, 256 * 64));
    }

    #[test]
    fn a_thin_line_of_its_own_colour_prevents_a_shared_palette() {
        // Every seventh column is sampled, and the line is between two of them.
        let with_line = |line: std::ops::Range<usize>| {
            let pixels: Vec<Pixel> = (0..400 * 2400)
                .map(|n| {
                    let (x, y) = (n % 400, n / 400);
                    let shade = (x / 8 + y % 100) as u8;
                    if line.contains(&x) {
                        [255, 0, 0, 255]
                    } else {
                        [shade, shade / 2, x as u8, 255]
                    }
                })
                .collect();
            is_shared(&pixels, 400, 400 * 100)
        };
        assert!(with_line(0..0));
        assert!(!with_line(1..5));
    }
}
