//! One entry of `"handlers"`: a route, its origin, its defaults and its cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonc_parser::ast::Value;

use super::as_is::{self, AsIs};
use super::cache::{self, CacheSettings, Store};
use super::cdn::{self, Cdn};
use super::defaults;
use super::error::Result;
use super::error_image::{self, ErrorImage};
use super::fields::Fields;
use super::json::type_name;
use super::origin::{self, OriginConfig, Origins};
use super::results::{self, Results};
use super::schema::{
    Choice, Defaulted, Kind, Optional, Table, array, boolean, choice, concat, integer, object,
    string, table, text,
};
use super::size_policy::{self, SizePolicy};
use super::token::{self, Token};
use super::{url, watermarks};
use crate::accept::Candidates;
use crate::cache::{CacheTime, Lifetime};
use crate::format::{Format, formats_that, or_list};
use crate::options::{DEFAULT_MAX_DIMENSION, Defaults, HandlerWatermarks, Options, Quality, Raw};

/// WebP's limit is 16383 and JPEG's 65535: nothing larger can be encoded.
const MAX_MAX_DIMENSION: i64 = 16_383;
/// Maximum number of presets in `render_on_change`.
const MAX_RENDER_ON_CHANGE: usize = 16;
/// The formats that today's browsers accept, for `f=auto`.
const BROWSERS: &str = "image/avif,image/webp,*/*";

table! {
    ROUTE_TABLE;
    /// The handler's name: one path segment, not `-`, `.` or `..`.
    NAME: Optional<&'static str> = text("name").absent("required without `prefix`");
    /// The first segment of its paths, in place of `name`: one path segment, not `-`, `.` or `..`.
    PREFIX: Optional<&'static str> = text("prefix").absent("`name`");
}

table! {
    OWN_TABLE;
    /// The status of errors: 404 for all of them, or a precise one ([errors](http.md#errors)).
    ERROR_STATUS: Defaulted<ErrorStatus> = choice::<ErrorStatus>("error_status").default_choice(0);
    /// The format if the request has no `f`: `jpg`, `jpeg`, `png`, `webp`, `avif`, `jxl` or `gif`, in any case; `""` for the
    /// original's.
    OUTPUT_FORMAT: Optional<&'static str> =
        string("output_format").absent("the original's format");
    /// The extensions that a key may have, in any case. A key without an extension is allowed.
    ALLOWED_FORMATS: Optional<&'static [Value<'static>]> =
        array("allowed_formats", "strings", &Kind::Text).absent("all");
    /// The presets that are rendered again after an [event](events.md#rendering-again) about a new or changed object, at
    /// most 16; needs `aws` and `cache_path`.
    RENDER_ON_CHANGE: Optional<&'static [Value<'static>]> =
        array("render_on_change", "strings", &Kind::Text).absent("none");
    /// `w` and `h` are clamped to it, after `dpr`.
    MAX_DIMENSION: Defaulted<u32> =
        integer::<u32>("max_dimension", 1, MAX_MAX_DIMENSION).unit("pixels").default(DEFAULT_MAX_DIMENSION);
    /// Require a signature or a JSON Web Token ([tokens](tokens.md#tokens)).
    TOKEN: Optional<Fields<'static>> = object("token", token::TABLE).absent("none");
    /// The value of `Access-Control-Allow-Origin`: `*` or one origin.
    CORS_ORIGIN: Optional<&'static str> = text("cors_origin").absent("none");
    /// Tell the time of each phase in `Server-Timing`, for a browser's developer tools
    /// ([Server-Timing](http.md#server-timing)).
    SERVER_TIMING: Defaulted<bool> = boolean("server_timing").default(false);
    /// How damaged an original may be: libvips' option of that name.
    FAIL_ON: Defaulted<FailOn> = choice::<FailOn>("fail_on").default_choice(1);
    /// Allow `f=json`, `f=thumbhash` and `f=blurhash`, which describe an image ([descriptions](info.md)).
    INFO: Defaulted<bool> = boolean("info").default(true);
    /// Serve a page at `/{handler}/` that tries the options and lists keys of a `directory`
    /// ([playground](page.md#playground)).
    PLAYGROUND: Defaulted<bool> = boolean("playground").default(false);
}

const WHERE: Table =
    &concat::<{ ROUTE_TABLE.len() + origin::TABLE.len() }>(ROUTE_TABLE, origin::TABLE);
const FAILURES: Table =
    &concat::<{ WHERE.len() + error_image::TABLE.len() }>(WHERE, error_image::TABLE);
const OWN: Table = &concat::<{ FAILURES.len() + OWN_TABLE.len() }>(FAILURES, OWN_TABLE);
const RAW: Table = &concat::<{ OWN.len() + as_is::TABLE.len() }>(OWN, as_is::TABLE);
const OPTIONS: Table = &concat::<{ RAW.len() + defaults::TABLE.len() }>(RAW, defaults::TABLE);
const WHAT: Table =
    &concat::<{ OPTIONS.len() + size_policy::TABLE.len() }>(OPTIONS, size_policy::TABLE);
const CACHED: Table = &concat::<{ WHAT.len() + cache::TABLE.len() }>(WHAT, cache::TABLE);
const SHARED: Table = &concat::<{ CACHED.len() + results::TABLE.len() }>(CACHED, results::TABLE);
const FOR_CDNS: Table = &concat::<{ SHARED.len() + cdn::TABLE.len() }>(SHARED, cdn::TABLE);
pub const TABLE: Table =
    &concat::<{ FOR_CDNS.len() + watermarks::TABLE.len() }>(FOR_CDNS, watermarks::TABLE);

/// One handler, checked.
#[derive(Clone, Debug)]
pub struct Handler {
    /// The first segment of its paths: `prefix`, or `name` where there is none.
    pub route: String,
    /// The field that gave the route.
    pub(super) route_field: &'static str,
    /// Where the originals are.
    pub origins: Origins,
    /// Sent in place of an image that failed; `None`: an empty body.
    pub error_image: Option<ErrorImage>,
    /// The key of the image that is sent in place of a missing one.
    pub fallback: Option<String>,
    /// `None` keeps the original's.
    pub output_format: Option<Format>,
    /// The quality without `q`.
    pub quality: Quality,
    /// What `f=auto` may choose.
    pub candidates: Candidates,
    /// The disk cache; `None` when variants are not stored.
    pub cache: Option<Store>,
    /// The cache of originals; `None` when they are fetched each time.
    pub originals: Option<Store>,
    /// The bucket of results that servers share; `None` without one.
    pub results: Option<Results>,
    pub cache_time: CacheTime,
    /// How long after `cache_time` a variant is served while it is revalidated.
    pub stale_while_revalidate: Duration,
    /// How long after `cache_time` a variant is served when its origin can't be asked.
    pub stale_if_error: Duration,
    /// How long it is remembered that the origin has no such key.
    pub negative_cache_time: Duration,
    /// In lower case, without dots; `None` allows every extension.
    pub allowed_formats: Option<Vec<String>>,
    /// `raw` and `passthrough`.
    pub as_is: AsIs,
    /// The largest width and height that a request gets.
    pub max_dimension: u32,
    /// Errors have a precise status instead of 404.
    pub precise_errors: bool,
    /// The value of `Access-Control-Allow-Origin`.
    pub cors_origin: Option<String>,
    /// Responses have `Server-Timing`.
    pub server_timing: bool,
    pub fail_on: FailOn,
    /// Images may be described in place of being sent.
    pub info: bool,
    /// A page that tries the options is served at `/{route}/`.
    pub playground: bool,
    /// `presets`, `presets_only`, `allowed_sizes`.
    pub size_policy: SizePolicy,
    /// Names of presets.
    pub render_on_change: Vec<String>,
    /// The approximate number of stored variants of a key; `None`: unlimited.
    pub max_variants: Option<usize>,
    /// `None`: no token is checked.
    pub token: Option<Token>,
    /// What it does for a CDN.
    pub cdn: Cdn,
    pub watermarks: HandlerWatermarks,
}

/// What a handler read from the file system. The edge sends it to each renderer with the text, so that a renderer that
/// is started a year later has the same configuration even if the files have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The directories of the origins, absolute, in the order of the origins.
    pub directories: Vec<PathBuf>,
    /// The bytes of the error image.
    pub error_image: Arc<[u8]>,
    /// The bytes of the watermarks, in the order of the configuration.
    pub watermarks: Vec<Arc<[u8]>>,
}

/// How damaged an original may be (libvips option `fail_on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// Show what can be decoded.
    None,
    /// Fail when the original ends early.
    Truncated,
    /// Fail on any error of the decoder.
    Error,
    /// Fail on warnings as well.
    Warning,
}

impl Choice for FailOn {
    const CHOICES: &'static [(&'static str, FailOn)] = &[
        ("none", FailOn::None),
        ("truncated", FailOn::Truncated),
        ("error", FailOn::Error),
        ("warning", FailOn::Warning),
    ];
}

/// The status of a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorStatus {
    NotFound,
    Precise,
}

impl Choice for ErrorStatus {
    const CHOICES: &'static [(&'static str, ErrorStatus)] =
        &[("404", ErrorStatus::NotFound), ("precise", ErrorStatus::Precise)];
}

impl Handler {
    /// Identifies the handler's first origin in each cache key, so that a handler pointed at another bucket never serves
    /// the old bucket's images.
    pub fn identity(&self) -> String {
        format!("{}\0{}", self.route, self.origins.identity())
    }

    /// How long its variants are fresh, and how long they may be served stale.
    pub fn lifetime(&self) -> Lifetime {
        let Handler { stale_while_revalidate, stale_if_error, .. } = *self;
        Lifetime { time: self.cache_time, stale_while_revalidate, stale_if_error }
    }

    /// The handler's defaults and limits for the options of a request.
    pub fn defaults(&self) -> Defaults<'_> {
        Defaults {
            format: self.output_format,
            max_dimension: self.max_dimension,
            quality: self.quality,
            candidates: self.candidates,
            watermarks: &self.watermarks,
        }
    }

    /// Whether every image of this handler has its watermarks, so that nothing may be served without: neither an
    /// original as it is, nor anything else that shows its pixels.
    pub fn has_mandatory_watermark(&self) -> bool {
        self.watermarks.always
    }

    /// The directories that it stores in.
    pub fn stores(&self) -> impl Iterator<Item = &Store> {
        self.cache.iter().chain(&self.originals)
    }

    /// Checks that `user`, the current user of this process, can use the files of its origins and of its results bucket.
    pub fn check_access(&self, user: &str) -> Result<()> {
        self.origins.iter().try_for_each(|origin| origin.check_access(user))?;
        self.results.as_ref().map_or(Ok(()), |results| results.bucket.check_access(user))
    }

    /// What was read from the file system for this handler.
    pub fn resolved(&self) -> Resolved {
        let directories = self.origins.local_directories().map(Path::to_owned).collect();
        let watermarks = self.watermarks.all.iter();
        Resolved {
            directories,
            error_image: ErrorImage::resolved(self.error_image.as_ref()),
            watermarks: watermarks.map(|watermark| Arc::clone(&watermark.image)).collect(),
        }
    }

    pub(super) fn read(
        value: &Value,
        path: String,
        resolved: Option<&Resolved>,
    ) -> Result<Handler> {
        let fields = &Fields::of(value, path, TABLE)?;
        let (route_field, route) = route(fields)?;
        let found = &mut resolved.into_iter().flat_map(|resolved| resolved.directories.clone());
        let origins = Origins::read(fields, found, resolved.is_some())?;
        let cache = CacheSettings::read(fields, &origins)?;
        let max_dimension = fields.get(&MAX_DIMENSION)?;
        let token = fields.optional(&TOKEN)?.map(|token| Token::read(&token)).transpose()?;
        let output_format = output_format(fields)?;
        let watermarks =
            watermarks::read(fields, resolved.map(|resolved| &resolved.watermarks[..]))?;
        let written =
            Defaults { watermarks: &watermarks, ..Defaults::new(output_format, max_dimension) };
        let (default_query, quality) = defaults::read(fields, written)?;
        let size_policy = SizePolicy::read(fields, max_dimension, default_query)?;
        let (has_cache, is_checked) = (cache.variants.is_some(), resolved.is_some());
        let allowed_formats = allowed_formats(fields)?;
        let watermarks =
            watermarks::read(fields, resolved.map(|resolved| &resolved.watermarks[..]))?;
        let as_is = AsIs::read(fields, allowed_formats.as_deref(), watermarks.always)?;
        let results = Results::read(fields, &origins, cache.time, has_cache, is_checked)?;
        let handler = Handler {
            route: route.to_owned(),
            route_field,
            error_image: ErrorImage::read(fields, resolved.map(|resolved| &resolved.error_image))?,
            fallback: error_image::fallback(fields, &as_is)?,
            output_format,
            quality,
            candidates: defaults::candidates(fields)?,
            cdn: Cdn::read(fields, cache.time, results.is_some())?,
            cache: cache.variants,
            originals: cache.originals,
            results,
            cache_time: cache.time,
            stale_while_revalidate: cache.stale_while_revalidate,
            stale_if_error: cache.stale_if_error,
            negative_cache_time: cache.negative_time,
            as_is,
            allowed_formats,
            max_dimension,
            precise_errors: fields.get(&ERROR_STATUS)? == ErrorStatus::Precise,
            cors_origin: cors_origin(fields)?,
            server_timing: fields.get(&SERVER_TIMING)?,
            fail_on: fields.get(&FAIL_ON)?,
            info: fields.get(&INFO)?,
            playground: fields.get(&PLAYGROUND)?,
            max_variants: size_policy.max_variants(fields, token.as_ref())?,
            render_on_change: render_on_change(fields, &size_policy)?,
            size_policy,
            token,
            origins,
            watermarks,
        };
        handler.size_policy.check_presets(fields, handler.defaults(), &handler.as_is)?;
        handler.check_info(fields)?;
        handler.check_render_on_change(fields)?;
        Ok(handler)
    }

    /// Defaults and presets that `info` forbids are an error.
    fn check_info(&self, fields: &Fields) -> Result<()> {
        if !self.info && self.size_policy.defaults().description().is_some() {
            let message = "must be true for the defaults, which describe images";
            return Err(fields.error(INFO.name(), message));
        }
        let described = self.size_policy.presets().find(|(_, query)| query.description().is_some());
        match described {
            Some((name, _)) if !self.info => {
                let message =
                    format!("must be true for the preset {name:?}, which describes images");
                Err(fields.error(INFO.name(), message))
            }
            _ => Ok(()),
        }
    }

    fn check_render_on_change(&self, fields: &Fields) -> Result<()> {
        let error = |message| Err(fields.error(RENDER_ON_CHANGE.name(), message));
        if self.render_on_change.is_empty() {
            return Ok(());
        }
        if !self.origins.has_bucket() {
            return error("needs aws: events are about objects in a bucket");
        }
        if self.cache.is_none() {
            return error("needs a cache_path: there is nothing to keep the images in");
        }
        Ok(())
    }

    /// The options of the presets in `render_on_change`, as a browser requests them for this key.
    pub fn options_on_change(&self, key: &str) -> impl Iterator<Item = Options> {
        let presets = self.size_policy.presets();
        let chosen = presets.filter(|(name, _)| {
            self.render_on_change.iter().any(|chosen| chosen.as_str() == *name)
        });
        let rendered = chosen
            .filter_map(|(_, preset)| Options::resolve(preset, BROWSERS, self.defaults()).ok());
        // A file that is passed through has one variant.
        let file = self.as_is.passthrough(key).map(Raw::File);
        let rendered = rendered.filter(move |_| file.is_none());
        rendered.chain(file.and_then(|file| Options::as_it_is(file).ok()))
    }
}

fn render_on_change(fields: &Fields, size_policy: &SizePolicy) -> Result<Vec<String>> {
    let items = fields.optional(&RENDER_ON_CHANGE)?.unwrap_or_default();
    if items.len() > MAX_RENDER_ON_CHANGE {
        let message = format!("must list at most {MAX_RENDER_ON_CHANGE} presets");
        return Err(fields.error(RENDER_ON_CHANGE.name(), message));
    }
    let read = |(index, item): (usize, &Value)| {
        let field = format!("{}[{index}]", RENDER_ON_CHANGE.name());
        let Value::StringLit(name) = item else {
            return Err(fields.wrong_type(&field, "the name of a preset", item));
        };
        let mut names = size_policy.presets().map(|(name, _)| name);
        if names.any(|known| known == name.value) {
            Ok(name.value.clone().into_owned())
        } else {
            Err(fields.error(&field, format!("there is no preset {:?}", name.value)))
        }
    };
    items.iter().enumerate().map(read).collect()
}

/// The route and the field that gives it.
fn route<'v>(fields: &Fields<'v>) -> Result<(&'static str, &'v str)> {
    let name = fields.optional(&NAME)?;
    let (field, route) = match fields.optional(&PREFIX)? {
        Some(prefix) => (PREFIX.name(), prefix),
        None => {
            let missing = || fields.error(NAME.name(), "required when there is no prefix");
            (NAME.name(), name.ok_or_else(missing)?)
        }
    };
    if route.contains('/') {
        let message = format!("{route:?} must not contain a slash: it is one path segment");
        return Err(fields.error(field, message));
    }
    if ["-", ".", ".."].contains(&route) {
        return Err(fields.error(field, format!("{route:?} is reserved; choose another")));
    }
    if route.chars().any(|c| c.is_control() || c == '?' || c == '#') {
        return Err(fields.error(field, "must not contain control characters, ? or #"));
    }
    Ok((field, route))
}

fn output_format(fields: &Fields) -> Result<Option<Format>> {
    match fields.optional(&OUTPUT_FORMAT)? {
        None | Some("") => Ok(None),
        Some(written) => {
            let format = Format::parse(&written.to_ascii_lowercase());
            format.filter(|format| format.is_written()).map(Some).ok_or_else(|| {
                let names = or_list(formats_that(Format::is_written).map(Format::name));
                fields.error(OUTPUT_FORMAT.name(), format!("must be {names}, not {written:?}"))
            })
        }
    }
}

fn cors_origin(fields: &Fields) -> Result<Option<String>> {
    match fields.optional(&CORS_ORIGIN)? {
        Some(value) if value != "*" && !url::is_origin(value) => {
            let message = "must be * or one origin, such as https://example.com";
            Err(fields.error(CORS_ORIGIN.name(), message))
        }
        value => Ok(value.map(str::to_owned)),
    }
}

fn allowed_formats(fields: &Fields) -> Result<Option<Vec<String>>> {
    let Some(items) = fields.optional(&ALLOWED_FORMATS)? else { return Ok(None) };
    let read = |(index, item): (usize, &Value)| match item {
        Value::StringLit(extension) if !extension.value.trim_start_matches('.').is_empty() => {
            Ok(extension.value.trim_start_matches('.').to_ascii_lowercase())
        }
        other => {
            let message =
                format!("must be an extension, such as \"jpg\", not {}", type_name(other));
            Err(fields.error(&format!("{}[{index}]", ALLOWED_FORMATS.name()), message))
        }
    };
    items.iter().enumerate().map(read).collect::<Result<_>>().map(Some)
}
