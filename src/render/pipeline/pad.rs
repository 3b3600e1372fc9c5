//! `pad`: the rest of the box filled with `bg`.

use super::geometry::part;
use super::keep;
use crate::options::{Colour, Gravity, Options, Size};
use crate::render::vips::{Error, Image, Value, pixels};

/// The image, or one frame, in its box. With `transparent` the box may be seen through where `bg` says so.
pub fn padded<'b>(
    image: Image<'b>,
    options: &Options,
    transparent: bool,
) -> Result<Image<'b>, Error> {
    let Size::Pad(width, height, gravity) = options.size else { return Ok(image) };
    if (image.width(), image.height()) == (width, height) {
        return Ok(image);
    }
    let mut colour = keep::background(&image, options);
    if !transparent {
        colour = colour.opaque();
    }
    let image = coloured(image, colour)?;
    let image = match colour.alpha() < u8::MAX && !image.has_transparency() {
        true => image.made(c"addalpha", &[])?,
        false => image,
    };
    let (x, y) = match gravity {
        Gravity::At(x, y) => (x, y),
        Gravity::Focus(..) | Gravity::Smart => (5000, 5000),
    };
    let left = part(width.saturating_sub(image.width()), x);
    let top = part(height.saturating_sub(image.height()), y);
    let background = channels(&image, colour);
    image.made(
        c"embed",
        &[
            (c"x", pixels(left)),
            (c"y", pixels(top)),
            (c"width", pixels(width)),
            (c"height", pixels(height)),
            // `VIPS_EXTEND_BACKGROUND`
            (c"extend", Value::Int(5)),
            (c"background", Value::Doubles(&background)),
        ],
    )
}

/// A gray image in colours if the box is not gray.
fn coloured<'b>(image: Image<'b>, colour: Colour) -> Result<Image<'b>, Error> {
    let [red, green, blue] = colour.rgb();
    if image.bands() > 2 || (red == green && green == blue) {
        return Ok(image);
    }
    image.in_colour()
}

/// The colour in the channels of an image.
fn channels(image: &Image, colour: Colour) -> Vec<f64> {
    let mut channels: Vec<f64> = colour.rgb().map(f64::from).into();
    // An image that is gray still has a gray box.
    channels.truncate(if image.bands() < 3 { 1 } else { 3 });
    if image.has_transparency() {
        channels.push(f64::from(colour.alpha()));
    }
    channels
}
