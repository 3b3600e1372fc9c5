//! Encodes with libjxl, through shim.c.
//!
//! # Why it is sound
//!
//! - **No foreign layouts.** The types of libjxl stay in C, which is compiled against its headers. Only the struct of
//!   shim.h crosses the boundary; both sides assert its size at compile time.
//! - **Samples are checked.** They are as many as width, height and bands require; the product is computed in 64 bits.
//!   libjxl copies them, and the profile, and keeps no pointer.
//! - **Results.** A status other than 0 becomes an [`Error`] before any out parameter is used.
//! - **No unwinding.** C calls back into Rust for [`is_stopped`] alone; a panic would end the process there, and can't
//!   cross into C.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::{ptr, slice};

use super::{Error, ffi};
use crate::format::Format;

/// Encoder settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoding {
    /// 1 to 100 (best), libjxl's own scale (`JxlEncoderDistanceFromQuality`); 100 is not lossless. Ignored if lossless.
    pub quality: u8,
    /// Every sample is preserved.
    pub is_lossless: bool,
}

/// The distance of Butteraugli: 1 is visually lossless. As in libjxl, where it is linear from a quality of 30 on.
fn distance(encoding: Encoding) -> f32 {
    let quality = f32::from(encoding.quality.clamp(1, 100));
    match encoding {
        Encoding { is_lossless: true, .. } => 0.0,
        Encoding { quality: 30.., .. } => 0.1 + (100.0 - quality) * 0.09,
        _ => 53.0 / 3000.0 * quality * quality - 23.0 / 20.0 * quality + 25.0,
    }
}

/// Encodes `width` × `height` pixels of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) samples. They are sRGB, or
/// of the profile; alpha is not premultiplied. `is_stopped` is asked between parts of the work.
pub fn encode(
    samples: &[u8],
    (width, height): (u32, u32),
    bands: usize,
    encoding: Encoding,
    profile: Option<&[u8]>,
    is_stopped: fn() -> bool,
) -> Result<Vec<u8>, Error> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > Format::Jxl.max_pixels() {
        return Err(Error::TooLarge);
    }
    let bands = u32::try_from(bands).ok().filter(|bands| (1..=4).contains(bands));
    let bands = bands.filter(|bands| samples.len() as u64 == pixels * u64::from(*bands));
    let bands = bands.filter(|_| pixels > 0).ok_or(Error::Samples)?;
    let image = ffi::Image {
        samples: samples.as_ptr(),
        length: samples.len(),
        profile: profile.map_or(ptr::null(), <[u8]>::as_ptr),
        profile_length: profile.map_or(0, <[u8]>::len),
        width,
        height,
        bands,
        distance: distance(encoding),
    };
    let mut argument = is_stopped;
    let mut bytes = ptr::null_mut();
    let mut length = 0;
    // SAFETY: samples and profile have the lengths given, are only read, and outlive the call; `argument` is what
    // `call_is_stopped` expects and outlives the call; the out parameters are written.
    let status = unsafe {
        let argument = ptr::from_mut(&mut argument).cast();
        ffi::s3jxl_encode(&image, call_is_stopped, argument, &mut bytes, &mut length)
    };
    if status != 0 {
        return Err(Error::from_status(status));
    }
    // SAFETY: on success C has allocated and written `length` bytes, more than 0, which are freed here and nowhere else.
    unsafe {
        let encoded = slice::from_raw_parts(bytes, length).to_vec();
        ffi::s3jxl_free(bytes);
        Ok(encoded)
    }
}

/// What C calls with the `argument` of [`encode`].
extern "C" fn call_is_stopped(argument: *mut c_void) -> c_int {
    // SAFETY: it points to the function, which outlives the call of C.
    let is_stopped = unsafe { *argument.cast::<fn() -> bool>() };
    is_stopped().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jxl_distance_falls_as_quality_rises() {
        let distance_of = |quality| distance(Encoding { quality, is_lossless: false });
        // JxlEncoderDistanceFromQuality of libjxl.
        for (quality, expected) in
            [(1, 23.867_666), (10, 15.266_666), (29, 6.507_666), (30, 6.4), (90, 1.0), (100, 0.1)]
        {
            assert!((distance_of(quality) - expected).abs() < 1e-4, "{quality}");
        }
        let all: Vec<f32> = (1..=100).map(distance_of).collect();
        assert!(all.is_sorted_by(|better, worse| better > worse));
        assert_eq!(distance(Encoding { quality: 50, is_lossless: true }), 0.0);
    }
}
