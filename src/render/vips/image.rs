//! Images of libvips, whose pixels are computed when they are needed.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::kill::Computing;
use super::operation::{Value, call};

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

/// `access` of a loader: lines are read once, from top to bottom, and not kept.
pub const SEQUENTIAL: Value = Value::Int(ffi::VipsAccess_VIPS_ACCESS_SEQUENTIAL as c_int);

/// A sample of an image in memory: `u8`, or `u16` with all 16 bits in use.
pub trait Sample: sealed::Sample {}

impl Sample for u8 {}
impl Sample for u16 {}

mod sealed {
    use libvips::bindings as ffi;

    pub trait Sample {
        const FORMAT: ffi::VipsBandFormat;
        const GRAY: ffi::VipsInterpretation;
        const COLOR: ffi::VipsInterpretation;
    }

    impl Sample for u8 {
        const FORMAT: ffi::VipsBandFormat = ffi::VipsBandFormat_VIPS_FORMAT_UCHAR;
        const GRAY: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W;
        const COLOR: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB;
    }

    impl Sample for u16 {
        const FORMAT: ffi::VipsBandFormat = ffi::VipsBandFormat_VIPS_FORMAT_USHORT;
        const GRAY: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_GREY16;
        const COLOR: ffi::VipsInterpretation = ffi::VipsInterpretation_VIPS_INTERPRETATION_RGB16;
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
        let space = if bands < 3 { S::GRAY } else { S::COLOR };
        Image::from_raw(raw)?.apply(c"copy", &[(c"interpretation", Value::Int(space as c_int))])
    }

    /// Takes ownership of a reference.
    pub(super) fn from_raw(raw: *mut ffi::VipsImage) -> Result<Image<'b>, Error> {
        let raw = NonNull::new(raw).ok_or_else(take_error)?;
        Ok(Image { raw, bytes: PhantomData })
    }

    pub(super) fn raw(&self) -> *mut ffi::VipsImage {
        self.raw.as_ptr()
    }

    /// Calls an operation whose input is `in` and whose output is `out`.
    pub fn apply(
        &self,
        operation: &CStr,
        arguments: &[(&CStr, Value<'_, 'b>)],
    ) -> Result<Image<'b>, Error> {
        let mut all = vec![(c"in", Value::Image(self))];
        all.extend_from_slice(arguments);
        call(operation, &all)?.image(c"out")
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

    /// Channels per pixel, with transparency.
    pub fn bands(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_bands(self.raw()) })
    }

    /// Crops to a window, which must be inside the image.
    pub fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Result<Image<'b>, Error> {
        let window = [
            (c"input", Value::Image(self)),
            (c"left", pixels(left)),
            (c"top", pixels(top)),
            (c"width", pixels(width)),
            (c"height", pixels(height)),
        ];
        call(c"extract_area", &window)?.image(c"out")
    }

    /// Finds the window of this size that draws the most attention (libvips' `smartcrop`). Returns its centre.
    pub fn find_attention(&self, width: u32, height: u32) -> Result<(u32, u32), Error> {
        let attention = ffi::VipsInteresting_VIPS_INTERESTING_ATTENTION as c_int;
        let window = [
            (c"input", Value::Image(self)),
            (c"width", pixels(width)),
            (c"height", pixels(height)),
            (c"interesting", Value::Int(attention)),
        ];
        let found = call(c"smartcrop", &window)?;
        Ok((unsigned(found.int(c"attention-x")?), unsigned(found.int(c"attention-y")?)))
    }

    /// Keeps every `step`th pixel of every `step`th line.
    pub fn subsample(&self, step: u32) -> Result<Image<'b>, Error> {
        let arguments =
            [(c"input", Value::Image(self)), (c"xfac", pixels(step)), (c"yfac", pixels(step))];
        call(c"subsample", &arguments)?.image(c"out")
    }

    /// Computes the pixels into memory, where they can be read in any order and more than once. A decoder gives its
    /// lines once, from top to bottom.
    pub fn copy_memory(&self) -> Result<Image<'b>, Error> {
        let _computing = Computing::of(self);
        // SAFETY: `raw` is live; the result is a new reference or null.
        Image::from_raw(unsafe { ffi::vips_image_copy_memory(self.raw()) })
    }

    /// Replaces transparency by a colour. A grayscale image stays grayscale if the colour is gray.
    pub fn flatten(&self, colour: [u8; 3]) -> Result<Image<'b>, Error> {
        let [red, green, blue] = colour;
        if self.bands() < 3 && (red != green || green != blue) {
            return self.to_srgb()?.flatten(colour);
        }
        let channels = colour.map(f64::from);
        let background = if self.bands() < 3 { &channels[..1] } else { &channels[..] };
        self.apply(c"flatten", &[(c"background", Value::Doubles(background))])
    }

    /// Converts to sRGB, or to grayscale if it has no colours.
    pub fn to_srgb_or_gray(&self) -> Result<Image<'b>, Error> {
        if self.bands() < 3 {
            self.to_space(ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W)
        } else {
            self.to_srgb()
        }
    }

    /// Converts to sRGB, also from grayscale.
    pub fn to_srgb(&self) -> Result<Image<'b>, Error> {
        self.to_space(ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB)
    }

    fn to_space(&self, space: ffi::VipsInterpretation) -> Result<Image<'b>, Error> {
        self.apply(c"colourspace", &[(c"space", Value::Int(space as c_int))])
    }

    /// Casts to the number format of another image: fractions are truncated, and values clipped.
    pub fn cast_like(&self, other: &Image) -> Result<Image<'b>, Error> {
        // SAFETY: as in `width`.
        let format = unsafe { ffi::vips_image_get_format(other.raw()) };
        self.apply(c"cast", &[(c"format", Value::Int(format))])
    }

    /// Joins frames of one size to an animation, with the delays and loops of the first one.
    pub fn join_frames(frames: &[Image<'b>]) -> Result<Image<'b>, Error> {
        let height = frames.first().map_or(0, Image::height);
        let joined =
            call(c"arrayjoin", &[(c"in", Value::Images(frames)), (c"across", Value::Int(1))])?
                .image(c"out")?;
        joined.with_frame_height(height)
    }

    /// The samples of all pixels, row by row. Fails unless they have 8 bits.
    pub fn samples(&self) -> Result<&[u8], Error> {
        // SAFETY: as in `width`.
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

    /// An image in memory with the colour space, bands and metadata of this one, but with these samples of 8 bits and
    /// this width.
    pub fn with_samples(&self, width: u32, samples: &[u8]) -> Result<Image<'b>, Error> {
        let line = u64::from(width) * u64::from(self.bands());
        let lines = samples.len() as u64 / line.max(1);
        if line == 0 || lines == 0 || lines * line != samples.len() as u64 {
            return Err(Error("the samples are not whole lines".into()));
        }
        let (Ok(width), Ok(height)) = (c_int::try_from(width), c_int::try_from(lines)) else {
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
                ffi::vips_image_get_bands(self.raw()),
                ffi::VipsBandFormat_VIPS_FORMAT_UCHAR,
                ffi::VipsCoding_VIPS_CODING_NONE,
                ffi::vips_image_get_interpretation(self.raw()),
                1.0,
                1.0,
            );
        }
        for (y, line) in (0..height).zip(samples.chunks_exact(line as usize)) {
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

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: this value owns the reference.
        unsafe { ffi::g_object_unref(self.raw.as_ptr().cast()) }
    }
}

/// A number of pixels, as an argument.
pub fn pixels<'v, 'b>(count: u32) -> Value<'v, 'b> {
    Value::Int(clamped(count))
}

pub(super) fn clamped(pixels: u32) -> c_int {
    c_int::try_from(pixels).unwrap_or(c_int::MAX)
}

pub(super) fn unsigned(pixels: c_int) -> u32 {
    u32::try_from(pixels).unwrap_or(0)
}
