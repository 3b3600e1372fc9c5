//! Computes an image into memory.

use std::ffi::c_int;
use std::mem::MaybeUninit;
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
        let copy = self.empty_copy()?;
        self.each_strip(|top, lines| {
            for (line, y) in lines.zip(top..) {
                // SAFETY: `write_line` copies a line of the size of the image, and does not write to it.
                let status =
                    unsafe { ffi::vips_image_write_line(copy.raw(), y, line.as_ptr().cast_mut()) };
                if status != 0 {
                    return Err(take_error());
                }
            }
            Ok(())
        })?;
        Ok(copy)
    }

    /// The pixels in memory, rotated by a quarter of a turn: clockwise, or the other way. They have 8 bits.
    pub fn copy_rotated(&self, is_clockwise: bool) -> Result<Image<'b>, Error> {
        let _computing = Computing::of(self);
        // SAFETY: `raw` is live as long as `self`.
        if unsafe { ffi::vips_image_get_format(self.raw()) }
            != ffi::VipsBandFormat_VIPS_FORMAT_UCHAR
        {
            return Err(Error("the samples do not have 8 bits".into()));
        }
        let copy = self.empty_copy()?;
        let length = self.line_bytes() * self.height() as usize;
        // SAFETY: the copy is live, and nothing else knows it yet. `write_prepare` allocates its pixels, which are as
        // many bytes as those of this image, and zeroed by nobody: they are only written to until all of them are.
        let samples = unsafe {
            let image = copy.raw();
            ((*image).Xsize, (*image).Ysize) = ((*image).Ysize, (*image).Xsize);
            if ffi::vips_image_write_prepare(image) != 0 {
                return Err(take_error());
            }
            let data = (*image).data.cast::<MaybeUninit<u8>>();
            if data.is_null() {
                return Err(Error("libvips has allocated no pixels".into()));
            }
            std::slice::from_raw_parts_mut(data, length)
        };
        self.each_strip(|top, lines| {
            let lines: Vec<&[u8]> = lines.collect();
            let turn = Turn { height: self.height() as usize, top: top as usize, is_clockwise };
            match self.bands() {
                1 => turn.copy::<1>(&lines, samples),
                2 => turn.copy::<2>(&lines, samples),
                3 => turn.copy::<3>(&lines, samples),
                4 => turn.copy::<4>(&lines, samples),
                _ => return Err(Error("a pixel has more than four samples".into())),
            }
            Ok(())
        })?;
        Ok(copy)
    }

    fn line_bytes(&self) -> usize {
        // SAFETY: `raw` is live as long as `self`.
        let sample = unsafe { ffi::vips_format_sizeof(ffi::vips_image_get_format(self.raw())) };
        sample as usize * self.bands() as usize * self.width() as usize
    }

    /// An image in memory with the size, the format and the metadata of this one, and no pixels yet.
    fn empty_copy(&self) -> Result<Image<'b>, Error> {
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
        if status == 0 { Ok(copy) } else { Err(take_error()) }
    }

    /// Computes the lines from top to bottom, some at a time. The function gets the number of the first one, and all of
    /// them.
    fn each_strip(
        &self,
        mut take: impl FnMut(c_int, &mut dyn Iterator<Item = &[u8]>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // SAFETY: `raw` is live; the result is a new reference or null.
        let region = Region(unsafe { ffi::vips_region_new(self.raw()) });
        if region.0.is_null() {
            return Err(take_error());
        }
        let number =
            |number: u32| c_int::try_from(number).map_err(|error| Error(error.to_string()));
        let (width, height) = (number(self.width())?, number(self.height())?);
        let line_bytes = self.line_bytes();
        let strip = (STRIP_BYTES / line_bytes.max(1)).max(MIN_LINES);
        for top in (0..height).step_by(strip) {
            let count = (strip as c_int).min(height - top);
            let area = ffi::VipsRect { left: 0, top, width, height: count };
            // SAFETY: the region is one of this image, and the area is within the image.
            if unsafe { ffi::vips_region_prepare(region.0, &area) } != 0 {
                return Err(take_error());
            }
            // SAFETY: the region is live.
            let ffi::VipsRegion { data, bpl, valid, .. } = unsafe { *region.0 };
            if data.is_null()
                || valid.left != 0
                || valid.width < width
                || valid.top > top
                || valid.top + valid.height < top + count
            {
                return Err(Error("libvips has prepared another area".into()));
            }
            let mut lines = (top..top + count).map(|line| {
                let offset = (line - valid.top) as isize * bpl as isize;
                // SAFETY: the data of a prepared region begin at the upper left pixel of `valid`, which contains the
                // area, with `bpl` bytes from line to line, and stay until the region is prepared again.
                unsafe { std::slice::from_raw_parts(data.offset(offset), line_bytes) }
            });
            take(top, &mut lines)?;
        }
        Ok(())
    }
}

/// Lines of an image of this height from `top` on, as they are rotated.
struct Turn {
    height: usize,
    top: usize,
    is_clockwise: bool,
}

impl Turn {
    /// Copies the pixels of the lines to the rotated image: a column of the lines is a part of a line of it.
    fn copy<const BANDS: usize>(&self, lines: &[&[u8]], rotated: &mut [MaybeUninit<u8>]) {
        let mut rotated = rotated.as_chunks_mut::<BANDS>().0.chunks_exact_mut(self.height.max(1));
        let lines: Vec<&[[u8; BANDS]]> = lines.iter().map(|line| line.as_chunks().0).collect();
        let width = lines.first().map_or(0, |line| line.len());
        for n in 0..width {
            let Some(to) = rotated.next() else { return };
            let x = if self.is_clockwise { n } else { width - 1 - n };
            let end = self.height - self.top;
            let part = if self.is_clockwise {
                to.get_mut(end - lines.len()..end)
            } else {
                to.get_mut(self.top..self.top + lines.len())
            };
            let pixels = lines.iter().filter_map(|line| line.get(x));
            let write = |(to, pixel): (&mut [MaybeUninit<u8>; BANDS], &[u8; BANDS])| {
                *to = pixel.map(MaybeUninit::new);
            };
            let part = part.into_iter().flatten();
            if self.is_clockwise {
                part.rev().zip(pixels).for_each(write)
            } else {
                part.zip(pixels).for_each(write)
            }
        }
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
    fn a_rotated_copy_is_that_of_libvips() {
        for (width, height) in [(1, 1), (7, 1), (1, 9), (61, 83), (700, 301)] {
            for bands in 1..=3_usize {
                let samples: Vec<u8> =
                    (0..width * height * bands).map(|n| (n * 7 % 251) as u8).collect();
                let image = Vips::start()
                    .unwrap()
                    .copied(&samples, width as u32, height as u32, bands)
                    .unwrap();
                for (is_clockwise, angle) in [(true, 1), (false, 3)] {
                    let rotated = image.copy_rotated(is_clockwise).unwrap();
                    let expected = image.apply(c"rot", &[(c"angle", Value::Int(angle))]).unwrap();
                    let expected = expected.copy_memory().unwrap();
                    let size = (rotated.width() as usize, rotated.height() as usize);
                    assert_eq!(size, (height, width));
                    assert_eq!(rotated.samples().unwrap(), expected.samples().unwrap());
                }
            }
        }
        let small = two_pixels().copy_rotated(true).unwrap();
        assert_eq!((small.width(), small.height()), (1, 2));
        assert_eq!(small.samples().unwrap(), [255, 0, 0, 0, 0, 255]);
        let wide = two_pixels().apply(c"cast", &[(c"format", Value::Int(2))]).unwrap();
        assert!(wide.copy_rotated(true).is_err());
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
