//! Computes one palette for all frames of an animated GIF.
//!
//! libvips computes one for each frame and compares it with those before, which takes three quarters of its time
//! (bench/results/encoders.md). Most animations have the same colours from the first frame to the last.

use quantizr::{Histogram, Image as Samples, Options, QuantizeResult};

use super::nearest::Nearest;
use crate::render::vips::{Error, Image, Space};

/// About how many pixels of all frames are sampled.
const SAMPLED_PIXELS: u32 = 20_000;
/// The most pixels of all frames, which are held in memory.
pub const MAX_PIXELS: u64 = 4 << 20;
/// libvips allows 255 colours, and adds the transparent one.
const MAX_COLOURS: i32 = 254;
/// The greatest mean squared error, over the four samples of a pixel, that is not visible (38 dB). Below it no
/// dithering is needed, which would flicker.
const MAX_ERROR: f32 = 32.0;
/// The greatest squared distance to the nearest colour of the palette that is not visible in a single pixel. A thin
/// line of its own colour hardly changes the mean error, and may not be sampled at all.
const MAX_DISTANCE: u32 = 40 * 40;
/// At most one pixel in this many may exceed `MAX_DISTANCE`.
const PIXELS_PER_FAR_PIXEL: usize = 5000;

/// Maps the frames to one palette; `None` if no palette is good enough for all of them.
pub fn share<'b>(image: &Image<'b>) -> Result<Option<Image<'b>>, Error> {
    let count = u64::from(image.width()) * u64::from(image.height());
    if count > MAX_PIXELS || !matches!(image.bands(), 3 | 4) || image.space() != Space::Srgb {
        return Ok(None);
    }
    let image = image.copy_memory()?;
    let Some(mut colours) = compute(&image)? else { return Ok(None) };
    let has_transparent_pixels =
        image.bands() == 4 && image.samples()?.chunks_exact(4).any(|pixel| pixel[3] < 128);
    if has_transparent_pixels {
        replace_black(&mut colours);
    }
    let Some(samples) = map_to_palette(&colours, image.samples()?, image.bands()) else {
        return Ok(None);
    };
    Ok(Some(image.with_samples(image.width(), &samples)?.with_palette(&colours)?))
}

/// The transparent entry of a reused palette is black, and libvips takes a pixel that was transparent and becomes
/// black for unchanged.
fn replace_black(colours: &mut [[u8; 4]]) {
    for colour in colours.iter_mut().filter(|colour| **colour == [0, 0, 0, 255]) {
        *colour = [1, 1, 1, 255];
    }
}

/// Maps each pixel to the nearest colour, and transparent ones to zeros, as the encoder expects; `None` if too many
/// pixels are far from their nearest colour.
///
/// The encoder searches the colour of each pixel, and is fast if the palette has it exactly. A pixel that changes too
/// little for another colour is then unchanged, and takes no bytes.
fn map_to_palette(colours: &[[u8; 4]], samples: &[u8], bands: u32) -> Option<Vec<u8>> {
    let palette: Vec<[u8; 3]> =
        colours.iter().map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
    let mut nearest = Nearest::new(&palette);
    let mut mapped = Vec::with_capacity(samples.len());
    let mut last: Option<([u8; 3], [u8; 3], bool)> = None;
    let mut far = 0_usize;
    let mut find = |colour: [u8; 3]| {
        let (_, found, is_far) = match last {
            Some(known) if known.0 == colour => known,
            _ => {
                let found = nearest.find(colour);
                let known = (colour, found, distance(colour, found) > MAX_DISTANCE);
                last = Some(known);
                known
            }
        };
        far += usize::from(is_far);
        found
    };
    for pixel in samples.chunks_exact(bands as usize) {
        match *pixel {
            [red, green, blue] => mapped.extend_from_slice(&find([red, green, blue])),
            [red, green, blue, alpha] if alpha >= 128 => {
                let [red, green, blue] = find([red, green, blue]);
                mapped.extend_from_slice(&[red, green, blue, 255]);
            }
            _ => mapped.extend_from_slice(&[0; 4]),
        }
    }
    (far <= samples.len() / bands as usize / PIXELS_PER_FAR_PIXEL).then_some(mapped)
}

fn distance(one: [u8; 3], other: [u8; 3]) -> u32 {
    one.into_iter().zip(other).map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum()
}

/// The colours of a palette for all frames; `None` if none is good enough.
fn compute(image: &Image) -> Result<Option<Vec<[u8; 4]>>, Error> {
    let total = u64::from(image.width()) * u64::from(image.height());
    let step = (total as f64 / f64::from(SAMPLED_PIXELS)).sqrt().ceil().clamp(1.0, 1000.0) as u32;
    let step = step.min(image.width()).min(image.frame_height()).max(1);
    let sampled = image.subsample(step)?.copy_memory()?;
    let rgba = to_gif_transparency(sampled.samples()?, sampled.bands());
    let Ok(pixels) = Samples::new(rgba.as_flattened(), rgba.len(), 1) else { return Ok(None) };
    let mut histogram = Histogram::new();
    let mut options = Options::default();
    histogram.add_image(&pixels);
    if options.set_max_colors(MAX_COLOURS).is_err() {
        return Ok(None);
    }
    let quantised = QuantizeResult::quantize_histogram(&histogram, &options);
    if quantised.get_error() > MAX_ERROR {
        return Ok(None);
    }
    let palette = quantised.get_palette();
    let entries = palette.entries.iter().take(palette.count as usize);
    let colours: Vec<[u8; 4]> = entries
        .filter(|colour| colour.a != 0)
        .map(|colour| [colour.r, colour.g, colour.b, 255])
        .collect();
    Ok((!colours.is_empty()).then_some(colours))
}

/// A pixel of a GIF is opaque or transparent; libvips' threshold is 128.
fn to_gif_transparency(samples: &[u8], bands: u32) -> Vec<[u8; 4]> {
    match bands {
        4 => samples
            .chunks_exact(4)
            .map(|pixel| match pixel {
                &[red, green, blue, alpha] if alpha >= 128 => [red, green, blue, 255],
                _ => [0; 4],
            })
            .collect(),
        _ => samples
            .chunks_exact(3)
            .map(|pixel| match pixel {
                &[red, green, blue] => [red, green, blue, 255],
                _ => [0; 4],
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::vips::{Value, Vips};

    const ANIMATION: &[u8] = include_bytes!("../../../tests/data/anim.gif");

    fn frames<'b>() -> Image<'b> {
        Vips::start()
            .unwrap()
            .load(ANIMATION, c"gifload_buffer", &[(c"n", Value::Int(-1))])
            .unwrap()
    }

    #[test]
    fn a_palette_is_shared_by_all_frames() {
        let image = frames().copy_memory().unwrap();
        let colours = compute(&image).unwrap().unwrap();
        assert!((8..=254).contains(&colours.len()), "{}", colours.len());
        assert!(colours.iter().all(|colour| colour[3] == 255));
        assert!(share(&image).unwrap().is_some());
    }

    #[test]
    fn no_palette_is_shared_if_its_error_is_visible() {
        let cube = image::RgbImage::from_fn(256, 256, |x, y| {
            image::Rgb([x as u8, y as u8, (x * y / 7) as u8])
        });
        let mut png = std::io::Cursor::new(Vec::new());
        cube.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let image = Vips::start().unwrap().load(png.get_ref(), c"pngload_buffer", &[]).unwrap();
        assert!(share(&image).unwrap().is_none());
    }

    #[test]
    fn a_thin_line_of_its_own_colour_prevents_a_shared_palette() {
        // Every seventh column is sampled, and the line is between two of them.
        let with_line = |line: std::ops::Range<u32>| {
            let image = image::RgbImage::from_fn(400, 2400, |x, y| {
                let shade = (x / 8 + y % 100) as u8;
                if line.contains(&x) {
                    image::Rgb([255, 0, 0])
                } else {
                    image::Rgb([shade, shade, 90])
                }
            });
            let mut png = std::io::Cursor::new(Vec::new());
            image.write_to(&mut png, image::ImageFormat::Png).unwrap();
            let png = png.into_inner();
            let image = Vips::start().unwrap().load(&png, c"pngload_buffer", &[]).unwrap();
            share(&image).unwrap().is_some()
        };
        assert!(with_line(0..0));
        assert!(!with_line(1..5));
    }

    #[test]
    fn alpha_has_a_threshold_of_128() {
        let samples = [9, 8, 7, 127, 9, 8, 7, 128];
        assert_eq!(to_gif_transparency(&samples, 4), [[0; 4], [9, 8, 7, 255]]);
        assert_eq!(to_gif_transparency(&samples[..6], 3), [[9, 8, 7, 255], [127, 9, 8, 255]]);
    }
}
