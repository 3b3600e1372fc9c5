//! `blur` and `sharp`.

use super::frames;
use crate::options::Options;
use crate::render::vips::{Error, Image, Value};

/// The picture blurred and sharpened, each frame on its own.
pub fn applied<'b>(image: Image<'b>, options: &Options) -> Result<Image<'b>, Error> {
    if options.blur.is_none() && options.sharp.is_none() {
        return Ok(image);
    }
    // Masks are higher than what a decoder keeps of the lines above.
    frames::each(&image.in_memory()?, |frame| {
        let blurred = match options.blur {
            // Parts that overlap would be blurred again for each part that is sharpened.
            Some(sigma) if options.sharp.is_some() => Some(blurred(frame, sigma.pixels())?.in_memory()?),
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

/// What is transparent must not colour what is not, so colours are weighted by their opacity. Stored in bytes again: of
/// fractions, a wide blur of a large picture takes a minute, and of bytes a second.
fn blurred<'b>(image: &Image<'b>, sigma: f64) -> Result<Image<'b>, Error> {
    // What libvips cuts off its mask by default makes a blur of a fifth less.
    let sigma = [(c"sigma", Value::Double(sigma)), (c"min-ampl", Value::Double(0.05))];
    if !image.has_transparency() {
        return image.made(c"gaussblur", &sigma);
    }
    let weighted = image.made(c"premultiply", &[])?.stored_as(image)?;
    weighted.made(c"gaussblur", &sigma)?.made(c"unpremultiply", &[])?.stored_as(image)
}
