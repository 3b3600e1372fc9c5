//! What an image carries beside its pixels.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::image::Image;
use super::operation::Value;

const DELAYS: &CStr = c"delay";

impl<'b> Image<'b> {
    /// A copy of the bytes of this name, as `exif-data`: libvips frees its own when the pixels are computed in place.
    pub fn blob(&self, name: &CStr) -> Option<Vec<u8>> {
        let mut start: *const c_void = ptr::null();
        let mut length = 0;
        // SAFETY: `raw` is live, the name ends with NUL, both out parameters are valid to write to. On success they tell
        // of bytes that the image owns and that nothing changes before they are copied.
        unsafe {
            if ffi::vips_image_get_typeof(self.raw(), name.as_ptr()) != ffi::vips_blob_get_type()
                || ffi::vips_image_get_blob(self.raw(), name.as_ptr(), &mut start, &mut length) != 0
                || start.is_null()
            {
                return None;
            }
            Some(std::slice::from_raw_parts(start.cast::<u8>(), length as usize).to_vec())
        }
    }

    /// The same pixels, of which nobody says how large they are to be printed.
    pub fn without_density(&self) -> Result<Image<'b>, Error> {
        let copy =
            self.apply(c"copy", &[(c"xres", Value::Double(1.0)), (c"yres", Value::Double(1.0))])?;
        // SAFETY: metadata may be set on an image that nobody else holds: the copy has just been made, and libvips'
        // operation cache is off. Both strings are static and end with NUL.
        unsafe {
            ffi::vips_image_set_string(copy.raw(), c"resolution-unit".as_ptr(), c"none".as_ptr())
        };
        Ok(copy)
    }

    /// The same pixels without the times of the first frames, which are not there.
    pub fn without_delays(&self, frames: u32) -> Result<Image<'b>, Error> {
        let copy = self.apply(c"copy", &[])?;
        let mut delays: *mut c_int = ptr::null_mut();
        let mut count: c_int = 0;
        // SAFETY: the name ends with NUL, both out parameters are valid to write to, and on success they tell of an
        // array that the image owns, which is read before anything is set. Metadata may be set on an image that nobody
        // else holds: the copy has just been made, and libvips' operation cache is off. It copies the numbers.
        unsafe {
            if ffi::vips_image_get_typeof(copy.raw(), DELAYS.as_ptr()) == 0 {
                return Ok(copy);
            }
            if ffi::vips_image_get_array_int(copy.raw(), DELAYS.as_ptr(), &mut delays, &mut count)
                != 0
            {
                return Err(take_error());
            }
            let all = match usize::try_from(count) {
                Ok(count) if count > 0 && !delays.is_null() => {
                    std::slice::from_raw_parts(delays, count)
                }
                _ => &[],
            };
            let rest = all.get(frames as usize..).unwrap_or_default().to_vec();
            let count = c_int::try_from(rest.len()).unwrap_or(0);
            ffi::vips_image_set_array_int(copy.raw(), DELAYS.as_ptr(), rest.as_ptr(), count);
        }
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Vips;
    use super::super::testing::GIF;

    #[test]
    fn what_is_not_there_is_none() {
        let image = Vips::start().unwrap().load(GIF, c"gifload_buffer", &[]).unwrap();
        assert_eq!(image.blob(c"exif-data"), None);
        assert_eq!(image.blob(c"delay"), None, "numbers are no bytes");
        for frames in [0, 1, u32::MAX] {
            assert_eq!(image.without_delays(frames).unwrap().width(), 2);
        }
    }
}
