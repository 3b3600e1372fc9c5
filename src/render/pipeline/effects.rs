//! `blur` and `sharp`.

use crate::options::Options;
use crate::render::vips::{Error, Image, Value};

/// Whether there is one.
pub fn are_wanted(options: &Options) -> bool {
    options.blur.is_some() || options.sharp.is_some()
}

/// The image, which should be in memory, or one frame blurred and sharpened.
pub fn applied<'b>(image: Image<'b>, options: &Options) -> Result<Image<'b>, Error> {
    let image = match options.blur {
        // Parts that overlap would be blurred again for each part that is sharpened.
        Some(sigma) if options.sharp.is_some() => blurred(&image, sigma.pixels())?.in_memory()?,
        Some(sigma) => blurred(&image, sigma.pixels())?,
        None => image,
    };
    match options.sharp {
        // What libvips takes for m1 and m2 leaves even parts alone, and with them their noise.
        Some(sigma) => image.made(c"sharpen", &[(c"sigma", Value::Double(sigma.pixels()))]),
        None => Ok(image),
    }
}

/// What is transparent must not colour what is not, so colours are weighted by their opacity. Stored in bytes again: of
/// fractions, a wide blur of a large image takes a minute, and of bytes a second.
fn blurred<'b>(image: &Image<'b>, sigma: f64) -> Result<Image<'b>, Error> {
    // What libvips cuts off its mask by default makes a blur of a fifth less.
    let sigma = [(c"sigma", Value::Double(sigma)), (c"min-ampl", Value::Double(0.05))];
    if !image.has_transparency() {
        return image.made(c"gaussblur", &sigma);
    }
    let weighted = image.made(c"premultiply", &[])?.stored_as(image)?;
    weighted.made(c"gaussblur", &sigma)?.made(c"unpremultiply", &[])?.stored_as(image)
}
