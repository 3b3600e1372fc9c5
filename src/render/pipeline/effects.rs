//! `blur` and `sharp`.

use super::frames;
use crate::options::Options;
use crate::render::vips::{Error, Image, SIZE_FORCE, Value, pixels};

/// A wider blur than this is made of a smaller picture: the mask has a good six pixels for each of sigma, and what it
/// leaves has no detail that would need all pixels.
const WIDEST_MASK: f64 = 8.0;

/// The picture blurred and sharpened, each frame on its own.
pub fn applied<'b>(image: Image<'b>, options: &Options) -> Result<Image<'b>, Error> {
    if options.blur.is_none() && options.sharp.is_none() {
        return Ok(image);
    }
    // Masks are higher than what a decoder keeps of the lines above.
    frames::each(&image.in_memory()?, |frame| {
        let blurred = match options.blur {
            Some(sigma) => Some(blurred(frame, sigma.pixels())?),
            None => None,
        };
        let frame = blurred.as_ref().unwrap_or(frame);
        match options.sharp {
            // What libvips takes for m1 and m2 leaves even parts alone, and with them their noise.
            Some(sigma) => frame.made(c"sharpen", &[(c"sigma", Value::Double(sigma.pixels()))]),
            None => frame.made(c"copy", &[]),
        }
    })
}

fn blurred<'b>(image: &Image<'b>, sigma: f64) -> Result<Image<'b>, Error> {
    let factor = (sigma / WIDEST_MASK).floor();
    if factor < 2.0 {
        return convolved(image, sigma);
    }
    let (width, height) = (image.width(), image.height());
    let shrunk = |side: u32| (f64::from(side) / factor).round().max(1.0) as u32;
    let small = resized(image, shrunk(width), shrunk(height))?.in_memory()?;
    resized(&convolved(&small, sigma / factor)?, width, height)
}

/// What is transparent must not colour what is not, so colours are weighted by their opacity.
fn convolved<'b>(image: &Image<'b>, sigma: f64) -> Result<Image<'b>, Error> {
    let sigma = [(c"sigma", Value::Double(sigma))];
    if !image.has_transparency() {
        return image.made(c"gaussblur", &sigma);
    }
    let weighted = image.made(c"premultiply", &[])?.made(c"gaussblur", &sigma)?;
    // 0 is `VIPS_FORMAT_UCHAR`, which all of our pictures are in.
    weighted.made(c"unpremultiply", &[])?.made(c"cast", &[(c"format", Value::Int(0))])
}

fn resized<'b>(image: &Image<'b>, width: u32, height: u32) -> Result<Image<'b>, Error> {
    let sides = [
        (c"width", pixels(width)),
        (c"height", pixels(height)),
        (c"size", SIZE_FORCE),
        (c"no-rotate", Value::Bool(true)),
    ];
    image.made(c"thumbnail_image", &sides)
}
