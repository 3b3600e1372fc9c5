//! Structural similarity (Wang et al. 2004) of brightness, in windows of 8 × 8 that overlap by half.

use std::ffi::{c_char, c_int};
use std::ptr;

use libvips::bindings as ffi;

use crate::Fallible;
use crate::floor::{complaint, start, thumbnail};
use crate::jobs::Job;

const WINDOW: usize = 8;

/// A grayscale image.
struct Gray {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// SSIM of the response and of the floor's image against the reference.
pub fn run(job: &Job, original: &[u8], answer: &[u8]) -> Fallible<String> {
    start()?;
    let answer = decoded(answer)?;
    let floor = decoded(&thumbnail(job, original)?)?;
    let reference = reference(job, original, &answer)?;
    Ok(format!("{:.4} {:.4}", similarity(&answer, &reference)?, similarity(&floor, &reference)?))
}

/// The original, decoded at full size, resized with Lanczos and cropped to the size of the result.
fn reference(job: &Job, original: &[u8], like: &Gray) -> Fallible<Gray> {
    let image = opened(original)?;
    let end: *const c_char = ptr::null();
    // SAFETY: live images, each released once; optional arguments are pairs terminated by null; the window is
    // inside the image.
    unsafe {
        let (from_width, from_height) = (
            f64::from(ffi::vips_image_get_width(image)),
            f64::from(ffi::vips_image_get_height(image)),
        );
        let (x, y) = (like.width as f64 / from_width, like.height as f64 / from_height);
        let scale = if job.crop { x.max(y) } else { x };
        let (width, height) = ((from_width * scale).round(), (from_height * scale).round());
        let (mut resized, mut cut) = (ptr::null_mut(), ptr::null_mut());
        let status = ffi::vips_resize(
            image,
            &mut resized,
            width / from_width,
            c"vscale".as_ptr(),
            height / from_height,
            end,
        );
        ffi::g_object_unref(image.cast());
        if status != 0 {
            return Err(complaint());
        }
        let (left, top) = ((width as usize - like.width) / 2, (height as usize - like.height) / 2);
        let status = ffi::vips_extract_area(
            resized,
            &mut cut,
            left as c_int,
            top as c_int,
            like.width as c_int,
            like.height as c_int,
            end,
        );
        ffi::g_object_unref(resized.cast());
        if status != 0 { Err(complaint()) } else { gray(cut) }
    }
}

fn decoded(bytes: &[u8]) -> Fallible<Gray> {
    // SAFETY: the image is used only here, while the bytes are alive.
    unsafe { gray(opened(bytes)?) }
}

fn opened(bytes: &[u8]) -> Fallible<*mut ffi::VipsImage> {
    let end: *const c_char = ptr::null();
    // SAFETY: the caller keeps the bytes for as long as the image.
    let image = unsafe {
        ffi::vips_image_new_from_buffer(
            bytes.as_ptr().cast(),
            bytes.len() as ffi::size_t,
            c"".as_ptr(),
            end,
        )
    };
    if image.is_null() { Err(complaint()) } else { Ok(image) }
}

/// Its pixels, flattened on white and converted to grayscale.
///
/// # Safety
/// The image is live and owned; it is released here.
unsafe fn gray(image: *mut ffi::VipsImage) -> Fallible<Gray> {
    let end: *const c_char = ptr::null();
    // SAFETY: by the contract; the image of each step is released once the next one has a reference.
    unsafe {
        let white = ffi::vips_array_double_newv(1, 255.0_f64);
        let (mut flat, mut shades, mut bytes) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let status = ffi::vips_flatten(image, &mut flat, c"background".as_ptr(), white, end);
        ffi::vips_area_unref(white.cast());
        ffi::g_object_unref(image.cast());
        if status != 0 {
            return Err(complaint());
        }
        let status = ffi::vips_colourspace(
            flat,
            &mut shades,
            ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W,
            end,
        );
        ffi::g_object_unref(flat.cast());
        if status != 0 {
            return Err(complaint());
        }
        let status = ffi::vips_extract_band(shades, &mut bytes, 0, end);
        ffi::g_object_unref(shades.cast());
        if status != 0 {
            return Err(complaint());
        }
        let mut length = 0;
        let memory = ffi::vips_image_write_to_memory(bytes, &mut length);
        let (width, height) =
            (ffi::vips_image_get_width(bytes) as usize, ffi::vips_image_get_height(bytes) as usize);
        ffi::g_object_unref(bytes.cast());
        if memory.is_null() || length as usize != width * height {
            return Err(complaint());
        }
        let pixels = std::slice::from_raw_parts(memory.cast::<u8>(), length as usize).to_vec();
        ffi::g_free(memory);
        Ok(Gray { width, height, pixels })
    }
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
