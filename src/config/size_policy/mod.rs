//! `"presets"`, `"presets_only"` and `"allowed_sizes"`: which variants of its images a handler allows.
//!
//! Only the edge asks this. What it hands on to the renderer is the canonical query of the options, in which nothing
//! is left of a preset.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::fields::{Fields, Result};
use super::handler::Handler;
use super::relaxed_json::Value;
use crate::options::{BadQuery, Options, Query};

/// The preset that a request without `p` gets where there are only presets.
const DEFAULT_PRESET: &str = "default";
/// The longest name of a preset.
const LONGEST_NAME: usize = 32;
/// The ratios of `dpr` where sizes are listed: those that pages are written for.
const RATIOS: [f64; 4] = [1.0, 1.5, 2.0, 3.0];
/// How many variants of a key are stored when `max_variants` is missing; with `allowed_sizes`, of a key and size.
const DEFAULT_MAX_VARIANTS: usize = 64;
/// The largest `max_variants`: so many names of a directory are read for an image that is made.
pub(super) const MOST_VARIANTS: u16 = 10_000;

/// What of a handler's images may be asked for; by default everything.
#[derive(Clone, Debug, Default)]
pub struct SizePolicy {
    presets: BTreeMap<String, Query>,
    presets_only: bool,
    /// Width and height as a request says them, 0 for a side that it does not say.
    sizes: Option<Vec<[u32; 2]>>,
}

impl SizePolicy {
    pub(super) fn read(fields: &Fields, max_dimension: u32) -> Result<SizePolicy> {
        let presets = presets(fields)?;
        let presets_only = fields.bool("presets_only")?.unwrap_or(false);
        if presets_only && presets.is_empty() {
            return Err(
                fields.error("presets_only", "needs presets: nothing else can be asked for")
            );
        }
        let sizes = sizes(fields, max_dimension)?;
        if presets_only && sizes.is_some() {
            return Err(fields
                .error("allowed_sizes", "has no effect with presets_only; remove one of them"));
        }
        Ok(SizePolicy { presets, presets_only, sizes })
    }

    /// Checks each preset as if it were asked for.
    pub(super) fn check_presets(&self, fields: &Fields, handler: &Handler) -> Result<()> {
        for (name, preset) in &self.presets {
            Options::resolve(preset, "", handler.defaults())
                .map_err(|error| fields.error(&format!("presets.{name}"), error.0))?;
        }
        Ok(())
    }

    /// `max_variants` when it is missing. Where there are only presets, there are no more variants than the operator
    /// has written. A list of sizes leaves the other parameters open.
    pub(super) fn default_max_variants(&self) -> Option<usize> {
        let sizes = self.sizes.as_ref().map_or(1, |sizes| sizes.len().max(1));
        let most = DEFAULT_MAX_VARIANTS.saturating_mul(sizes).min(usize::from(MOST_VARIANTS));
        (!self.presets_only).then_some(most)
    }

    /// The query with its preset in it. What the query says itself goes before what the preset says.
    pub fn with_preset<'q>(
        &self,
        query: &'q Query,
    ) -> std::result::Result<Cow<'q, Query>, BadQuery> {
        if self.presets_only
            && let Some(name) = query.first_image_option()
        {
            return Err(BadQuery(format!(
                "{name}: can't be chosen here, only a preset can, with p"
            )));
        }
        let name = match query.preset() {
            Some(name) => name,
            None if !self.presets_only => return Ok(Cow::Borrowed(query)),
            None if self.presets.contains_key(DEFAULT_PRESET) => DEFAULT_PRESET,
            None => return Err(BadQuery("p: required here, the name of a preset".to_owned())),
        };
        match self.presets.get(name) {
            Some(preset) => Ok(Cow::Owned(query.over(preset))),
            None => {
                let shown: String = name.chars().take(LONGEST_NAME).collect();
                Err(BadQuery(format!("p: there is no preset {shown:?} here")))
            }
        }
    }

    /// Whether the size is one of those that are listed. `whole` is the query with its preset, and its options are
    /// right. The operator wrote the presets, so what they say themselves is allowed.
    pub fn check_size(&self, query: &Query, whole: &Query) -> std::result::Result<(), BadQuery> {
        let Some(sizes) = &self.sizes else { return Ok(()) };
        if query.dpr().is_some_and(|ratio| !RATIOS.contains(&ratio)) {
            return Err(BadQuery("dpr: must be 1, 1.5, 2 or 3 here".to_owned()));
        }
        let is_the_presets = query.preset().is_some() && !query.has_any(&["w", "h"]);
        if is_the_presets || sizes.contains(&whole.sides()) {
            return Ok(());
        }
        Err(BadQuery("w, h: this size is not offered here".to_owned()))
    }
}

fn presets(fields: &Fields) -> Result<BTreeMap<String, Query>> {
    let members = match fields.get("presets") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(members)) => members,
        Some(other) => {
            return Err(fields.error("presets", format!("must be an object, not {}", other.kind())));
        }
    };
    let mut presets = BTreeMap::new();
    for (name, value) in members {
        if !is_name(name) {
            let rule = "must have 1 to 32 letters, digits, hyphens and underscores";
            return Err(fields.error("presets", format!("a preset's name {rule}, not {name:?}")));
        }
        let error = |message: String| fields.error(&format!("presets.{name}"), message);
        let Value::String(written) = value else {
            return Err(error(format!(
                "must be a query, as \"w=300&h=200\", not {}",
                value.kind()
            )));
        };
        let preset = Query::parse_preset(written).map_err(|bad| error(bad.0))?;
        presets.insert(name.clone(), preset);
    }
    Ok(presets)
}

fn is_name(name: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_right)
}

fn sizes(fields: &Fields, max_dimension: u32) -> Result<Option<Vec<[u32; 2]>>> {
    let Some(items) = fields.array("allowed_sizes")? else { return Ok(None) };
    let mut sizes = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let size = match item {
            Value::Array(sides) => match &sides[..] {
                [width, height] => side(width, max_dimension).zip(side(height, max_dimension)),
                _ => None,
            },
            _ => None,
        };
        let (width, height) = size.ok_or_else(|| {
            let rule = format!("must be [width, height], whole numbers from 0 to {max_dimension}");
            fields.error(&format!("allowed_sizes[{index}]"), rule)
        })?;
        sizes.push([width, height]);
    }
    if sizes.is_empty() && !has_presets(fields) {
        return Err(fields.error("allowed_sizes", "must list a size where there are no presets"));
    }
    Ok(Some(sizes))
}

fn has_presets(fields: &Fields) -> bool {
    matches!(fields.get("presets"), Some(Value::Object(members)) if !members.is_empty())
}

fn side(value: &Value, max_dimension: u32) -> Option<u32> {
    match value {
        Value::Number(pixels) if pixels.fract() == 0.0 => {
            // The range makes the conversion exact.
            (0.0..=f64::from(max_dimension)).contains(pixels).then_some(*pixels as u32)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
