//! One palette for all frames of a moving GIF.
//!
//! libvips makes one for each frame and compares it with those before, which takes three quarters of its time (measured
//! in bench/results/encoders.md). Most animations have the same colours from the first frame to the last.

use quantizr::{Histogram, Image as Samples, Options, QuantizeResult};

use super::nearest::Nearest;
use crate::render::vips::{Error, Image, Space};

/// About so many pixels of all frames are looked at.
const LOOKED_AT: u32 = 20_000;
/// The frames have to be in memory for it.
pub const MOST_PIXELS: u64 = 4 << 20;
/// libvips allows 255 colours, and adds the transparent one.
const MOST_COLOURS: i32 = 254;
/// The mean squared distance to the nearest colour, over the four samples of a pixel, up to which nobody sees that
/// colours are missing (38 dB). Dithering is not needed either, and would flicker.
const LARGEST_ERROR: f32 = 32.0;
/// A pixel that is this far from its nearest colour, squared, is seen to have another. A thin line of a colour of its own
/// is small in the mean, and may not be looked at at all.
const FAR: u32 = 40 * 40;
/// One pixel of so many may be that far.
const FAR_OF: usize = 5000;

/// The frames in memory with a palette that is good for all of them; `None` where there is none.
pub fn shared<'b>(image: &Image<'b>) -> Result<Option<Image<'b>>, Error> {
    let count = u64::from(image.width()) * u64::from(image.height());
    if count > MOST_PIXELS || !matches!(image.bands(), 3 | 4) || image.space() != Space::Srgb {
        return Ok(None);
    }
    let image = image.in_memory()?;
    Ok(match colours(&image)? {
        Some(mut colours) => {
            let has_clear =
                image.bands() == 4 && image.samples()?.chunks_exact(4).any(|pixel| pixel[3] < 128);
            if has_clear {
                apart_from_clear(&mut colours);
            }
            let samples = only(&colours, image.samples()?, image.bands());
            match samples {
                Some(samples) => {
                    Some(image.with_samples(image.width(), &samples)?.with_palette(&colours)?)
                }
                None => None,
            }
        }
        None => None,
    })
}

/// The clear entry of a palette that is reused is black, and libvips takes a pixel for unchanged that was clear and is
/// black now.
fn apart_from_clear(colours: &mut [[u8; 4]]) {
    for colour in colours.iter_mut().filter(|colour| **colour == [0, 0, 0, 255]) {
        *colour = [1, 1, 1, 255];
    }
}

/// The samples with no colours but these, and with those that are clear as the encoder wants them. It searches for each
/// pixel's colour, and is quick where it finds the very same. What changes too little for another colour has not changed
/// then, and takes no bytes. `None` where they are not good enough for all pixels.
fn only(colours: &[[u8; 4]], samples: &[u8], bands: u32) -> Option<Vec<u8>> {
    let palette: Vec<[u8; 3]> =
        colours.iter().map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
    let mut nearest = Nearest::new(&palette);
    let mut only = Vec::with_capacity(samples.len());
    let mut last: Option<([u8; 3], [u8; 3], bool)> = None;
    let mut far = 0_usize;
    let mut found = |colour: [u8; 3]| {
        let (_, found, is_far) = match last {
            Some(known) if known.0 == colour => known,
            _ => {
                let found = nearest.of(colour);
                let known = (colour, found, distance(colour, found) > FAR);
                last = Some(known);
                known
            }
        };
        far += usize::from(is_far);
        found
    };
    for pixel in samples.chunks_exact(bands as usize) {
        match *pixel {
            [red, green, blue] => only.extend_from_slice(&found([red, green, blue])),
            [red, green, blue, alpha] if alpha >= 128 => {
                let [red, green, blue] = found([red, green, blue]);
                only.extend_from_slice(&[red, green, blue, 255]);
            }
            _ => only.extend_from_slice(&[0; 4]),
        }
    }
    (far <= samples.len() / bands as usize / FAR_OF).then_some(only)
}

fn distance(one: [u8; 3], other: [u8; 3]) -> u32 {
    one.into_iter().zip(other).map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum()
}

fn colours(image: &Image) -> Result<Option<Vec<[u8; 4]>>, Error> {
    let total = u64::from(image.width()) * u64::from(image.height());
    let step = (total as f64 / f64::from(LOOKED_AT)).sqrt().ceil().clamp(1.0, 1000.0) as u32;
    let step = step.min(image.width()).min(image.frame_height()).max(1);
    let sampled = image.sparse(step)?.in_memory()?;
    let rgba = as_libvips_sees_them(sampled.samples()?, sampled.bands());
    let Ok(pixels) = Samples::new(rgba.as_flattened(), rgba.len(), 1) else { return Ok(None) };
    let (mut histogram, mut options) = (Histogram::new(), Options::default());
    histogram.add_image(&pixels);
    if options.set_max_colors(MOST_COLOURS).is_err() {
        return Ok(None);
    }
    let quantised = QuantizeResult::quantize_histogram(&histogram, &options);
    if quantised.get_error() > LARGEST_ERROR {
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

/// A GIF's pixel is there or it isn't; libvips draws the line in the middle.
fn as_libvips_sees_them(samples: &[u8], bands: u32) -> Vec<[u8; 4]> {
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
            .loaded(ANIMATION, c"gifload_buffer", &[(c"n", Value::Int(-1))])
            .unwrap()
    }

    #[test]
    fn one_palette_is_found_where_it_is_good_for_all() {
        let image = frames().in_memory().unwrap();
        let colours = colours(&image).unwrap().unwrap();
        assert!((8..=254).contains(&colours.len()), "{}", colours.len());
        assert!(colours.iter().all(|colour| colour[3] == 255));
        assert!(shared(&image).unwrap().is_some());
    }

    #[test]
    fn where_none_is_good_enough_there_is_none() {
        let cube = image::RgbImage::from_fn(256, 256, |x, y| {
            image::Rgb([x as u8, y as u8, (x * y / 7) as u8])
        });
        let mut png = std::io::Cursor::new(Vec::new());
        cube.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let image = Vips::start().unwrap().loaded(png.get_ref(), c"pngload_buffer", &[]).unwrap();
        assert!(shared(&image).unwrap().is_none());
    }

    #[test]
    fn a_thin_line_of_its_own_colour_is_not_lost() {
        // Every seventh column is looked at, and the line stands between two of them.
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
            let image = Vips::start().unwrap().loaded(&png, c"pngload_buffer", &[]).unwrap();
            shared(&image).unwrap().is_some()
        };
        assert!(with_line(0..0));
        assert!(!with_line(1..5));
    }

    #[test]
    fn a_pixel_is_there_or_not() {
        let samples = [9, 8, 7, 127, 9, 8, 7, 128];
        assert_eq!(as_libvips_sees_them(&samples, 4), [[0; 4], [9, 8, 7, 255]]);
        assert_eq!(as_libvips_sees_them(&samples[..6], 3), [[9, 8, 7, 255], [127, 9, 8, 255]]);
    }
}
