//! `"presets"`, `"presets_only"`, `"allowed_sizes"` and `"max_variants"`: which variants of its images a handler allows,
//! and how many.
//!
//! The edge applies it: the canonical query that it sends to the renderer has no presets. The renderer asks only which
//! variants are not shared.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jsonc_parser::ast::{ObjectProp, Value};

use super::as_is::AsIs;
use super::error::Result;
use super::fields::{Fields, number};
use super::json::type_name;
use super::schema::{Defaulted, Kind, Optional, array, boolean, integer, map, string, table};
use super::token::Token;
use crate::options::{BadQuery, Defaults, Options, Query};

/// The preset of a request without `p` where only presets can be requested.
const DEFAULT_PRESET: &str = "default";
/// In bytes.
const MAX_NAME: usize = 32;
/// The values of `dpr` that `allowed_sizes` permits: the common device pixel ratios.
const RATIOS: [f64; 4] = [1.0, 1.5, 2.0, 3.0];
/// `max_variants` when it is missing; with `allowed_sizes`, for each size.
const DEFAULT_MAX_VARIANTS: usize = 64;
/// The largest `max_variants`: storing a variant reads up to this many directory entries.
const MAX_VARIANTS_LIMIT: u16 = 10_000;

/// An element of `allowed_sizes`.
const SIZE: Kind = Kind::Array { items: "numbers", kind: &Kind::Integer { min: 0, max: i64::MAX } };

table! {
    pub TABLE;
    /// Named queries ([presets](tokens.md#presets-and-allowed-sizes)): names of 1 to 32 letters, digits, `-` and `_`;
    /// queries without `p` and `t`, or objects with one.
    PRESETS: Optional<&'static [ObjectProp<'static>]> =
        map("presets", "strings or [objects](#presets)", PRESET_TABLE).absent("none");
    /// Refuse every query except presets; needs `presets`.
    PRESETS_ONLY: Defaulted<bool> = boolean("presets_only").default(false);
    /// The sizes that may be requested, each side from 0 to `max_dimension`; 0 stands for a missing side. Not with
    /// `presets_only`.
    ALLOWED_SIZES: Optional<&'static [Value<'static>]> =
        array("allowed_sizes", "`[width, height]`", &SIZE).absent("all");
    /// The approximate number of variants of a key in `cache_path`; 0 is unlimited.
    MAX_VARIANTS: Optional<usize> = integer::<usize>("max_variants", 0, MAX_VARIANTS_LIMIT as i64)
        .absent(
            "64; with `allowed_sizes` 64 per size, at most 10000; \
             unlimited with `presets_only` or a required `hmac` token",
        );
}

table! {
    pub PRESET_TABLE;
    /// The query that the preset stands for.
    QUERY: Optional<&'static str> = string("query");
    /// Whether its variants are shared with other servers, if the handler has `results`.
    SHARE: Defaulted<bool> = boolean("share").default(true);
}

/// A query with a name.
#[derive(Clone, Debug)]
struct Preset {
    query: Query,
    /// Whether its variants are shared.
    share: bool,
}

/// Which variants of a handler's images may be requested; by default all.
#[derive(Clone, Debug, Default)]
pub struct SizePolicy {
    /// The query of a request without parameters.
    defaults: Query,
    /// With the defaults for the parameters that they do not have.
    presets: BTreeMap<String, Preset>,
    presets_only: bool,
    /// Width and height as a request has them, 0 for a side that it does not have.
    sizes: Option<Vec<[u32; 2]>>,
}

impl SizePolicy {
    pub(super) fn read(fields: &Fields, max_dimension: u32, defaults: Query) -> Result<SizePolicy> {
        let presets = presets(fields, &defaults)?;
        let presets_only = fields.get(&PRESETS_ONLY)?;
        if presets_only && presets.is_empty() {
            let message = "needs presets: nothing else can be requested";
            return Err(fields.error(PRESETS_ONLY.name(), message));
        }
        let sizes = sizes(fields, max_dimension, !presets.is_empty())?;
        if presets_only && sizes.is_some() {
            let message = "has no effect with presets_only; remove one of them";
            return Err(fields.error(ALLOWED_SIZES.name(), message));
        }
        Ok(SizePolicy { defaults, presets, presets_only, sizes })
    }

    /// Checks each preset as if it were requested.
    pub(super) fn check_presets(
        &self,
        fields: &Fields,
        defaults: Defaults,
        as_is: &AsIs,
    ) -> Result<()> {
        for (name, preset) in &self.presets {
            Options::resolve(&preset.query, "", defaults)
                .and_then(|options| as_is.check(&options))
                .map_err(|error| fields.error(&format!("presets.{name}"), error.0))?;
        }
        Ok(())
    }

    pub fn presets(&self) -> impl Iterator<Item = (&str, &Query)> {
        self.presets.iter().map(|(name, preset)| (name.as_str(), &preset.query))
    }

    /// Whether the variant with these options is shared: not if a preset with `"share": false` stands for it.
    pub fn shares(&self, options: &Options, defaults: Defaults) -> bool {
        let mut local = self.presets.values().filter(|preset| !preset.share);
        !local.any(|preset| options.are_of(&preset.query, defaults))
    }

    pub fn presets_only(&self) -> bool {
        self.presets_only
    }

    /// `allowed_sizes`; `None` allows all.
    pub fn sizes(&self) -> Option<&[[u32; 2]]> {
        self.sizes.as_deref()
    }

    /// `max_variants`; `None`: unlimited.
    pub(super) fn max_variants(
        &self,
        fields: &Fields,
        token: Option<&Token>,
    ) -> Result<Option<usize>> {
        Ok(match fields.optional(&MAX_VARIANTS)? {
            // A token that is valid for one URL only already limits the variants.
            None if token.is_some_and(Token::binds_url) => None,
            None => self.default_max_variants(),
            Some(max) => Some(max).filter(|max| *max > 0),
        })
    }

    /// `max_variants` when it is missing. With presets alone, the configuration limits the variants already; a list of
    /// sizes leaves the other parameters open.
    fn default_max_variants(&self) -> Option<usize> {
        let sizes = self.sizes.as_ref().map_or(1, |sizes| sizes.len().max(1));
        let max = DEFAULT_MAX_VARIANTS.saturating_mul(sizes).min(usize::from(MAX_VARIANTS_LIMIT));
        (!self.presets_only).then_some(max)
    }

    /// The query with its preset and the defaults applied. Parameters of the query take precedence over those of the
    /// preset, and these over the defaults.
    pub fn with_preset<'q>(
        &self,
        query: &'q Query,
    ) -> std::result::Result<Cow<'q, Query>, BadQuery> {
        if self.presets_only
            && let Some(name) = query.first_image_option()
        {
            return Err(BadQuery(format!("{name}: not allowed here; choose a preset with p")));
        }
        let name = match query.preset() {
            Some(name) => name,
            None if !self.presets_only => return Ok(self.with_defaults(query)),
            None if self.presets.contains_key(DEFAULT_PRESET) => DEFAULT_PRESET,
            None => return Err(BadQuery("p: required here, the name of a preset".to_owned())),
        };
        match self.presets.get(name) {
            Some(preset) => Ok(Cow::Owned(query.over(&preset.query))),
            None => {
                let shown: String = name.chars().take(MAX_NAME).collect();
                Err(BadQuery(format!("p: there is no preset {shown:?} here")))
            }
        }
    }

    /// The query in `defaults`, without its `q`.
    pub fn defaults(&self) -> &Query {
        &self.defaults
    }

    /// The query with the defaults applied.
    pub fn with_defaults<'q>(&self, query: &'q Query) -> Cow<'q, Query> {
        match self.defaults.first_image_option() {
            None => Cow::Borrowed(query),
            Some(_) => Cow::Owned(query.over(&self.defaults)),
        }
    }

    /// Whether the size is listed. `whole` is the query with its preset and the defaults; its options are valid. Sizes
    /// from these are allowed: the operator chose them.
    pub fn check_size(&self, query: &Query, whole: &Query) -> std::result::Result<(), BadQuery> {
        let Some(sizes) = &self.sizes else { return Ok(()) };
        if query.dpr().is_some_and(|ratio| !RATIOS.contains(&ratio)) {
            return Err(BadQuery("dpr: must be 1, 1.5, 2 or 3 here".to_owned()));
        }
        if let Some(name) = ["min-w", "min-h"].into_iter().find(|name| query.has_any(&[name])) {
            return Err(BadQuery(format!("{name}: not allowed here, where sizes are listed")));
        }
        const SIDES: &[&str] = &["w", "h"];
        let has_configured = query.preset().is_some() || self.defaults.has_any(SIDES);
        if has_configured && !query.has_any(SIDES) || sizes.contains(&whole.sides()) {
            return Ok(());
        }
        Err(BadQuery("w, h: this size is not allowed here".to_owned()))
    }
}

fn presets(fields: &Fields, defaults: &Query) -> Result<BTreeMap<String, Preset>> {
    let mut presets = BTreeMap::new();
    for property in fields.optional(&PRESETS)?.unwrap_or_default() {
        let name = property.name.as_str();
        let error = |message| fields.error(&format!("{}.{name}", PRESETS.name()), message);
        if !is_name(name) {
            let rule = "must have 1 to 32 letters, digits, hyphens and underscores";
            return Err(error(format!("a preset's name {rule}")));
        }
        let (written, share) = match &property.value {
            Value::StringLit(written) => (written.value.as_ref(), true),
            value @ Value::Object(_) => {
                let path = fields.path(&format!("{}.{name}", PRESETS.name()));
                let preset = Fields::of(value, path, PRESET_TABLE)?;
                (preset.required(&QUERY)?, preset.get(&SHARE)?)
            }
            other => {
                let found = type_name(other);
                return Err(error(format!(
                    "must be a query, such as \"w=300&h=200\", or an object with one, not {found}"
                )));
            }
        };
        let query = Query::parse_preset(written).map_err(|bad| error(bad.0))?.over(defaults);
        presets.insert(name.to_owned(), Preset { query, share });
    }
    Ok(presets)
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn sizes(fields: &Fields, max_dimension: u32, has_presets: bool) -> Result<Option<Vec<[u32; 2]>>> {
    let Some(items) = fields.optional(&ALLOWED_SIZES)? else { return Ok(None) };
    let mut sizes = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let size = match item {
            Value::Array(sides) => match &sides.elements[..] {
                [width, height] => side(width, max_dimension).zip(side(height, max_dimension)),
                _ => None,
            },
            _ => None,
        };
        let (width, height) = size.ok_or_else(|| {
            let rule = format!("must be [width, height], whole numbers from 0 to {max_dimension}");
            fields.error(&format!("{}[{index}]", ALLOWED_SIZES.name()), rule)
        })?;
        sizes.push([width, height]);
    }
    if sizes.is_empty() && !has_presets {
        let message = "must list a size where there are no presets";
        return Err(fields.error(ALLOWED_SIZES.name(), message));
    }
    Ok(Some(sizes))
}

fn side(value: &Value, max_dimension: u32) -> Option<u32> {
    let pixels = number(value).filter(|pixels| pixels.fract() == 0.0)?;
    // The range makes the conversion exact.
    (0.0..=f64::from(max_dimension)).contains(&pixels).then_some(pixels as u32)
}

#[cfg(test)]
mod tests;
