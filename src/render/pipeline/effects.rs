//! `blur` and `sharp`.

use super::{frames, resize};
use crate::options::Options;
use crate::render::vips::{Error, Image, Value};

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
    let small = resize::exactly(image.made(c"copy", &[])?, shrunk(width), shrunk(height))?.in_memory()?;
    resize::exactly(convolved(&small, sigma / factor)?, width, height)
}

/// What is transparent must not colour what is not, so colours are weighted by their opacity.
fn convolved<'b>(image: &Image<'b>, sigma: f64) -> Result<Image<'b>, Error> {
    let sigma = [(c"sigma", Value::Double(sigma))];
    if !image.has_transparency() {
        return image.made(c"gaussblur", &sigma);
    }
    let weighted = image.made(c"premultiply", &[])?.made(c"gaussblur", &sigma)?;
    weighted.made(c"unpremultiply", &[])?.stored_as(image)
}
