//! An image of libvips, decoded as far as was asked for so far.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::kill::Computing;
use super::operation::{Value, call};

/// An image, decoded as far as was asked for so far.
#[derive(Debug)]
pub struct Image<'b> {
    raw: NonNull<ffi::VipsImage>,
    bytes: PhantomData<&'b [u8]>,
}

/// How the numbers of an image's pixels are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// sRGB in bytes.
    Srgb,
    /// Brightness in bytes, with sRGB's curve.
    Gray,
    /// Inks.
    Cmyk,
    /// Anything else: 16 bits a channel, for one.
    Other,
}

/// `access` of a loader: the pixels are read once, from top to bottom, and not kept.
pub const SEQUENTIAL: Value = Value::Int(ffi::VipsAccess_VIPS_ACCESS_SEQUENTIAL as c_int);

const PAGES: &CStr = c"n-pages";
const PROFILE: &CStr = c"icc-profile-data";

/// A sample of an image in memory: `u8`, or `u16` of which all 16 bits are used.
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
    /// An image of samples, which it borrows.
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
        // SAFETY: pointer and length are those of `samples`, which hold as many samples of this format as the image has
        // and which its lifetime keeps borrowed; libvips only reads them. The result is a new reference or null.
        let raw = unsafe {
            let (start, length) = (samples.as_ptr().cast(), size_of_val(samples) as ffi::size_t);
            ffi::vips_image_new_from_memory(start, length, columns, rows, bands as c_int, S::FORMAT)
        };
        let space = if bands < 3 { S::GRAY } else { S::COLOR };
        Image::from_raw(raw)?.apply(c"copy", &[(c"interpretation", Value::Int(space as c_int))])
    }

    /// Takes over a reference.
    pub(super) fn from_raw(raw: *mut ffi::VipsImage) -> Result<Image<'b>, Error> {
        let raw = NonNull::new(raw).ok_or_else(take_error)?;
        Ok(Image { raw, bytes: PhantomData })
    }

    pub(super) fn raw(&self) -> *mut ffi::VipsImage {
        self.raw.as_ptr()
    }

    /// Makes an image of this one: calls an operation whose input is `in` and whose output is `out`.
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
        // SAFETY: `raw` is a live image for as long as `self`.
        unsigned(unsafe { ffi::vips_image_get_width(self.raw()) })
    }

    /// Height in pixels, of all loaded frames together.
    pub fn height(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_height(self.raw()) })
    }

    /// Height of one frame.
    pub fn frame_height(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_page_height(self.raw()) })
    }

    /// How many frames the encoded image has, as its loader has counted them.
    pub fn frames_in_file(&self) -> u32 {
        // `vips_image_get_n_pages` takes 10,000 and more for a mistake and says 1.
        let mut pages: c_int = 0;
        // SAFETY: `raw` is live, the name ends with NUL, and the out parameter is valid to write to.
        let is_told = unsafe {
            ffi::vips_image_get_typeof(self.raw(), PAGES.as_ptr()) != 0
                && ffi::vips_image_get_int(self.raw(), PAGES.as_ptr(), &mut pages) == 0
        };
        if is_told { unsigned(pages).max(1) } else { 1 }
    }

    /// Whether the last band is transparency.
    pub fn has_transparency(&self) -> bool {
        // SAFETY: as in `width`.
        unsafe { ffi::vips_image_hasalpha(self.raw()) != 0 }
    }

    /// How its numbers are to be read.
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

    /// The bytes of the embedded colour profile, unpacked.
    pub fn profile_bytes(&self) -> u64 {
        let mut data: *const c_void = ptr::null();
        let mut length = 0;
        // SAFETY: as in `has_profile`; both out parameters are valid to write to, and the data stays the image's.
        let status = unsafe {
            match ffi::vips_image_get_typeof(self.raw(), PROFILE.as_ptr()) {
                0 => return 0,
                _ => ffi::vips_image_get_blob(self.raw(), PROFILE.as_ptr(), &mut data, &mut length),
            }
        };
        if status == 0 { length } else { 0 }
    }

    /// Whether a colour profile is embedded.
    pub fn has_profile(&self) -> bool {
        // SAFETY: as in `width`; the name is static and ends with NUL.
        unsafe { ffi::vips_image_get_typeof(self.raw(), PROFILE.as_ptr()) != 0 }
    }

    /// The same pixels with this colour profile.
    pub fn with_profile(&self, profile: &[u8]) -> Result<Image<'b>, Error> {
        let copy = self.apply(c"copy", &[])?;
        let length = profile.len() as ffi::size_t;
        // SAFETY: as in `with_frame_height`; libvips copies the bytes, whose pointer and length are right.
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

    /// How many channels a pixel has, transparency included.
    pub fn bands(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_bands(self.raw()) })
    }

    /// The window of this image; it must lie inside.
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

    /// Where libvips looks for the window of this size that draws the most `attention`: the point that it centres
    /// it on, from the left and from the top.
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

    /// Every so many pixels one, across and down.
    pub fn subsample(&self, step: u32) -> Result<Image<'b>, Error> {
        let arguments =
            [(c"input", Value::Image(self)), (c"xfac", pixels(step)), (c"yfac", pixels(step))];
        call(c"subsample", &arguments)?.image(c"out")
    }

    /// The decoded pixels in memory, to be read in any order; an image straight from its decoder can be read
    /// from top to bottom once.
    pub fn copy_memory(&self) -> Result<Image<'b>, Error> {
        let _computing = Computing::of(self);
        // SAFETY: `raw` is live; the result is a new reference or null.
        Image::from_raw(unsafe { ffi::vips_image_copy_memory(self.raw()) })
    }

    /// This image without transparency, laid on a colour. A gray one stays gray on a gray that is one.
    pub fn flatten(&self, colour: [u8; 3]) -> Result<Image<'b>, Error> {
        let [red, green, blue] = colour;
        if self.bands() < 3 && (red != green || green != blue) {
            return self.to_srgb()?.flatten(colour);
        }
        let channels = colour.map(f64::from);
        let background = if self.bands() < 3 { &channels[..1] } else { &channels[..] };
        self.apply(c"flatten", &[(c"background", Value::Doubles(background))])
    }

    /// This image in sRGB, and as it is if it is gray.
    pub fn to_srgb_or_gray(&self) -> Result<Image<'b>, Error> {
        if self.bands() < 3 {
            self.to_space(ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W)
        } else {
            self.to_srgb()
        }
    }

    /// This image in sRGB, even if it is gray.
    pub fn to_srgb(&self) -> Result<Image<'b>, Error> {
        self.to_space(ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB)
    }

    fn to_space(&self, space: ffi::VipsInterpretation) -> Result<Image<'b>, Error> {
        self.apply(c"colourspace", &[(c"space", Value::Int(space as c_int))])
    }

    /// These numbers as another image stores its: a fraction is cut off, and what is above or below as well.
    pub fn cast_like(&self, other: &Image) -> Result<Image<'b>, Error> {
        // SAFETY: as in `width`.
        let format = unsafe { ffi::vips_image_get_format(other.raw()) };
        self.apply(c"cast", &[(c"format", Value::Int(format))])
    }

    /// These frames, all of one size, below each other as one animation, with the first one's delays and loops.
    pub fn join_frames(frames: &[Image<'b>]) -> Result<Image<'b>, Error> {
        let height = frames.first().map_or(0, Image::height);
        let joined =
            call(c"arrayjoin", &[(c"in", Value::Images(frames)), (c"across", Value::Int(1))])?
                .image(c"out")?;
        joined.with_frame_height(height)
    }

    /// The same pixels as frames of this height.
    pub fn with_frame_height(&self, height: u32) -> Result<Image<'b>, Error> {
        let copy = self.apply(c"copy", &[])?;
        // SAFETY: metadata may be set on an image that nobody else holds: the copy has just been made, and libvips'
        // operation cache is off. The name is static.
        unsafe { ffi::vips_image_set_int(copy.raw(), c"page-height".as_ptr(), clamped(height)) };
        Ok(copy)
    }

    /// The samples of all pixels of an image in memory, one after the other; each has eight bits.
    pub fn samples(&self) -> Result<&[u8], Error> {
        // SAFETY: as in `width`.
        if unsafe { ffi::vips_image_get_format(self.raw()) }
            != ffi::VipsBandFormat_VIPS_FORMAT_UCHAR
        {
            return Err(Error("the samples have more than eight bits".into()));
        }
        let _computing = Computing::of(self);
        let length = u64::from(self.width()) * u64::from(self.height()) * u64::from(self.bands());
        let length = usize::try_from(length).map_err(|error| Error(error.to_string()))?;
        // SAFETY: `raw` is live. What is not in memory yet is brought there once, and lies there as long as the image,
        // which nobody writes to; a pixel takes one byte for each band, and there is nothing between lines.
        unsafe {
            let data = ffi::vips_image_get_data(self.raw());
            if data.is_null() {
                return Err(take_error());
            }
            Ok(std::slice::from_raw_parts(data.cast::<u8>(), length))
        }
    }

    /// An image in memory of this kind and with what is said of this one, but with these samples and of this width. Each
    /// has eight bits.
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
        let made = Image::from_raw(unsafe { ffi::vips_image_new_memory() })?;
        let mut like = [self.raw(), ptr::null_mut()];
        let any = ffi::VipsDemandStyle_VIPS_DEMAND_STYLE_ANY;
        // SAFETY: both images are live, the list ends with null; nobody else holds the new image, which has no pixels yet.
        unsafe {
            if ffi::vips_image_pipeline_array(made.raw(), any, like.as_mut_ptr()) != 0 {
                return Err(take_error());
            }
            ffi::vips_image_init_fields(
                made.raw(),
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
            // SAFETY: the lines come in their order, and each is as long as the new image's: width times bands bytes. It
            // is only read.
            let status =
                unsafe { ffi::vips_image_write_line(made.raw(), y, line.as_ptr().cast_mut()) };
            if status != 0 {
                return Err(take_error());
            }
        }
        Ok(made)
    }

    /// The same pixels, with the colours that a GIF of them is to have, if its encoder is told to reuse them.
    pub fn with_palette(&self, colours: &[[u8; 4]]) -> Result<Image<'b>, Error> {
        let copy = self.apply(c"copy", &[])?;
        // libvips packs a colour as its four samples stand in memory.
        let packed: Vec<c_int> =
            colours.iter().map(|colour| c_int::from_ne_bytes(*colour)).collect();
        let count = c_int::try_from(packed.len()).unwrap_or(0);
        // SAFETY: as in `with_frame_height`; the array is copied.
        unsafe {
            ffi::vips_image_set_array_int(
                copy.raw(),
                c"gif-palette".as_ptr(),
                packed.as_ptr(),
                count,
            )
        };
        Ok(copy)
    }

    /// Encodes in the format and with the options of a libvips suffix, as `.jpg[Q=75]`. This is where the
    /// pixels are computed and where a broken image fails.
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
        // SAFETY: on success libvips hands over a buffer of this length, which is ours to free.
        unsafe {
            let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize).to_vec();
            ffi::g_free(buffer.cast());
            Ok(bytes)
        }
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: this is the one reference that this value owns.
        unsafe { ffi::g_object_unref(self.raw.as_ptr().cast()) }
    }
}

/// A number of pixels as an argument.
pub fn pixels<'v, 'b>(count: u32) -> Value<'v, 'b> {
    Value::Int(clamped(count))
}

fn clamped(pixels: u32) -> c_int {
    c_int::try_from(pixels).unwrap_or(c_int::MAX)
}

fn unsigned(pixels: c_int) -> u32 {
    u32::try_from(pixels).unwrap_or(0)
}
