//! Resolves the parameters of a query with the handler's defaults and limits.

use std::sync::Arc;

use super::fit::{self, Fit};
use super::format_choice::{AUTO, FormatChoice};
use super::parameters::{Place, Values};
use super::{
    BadQuery, Description, Gravity, HandlerWatermarks, Hundredths, Minimum, Options, Output,
    Quality, Query, Raw, Size, Tint, Watermark,
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
        let values = Values::of(|place| query.at(place))?;
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
        let value = query.at(const { Place::of("f") }).unwrap_or_default();
        if let Some((description, format)) = Description::parse_canonical(value) {
            let text = |place: Place| {
                if place.name == "f" { Some(description.name()) } else { query.at(place) }
            };
            let negotiate = |default| Accepted::negotiate("", default, defaults.candidates);
            let defaults = Defaults { format, quality: Quality::default(), ..defaults };
            return Values::of(text)?.resolve(defaults, Vec::new(), negotiate);
        }
        let accepted = Accepted::parse(value);
        let quality = query.at(const { Place::of("q") }).and_then(Quality::parse);
        let watermarks = defaults.watermarks.find_canonical(query.at(const { Place::of("wm") }))?;
        let text = |place: Place| match place.name {
            "f" if accepted.is_some() => Some(AUTO),
            "q" if quality.is_some() => None,
            "wm" => None,
            _ => query.at(place),
        };
        let defaults = Defaults { quality: quality.unwrap_or_default(), ..defaults };
        let negotiate = |default| {
            accepted.unwrap_or_else(|| Accepted::negotiate("", default, defaults.candidates))
        };
        Values::of(text)?.resolve(defaults, watermarks, negotiate)
    }

    /// Whether a query resolves to these options, with some `Accept`.
    pub fn are_of(&self, query: &Query, defaults: Defaults) -> bool {
        let Ok(values) = Values::of(|place| query.at(place)) else { return false };
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
        if let Size::Ratio(width, height, gravity) = self.size
            && self.enlarge
        {
            // An image that is enlarged always fills the box.
            self.size = Size::Fill(width, height, gravity);
        }
        if matches!(self.size, Size::Original | Size::Stretch(..)) {
            self.enlarge = false;
        }
        let is_padded = self.adds_background();
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
        mut self,
        defaults: Defaults,
        watermarks: Vec<Arc<Watermark>>,
        negotiate: impl FnOnce(Option<Format>) -> Accepted,
    ) -> Result<Options, BadQuery> {
        if self.raw != Raw::No {
            return Options::as_it_is(self.raw);
        }
        self.gravity = self.gravity.times(self.ratio);
        self.round = self.round.map(|radius| radius.times(self.ratio));
        let size = self.size(defaults.max_dimension);
        let minimum = self.minimum(size, defaults.max_dimension);
        let format = self.format(defaults.format, negotiate)?;
        let quality = self.quality.map_or(defaults.quality, Quality::uniform);
        Ok(self.into_options(size, minimum, format, quality, watermarks).normalize())
    }

    /// Reads the values from the texts of a query, which `text` gives.
    fn of<'q>(text: impl Fn(Place) -> Option<&'q str>) -> Result<Values, BadQuery> {
        if text(const { Place::of("fit") }).is_some()
            && let Some(older) = fit::OLDER.into_iter().find(|name| text(Place::of(name)).is_some())
        {
            return Err(BadQuery(format!("fit: can't be given together with {older}")));
        }
        Values::read(text)
    }

    /// A side in pixels of the result.
    fn scaled(&self, side: u32, max_dimension: u32) -> u32 {
        (f64::from(side) * self.ratio).round().clamp(1.0, f64::from(max_dimension)) as u32
    }

    fn size(&self, max_dimension: u32) -> Size {
        let scale = |side: u32| self.scaled(side, max_dimension);
        let (width, height) = match (self.width.map(scale), self.height.map(scale)) {
            (None, None) => return Size::Original,
            (Some(width), None) => return Size::Width(width),
            (None, Some(height)) => return Size::Height(height),
            (Some(width), Some(height)) => (width, height),
        };
        let older = match (self.pad, self.crop) {
            (true, _) => Fit::Pad,
            (false, true) => Fit::Cover,
            (false, false) => Fit::Contain,
        };
        match self.fit.unwrap_or(older) {
            Fit::Cover => Size::Fill(width, height, self.gravity),
            Fit::Contain => Size::Fit(width, height),
            Fit::Pad => Size::Pad(
                width,
                height,
                match self.gravity {
                    Gravity::At(..) | Gravity::Moved(..) => self.gravity,
                    // Padding keeps the whole image, so there is nothing to focus on.
                    Gravity::Focus(..) | Gravity::Smart => Gravity::CENTRE,
                },
            ),
            Fit::Stretch => Size::Stretch(width, height),
            Fit::Outside => Size::Outside(width, height),
            Fit::Ratio => Size::Ratio(width, height, self.gravity),
        }
    }

    fn minimum(&self, size: Size, max_dimension: u32) -> Option<Minimum> {
        let scale = |side: u32| self.scaled(side, max_dimension);
        let (width, height) = (self.min_width.map(scale), self.min_height.map(scale));
        // What is not cropped, and what has a gravity already, needs none.
        let needs_gravity = matches!(size, Size::Width(_) | Size::Height(_) | Size::Fit(..));
        let gravity = if needs_gravity { self.gravity } else { Gravity::CENTRE };
        let is_given = width.is_some() || height.is_some();
        let has_effect = is_given && !matches!(size, Size::Stretch(..));
        has_effect.then_some(Minimum { width, height, gravity })
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
