//! The query of a request: known parameters, decoded and not yet checked.

use std::borrow::Cow;

use super::Parameter;
use super::bad_query::BadQuery;
use super::description::Description;
use super::download::Download;
use super::fit;
use super::format_choice::AUTO;
use super::parameters::{self, NONE, PARAMETERS, Place};
use super::values::{boolean, decimal, digits};
use crate::format::Format;
use crate::key::decode_query;

/// The decoded values of the known parameters; unknown ones are ignored.
#[derive(Clone, Debug)]
pub struct Query {
    /// In the order of [`PARAMETERS`].
    values: [Option<String>; PARAMETERS.len()],
}

impl Default for Query {
    fn default() -> Query {
        Query { values: [const { None }; PARAMETERS.len()] }
    }
}

impl Query {
    /// Parses a query string. A known parameter given twice or with a malformed escape is an error.
    pub fn parse(text: &str) -> Result<Query, BadQuery> {
        let mut query = Query::default();
        for pair in text.split('&') {
            query.add(pair)?;
        }
        Ok(query)
    }

    /// Parses a preset, in which unknown parameters and those about the request are errors as well.
    pub fn parse_preset(text: &str) -> Result<Query, BadQuery> {
        Query::parse_configured(text, "a preset")
    }

    /// Parses a query of the configuration like a preset; `what` names it in errors.
    pub fn parse_configured(text: &str, what: &str) -> Result<Query, BadQuery> {
        Query::parse_known(text, &[], &format!("can't be in {what}"))
    }

    /// Parses the options of `s3imageserver render`, which may name a preset.
    pub fn parse_command(text: &str) -> Result<Query, BadQuery> {
        Query::parse_known(text, &["p"], "is for requests to a server")
    }

    /// Parses options of an image and these parameters. Others are errors.
    fn parse_known(text: &str, others: &[&str], refusal: &str) -> Result<Query, BadQuery> {
        let mut query = Query::default();
        if text.is_empty() {
            return Ok(query);
        }
        for pair in text.split('&') {
            match query.add(pair)? {
                Some(parameter) if parameter.is_image_option => {}
                Some(Parameter { name, .. }) if others.contains(name) => {}
                Some(Parameter { name, .. }) => {
                    return Err(BadQuery(format!("{name}: {refusal}")));
                }
                None => return Err(BadQuery(format!("unknown parameter {pair:?}"))),
            }
        }
        Ok(query)
    }

    /// Adds one `name=value` and returns its parameter, if it is a known one.
    fn add(&mut self, pair: &str) -> Result<Option<&'static Parameter>, BadQuery> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(index) = decode_query(name).and_then(|name| index(&name)) else { return Ok(None) };
        let parameter = &PARAMETERS[index];
        let name = parameter.name;
        let value = decode_query(value)
            .ok_or_else(|| BadQuery(format!("{name}: its value is not percent-encoded UTF-8")))?;
        if self.values[index].replace(value).is_some() {
            return Err(BadQuery(format!("{name}: given twice")));
        }
        Ok(Some(parameter))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values[index(name)?].as_deref()
    }

    pub(super) fn at(&self, place: Place) -> Option<&str> {
        self.values.get(place.index)?.as_deref()
    }

    /// Removes a parameter, and returns its value.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.values.get_mut(index(name)?)?.take()
    }

    /// The names of the known parameters.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PARAMETERS.iter().map(|parameter| parameter.name)
    }

    /// Each known parameter of the query with its decoded value.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        Query::names().zip(&self.values).filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// The decoded `t`.
    pub fn token(&self) -> Option<&str> {
        self.at(const { Place::of("t") })
    }

    /// `exp`: the Unix time at which a signed URL expires, clamped to the range of `u64`.
    pub fn expires(&self) -> Result<Option<u64>, BadQuery> {
        let rule = || index("exp").map_or(Cow::default(), |index| (PARAMETERS[index].rule)());
        parameters::value("exp", self.at(const { Place::of("exp") }), None, rule, |text| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| Some(text.parse().unwrap_or(u64::MAX)))
        })
    }

    /// `dl`: the name of a download.
    pub fn download(&self) -> Result<Option<Download>, BadQuery> {
        let rule = || Cow::Owned(Download::rule());
        parameters::value("dl", self.at(const { Place::of("dl") }), None, rule, |text| {
            Download::parse(text).map(Some)
        })
    }

    /// The decoded `p`.
    pub fn preset(&self) -> Option<&str> {
        self.at(const { Place::of("p") })
    }

    /// The name of the first parameter in the query that is about the image.
    pub fn first_image_option(&self) -> Option<&'static str> {
        self.image_options().next()
    }

    /// The names of the parameters in the query that are about the image.
    pub(super) fn image_options(&self) -> impl Iterator<Item = &'static str> {
        let given = PARAMETERS.iter().zip(&self.values);
        let given = given.filter(|(parameter, value)| parameter.is_image_option && value.is_some());
        given.map(|(parameter, _)| parameter.name)
    }

    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }

    /// `w` and `h` before `dpr` and clamping, 0 for a missing one, of a query that [`Options::resolve`] accepts.
    ///
    /// [`Options::resolve`]: super::Options::resolve
    pub fn sides(&self) -> [u32; 2] {
        ["w", "h"].map(|name| self.get(name).and_then(digits).unwrap_or_default())
    }

    /// `dpr`, of a query that [`Options::resolve`] accepts.
    ///
    /// [`Options::resolve`]: super::Options::resolve
    pub fn dpr(&self) -> Option<f64> {
        self.at(const { Place::of("dpr") }).and_then(decimal)
    }

    /// This query, with the values of a preset or of defaults for the parameters that it does not have. To an original as
    /// it is, neither applies.
    pub fn over(&self, other: &Query) -> Query {
        if self.is_raw() {
            return self.clone();
        }
        let mut values = other.values.clone();
        // `fit` says what `c` and `pad` say: those of the other do not apply beside that of the query.
        let replaced: &[&str] = if self.has_any(&["fit"]) {
            &fit::OLDER
        } else if self.has_any(&fit::OLDER) {
            &["fit"]
        } else {
            &[]
        };
        for value in replaced.iter().filter_map(|name| index(name)) {
            values[value] = None;
        }
        for (value, own) in values.iter_mut().zip(&self.values).filter(|(_, own)| own.is_some()) {
            value.clone_from(own);
        }
        // A format that can't be lossless excludes `lossless=true`: that of the other does not apply beside that of the
        // query, either way.
        if self.is_lossy() && !self.has_any(&["lossless"]) && other.is_lossless() {
            values[const { Place::of("lossless").index }] = None;
        }
        if self.is_lossless() && !self.has_any(&["f"]) && other.is_lossy() {
            let replaced = other.format().map(|format| format.output(true).name().to_owned());
            values[const { Place::of("f").index }] = replaced;
        }
        Query { values }
    }

    /// The format that it names.
    fn format(&self) -> Option<Format> {
        self.at(const { Place::of("f") }).and_then(Format::parse)
    }

    /// Whether it names a format that can't be lossless.
    fn is_lossy(&self) -> bool {
        self.format().is_some_and(|format| format.is_written() && !format.can_be_lossless())
    }

    fn is_lossless(&self) -> bool {
        self.at(const { Place::of("lossless") }).and_then(boolean) == Some(true)
    }

    /// The same query with this format, in place of what `f` it has.
    pub fn with_format(mut self, format: Format) -> Query {
        self.values[const { Place::of("f").index }] = Some(format.name().to_owned());
        self
    }

    /// The description that it asks for in place of an image.
    pub fn description(&self) -> Option<Description> {
        Description::parse(self.at(const { Place::of("f") })?)
    }

    /// Whether the image may be encoded several times.
    pub fn limits_bytes(&self) -> bool {
        self.at(const { Place::of("max_bytes") }).is_some_and(|text| text != NONE)
    }

    /// Whether it chooses a part of the original, or enlarges one.
    pub fn cuts(&self) -> bool {
        let crop = self.at(const { Place::of("crop") });
        crop.is_some_and(|text| text != NONE) || self.has_any(&["min-w", "min-h"])
    }

    /// Whether the response depends on `Accept`.
    pub fn varies(&self) -> bool {
        self.at(const { Place::of("f") }) == Some(AUTO)
    }
}

/// The position of a parameter in [`PARAMETERS`].
fn index(name: &str) -> Option<usize> {
    PARAMETERS.iter().position(|parameter| parameter.name == name)
}
