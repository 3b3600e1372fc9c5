//! Images of libvips, whose pixels are computed when they are needed.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr::NonNull;

use libvips::bindings as ffi;

use super::error::{Error, take_error};

/// An image. Its pixels are computed when they are needed.
#[derive(Debug)]
pub struct Image<'b> {
    raw: NonNull<ffi::VipsImage>,
    bytes: PhantomData<&'b [u8]>,
}

/// The colour space of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// sRGB, 8 bits.
    Srgb,
    /// Grayscale with sRGB's curve, 8 bits.
    Gray,
    Cmyk,
    /// Any other, such as 16 bits per channel.
    Other,
}

impl<'b> Image<'b> {
    /// Takes ownership of a reference.
    pub(super) fn from_raw(raw: *mut ffi::VipsImage) -> Result<Image<'b>, Error> {
        let raw = NonNull::new(raw).ok_or_else(take_error)?;
        Ok(Image { raw, bytes: PhantomData })
    }

    pub(super) fn raw(&self) -> *mut ffi::VipsImage {
        self.raw.as_ptr()
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        // SAFETY: `raw` is live as long as `self`.
        unsigned(unsafe { ffi::vips_image_get_width(self.raw()) })
    }

    /// Height in pixels, of all loaded frames below each other.
    pub fn height(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_height(self.raw()) })
    }

    /// Height of one frame.
    pub fn frame_height(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_page_height(self.raw()) })
    }

    /// Whether the last band is transparency.
    pub fn has_transparency(&self) -> bool {
        // SAFETY: as in `width`.
        unsafe { ffi::vips_image_hasalpha(self.raw()) != 0 }
    }

    pub fn space(&self) -> Space {
        // SAFETY: as in `width`.
        let (format, interpretation) = unsafe {
            (ffi::vips_image_get_format(self.raw()), ffi::vips_image_get_interpretation(self.raw()))
        };
        let is_bytes = format == ffi::VipsBandFormat_VIPS_FORMAT_UCHAR;
        match interpretation {
            ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB if is_bytes => Space::Srgb,
            ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W if is_bytes => Space::Gray,
            ffi::VipsInterpretation_VIPS_INTERPRETATION_CMYK => Space::Cmyk,
            _ => Space::Other,
        }
    }

    /// Pixels per millimetre, horizontally and vertically.
    #[cfg(test)]
    pub fn density(&self) -> (f64, f64) {
        // SAFETY: as in `width`.
        unsafe { (ffi::vips_image_get_xres(self.raw()), ffi::vips_image_get_yres(self.raw())) }
    }

    /// Channels per pixel, with transparency.
    pub fn bands(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_bands(self.raw()) })
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: this value owns the reference.
        unsafe { ffi::g_object_unref(self.raw.as_ptr().cast()) }
    }
}

pub(super) fn unsigned(pixels: c_int) -> u32 {
    u32::try_from(pixels).unwrap_or(0)
}
