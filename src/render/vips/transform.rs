//! Operations on images. Their results are computed when their pixels are needed.

use std::ffi::c_int;

use libvips::bindings as ffi;

use super::error::Error;
use super::image::{Image, unsigned};
use super::operation::{Value, call, pixels};

impl<'b> Image<'b> {
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

    /// Repeats every pixel as a square with this side.
    pub fn repeat_pixels(&self, side: u32) -> Result<Image<'b>, Error> {
        let arguments =
            [(c"input", Value::Image(self)), (c"xfac", pixels(side)), (c"yfac", pixels(side))];
        call(c"zoom", &arguments)?.image(c"out")
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

    /// Converts from sRGB to CIE XYZ, as fractions.
    pub fn to_xyz(&self) -> Result<Image<'b>, Error> {
        self.to_space(ffi::VipsInterpretation_VIPS_INTERPRETATION_XYZ)
    }

    /// The image of 8 bits whose samples are those that a table has for the samples of this image, in each band.
    pub fn map(&self, table: &Image<'b>) -> Result<Image<'b>, Error> {
        let space = if self.bands() < 3 {
            ffi::VipsInterpretation_VIPS_INTERPRETATION_B_W
        } else {
            ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB
        };
        call(c"maplut", &[(c"in", Value::Image(self)), (c"lut", Value::Image(table))])?
            .image(c"out")?
            .apply(c"copy", &[(c"interpretation", Value::Int(space as c_int))])
    }

    fn to_space(&self, space: ffi::VipsInterpretation) -> Result<Image<'b>, Error> {
        self.apply(c"colourspace", &[(c"space", Value::Int(space as c_int))])
    }

    /// Casts to the number format of another image: fractions are truncated, and values clipped.
    pub fn cast_like(&self, other: &Image) -> Result<Image<'b>, Error> {
        // SAFETY: `raw` is live as long as `other`.
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
}
