//! The query parameters, one row each, in the order of the canonical query.
//!
//! A row in `fields` is also a field of [`Options`]. Adding one changes parsing, the canonical query, presets,
//! signatures, error images and the documentation; the rest is the step in `render::pipeline`, whose functions
//! destructure `Options`, so that a new field is an error until they handle it.

use std::borrow::Cow;
use std::fmt::{Arguments, Write};
use std::sync::Arc;

use super::fit::Fit;
use super::format_choice::{FormatChoice, format_names, format_rule};
use super::parameter_table::parameters;
use super::rotation::NO_FLIP;
use super::values::{Canonical, boolean, decimal, positive, whole};
use super::watermark::{self, Watermark};
use super::{
    BadQuery, Colour, Control, Download, Duotone, Flip, Gravity, Hundredths, Minimum, Output,
    Parameter, Quality, Radius, Raw, Rectangle, Rotation, Sigma, Size, Tint, Trim,
};
use crate::quality::{MAX_QUALITY, MIN_QUALITY};

/// Largest `page`, and one less than the largest `frames`: the range of the options `page` and `n` of libvips' loaders.
pub(super) const MAX_PAGE: u32 = 99_999;
/// The range of `max_bytes`.
const MIN_MAX_BYTES: u32 = 1000;
const MAX_MAX_BYTES: u32 = 100_000_000;

/// A parameter, with its position in [`PARAMETERS`]. Every request asks for each: the compiler has searched for it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub name: &'static str,
    pub index: usize,
}

impl Place {
    /// Does not compile in a constant if there is no such parameter.
    pub const fn of(name: &'static str) -> Place {
        let mut index = 0;
        while !is_equal(PARAMETERS[index].name.as_bytes(), name.as_bytes()) {
            index += 1;
        }
        Place { name, index }
    }
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The value of `max_bytes` for any length.
pub(super) const NONE: &str = "none";

/// Appends `name=value` to the canonical query, for the name of the row.
type Put<'p> = &'p mut dyn FnMut(Arguments);

parameters! {
    // A row: name, variable, type, default, documented default; rule, parser; control; whether it changes pixels; and:
    // in `combined`, whose parameters are combined into a field of `Options`, its part of the canonical query;
    // in `fields`, whether an error image keeps the value.
    combined {
        #[doc = "Width of the result in pixels, clamped to the handler's `max_dimension`."]
        "w" width: Option<u32> = None, "the original's";
        "must be a whole number of pixels above 0", |text| positive(text).map(Some);
        Control::whole(1, 16_383);
        changes_pixels;
        |options, put| if let (Some(width), _) = options.size.sides() { put(format_args!("{width}")) };

        #[doc = "Height of the result in pixels, clamped to the handler's `max_dimension`."]
        "h" height: Option<u32> = None, "the original's";
        "must be a whole number of pixels above 0", |text| positive(text).map(Some);
        Control::whole(1, 16_383);
        changes_pixels;
        |options, put| if let (_, Some(height)) = options.size.sides() { put(format_args!("{height}")) };

        #[doc = "Whether the image fills the box of `w` and `h` and is cropped (`true`), or fits inside it (`false`)."]
        "c" crop: bool = true, "`true`";
        "must be true or false", boolean;
        Control::Flag;
        changes_pixels;
        |options, put| if matches!(options.size, Size::Fit(..)) { put(format_args!("false")) };

        #[doc = "Whether the image fits inside the box of `w` and `h` and the rest is filled with `bg`."]
        "pad" pad: bool = false, "`false`";
        "must be true or false", boolean;
        Control::Flag;
        changes_pixels;
        |options, put| if matches!(options.size, Size::Pad(..)) { put(format_args!("true")) };

        #[doc = "How the image meets the box of `w` and `h`, in one word: in place of `c` and `pad`."]
        "fit" fit: Option<Fit> = None, "`cover`";
        "must be cover, contain, pad, stretch, outside or ratio", |text| Fit::parse(text).map(Some);
        Control::Choice(Fit::names);
        changes_pixels;
        |options, put| match options.size {
            Size::Stretch(..) => put(format_args!("stretch")),
            Size::Outside(..) => put(format_args!("outside")),
            Size::Ratio(..) => put(format_args!("ratio")),
            _ => {}
        };

        #[doc = "Least width in pixels: the image is reduced less, or enlarged, to have it, and then cropped to `w` and `h`."]
        "min-w" min_width: Option<u32> = None, "none";
        "must be a whole number of pixels above 0", |text| positive(text).map(Some);
        Control::whole(1, 16_383);
        changes_pixels;
        |options, put| if let Some(Minimum { width: Some(width), .. }) = options.minimum { put(format_args!("{width}")) };

        #[doc = "Least height in pixels: the image is reduced less, or enlarged, to have it, and then cropped to `w` and `h`."]
        "min-h" min_height: Option<u32> = None, "none";
        "must be a whole number of pixels above 0", |text| positive(text).map(Some);
        Control::whole(1, 16_383);
        changes_pixels;
        |options, put| if let Some(Minimum { height: Some(height), .. }) = options.minimum { put(format_args!("{height}")) };

        #[doc = "Gravity: the part of the image that a crop keeps, or its position in a padded box."]
        "g" gravity: Gravity = Gravity::CENTRE, "`ce`";
        Gravity::RULE, Gravity::parse;
        Control::Choice(Gravity::names);
        changes_pixels;
        |options, put| match options.gravity() {
            Some(gravity) if gravity != Gravity::CENTRE => put(format_args!("{gravity}")),
            _ => {}
        };

        #[doc = "Device pixel ratio: multiplies `w`, `h`, `min-w` and `min-h`, and changes no size without them."]
        "dpr" ratio: f64 = 1.0, "1";
        "must be a number from 0.1 to 8", |text| decimal(text).filter(|ratio| (0.1..=8.0).contains(ratio));
        Control::number(0.1, 8.0, 0.1);
        changes_pixels;
        |_, _| {};

        #[doc = "Output format; `auto` negotiates AVIF, WebP and, if the handler lists it, JPEG XL by `Accept`; `json`, `thumbhash` and `blurhash` describe the image instead."]
        "f" format: FormatChoice = FormatChoice::Default, "the handler's `output_format`, or the original's";
        format_rule(), FormatChoice::parse;
        Control::Choice(format_names);
        keeps_pixels;
        |options, put| if options.format != Output::Original { put(format_args!("{}", options.format)) };

        #[doc = "Quality of a lossy encoding."]
        "q" quality: Option<u8> = None, "75, or the handler's";
        format!("must be a whole number from {MIN_QUALITY} to {MAX_QUALITY}"),
        |text| u8::try_from(whole(text, MIN_QUALITY.into()..=MAX_QUALITY.into())?).ok().map(Some);
        Control::whole(MIN_QUALITY as u32, MAX_QUALITY as u32);
        keeps_pixels;
        |options, put| if options.quality != Quality::default() { put(format_args!("{}", options.quality)) };
    }

    fields {

        #[doc = "Whether an image that is smaller than the box is enlarged."]
        "e" enlarge: bool = false, "`false`";
        "must be true or false", boolean;
        Control::Flag;
        changes_pixels, reset;

        #[doc = "Background of a padded box, of the corners that `rot` leaves, and of transparent pixels where the format has no transparency."]
        "bg" background: Colour = Colour::WHITE, "`ffffff`";
        "must be six hexadecimal digits, rrggbb, or eight, rrggbbaa", Colour::parse;
        Control::Colour;
        changes_pixels, kept;
    }

    combined {
        #[doc = "Clockwise rotation in degrees."]
        "rot" rotation: u16 = 0, "0";
        "must be a number of degrees from 0 to 360", Rotation::parse_rotation;
        Control::number(0.0, 360.0, 0.01);
        changes_pixels;
        |options, put| if let Some(degrees) = options.rotation.canonical_degrees() { put(format_args!("{degrees}")) };

        #[doc = "Reflection after the rotation: horizontal, vertical or both."]
        "flip" flip: &'static [Flip] = NO_FLIP, "`none`";
        "must be h, v, hv or none", Rotation::parse_flip;
        Control::Choice(|| vec!["none", "h", "v", "hv"]);
        changes_pixels;
        |options, put| if let Some(flip) = options.rotation.canonical_flip() { put(format_args!("{flip}")) };
    }

    fields {
        #[doc = "The rectangle of the original to use: its left and upper edge, width and height, in pixels or fractions."]
        "crop" rectangle: Option<Rectangle> = None, "`none`";
        Rectangle::RULE, Rectangle::parse;
        Control::Text;
        changes_pixels, reset;

        #[doc = "Removes a border whose channels differ from the upper left pixel, or a colour, by at most this value."]
        "trim" trim: Option<Trim> = None, "`none`";
        Trim::RULE, Trim::parse;
        Control::whole(0, 255);
        changes_pixels, reset;

        #[doc = "Brightness: the factor of all channels."]
        "bri" brightness: Hundredths = Hundredths::ONE, "1";
        "must be a number from 0 to 10", |text| Hundredths::parse(text, 0.0..=10.0);
        Control::number(0.0, 10.0, 0.05);
        changes_pixels, reset;

        #[doc = "Contrast: the factor of the distance from middle gray."]
        "con" contrast: Hundredths = Hundredths::ONE, "1";
        "must be a number from 0 to 10", |text| Hundredths::parse(text, 0.0..=10.0);
        Control::number(0.0, 10.0, 0.05);
        changes_pixels, reset;

        #[doc = "Gamma: above 1 brightens middle tones, below 1 darkens them."]
        "gamma" gamma: Hundredths = Hundredths::ONE, "1";
        "must be a number from 0.1 to 10", |text| Hundredths::parse(text, 0.1..=10.0);
        Control::number(0.1, 10.0, 0.1);
        changes_pixels, reset;

        #[doc = "Saturation: 0 is grayscale, above 1 is more colourful."]
        "sat" saturation: Hundredths = Hundredths::ONE, "1";
        "must be a number from 0 to 10", |text| Hundredths::parse(text, 0.0..=10.0);
        Control::number(0.0, 10.0, 0.05);
        changes_pixels, reset;

        #[doc = "Rotation of the hue in degrees."]
        "hue" hue: Hundredths = Hundredths::ZERO, "0";
        "must be a number of degrees from -360 to 360", Hundredths::parse_angle;
        Control::number(-360.0, 360.0, 5.0);
        changes_pixels, reset;

        #[doc = "How much the image becomes grayscale."]
        "gray" gray: Hundredths = Hundredths::ZERO, "0";
        "must be a number from 0 to 1, true (1) or false (0)", Hundredths::parse_amount;
        Control::number(0.0, 1.0, 0.05);
        changes_pixels, reset;

        #[doc = "Tint: the colour that white becomes, and how much of it."]
        "tint" tint: Option<Tint> = None, "`none`";
        "must be rrggbb:strength with six hexadecimal digits and a number from 0 to 1, or none", Tint::parse;
        Control::Text;
        changes_pixels, reset;

        #[doc = "Duotone: the colours that black and white become."]
        "duo" duotone: Option<Duotone> = None, "`none`";
        "must be rrggbb:rrggbb in hexadecimal digits, or none", Duotone::parse;
        Control::Text;
        changes_pixels, reset;

        #[doc = "How much the image becomes its negative."]
        "neg" negative: Hundredths = Hundredths::ZERO, "0";
        "must be a number from 0 to 1, true (1) or false (0)", Hundredths::parse_amount;
        Control::number(0.0, 1.0, 0.05);
        changes_pixels, reset;

        #[doc = "Pixelation: the side of the squares in pixels."]
        "pix" pixelate: u32 = 1, "1";
        "must be a whole number of pixels from 1 to 1000", |text| whole(text, 1..=1000);
        Control::whole(1, 1000);
        changes_pixels, reset;

        #[doc = "Gaussian blur: the standard deviation in pixels."]
        "blur" blur: Option<Sigma> = None, "0";
        "must be a number of pixels from 0.5 to 100, or 0", |text| Sigma::parse(text, 100.0);
        Control::number(0.5, 100.0, 0.5);
        changes_pixels, reset;

        #[doc = "Sharpening: the standard deviation of the mask in pixels."]
        "sharp" sharp: Option<Sigma> = None, "0";
        "must be a number of pixels from 0.5 to 10, or 0", |text| Sigma::parse(text, 10.0);
        Control::number(0.5, 10.0, 0.1);
        changes_pixels, reset;

        #[doc = "Rounds the corners with this radius in pixels."]
        "round" round: Option<Radius> = None, "0";
        "must be a whole number of pixels, or max", Radius::parse;
        Control::Text;
        changes_pixels, reset;

        #[doc = "Lossless encoding: PNG, WebP, AVIF or JPEG XL."]
        "lossless" lossless: bool = false, "`false`";
        "must be true or false", boolean;
        Control::Flag;
        keeps_pixels, reset;

        #[doc = "The most bytes of a lossy result: its quality is lowered until it fits. Only in presets and in signed URLs."]
        "max_bytes" max_bytes: Option<u32> = None, "`none`";
        format!("must be a whole number of bytes from {MIN_MAX_BYTES} to {MAX_MAX_BYTES} or none"),
        |text| match text {
            NONE => Some(None),
            _ => whole(text, MIN_MAX_BYTES..=MAX_MAX_BYTES).map(Some),
        };
        Control::whole(MIN_MAX_BYTES, MAX_MAX_BYTES);
        keeps_pixels, reset;

        #[doc = "The first frame of an animation to use, from 0."]
        "page" page: u32 = 0, "0";
        format!("must be a whole number from 0 to {MAX_PAGE}"), |text| whole(text, 0..=MAX_PAGE);
        Control::whole(0, MAX_PAGE);
        changes_pixels, reset;

        #[doc = "The largest number of frames of an animation to write."]
        "frames" frames: Option<u32> = None, "all";
        format!("must be a whole number from 1 to {}", MAX_PAGE + 1),
        // The largest number is all of them.
        |text| whole(text, 1..=MAX_PAGE + 1).map(|frames| (frames <= MAX_PAGE).then_some(frames));
        Control::whole(1, MAX_PAGE + 1);
        keeps_pixels, reset;

        #[doc = "Whether the colour profile, the copyright and the label of AI images are removed, as all other metadata always is."]
        "strip" strip: bool = true, "`true`";
        "must be true or false", boolean;
        Control::Flag;
        keeps_pixels, reset;

        #[doc = "Whether the original is served as it is, where the handler has `\"raw\": true`."]
        "raw" raw: Raw = Raw::No, "`false`";
        "must be true or false", Raw::parse;
        Control::Flag;
        keeps_pixels, reset;
    }

    combined {
        #[doc = "The watermarks to draw, the lowest one first."]
        "wm" watermarks: Option<Vec<String>> = None, "`none`";
        watermark::rule(), watermark::parse_names;
        Control::Text;
        changes_pixels;
        |options, put| if !options.watermarks.is_empty() {
            put(format_args!("{}", watermark::List(&options.watermarks)));
        };
    }

    fields {}

    request {
        #[doc = "[Token](tokens.md): a signature of the URL (HMAC) or a JSON Web Token."]
        "t", "none"; "must be the token that the handler asks for";

        #[doc = "Unix time at which a [signed URL](tokens.md#signed-urls) expires; no effect unless the handler's `token` has the type `hmac`."]
        "exp", "never"; "must be a whole number of seconds since 1970";

        #[doc = "Name of a [preset](tokens.md#presets-and-allowed-sizes), for the parameters that the query does not have."]
        "p", "none"; "must be the name of a preset of the handler";

        #[doc = "[Name of a download](#downloads): the response is an attachment with this name."]
        "dl", "none"; Download::rule();
    }
}

/// The value of a parameter, or `default` if it is missing. A value that `parse` rejects breaks the rule.
pub(super) fn value<T>(
    name: &str,
    text: Option<&str>,
    default: T,
    rule: impl FnOnce() -> Cow<'static, str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, BadQuery> {
    let Some(text) = text else { return Ok(default) };
    parse(text).ok_or_else(|| {
        let start: String = text.chars().take(32).collect();
        BadQuery(format!("{name}: {}, not {start:?}", rule()))
    })
}

/// The table in Markdown.
#[cfg(test)]
pub fn markdown() -> String {
    let mut table =
        "| parameter | values | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for row in PARAMETERS {
        let Parameter { name, default, documentation, .. } = row;
        let rule = (row.rule)();
        let values = rule.trim_start_matches("must be ");
        // Writing to a String can't fail.
        let _ = writeln!(table, "| `{name}` | {values} | {default} | {documentation} |");
    }
    table
}
