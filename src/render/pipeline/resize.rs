//! Resizes to an exact size: Lanczos with three lobes, and bicubic where an image is enlarged.

use super::step::{Stage, Step};
use crate::render::vips::{Error, Image, Value};

pub const STEP: Step =
    Step { name: "resize", applies: |job| job.resized() != job.size, stage: Stage::Load };

/// Resizes an image to exactly this size.
pub fn resize(image: Image<'_>, width: u32, height: u32) -> Result<Image<'_>, Error> {
    resize_one(image, width, height, false)
}

/// Resizes an image to exactly this size. With `transparent_is_black`, pixels are either opaque, or transparent and
/// black.
///
/// Colours are premultiplied, so that transparent pixels do not bleed into others. Those that are black already are.
pub fn resize_one(
    image: Image<'_>,
    width: u32,
    height: u32,
    transparent_is_black: bool,
) -> Result<Image<'_>, Error> {
    if (image.width(), image.height()) == (width, height) {
        return Ok(image);
    }
    if !image.has_transparency() {
        scale(&image, width, height)
    } else if transparent_is_black {
        unpremultiply(&scale(&image, width, height)?, &image)
    } else {
        unpremultiply(&scale(&premultiply(&image)?, width, height)?, &image)
    }
}

/// Premultiplies, in the image's own number format: libvips' fractions take four times the memory and time.
pub fn premultiply<'b>(image: &Image<'b>) -> Result<Image<'b>, Error> {
    image.apply(c"premultiply", &[])?.cast_like(image)
}

/// Undoes [`premultiply`], in the number format of `like`.
pub fn unpremultiply<'b>(image: &Image<'b>, like: &Image<'b>) -> Result<Image<'b>, Error> {
    image.apply(c"unpremultiply", &[])?.cast_like(like)
}

/// Scales to this size, ignoring transparency.
///
/// libvips' `resize` moves what it enlarges by half a pixel of the result to the right and down (8.16), so it only
/// reduces.
pub fn scale<'b>(image: &Image<'b>, width: u32, height: u32) -> Result<Image<'b>, Error> {
    let factor = |to: u32, from: u32| f64::from(to) / f64::from(from.max(1));
    let (across, down) = (factor(width, image.width()), factor(height, image.height()));
    let reduce = |image: &Image<'b>| {
        let arguments =
            [(c"scale", Value::Double(across.min(1.0))), (c"vscale", Value::Double(down.min(1.0)))];
        image.apply(c"resize", &arguments)
    };
    if across <= 1.0 && down <= 1.0 {
        return reduce(image);
    }
    let reduced = if across < 1.0 || down < 1.0 { Some(reduce(image)?) } else { None };
    let matrix = [across.max(1.0), 0.0, 0.0, down.max(1.0)];
    let area = [0.0, 0.0, f64::from(width), f64::from(height)];
    reduced.as_ref().unwrap_or(image).apply(
        c"affine",
        &[
            (c"matrix", Value::Doubles(&matrix)),
            (c"interpolate", Value::Interpolator(c"bicubic")),
            (c"oarea", Value::Doubles(&area)),
            // Coordinates are those of the centres of pixels.
            (c"idx", Value::Double(0.5)),
            (c"idy", Value::Double(0.5)),
            (c"odx", Value::Double(-0.5)),
            (c"ody", Value::Double(-0.5)),
            // `VIPS_EXTEND_COPY`
            (c"extend", Value::Int(1)),
            (c"premultiplied", Value::Bool(true)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::vips::Vips;

    /// One line of gray, which is enlarged or reduced to this width, in an image with this many lines.
    fn line(samples: &[u8], width: u32, height: u32) -> Vec<u8> {
        let count = samples.len() as u32;
        let image = Vips::start().unwrap().copied(samples, count, 1, 1).unwrap();
        let scaled = scale(&image, width, height).unwrap().copy_memory().unwrap();
        assert_eq!((scaled.width(), scaled.height()), (width, height));
        let line = scaled.samples().unwrap()[..width as usize].to_vec();
        assert_eq!(scaled.samples().unwrap(), line.repeat(height as usize), "all lines are equal");
        line
    }

    #[test]
    fn what_is_symmetric_stays_so() {
        let symmetric = [10, 10, 10, 200, 200, 10, 10, 10];
        for width in [2, 3, 4, 5, 6, 9, 11, 16, 17, 24, 32, 100] {
            for height in [1, 2, 7] {
                let found = line(&symmetric, width, height);
                let reversed: Vec<u8> = found.iter().rev().copied().collect();
                let difference =
                    found.iter().zip(&reversed).map(|(one, other)| one.abs_diff(*other));
                assert!(difference.max() <= Some(1), "{width} {found:?}");
            }
        }
    }

    #[test]
    fn bicubic_interpolation_is_that_of_catmull_and_rom() {
        // Twice as wide: at a quarter and three quarters between two centres.
        let samples = [0, 40, 80, 200, 160, 120, 20, 60];
        let at = |n: i32| f64::from(samples[n.clamp(0, 7) as usize]);
        let expected = |x: u32| {
            let place = (f64::from(x) + 0.5) / 2.0 - 0.5;
            let (first, t) = (place.floor() as i32, place - place.floor());
            let weights = [
                ((-0.5 * t + 1.0) * t - 0.5) * t,
                (1.5 * t - 2.5) * t * t + 1.0,
                ((-1.5 * t + 2.0) * t + 0.5) * t,
                (0.5 * t - 0.5) * t * t,
            ];
            let sum: f64 = (-1..3).zip(weights).map(|(n, weight)| weight * at(first + n)).sum();
            sum.round().clamp(0.0, 255.0)
        };
        for (x, value) in (0..).zip(line(&samples, 16, 1)) {
            assert!((expected(x) - f64::from(value)).abs() <= 1.0, "{x}: {value}, {}", expected(x));
        }
    }
}
