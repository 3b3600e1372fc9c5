//! Metadata of images.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::image::{Image, unsigned};
use super::operation::{Value, clamped};

const DELAYS: &CStr = c"delay";
const LOOP: &CStr = c"loop";
const PAGES: &CStr = c"n-pages";
const PROFILE: &CStr = c"icc-profile-data";

impl<'b> Image<'b> {
    /// The number of frames in the file, as counted by the loader.
    pub fn frames_in_file(&self) -> u32 {
        // `vips_image_get_n_pages` takes 10,000 and more for an error and returns 1.
        let mut pages: c_int = 0;
        // SAFETY: `raw` is live, the name ends with NUL, and the out parameter is valid to write to.
        let is_set = unsafe {
            ffi::vips_image_get_typeof(self.raw(), PAGES.as_ptr()) != 0
                && ffi::vips_image_get_int(self.raw(), PAGES.as_ptr(), &mut pages) == 0
        };
        if is_set { unsigned(pages).max(1) } else { 1 }
    }

    /// The length in bytes of the embedded colour profile, decompressed.
    pub fn profile_bytes(&self) -> u64 {
        let mut data: *const c_void = ptr::null();
        let mut length = 0;
        // SAFETY: as in `has_profile`; both out parameters are valid to write to, and the image keeps the data.
        let status = unsafe {
            if ffi::vips_image_get_typeof(self.raw(), PROFILE.as_ptr()) == 0 {
                return 0;
            }
            ffi::vips_image_get_blob(self.raw(), PROFILE.as_ptr(), &mut data, &mut length)
        };
        if status == 0 { length } else { 0 }
    }

    /// Whether it has an embedded colour profile.
    pub fn has_profile(&self) -> bool {
        // SAFETY: `raw` is live, and the name ends with NUL.
        unsafe { ffi::vips_image_get_typeof(self.raw(), PROFILE.as_ptr()) != 0 }
    }

    /// A copy of the embedded colour profile.
    pub fn profile(&self) -> Option<Vec<u8>> {
        self.blob(PROFILE)
    }

    /// The same pixels, without a colour profile.
    pub fn without_profile(self) -> Result<Image<'b>, Error> {
        if !self.has_profile() {
            return Ok(self);
        }
        let copy = self.apply(c"copy", &[])?;
        // SAFETY: as in `with_frame_height`; libvips does not keep the name.
        unsafe { ffi::vips_image_remove(copy.raw(), PROFILE.as_ptr()) };
        Ok(copy)
    }

    /// The same pixels, with this colour profile.
    pub fn with_profile(&self, profile: &[u8]) -> Result<Image<'b>, Error> {
        let copy = self.apply(c"copy", &[])?;
        let length = profile.len() as ffi::size_t;
        // SAFETY: as in `with_frame_height`; pointer and length are those of the profile, which libvips copies.
        unsafe {
            ffi::vips_image_set_blob_copy(
                copy.raw(),
                PROFILE.as_ptr(),
                profile.as_ptr().cast(),
                length,
            );
        }
        Ok(copy)
    }

    /// The same pixels, as frames of this height.
    pub fn with_frame_height(&self, height: u32) -> Result<Image<'b>, Error> {
        let copy = self.apply(c"copy", &[])?;
        // SAFETY: metadata may be set on an image with one reference: the copy is new, and the operation cache of
        // libvips is off. The name is static.
        unsafe { ffi::vips_image_set_int(copy.raw(), c"page-height".as_ptr(), clamped(height)) };
        Ok(copy)
    }

    /// The same pixels, as an animation of frames of this height with these delays in milliseconds, which is shown this
    /// often; 0 is for ever.
    pub fn with_animation(
        &self,
        frame_height: u32,
        delays: &[u32],
        plays: u32,
    ) -> Result<Image<'b>, Error> {
        let copy = self.with_frame_height(frame_height)?;
        let delays: Vec<c_int> = delays.iter().map(|delay| clamped(*delay)).collect();
        let count = c_int::try_from(delays.len()).unwrap_or(0);
        // SAFETY: as in `with_frame_height`; the array is copied.
        unsafe {
            ffi::vips_image_set_array_int(copy.raw(), DELAYS.as_ptr(), delays.as_ptr(), count);
            ffi::vips_image_set_int(copy.raw(), LOOP.as_ptr(), clamped(plays));
        }
        Ok(copy)
    }

    /// How often the animation is shown; 0 is for ever.
    pub fn plays(&self) -> u32 {
        let mut plays: c_int = 0;
        // SAFETY: as in `frames_in_file`.
        let is_set = unsafe {
            ffi::vips_image_get_typeof(self.raw(), LOOP.as_ptr()) != 0
                && ffi::vips_image_get_int(self.raw(), LOOP.as_ptr(), &mut plays) == 0
        };
        if is_set { unsigned(plays) } else { 0 }
    }

    /// The delays of frames in milliseconds.
    pub fn delays(&self) -> Result<Vec<u32>, Error> {
        let mut delays: *mut c_int = ptr::null_mut();
        let mut count: c_int = 0;
        // SAFETY: the name ends with NUL, both out parameters are valid to write to, and on success they describe an
        // array that the image owns and that nothing changes before it is copied.
        unsafe {
            if ffi::vips_image_get_typeof(self.raw(), DELAYS.as_ptr()) == 0 {
                return Ok(Vec::new());
            }
            if ffi::vips_image_get_array_int(self.raw(), DELAYS.as_ptr(), &mut delays, &mut count)
                != 0
            {
                return Err(take_error());
            }
            match usize::try_from(count) {
                Ok(count) if count > 0 && !delays.is_null() => {
                    let delays = std::slice::from_raw_parts(delays, count);
                    Ok(delays.iter().map(|delay| unsigned(*delay)).collect())
                }
                _ => Ok(Vec::new()),
            }
        }
    }

    /// Copies a field of bytes, such as `exif-data`: libvips may free its own when pixels are computed.
    pub fn blob(&self, name: &CStr) -> Option<Vec<u8>> {
        let mut start: *const c_void = ptr::null();
        let mut length = 0;
        // SAFETY: `raw` is live, the name ends with NUL, both out parameters are valid to write to. On success they
        // describe bytes that the image owns and that nothing changes before they are copied.
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

    /// The same pixels without a density.
    pub fn without_density(&self) -> Result<Image<'b>, Error> {
        let copy =
            self.apply(c"copy", &[(c"xres", Value::Double(1.0)), (c"yres", Value::Double(1.0))])?;
        // SAFETY: metadata may be set on an image with one reference: the copy is new, and the operation cache of
        // libvips is off. Both strings are static and end with NUL.
        unsafe {
            ffi::vips_image_set_string(copy.raw(), c"resolution-unit".as_ptr(), c"none".as_ptr())
        };
        Ok(copy)
    }

    /// The same pixels without the delays of the first frames, which were not loaded.
    pub fn without_delays(&self, frames: u32) -> Result<Image<'b>, Error> {
        let delays = self.delays()?;
        let copy = self.apply(c"copy", &[])?;
        if delays.is_empty() {
            return Ok(copy);
        }
        let rest = delays.get(frames as usize..).unwrap_or_default();
        let rest: Vec<c_int> = rest.iter().map(|delay| clamped(*delay)).collect();
        let count = c_int::try_from(rest.len()).unwrap_or(0);
        // SAFETY: as in `with_frame_height`; the array is copied.
        unsafe { ffi::vips_image_set_array_int(copy.raw(), DELAYS.as_ptr(), rest.as_ptr(), count) };
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::two_pixels;
    use super::*;

    #[test]
    fn missing_metadata_is_none() {
        let image = two_pixels();
        assert_eq!(image.blob(c"exif-data"), None);
        assert_eq!(image.blob(c"delay"), None, "an array of numbers");
        for frames in [0, 1, u32::MAX] {
            assert_eq!(image.without_delays(frames).unwrap().width(), 2);
        }
    }

    #[test]
    fn more_than_ten_thousand_frames_are_counted() {
        let image = two_pixels();
        assert_eq!(image.frames_in_file(), 1);
        // SAFETY: as in `with_frame_height`; the image is new.
        unsafe { ffi::vips_image_set_int(image.raw(), PAGES.as_ptr(), 12_000) };
        assert_eq!(image.frames_in_file(), 12_000);
    }
}
