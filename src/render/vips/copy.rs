//! Computes an image into memory.

use std::ffi::c_int;
use std::ptr;

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::image::Image;
use super::kill::Computing;

/// Lines that are computed at once: as many as libvips' own strips have, or more of a small image.
const MIN_LINES: usize = 16;
const STRIP_BYTES: usize = 128 << 10;

/// A region, released when it is dropped.
struct Region(*mut ffi::VipsRegion);

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: it is owned, and not used afterwards.
        unsafe { ffi::g_object_unref(self.0.cast()) };
    }
}

impl<'b> Image<'b> {
    /// Computes the pixels into memory, where they can be read in any order and more than once. A decoder gives its
    /// lines once, from top to bottom.
    ///
    /// This thread computes them: `vips_image_copy_memory` wakes a thread for each strip, and is woken by it.
    pub fn copy_memory(&self) -> Result<Image<'b>, Error> {
        let _computing = Computing::of(self);
        // SAFETY: `raw` is live as long as `self`.
        if unsafe { (*self.raw()).dtype } != ffi::VipsImageType_VIPS_IMAGE_PARTIAL {
            // SAFETY: as above; the result is a new reference or null.
            return Image::from_raw(unsafe { ffi::vips_image_copy_memory(self.raw()) });
        }
        // SAFETY: the result is a new reference or null.
        let copy = Image::from_raw(unsafe { ffi::vips_image_new_memory() })?;
        // SAFETY: two live images; the list of inputs ends with null.
        let status = unsafe {
            ffi::vips_image_pipelinev(
                copy.raw(),
                ffi::VipsDemandStyle_VIPS_DEMAND_STYLE_ANY,
                self.raw(),
                ptr::null_mut::<ffi::VipsImage>(),
            )
        };
        if status != 0 {
            return Err(take_error());
        }
        // SAFETY: `raw` is live; the result is a new reference or null.
        let region = Region(unsafe { ffi::vips_region_new(self.raw()) });
        if region.0.is_null() {
            return Err(take_error());
        }
        // SAFETY: `raw` is live.
        let line_bytes = unsafe {
            let pixel = ffi::vips_format_sizeof(ffi::vips_image_get_format(self.raw()));
            pixel as usize * self.bands() as usize * self.width() as usize
        };
        let strip = (STRIP_BYTES / line_bytes.max(1)).max(MIN_LINES);
        for top in (0..self.height()).step_by(strip) {
            self.copy_lines(&region, &copy, top, strip.min((self.height() - top) as usize))?;
        }
        Ok(copy)
    }

    fn copy_lines(
        &self,
        region: &Region,
        copy: &Image<'b>,
        top: u32,
        count: usize,
    ) -> Result<(), Error> {
        let number =
            |number: u32| c_int::try_from(number).map_err(|error| Error(error.to_string()));
        let (top, height) = (number(top)?, count as c_int);
        let area = ffi::VipsRect { left: 0, top, width: number(self.width())?, height };
        // SAFETY: the region is one of this image, and the area is within the image. After it is prepared, its data
        // begin at the upper left pixel of `valid`, which contains the area, with `bpl` bytes from line to line.
        // `write_line` copies a line of the size of the image.
        unsafe {
            if ffi::vips_region_prepare(region.0, &area) != 0 {
                return Err(take_error());
            }
            let ffi::VipsRegion { data, bpl, valid, .. } = *region.0;
            if data.is_null() || valid.left != 0 || valid.top > top {
                return Err(Error("libvips has prepared another area".into()));
            }
            for line in top..top + height {
                let offset = (line - valid.top) as isize * bpl as isize;
                if ffi::vips_image_write_line(copy.raw(), line, data.offset(offset)) != 0 {
                    return Err(take_error());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::super::testing::two_pixels;
    use super::super::{Stop, Vips, Work, call};

    #[test]
    fn a_copy_has_the_pixels_and_can_be_read_in_any_order() {
        let small = two_pixels().copy_memory().unwrap();
        let arguments = [
            (c"input", Value::Image(&small)),
            (c"xfac", Value::Int(700)),
            (c"yfac", Value::Int(301)),
        ];
        let large = call(c"zoom", &arguments).unwrap().image(c"out").unwrap();
        let copy = large.copy_memory().unwrap();
        assert_eq!((copy.width(), copy.height(), copy.bands()), (1400, 301, 3));
        let line: Vec<u8> =
            [[255, 0, 0]; 700].into_iter().chain([[0, 0, 255]; 700]).flatten().collect();
        assert_eq!(copy.samples().unwrap(), line.repeat(301));
        let lower = copy.crop(699, 300, 2, 1).unwrap().copy_memory().unwrap();
        assert_eq!(lower.samples().unwrap(), [255, 0, 0, 0, 0, 255]);
        let upper = copy.crop(699, 0, 2, 1).unwrap().copy_memory().unwrap();
        assert_eq!(upper.samples().unwrap(), [255, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn a_copy_of_numbers_of_several_bytes_has_all_of_them() {
        let wide = two_pixels().apply(c"cast", &[(c"format", Value::Int(2))]).unwrap();
        let wide = wide
            .apply(c"linear", &[(c"a", Value::Doubles(&[2.0])), (c"b", Value::Doubles(&[1.0]))])
            .unwrap();
        let copy = wide.copy_memory().unwrap();
        let back = copy.apply(c"cast", &[(c"format", Value::Int(2))]).unwrap();
        let modulo = back.apply(c"remainder_const", &[(c"c", Value::Doubles(&[256.0]))]).unwrap();
        let bytes = modulo.apply(c"cast", &[(c"format", Value::Int(0))]).unwrap();
        assert_eq!(bytes.copy_memory().unwrap().samples().unwrap(), [255, 1, 1, 1, 1, 255]);
    }

    #[test]
    fn a_damaged_image_is_an_error_and_a_stopped_copy_too() {
        let png = super::super::testing::PNG;
        let damaged = &png[..png.len() - 20];
        let strict = [(c"fail_on", Value::Int(1))];
        let image = Vips::start().unwrap().load(damaged, c"pngload_buffer", &strict);
        assert!(image.and_then(|image| image.copy_memory()).is_err());
        let work = Work::begin();
        Stop::stop(&work.stop_handle());
        assert!(two_pixels().copy_memory().is_err());
    }
}
