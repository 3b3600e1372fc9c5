//! The parameters of a request, as they are written.

use std::fmt;

use super::values::{bad, decimal, digits};
use crate::key::decode_query;

/// What is wrong with a query; the sentence is for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery(pub String);

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The parameters that we know, as they stand in the query. Unknown ones are not kept.
#[derive(Clone, Debug, Default)]
pub struct Query {
    values: [Option<String>; NAMES.len()],
}

const NAMES: [&str; 22] = [
    "w", "h", "c", "f", "t", "exp", "q", "dpr", "g", "e", "bg", "p", "pad", "rot", "flip", "trim",
    "blur", "sharp", "lossless", "page", "frames", "strip",
];

/// Those of them that say something about the image, which is what a preset may hold.
pub(super) const ABOUT_THE_IMAGE: [&str; 19] = [
    "w", "h", "c", "f", "q", "dpr", "g", "e", "bg", "pad", "rot", "flip", "trim", "blur", "sharp",
    "lossless", "page", "frames", "strip",
];

impl Query {
    /// Reads a query string. A known parameter given twice or with a malformed escape is an error.
    pub fn parse(query: &str) -> Result<Query, BadQuery> {
        let mut parsed = Query::default();
        for pair in query.split('&') {
            parsed.take(pair)?;
        }
        Ok(parsed)
    }

    /// Reads a preset, in which a parameter that is unknown or not about the image is an error as well.
    pub fn parse_preset(written: &str) -> Result<Query, BadQuery> {
        let mut parsed = Query::default();
        for pair in written.split('&').filter(|_| !written.is_empty()) {
            match parsed.take(pair)? {
                Some(name) if ABOUT_THE_IMAGE.contains(&name) => {}
                Some(name) => return Err(BadQuery(format!("{name}: can't be in a preset"))),
                None => return Err(BadQuery(format!("{pair:?} is no parameter"))),
            }
        }
        Ok(parsed)
    }

    /// Takes one `name=value`, and says which one it was; an unknown one is none.
    fn take(&mut self, pair: &str) -> Result<Option<&'static str>, BadQuery> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = decode_query(name) else { return Ok(None) };
        let Some(index) = NAMES.iter().position(|known| *known == name) else { return Ok(None) };
        let value = decode_query(value)
            .ok_or_else(|| BadQuery(format!("{name}: its value is not percent-encoded UTF-8")))?;
        if self.values[index].replace(value).is_some() {
            return Err(BadQuery(format!("{name}: given twice")));
        }
        Ok(Some(NAMES[index]))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let index = NAMES.iter().position(|known| *known == name)?;
        self.values[index].as_deref()
    }

    /// The names of the parameters that we know.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter()
    }

    /// Each known parameter that is there, with its decoded value.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = NAMES.into_iter().zip(&self.values);
        pairs.filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// The decoded `t`.
    pub fn token(&self) -> Option<&str> {
        self.get("t")
    }

    /// `exp`: the Unix time at which a signed URL expires. One that is too large to count is as good as the largest.
    pub fn expires(&self) -> Option<Result<u64, BadQuery>> {
        let written = self.get("exp")?;
        let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
        Some(match is_number {
            true => Ok(written.parse().unwrap_or(u64::MAX)),
            false => Err(bad("exp", "must be a whole number of seconds since 1970", written)),
        })
    }

    /// The decoded `p`.
    pub fn preset(&self) -> Option<&str> {
        self.get("p")
    }

    /// The first parameter about the image that is given.
    pub fn first_about_the_image(&self) -> Option<&'static str> {
        ABOUT_THE_IMAGE.into_iter().find(|name| self.get(name).is_some())
    }

    /// Whether one of these is given.
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }

    /// `w` and `h` as they are written, 0 for one that is not given, in a query that [`Options::resolve`] accepts.
    pub fn sides(&self) -> [u32; 2] {
        ["w", "h"].map(|name| self.get(name).and_then(digits).unwrap_or_default())
    }

    /// `dpr` as it is written, in a query that [`Options::resolve`] accepts.
    pub fn ratio(&self) -> Option<f64> {
        self.get("dpr").and_then(decimal)
    }

    /// This query, with a preset for what it does not say itself.
    pub fn over(&self, preset: &Query) -> Query {
        let mut values = preset.values.clone();
        for (value, own) in values.iter_mut().zip(&self.values).filter(|(_, own)| own.is_some()) {
            value.clone_from(own);
        }
        Query { values }
    }

    /// Whether the answer depends on `Accept`.
    pub fn varies(&self) -> bool {
        self.get("f") == Some("auto")
    }
}
