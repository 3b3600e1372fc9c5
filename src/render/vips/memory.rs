//! Pixels in memory.

use std::ffi::c_int;
use std::ptr;

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::image::Image;
use super::kill::{Computing, Work};
use super::operation::Value;

/// A sample of an image in memory: `u8`, or `u16` with all 16 bits in use.
pub trait Sample: sealed::Sample {}

impl Sample for u8 {}
impl Sample for u16 {}

mod sealed {
    use libvips::bindings as ffi;

    pub trait Sample {
        const FORMAT: ffi::VipsBandFormat;
        const GRAY: ffi::VipsInterpretation;
        const COLOUR: ffi::VipsInterpretation;
    }

    impl Sample for u8 {
        const FORMAT: ffi::VipsBandFormat = ffi::VipsBandFormat_VIPS_FORMAT_UCHAR;
        const GRAY: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W;
        const COLOUR: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB;
    }

    impl Sample for u16 {
        const FORMAT: ffi::VipsBandFormat = ffi::VipsBandFormat_VIPS_FORMAT_USHORT;
        const GRAY: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_GREY16;
        const COLOUR: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_RGB16;
    }
}

impl<'b> Image<'b> {
    pub(super) fn from_samples<S: Sample>(
        samples: &'b [S],
        width: u32,
        height: u32,
        bands: usize,
    ) -> Result<Image<'b>, Error> {
        let count = u64::from(width) * u64::from(height) * bands as u64;
        if count == 0 || count != samples.len() as u64 {
            return Err(Error("the samples do not fit the size of the image".into()));
        }
        let (Ok(columns), Ok(rows), 1..=4) =
            (c_int::try_from(width), c_int::try_from(height), bands)
        else {
            return Err(Error("too many samples".into()));
        };
        let start = samples.as_ptr().cast();
        let length = size_of_val(samples) as ffi::size_t;
        // SAFETY: pointer and length are those of `samples`, which hold as many samples of this format as the image
        // has, and which its lifetime keeps borrowed; libvips only reads them. The result is a new reference or null.
        let raw = unsafe {
            ffi::vips_image_new_from_memory(start, length, columns, rows, bands as c_int, S::FORMAT)
        };
        let space = if bands < 3 { S::GRAY } else { S::COLOUR };
        Image::from_raw(raw)?.apply(c"copy", &[(c"interpretation", Value::Int(space as c_int))])
    }

    /// A copy of samples, which may be dropped.
    pub(super) fn from_copied_samples(
        samples: &[u8],
        width: u32,
        height: u32,
        bands: usize,
    ) -> Result<Image<'static>, Error> {
        let (Ok(columns), Ok(rows), 1..=4) =
            (c_int::try_from(width), c_int::try_from(height), bands)
        else {
            return Err(Error("too many samples".into()));
        };
        let count = u64::from(width) * u64::from(height) * bands as u64;
        if count == 0 || count != samples.len() as u64 {
            return Err(Error("the samples do not fit the size of the image".into()));
        }
        let length = samples.len() as ffi::size_t;
        // SAFETY: pointer and length are those of `samples`, which hold a byte for each band of each pixel, and which
        // libvips copies before it returns. The result is a new reference or null.
        Image::from_raw(unsafe {
            ffi::vips_image_new_from_memory_copy(
                samples.as_ptr().cast(),
                length,
                columns,
                rows,
                bands as c_int,
                ffi::VipsBandFormat_VIPS_FORMAT_UCHAR,
            )
        })
    }

    /// The same as [`from_copied_samples`](Self::from_copied_samples), in sRGB, or grayscale with less than 3 bands.
    pub(super) fn from_copied_pixels(
        samples: &[u8],
        width: u32,
        height: u32,
        bands: usize,
    ) -> Result<Image<'static>, Error> {
        let space =
            if bands < 3 { <u8 as sealed::Sample>::GRAY } else { <u8 as sealed::Sample>::COLOUR };
        Image::from_copied_samples(samples, width, height, bands)?
            .apply(c"copy", &[(c"interpretation", Value::Int(space as c_int))])
    }

    /// The samples of all pixels, row by row. Fails unless they have 8 bits.
    pub fn samples(&self) -> Result<&[u8], Error> {
        // SAFETY: `raw` is live as long as `self`.
        if unsafe { ffi::vips_image_get_format(self.raw()) }
            != ffi::VipsBandFormat_VIPS_FORMAT_UCHAR
        {
            return Err(Error("the samples do not have 8 bits".into()));
        }
        let _computing = Computing::of(self);
        let length = u64::from(self.width()) * u64::from(self.height()) * u64::from(self.bands());
        let length = usize::try_from(length).map_err(|error| Error(error.to_string()))?;
        // SAFETY: `raw` is live. Pixels that are not in memory are computed into it once, stay there as long as the
        // image, and are not written to; a pixel takes one byte for each band, and lines have no padding.
        unsafe {
            let data = ffi::vips_image_get_data(self.raw());
            if data.is_null() {
                return Err(take_error());
            }
            Ok(std::slice::from_raw_parts(data.cast::<u8>(), length))
        }
    }

    /// An image in memory with the colour space, bands, density and metadata of this one, but with these samples of 8 bits and
    /// this width.
    pub fn with_samples(&self, width: u32, samples: &[u8]) -> Result<Image<'b>, Error> {
        let line = u64::from(width) * u64::from(self.bands());
        let lines = samples.len() as u64 / line.max(1);
        if line == 0 || lines == 0 || lines * line != samples.len() as u64 {
            return Err(Error("the samples are not whole lines".into()));
        }
        // SAFETY: `raw` is live.
        let space = unsafe { ffi::vips_image_get_interpretation(self.raw()) };
        self.with_lines(width, self.bands(), space, samples.chunks_exact(line as usize))
    }

    /// An image of sRGB, or of grayscale if it has less than 3 bands, in memory, with the size, density and metadata of
    /// this one. `change` writes each of its lines from one of this image.
    pub fn map_lines(
        &self,
        bands: u32,
        mut change: impl FnMut(&[u8], &mut [u8]),
    ) -> Result<Image<'b>, Error> {
        let (width, samples) = (self.width(), self.samples()?);
        let space =
            if bands < 3 { <u8 as sealed::Sample>::GRAY } else { <u8 as sealed::Sample>::COLOUR };
        let [from, to] = [self.bands(), bands].map(|bands| width as usize * bands as usize);
        let lines = samples.chunks_exact(from.max(1)).map(|from| {
            let mut line = vec![0; to];
            change(from, &mut line);
            line
        });
        self.with_lines(width, bands, space, lines)
    }

    /// An image in memory with the density and metadata of this one, and these lines of 8 bits.
    fn with_lines(
        &self,
        width: u32,
        bands: u32,
        space: ffi::VipsInterpretation,
        lines: impl ExactSizeIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Image<'b>, Error> {
        let length = width as usize * bands as usize;
        let (Ok(width), Ok(height), Ok(bands @ 1..=4)) =
            (c_int::try_from(width), c_int::try_from(lines.len()), c_int::try_from(bands))
        else {
            return Err(Error("too many samples".into()));
        };
        // SAFETY: no arguments; the result is a new reference or null.
        let image = Image::from_raw(unsafe { ffi::vips_image_new_memory() })?;
        let mut like = [self.raw(), ptr::null_mut()];
        let any = ffi::VipsDemandStyle_VIPS_DEMAND_STYLE_ANY;
        // SAFETY: both images are live and the list ends with null; the new image has one reference and no pixels.
        unsafe {
            if ffi::vips_image_pipeline_array(image.raw(), any, like.as_mut_ptr()) != 0 {
                return Err(take_error());
            }
            ffi::vips_image_init_fields(
                image.raw(),
                width,
                height,
                bands,
                ffi::VipsBandFormat_VIPS_FORMAT_UCHAR,
                ffi::VipsCoding_VIPS_CODING_NONE,
                space,
                ffi::vips_image_get_xres(self.raw()),
                ffi::vips_image_get_yres(self.raw()),
            );
        }
        for (y, line) in (0..height).zip(lines) {
            Work::check()?;
            let line = line.as_ref();
            if line.len() != length {
                return Err(Error("a line has another length".into()));
            }
            // SAFETY: the lines come in order, and each has the bytes of a line of the new image: width times bands.
            // It is only read.
            let status =
                unsafe { ffi::vips_image_write_line(image.raw(), y, line.as_ptr().cast_mut()) };
            if status != 0 {
                return Err(take_error());
            }
        }
        Ok(image)
    }
}
