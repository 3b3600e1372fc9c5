//! Images of libvips, released when they are dropped.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use libvips::bindings as ffi;

use crate::Fallible;

/// The end of a list of optional arguments.
pub const END: *const c_char = ptr::null();

/// An image that is owned.
pub struct Image(*mut ffi::VipsImage);

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it is owned, and not used afterwards.
        unsafe { ffi::g_object_unref(self.0.cast()) };
    }
}

impl Image {
    /// An image whose pixels are decoded when they are needed.
    ///
    /// # Safety
    /// The bytes must live as long as the image and those that are made of it.
    pub unsafe fn opened(bytes: &[u8], options: &CStr) -> Fallible<Image> {
        start()?;
        // SAFETY: by the contract.
        Image::owned(unsafe {
            ffi::vips_image_new_from_buffer(
                bytes.as_ptr().cast(),
                bytes.len() as ffi::size_t,
                options.as_ptr(),
                END,
            )
        })
    }

    /// A matrix of rows of this length.
    pub fn matrix(width: c_int, values: &[f64]) -> Fallible<Image> {
        let length = values.len() as c_int;
        // SAFETY: the values are copied.
        Image::owned(unsafe {
            ffi::vips_image_new_matrix_from_array(width, length / width, values.as_ptr(), length)
        })
    }

    /// The output of a function of libvips, which is called with the place for it and returns 0 or an error.
    ///
    /// # Safety
    /// A function that returns 0 has stored an image that is owned by the caller.
    pub unsafe fn output(call: impl FnOnce(*mut *mut ffi::VipsImage) -> c_int) -> Fallible<Image> {
        let mut image = ptr::null_mut();
        if call(&mut image) == 0 { Image::owned(image) } else { Err(complaint()) }
    }

    fn owned(image: *mut ffi::VipsImage) -> Fallible<Image> {
        if image.is_null() { Err(complaint()) } else { Ok(Image(image)) }
    }

    /// The image with its pixels in memory, for operations that do not read it from top to bottom.
    pub fn in_memory(&self) -> Fallible<Image> {
        // SAFETY: a live image.
        Image::owned(unsafe { ffi::vips_image_copy_memory(self.0) })
    }

    pub fn pointer(&self) -> *mut ffi::VipsImage {
        self.0
    }

    pub fn width(&self) -> c_int {
        // SAFETY: a live image.
        unsafe { ffi::vips_image_get_width(self.0) }
    }

    pub fn height(&self) -> c_int {
        // SAFETY: a live image.
        unsafe { ffi::vips_image_get_height(self.0) }
    }

    /// The image in a format.
    pub fn written(&self, options: &CStr) -> Fallible<Vec<u8>> {
        let (mut bytes, mut length) = (ptr::null_mut(), 0);
        // SAFETY: on success the buffer has that length and is owned by the caller.
        unsafe {
            let status = ffi::vips_image_write_to_buffer(
                self.0,
                options.as_ptr(),
                &mut bytes,
                &mut length,
                END,
            );
            if status != 0 {
                return Err(complaint());
            }
            Ok(taken(bytes, length as usize))
        }
    }

    /// The samples of an image of bytes.
    pub fn samples(&self) -> Fallible<Vec<u8>> {
        let mut length = 0;
        // SAFETY: the memory has that length and is owned by the caller.
        unsafe {
            let memory = ffi::vips_image_write_to_memory(self.0, &mut length);
            if memory.is_null() {
                return Err(complaint());
            }
            Ok(taken(memory, length as usize))
        }
    }
}

/// A copy of memory of libvips, which is freed.
///
/// # Safety
/// It has this length, and is owned.
unsafe fn taken(memory: *mut c_void, length: usize) -> Vec<u8> {
    // SAFETY: by the contract.
    unsafe {
        let copy = std::slice::from_raw_parts(memory.cast::<u8>(), length).to_vec();
        ffi::g_free(memory);
        copy
    }
}

/// Starts libvips as the server does.
pub fn start() -> Fallible<()> {
    static STARTED: OnceLock<bool> = OnceLock::new();
    // SAFETY: before any other function of libvips.
    let started = *STARTED.get_or_init(|| unsafe {
        let started = ffi::vips_init(c"render".as_ptr()) == 0;
        ffi::vips_concurrency_set(1);
        ffi::vips_cache_set_max(0);
        started
    });
    if started { Ok(()) } else { Err(complaint()) }
}

/// The error buffer of libvips.
fn complaint() -> Box<dyn std::error::Error + Send + Sync> {
    // SAFETY: a NUL-terminated string of libvips; there is only one thread.
    unsafe { CStr::from_ptr(ffi::vips_error_buffer()) }.to_string_lossy().trim().into()
}
