//! Encodes images.

use std::ffi::{CString, c_char, c_void};
use std::ptr;

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::image::Image;
use super::kill::Computing;

impl Image<'_> {
    /// Encodes with the format and the options of a libvips suffix, such as `.jpg[Q=75]`. Computes the pixels, so a
    /// broken image fails here.
    pub fn encode(&self, suffix: &str) -> Result<Vec<u8>, Error> {
        let suffix = CString::new(suffix).map_err(|error| Error(error.to_string()))?;
        let _computing = Computing::of(self);
        let mut buffer: *mut c_void = ptr::null_mut();
        let mut length = 0;
        let end: *const c_char = ptr::null();
        // SAFETY: `raw` is live, the suffix ends with NUL, both out parameters are valid to write to.
        let status = unsafe {
            ffi::vips_image_write_to_buffer(
                self.raw(),
                suffix.as_ptr(),
                &mut buffer,
                &mut length,
                end,
            )
        };
        if status != 0 || buffer.is_null() {
            return Err(take_error());
        }
        // SAFETY: on success libvips returns a buffer of this length, which the caller frees.
        unsafe {
            let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize).to_vec();
            ffi::g_free(buffer.cast());
            Ok(bytes)
        }
    }
}
