//! From the parameters as they are written to what is wanted: checked, with defaults and limits.

use super::values::{boolean, decimal, digits, value};
use super::{
    BadQuery, Colour, DEFAULT_QUALITY, Flip, Gravity, Options, Query, Rotation, Sigma, Size,
};
use crate::accept;
use crate::config::Handler;
use crate::format::{Format, formats_that, or_list};

/// The largest `page`, and one less than the most `frames`: what libvips' loaders count to.
const LAST_PAGE: u32 = 99_999;
/// The default of `flip`.
const NO_FLIP: &[Flip] = &[];
/// The widest `blur`, in pixels.
const WIDEST_BLUR: f64 = 100.0;
/// The widest `sharp`, in pixels.
const WIDEST_SHARP: f64 = 10.0;

impl Options {
    /// Checks the parameters and resolves them with the handler's defaults and limits.
    pub fn resolve(
        query: &Query,
        accept_header: &str,
        handler: &Handler,
    ) -> Result<Options, BadQuery> {
        query.expires().transpose()?;
        let size = size(query, handler.max_dimension)?;
        let lossless = boolean(query, "lossless", false)?;
        let format = format(query, accept_header, handler.output_format, lossless)?;
        let quality = "must be a whole number from 1 to 100";
        let background = "must be six hexadecimal digits, rrggbb, or eight, rrggbbaa";
        let trim = "must be a whole number from 0 to 255 or none";
        let page = "must be a whole number from 0 to 99999";
        let frames = "must be a whole number from 1 to 100000";
        let options = Options {
            size,
            format,
            quality: value(query, "q", DEFAULT_QUALITY, quality, |written| {
                let number = digits(written).and_then(|number| u8::try_from(number).ok())?;
                (1..=100).contains(&number).then_some(number)
            })?,
            enlarge: boolean(query, "e", false)?,
            background: value(query, "bg", Colour::WHITE, background, Colour::parse)?,
            rotation: Rotation::new(
                value(query, "rot", 0, "must be 0, 90, 180 or 270", Rotation::parse_rotation)?,
                value(query, "flip", NO_FLIP, "must be h, v, hv or none", Rotation::parse_flip)?,
            ),
            trim: value(query, "trim", None, trim, |written| match written {
                "none" => Some(None),
                _ => u8::try_from(digits(written)?).ok().map(Some),
            })?,
            blur: sigma(query, "blur", WIDEST_BLUR)?,
            sharp: sigma(query, "sharp", WIDEST_SHARP)?,
            lossless,
            page: value(query, "page", 0, page, |written| {
                digits(written).filter(|number| *number <= LAST_PAGE)
            })?,
            frames: value(query, "frames", None, frames, |written| {
                digits(written)
                    .filter(|number| (1..=LAST_PAGE + 1).contains(number))
                    .map(|number| (number <= LAST_PAGE).then_some(number))
            })?,
            strip: boolean(query, "strip", true)?,
        };
        Ok(options.normal())
    }

    /// Drops what can't change the bytes, so that it makes no second cache entry.
    pub(super) fn normal(mut self) -> Options {
        if self.size == Size::Original {
            self.enlarge = false;
        }
        let is_padded = matches!(self.size, Size::Pad(..));
        if !is_padded {
            self.background = self.background.opaque();
        }
        if let Some(format) = self.format {
            if !format.has_quality() {
                self.quality = DEFAULT_QUALITY;
            }
            if !format.has_lossless_mode() {
                self.lossless = false;
            }
            match format.keeps_transparency() {
                true if !is_padded => self.background = Colour::WHITE,
                true => {}
                // What is seen through the colour is the colour.
                false => self.background = self.background.opaque(),
            }
            if !format.keeps_animation() {
                self.frames = None;
            }
            if !format.keeps_metadata() {
                self.strip = true;
            }
        }
        if self.lossless {
            self.quality = DEFAULT_QUALITY;
        }
        self
    }
}

fn size(query: &Query, most: u32) -> Result<Size, BadQuery> {
    let ratio = value(query, "dpr", 1.0, "must be a number from 0.1 to 8", |written| {
        decimal(written).filter(|ratio| (0.1..=8.0).contains(ratio))
    })?;
    let side = |name| {
        value(query, name, None, "must be a whole number of pixels above 0", |written| {
            let pixels = digits(written).filter(|pixels| *pixels > 0)?;
            Some(Some((f64::from(pixels) * ratio).round().clamp(1.0, f64::from(most)) as u32))
        })
    };
    let (width, height) = (side("w")?, side("h")?);
    let crop = boolean(query, "c", true)?;
    let pad = boolean(query, "pad", false)?;
    let rule = "must be ce, n, s, e, w, ne, nw, se, sw, smart or fp:x:y with x and y from 0 to 1";
    let gravity = value(query, "g", Gravity::CENTRE, rule, Gravity::parse)?;
    Ok(match (width, height) {
        (None, None) => Size::Original,
        (Some(width), None) => Size::Width(width),
        (None, Some(height)) => Size::Height(height),
        (Some(width), Some(height)) if pad => Size::Pad(
            width,
            height,
            match gravity {
                Gravity::At(..) => gravity,
                // Nothing of the image is chosen.
                Gravity::Focus(..) | Gravity::Smart => Gravity::CENTRE,
            },
        ),
        (Some(width), Some(height)) if crop => Size::Fill(width, height, gravity),
        (Some(width), Some(height)) => Size::Fit(width, height),
    })
}

fn format(
    query: &Query,
    accept_header: &str,
    own: Option<Format>,
    lossless: bool,
) -> Result<Option<Format>, BadQuery> {
    // Where nobody has named a format, one that can be lossless is found.
    let own = own.map(|format| format.output(lossless));
    match query.get("f") {
        None => Ok(own),
        Some("auto") => Ok(accept::choose(accept_header, own)),
        Some(written) => {
            let names = formats_that(Format::is_written).flat_map(Format::names).copied();
            let rule = format!("must be {}", or_list(names.chain(["auto"])));
            let format = value(query, "f", None, &rule, |written| {
                Format::parse(written).filter(|format| format.is_written()).map(Some)
            })?;
            match format {
                Some(format) if lossless && !format.can_be_lossless() => {
                    let names =
                        formats_that(|format| format.is_written() && format.can_be_lossless())
                            .map(Format::name);
                    Err(BadQuery(format!(
                        "lossless: can't be true with f={written}, only with {}",
                        or_list(names.chain(["auto"]))
                    )))
                }
                format => Ok(format),
            }
        }
    }
}

fn sigma(query: &Query, name: &str, most: f64) -> Result<Option<Sigma>, BadQuery> {
    let rule = format!("must be a number of pixels from 0.5 to {most}, or 0");
    value(query, name, None, &rule, |written| Sigma::parse(written, most))
}
