//! Structural similarity (Wang et al. 2004) of brightness, in windows of 8 × 8 that overlap by half.

use std::ffi::c_int;

use libvips::bindings as ffi;

use crate::Fallible;
use crate::floor::made;
use crate::image::{END, Image};
use crate::jobs::Job;

const WINDOW: usize = 8;

/// A grayscale image.
struct Gray {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// SSIM of the response and of the floor's image against the reference; of one against the other if the job has a step.
pub fn run(job: &Job, original: &[u8], answer: &[u8]) -> Fallible<String> {
    let answer = decoded(answer)?;
    let floor = decoded(&made(job, original)?)?;
    if job.has_step() {
        return Ok(format!("{:.4}", similarity(&answer, &floor)?));
    }
    let reference = reference(job, original, &answer)?;
    Ok(format!("{:.4} {:.4}", similarity(&answer, &reference)?, similarity(&floor, &reference)?))
}

/// The original, decoded at full size, resized with Lanczos and cropped to the size of the result.
fn reference(job: &Job, original: &[u8], like: &Gray) -> Fallible<Gray> {
    // SAFETY: the bytes outlive the images.
    let image = unsafe { Image::opened(original, c"")? };
    let (from_width, from_height) = (f64::from(image.width()), f64::from(image.height()));
    let (x, y) = (like.width as f64 / from_width, like.height as f64 / from_height);
    let scale = if job.crop { x.max(y) } else { x };
    let (width, height) = ((from_width * scale).round(), (from_height * scale).round());
    let (left, top) = ((width as usize - like.width) / 2, (height as usize - like.height) / 2);
    // SAFETY: live images; outputs are stored on success; optional arguments are pairs terminated by null; the window
    // is inside the image.
    unsafe {
        let vertical = height / from_height;
        let resized = Image::output(|out| {
            ffi::vips_resize(
                image.pointer(),
                out,
                width / from_width,
                c"vscale".as_ptr(),
                vertical,
                END,
            )
        })?;
        gray(&Image::output(|out| {
            ffi::vips_extract_area(
                resized.pointer(),
                out,
                left as c_int,
                top as c_int,
                like.width as c_int,
                like.height as c_int,
                END,
            )
        })?)
    }
}

fn decoded(bytes: &[u8]) -> Fallible<Gray> {
    // SAFETY: the image is used only here, while the bytes are alive.
    gray(&unsafe { Image::opened(bytes, c"")? })
}

/// Its pixels, flattened on white and converted to grayscale.
fn gray(image: &Image) -> Fallible<Gray> {
    // SAFETY: live images; outputs are stored on success; optional arguments are pairs terminated by null.
    let bytes = unsafe {
        let white = ffi::vips_array_double_newv(1, 255.0_f64);
        let flat = Image::output(|out| {
            ffi::vips_flatten(image.pointer(), out, c"background".as_ptr(), white, END)
        });
        ffi::vips_area_unref(white.cast());
        let flat = flat?;
        let space = ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W;
        let shades = Image::output(|out| ffi::vips_colourspace(flat.pointer(), out, space, END))?;
        Image::output(|out| ffi::vips_extract_band(shades.pointer(), out, 0, END))?
    };
    let pixels = bytes.samples()?;
    let (width, height) = (bytes.width() as usize, bytes.height() as usize);
    if pixels.len() != width * height {
        return Err("the image has more than a byte for each pixel".into());
    }
    Ok(Gray { width, height, pixels })
}

fn similarity(one: &Gray, other: &Gray) -> Fallible<f64> {
    if (one.width, one.height) != (other.width, other.height) {
        return Err(format!(
            "{} × {} is not {} × {}",
            one.width, one.height, other.width, other.height
        )
        .into());
    }
    let places = |length: usize| (0..=length.saturating_sub(WINDOW)).step_by(WINDOW / 2);
    let windows = places(one.height).flat_map(|y| places(one.width).map(move |x| (x, y)));
    let (sum, count) =
        windows.fold((0.0, 0), |(sum, count), (x, y)| (sum + window(one, other, x, y), count + 1));
    Ok(sum / f64::from(count))
}

fn window(one: &Gray, other: &Gray, left: usize, top: usize) -> f64 {
    let (mut a, mut b, mut aa, mut bb, mut ab, mut n) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for y in top..(top + WINDOW).min(one.height) {
        for x in left..(left + WINDOW).min(one.width) {
            let at = y * one.width + x;
            let (p, q) = (f64::from(one.pixels[at]), f64::from(other.pixels[at]));
            a += p;
            b += q;
            aa += p * p;
            bb += q * q;
            ab += p * q;
            n += 1.0;
        }
    }
    let (mean_a, mean_b) = (a / n, b / n);
    let (variance_a, variance_b, covariance) =
        (aa / n - mean_a * mean_a, bb / n - mean_b * mean_b, ab / n - mean_a * mean_b);
    let (c1, c2) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
    ((2.0 * mean_a * mean_b + c1) * (2.0 * covariance + c2))
        / ((mean_a * mean_a + mean_b * mean_b + c1) * (variance_a + variance_b + c2))
}
