//! Resolves the parameters of a query with the handler's defaults and limits.

use std::sync::Arc;

use super::parameters::{AUTO, FormatChoice, Values};
use super::{
    BadQuery, Description, Gravity, HandlerWatermarks, Hundredths, Options, Output, Quality, Query,
    Raw, Size, Tint, Watermark,
};
use crate::accept::{Accepted, Candidates};
use crate::format::{Format, formats_that, or_list};

/// A handler's defaults and limits for the options of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults<'h> {
    /// `output_format`; `None` keeps the original's format.
    pub format: Option<Format>,
    /// `max_dimension`: the largest width and height, in pixels.
    pub max_dimension: u32,
    /// The quality without `q`.
    pub quality: Quality,
    /// What `f=auto` may choose.
    pub candidates: Candidates,
    pub watermarks: &'h HandlerWatermarks,
}

#[cfg(test)]
impl Defaults<'_> {
    /// Those of a handler with this `output_format` and no other field.
    pub fn for_tests(format: Option<Format>) -> Self {
        Defaults::new(format, super::DEFAULT_MAX_DIMENSION)
    }
}

impl Defaults<'_> {
    /// Those of a handler with this `output_format` and `max_dimension`, and no other field.
    pub fn new(format: Option<Format>, max_dimension: u32) -> Self {
        let (quality, candidates) = (Quality::default(), Candidates::default());
        Defaults { format, max_dimension, quality, candidates, watermarks: &super::NO_WATERMARKS }
    }
}

impl Options {
    /// Checks the parameters and resolves them.
    pub fn resolve(
        query: &Query,
        accept_header: &str,
        defaults: Defaults,
    ) -> Result<Options, BadQuery> {
        query.expires()?;
        query.download()?;
        query.check_raw()?;
        let values = Values::read(|name| query.get(name))?;
        let watermarks = defaults.watermarks.select(values.watermarks.as_deref())?;
        let negotiate = |default| Accepted::negotiate(accept_header, default, defaults.candidates);
        values.resolve(defaults, watermarks, negotiate)
    }

    /// Resolves a canonical query, in which three parameters may have a value that no client may send: `f`, which is what
    /// `Accept` was read as, `q`, if it depends on the format, and `wm`, which has the hashes of the watermarks. The
    /// handler's quality is in the query already.
    pub fn from_canonical(query: &Query, defaults: Defaults) -> Result<Options, BadQuery> {
        if let Some(file_type) = query.raw_file() {
            return Options::as_it_is(Raw::File(file_type));
        }
        let value = query.get("f").unwrap_or_default();
        if let Some((description, format)) = Description::parse_canonical(value) {
            let text = |name| if name == "f" { Some(description.name()) } else { query.get(name) };
            let negotiate = |default| Accepted::negotiate("", default, defaults.candidates);
            let defaults = Defaults { format, quality: Quality::default(), ..defaults };
            return Values::read(text)?.resolve(defaults, Vec::new(), negotiate);
        }
        let accepted = Accepted::parse(value);
        let quality = query.get("q").and_then(Quality::parse);
        let watermarks = defaults.watermarks.find_canonical(query.get("wm"))?;
        let text = |name| match name {
            "f" if accepted.is_some() => Some(AUTO),
            "q" if quality.is_some() => None,
            "wm" => None,
            _ => query.get(name),
        };
        let defaults = Defaults { quality: quality.unwrap_or_default(), ..defaults };
        let negotiate = |default| {
            accepted.unwrap_or_else(|| Accepted::negotiate("", default, defaults.candidates))
        };
        Values::read(text)?.resolve(defaults, watermarks, negotiate)
    }

    /// Whether a query resolves to these options, with some `Accept`.
    pub fn are_of(&self, query: &Query, defaults: Defaults) -> bool {
        let Ok(values) = Values::read(|name| query.get(name)) else { return false };
        let Ok(watermarks) = defaults.watermarks.select(values.watermarks.as_deref()) else {
            return false;
        };
        let negotiate = |default| match self.format {
            Output::Auto(accepted) => accepted,
            _ => Accepted::negotiate("", default, defaults.candidates),
        };
        values.resolve(defaults, watermarks, negotiate).is_ok_and(|options| options == *self)
    }

    /// Resets options that can't change the bytes, so that they make no second cache entry.
    pub(super) fn normalize(mut self) -> Options {
        if let Output::Description(description, format) = self.format {
            return self.normalize_description(description, format);
        }
        if self.size == Size::Original {
            self.enlarge = false;
        }
        let is_padded = matches!(self.size, Size::Pad(..));
        if !is_padded {
            self.background = self.background.opaque();
        }
        let format = self.format;
        self.quality = self.quality.normalize(|written| format.may(|format| format == written));
        // `f=auto` must not choose a format that can't be lossless.
        let is_auto = matches!(self.format, Output::Auto(_));
        if !is_auto && !self.format.may(Format::has_lossless_mode) {
            self.lossless = false;
        }
        if !self.format.may(Format::keeps_transparency) {
            // The alpha of the background has nothing to shine through to.
            self.background = self.background.opaque();
        } else if !is_padded && !self.format.may_flatten() {
            self.background = super::Colour::WHITE;
        }
        if !self.format.may(Format::keeps_animation) {
            self.frames = None;
        }
        if !self.format.may(Format::keeps_metadata) {
            self.strip = true;
        }
        if self.lossless {
            self.quality = Quality::default();
        }
        self.normalize_colours();
        if self.lossless || !self.format.may(Format::has_quality) {
            self.max_bytes = None;
        }
        if self.lossless || !self.strip {
            self.format = self.format.without_drawings();
        }
        self
    }

    pub(super) fn normalize_colours(&mut self) {
        // `gray` keeps the luminance, and nothing else is left for the next effect to see.
        if self.tint.map_or(self.duotone.is_some(), Tint::is_full) {
            self.gray = Hundredths::ZERO;
        }
    }
}

impl Values {
    fn resolve(
        self,
        defaults: Defaults,
        watermarks: Vec<Arc<Watermark>>,
        negotiate: impl FnOnce(Option<Format>) -> Accepted,
    ) -> Result<Options, BadQuery> {
        if self.raw != Raw::No {
            return Options::as_it_is(self.raw);
        }
        let size = self.size(defaults.max_dimension);
        let format = self.format(defaults.format, negotiate)?;
        let quality = self.quality.map_or(defaults.quality, Quality::uniform);
        Ok(self.into_options(size, format, quality, watermarks).normalize())
    }

    fn size(&self, max_dimension: u32) -> Size {
        let scale = |side: u32| {
            (f64::from(side) * self.ratio).round().clamp(1.0, f64::from(max_dimension)) as u32
        };
        match (self.width.map(scale), self.height.map(scale)) {
            (None, None) => Size::Original,
            (Some(width), None) => Size::Width(width),
            (None, Some(height)) => Size::Height(height),
            (Some(width), Some(height)) if self.pad => Size::Pad(
                width,
                height,
                match self.gravity {
                    Gravity::At(..) => self.gravity,
                    // Padding keeps the whole image, so there is nothing to focus on.
                    Gravity::Focus(..) | Gravity::Smart => Gravity::CENTRE,
                },
            ),
            (Some(width), Some(height)) if self.crop => Size::Fill(width, height, self.gravity),
            (Some(width), Some(height)) => Size::Fit(width, height),
        }
    }

    fn format(
        &self,
        default: Option<Format>,
        negotiate: impl FnOnce(Option<Format>) -> Accepted,
    ) -> Result<Output, BadQuery> {
        // A format that the client did not name is replaced where it can't be lossless.
        let default = default.map(|format| format.output(self.lossless));
        match self.format {
            FormatChoice::Default => Ok(default.map_or(Output::Original, Output::Format)),
            FormatChoice::Auto => Ok(Output::Auto(negotiate(default))),
            FormatChoice::Description(description) => {
                Ok(Output::Description(description, description.format(default)))
            }
            FormatChoice::Named(format) if self.lossless && !format.can_be_lossless() => {
                let names = formats_that(|format| format.is_written() && format.can_be_lossless())
                    .map(Format::name);
                Err(BadQuery(format!(
                    "lossless: can't be true with f={}, only with {}",
                    format.name(),
                    or_list(names.chain([AUTO]))
                )))
            }
            FormatChoice::Named(format) => Ok(Output::Format(format)),
        }
    }
}
