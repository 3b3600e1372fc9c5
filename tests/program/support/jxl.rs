//! JPEG XL as jxl-oxide decodes it.

use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};
use jxl_oxide::{JxlImage, PixelFormat};

/// Reads the headers.
#[track_caller]
pub fn read(bytes: &[u8]) -> JxlImage {
    let image = JxlImage::builder().read(bytes).expect("a JPEG XL");
    assert!(image.is_loading_done() && image.num_loaded_keyframes() == 1, "one whole frame");
    image
}

/// The pixels in the colours of the file.
#[track_caller]
pub fn pixels(image: &JxlImage) -> DynamicImage {
    let format = image.pixel_format();
    let (width, height) = (image.width(), image.height());
    let mut samples = vec![0; width as usize * height as usize * format.channels()];
    let frame = image.render_frame(0).expect("a whole frame");
    frame.stream().write_to_buffer(&mut samples);
    let pixels = match format {
        PixelFormat::Gray => GrayImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::Graya => {
            GrayAlphaImage::from_raw(width, height, samples).map(DynamicImage::from)
        }
        PixelFormat::Rgb => RgbImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::Rgba => RgbaImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::Cmyk | PixelFormat::Cmyka => panic!("{format:?} is not written"),
    };
    pixels.expect("all samples")
}
