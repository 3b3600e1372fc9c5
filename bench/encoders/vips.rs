//! The measured functions of libvips, through the raw bindings.
//!
//! `unsafe` is needed because src/render/vips is private and wraps only what the server uses. The same rules hold: one
//! owner per reference, buffers outlive images, optional arguments end with a null pointer.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::ptr::{self, NonNull};

use libvips::bindings as ffi;
// The server's crate links the static libraries.
use s3imageserver as _;

use crate::Fallible;

const END: *const c_char = ptr::null();

unsafe extern "C" {
    /// The CPU time of the process (ISO C), in microseconds on POSIX systems.
    fn clock() -> c_long;
}

/// Decoded pixels in memory, read-only.
pub struct Image(NonNull<ffi::VipsImage>);

/// One libvips thread, as in the server.
pub fn start() -> Fallible<()> {
    // SAFETY: called once, before everything else, with a static string.
    unsafe {
        if ffi::vips_init(c"encoders".as_ptr()) != 0 {
            return Err("libvips did not start".into());
        }
        ffi::vips_concurrency_set(1);
        ffi::vips_cache_set_max(0);
    }
    Ok(())
}

/// The CPU time of all threads of this process in milliseconds.
pub fn cpu() -> f64 {
    // SAFETY: it takes nothing and returns a number.
    unsafe { clock() as f64 / 1000.0 }
}

impl Image {
    /// The image with at most this width, upright and in sRGB, with its pixels computed.
    pub fn thumbnail(bytes: &[u8], width: u32) -> Fallible<Image> {
        let mut out = ptr::null_mut();
        // SAFETY: `bytes` is only read, and outlives the lazy image, which is decoded before this returns. The names
        // are options of vips_thumbnail_buffer with the types it reads.
        let lazy = unsafe {
            let status = ffi::vips_thumbnail_buffer(
                bytes.as_ptr().cast_mut().cast(),
                bytes.len() as ffi::size_t,
                &mut out,
                c_int::try_from(width)?,
                c"height".as_ptr(),
                10_000_000 as c_int,
                c"size".as_ptr(),
                ffi::VipsSize_VIPS_SIZE_DOWN as c_int,
                END,
            );
            if status == 0 { Image::owned(out) } else { Err(reason()) }
        }?;
        // SAFETY: the image is live; the result is a new reference or null.
        Image::owned(unsafe { ffi::vips_image_copy_memory(lazy.0.as_ptr()) })
    }

    /// Decodes the result of an encoder and flattens it on white.
    pub fn decoded(bytes: &[u8]) -> Fallible<Image> {
        // SAFETY: as in `thumbnail`.
        let lazy = Image::owned(unsafe {
            ffi::vips_image_new_from_buffer(
                bytes.as_ptr().cast(),
                bytes.len() as ffi::size_t,
                c"".as_ptr(),
                END,
            )
        })?;
        lazy.opaque()
    }

    /// Flattens the image on white, in memory.
    pub fn opaque(&self) -> Fallible<Image> {
        let mut out = ptr::null_mut();
        // SAFETY: the image is live, the array is copied and released after the operation took its own reference.
        unsafe {
            if ffi::vips_image_hasalpha(self.0.as_ptr()) == 0 {
                return Image::owned(ffi::vips_image_copy_memory(self.0.as_ptr()));
            }
            let white = ffi::vips_array_double_new([255.0].as_ptr(), 1);
            let status =
                ffi::vips_flatten(self.0.as_ptr(), &mut out, c"background".as_ptr(), white, END);
            ffi::vips_area_unref(white.cast());
            if status != 0 {
                return Err(reason());
            }
        }
        let flat = Image::owned(out)?;
        // SAFETY: as above.
        Image::owned(unsafe { ffi::vips_image_copy_memory(flat.0.as_ptr()) })
    }

    /// Encodes with the format and options of a libvips suffix.
    pub fn encoded(&self, suffix: &str) -> Fallible<Vec<u8>> {
        let suffix = CString::new(suffix)?;
        let (mut buffer, mut length): (*mut c_void, _) = (ptr::null_mut(), 0);
        // SAFETY: the image is live, the suffix is NUL-terminated; on success the buffer is owned and has that length.
        unsafe {
            let status = ffi::vips_image_write_to_buffer(
                self.0.as_ptr(),
                suffix.as_ptr(),
                &mut buffer,
                &mut length,
                END,
            );
            if status != 0 || buffer.is_null() {
                return Err(reason());
            }
            let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize).to_vec();
            ffi::g_free(buffer);
            Ok(bytes)
        }
    }

    /// Width and height, of all frames together.
    pub fn size(&self) -> (usize, usize) {
        // SAFETY: the image is live.
        unsafe {
            let (width, height) = (
                ffi::vips_image_get_width(self.0.as_ptr()),
                ffi::vips_image_get_height(self.0.as_ptr()),
            );
            (width.unsigned_abs() as usize, height.unsigned_abs() as usize)
        }
    }

    /// The pixels as red, green and blue; the image must be opaque.
    pub fn rgb(&self) -> Fallible<Vec<[u8; 3]>> {
        let mut length = 0;
        // SAFETY: vips_image_write_to_memory returns a new buffer of `length` bytes that is owned; eight bits
        // per sample were checked.
        let samples = unsafe {
            if ffi::vips_image_get_format(self.0.as_ptr()) != ffi::VipsBandFormat_VIPS_FORMAT_UCHAR
            {
                return Err("more than eight bits a sample".into());
            }
            let buffer = ffi::vips_image_write_to_memory(self.0.as_ptr(), &mut length);
            if buffer.is_null() {
                return Err(reason());
            }
            let samples = std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize).to_vec();
            ffi::g_free(buffer);
            samples
        };
        let (width, height) = self.size();
        match samples.len() / (width * height).max(1) {
            1 => Ok(samples.iter().map(|&gray| [gray; 3]).collect()),
            3 => Ok(samples.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()),
            bands => Err(format!("{bands} bands").into()),
        }
    }

    fn owned(raw: *mut ffi::VipsImage) -> Fallible<Image> {
        NonNull::new(raw).map(Image).ok_or_else(reason)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: this is the one reference that this value owns.
        unsafe { ffi::g_object_unref(self.0.as_ptr().cast()) }
    }
}

fn reason() -> Box<dyn std::error::Error + Send + Sync> {
    // SAFETY: the buffer belongs to libvips, is NUL-terminated and copied at once.
    let text =
        unsafe { CStr::from_ptr(ffi::vips_error_buffer()).to_string_lossy().trim().to_owned() };
    // SAFETY: it takes nothing.
    unsafe { ffi::vips_error_clear() };
    text.into()
}
