//! One entry of `"handlers"`: a route, its origin, its defaults and its cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::fields::{Fields, Known, Result};
use super::relaxed_json::Value;
use super::size_policy::{MOST_VARIANTS, SizePolicy};
use super::token::{self, Token};
use crate::cache::{CacheTime, Lifetime};
use crate::format::{Format, formats_that, or_list};
use crate::options::Defaults;

const KNOWN: Known = Known {
    fields: &[
        "name",
        "prefix",
        "aws",
        "directory",
        "error_image",
        "output_format",
        "cache_enabled",
        "cache_path",
        "cache_time",
        "cache_max_bytes",
        "cache_min_free",
        "negative_cache_time",
        "stale_while_revalidate",
        "stale_if_error",
        "originals_cache",
        "allowed_formats",
        "max_dimension",
        "error_status",
        "cors_origin",
        "fail_on",
        "presets",
        "presets_only",
        "allowed_sizes",
        "max_variants",
        "token",
    ],
};
const ORIGINALS_KNOWN: Known = Known { fields: &["path", "max_bytes"] };
const AWS_KNOWN: Known = Known {
    fields: &[
        "bucket_name",
        "file_path",
        "region",
        "endpoint",
        "path_style",
        "aws_access",
        "aws_secret",
        "session_token",
        "anonymous",
        "ca_file",
    ],
};

/// `cache_time` when it is missing: a week.
pub const DEFAULT_CACHE_SECONDS: u64 = 604_800;
/// `stale_if_error` when it is missing: a day.
const DEFAULT_STALE_IF_ERROR: Duration = Duration::from_secs(86_400);
/// `negative_cache_time` when it is missing.
const DEFAULT_NEGATIVE_CACHE_TIME: Duration = Duration::from_secs(5);
/// `max_dimension` when it is missing.
const DEFAULT_MAX_DIMENSION: u32 = 3064;
/// The largest `max_dimension`: WebP's limit is 16383 and JPEG's 65535, so past this nothing can be written.
const LARGEST_MAX_DIMENSION: i64 = 16_383;
/// The largest cache that can be asked for: a pebibyte.
const LARGEST_CACHE: i64 = 1 << 50;
/// An error image is kept in memory; a larger file is surely a mistake.
const LARGEST_ERROR_IMAGE: u64 = 16 << 20;
/// Served when a handler names no `error_image`, so that one binary and one file are enough to run.
const DEFAULT_ERROR_IMAGE: &[u8] = include_bytes!("../../error_image.jpg");

/// One handler, checked.
#[derive(Clone, Debug)]
pub struct Handler {
    /// The first segment of its paths: `prefix`, or `name` where there is none.
    pub route: String,
    /// Which field gave the route.
    pub(super) route_field: &'static str,
    /// Where the originals are.
    pub origin: Origin,
    /// What is sent when there is no image.
    pub error_image: ErrorImage,
    /// `output_format`; `None` keeps the original's.
    pub output_format: Option<Format>,
    /// The disk cache; `None` when results are not stored.
    pub cache: Option<Cache>,
    /// The cache of originals; `None` when they are fetched each time.
    pub originals: Option<Originals>,
    /// `cache_time`
    pub cache_time: CacheTime,
    /// `stale_while_revalidate`: how long past its time a result is served while it is revalidated.
    pub stale_while_revalidate: Duration,
    /// `stale_if_error`: how long past its time a result is served when its origin can't be asked.
    pub stale_if_error: Duration,
    /// `negative_cache_time`: how long it is remembered that there is no such key.
    pub negative_cache_time: Duration,
    /// `allowed_formats` in lower case, without dots; `None` allows every extension.
    pub allowed_formats: Option<Vec<String>>,
    /// `max_dimension`: the largest width and height that a request gets.
    pub max_dimension: u32,
    /// `"error_status": "precise"`
    pub precise_errors: bool,
    /// `cors_origin`: the value of `Access-Control-Allow-Origin`.
    pub cors_origin: Option<String>,
    /// `fail_on`
    pub fail_on: FailOn,
    /// `presets`, `presets_only`, `allowed_sizes`
    pub size_policy: SizePolicy,
    /// `max_variants`: about how many variants of a key are stored; `None` is as many as are asked for.
    pub max_variants: Option<usize>,
    /// `token`; `None` when everybody may have its images.
    pub token: Option<Token>,
}

/// What a configuration text alone does not hold: the edge hands it to each renderer with the text, so that a
/// renderer started a year later still means the same, whatever has happened to the files since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The origin directory, absolute and without symbolic links.
    pub directory: Option<PathBuf>,
    /// The bytes of the error image.
    pub error_image: Arc<[u8]>,
}

/// The image for failures.
#[derive(Clone, Debug)]
pub struct ErrorImage {
    /// The file's bytes.
    pub bytes: Arc<[u8]>,
    /// Its format, by its bytes.
    pub format: Format,
}

/// Where a handler's results are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// `cache_path`
    pub path: PathBuf,
    /// `cache_max_bytes`: how much of the disk the directory may take; `None` is as much as `min_free` leaves.
    pub max_bytes: Option<u64>,
    /// `cache_min_free`: bytes that stay free on its disk; `None` is a twentieth of it, and a gibibyte at the most.
    pub min_free: Option<u64>,
}

/// `originals_cache`: where a handler's originals are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Originals {
    /// `path`
    pub path: PathBuf,
    /// `max_bytes`: how much of the disk the directory may take; `None` is as much as is left free.
    pub max_bytes: Option<u64>,
}

/// How broken an original may be (libvips option `fail_on`).
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

/// Where originals come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A bucket.
    S3(S3),
    /// A local directory, as an absolute path without symbolic links.
    Directory(PathBuf),
}

/// A bucket and how to get at it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    /// `bucket_name`
    pub bucket: String,
    /// `file_path` without slashes at its ends; may be empty.
    pub directory: String,
    /// `region`
    pub region: String,
    /// `endpoint`: scheme, host and port of an S3 server that is not AWS.
    pub endpoint: Option<String>,
    /// `path_style`: the bucket's name in the path and not in the host name.
    pub path_style: bool,
    /// Who we are to the origin.
    pub credentials: Credentials,
    /// `ca_file`: PEM certificates to trust besides the compiled-in roots.
    pub ca_file: Option<PathBuf>,
    /// The JSON path of this `aws` object, for sentences that tell the operator what to change.
    pub json_path: String,
}

/// What requests to the origin are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `aws_access`, `aws_secret` and perhaps `session_token`.
    Static {
        /// The access key id.
        access: String,
        /// The secret access key.
        secret: String,
        /// The session token of temporary credentials.
        session_token: Option<String>,
    },
    /// Environment, profile, web identity, ECS, IMDSv2, in this order.
    Chain,
    /// Nothing is signed: a public bucket.
    Anonymous,
}

// Secrets must not reach a log by way of `{:?}`.
impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3({} in {})", self.bucket, self.region)
    }
}

impl Handler {
    /// What distinguishes this handler's originals from every other's: part of each cache key, so that a
    /// handler pointed at another bucket never serves the old bucket's images.
    pub fn identity(&self) -> String {
        match &self.origin {
            Origin::S3(s3) => {
                let endpoint = s3.endpoint.as_deref().unwrap_or("aws");
                format!("{}\0s3\0{endpoint}\0{}\0{}", self.route, s3.bucket, s3.directory)
            }
            Origin::Directory(directory) => {
                format!("{}\0directory\0{}", self.route, directory.display())
            }
        }
    }

    /// How long its results are good for what.
    pub fn lifetime(&self) -> Lifetime {
        let Handler { stale_while_revalidate, stale_if_error, .. } = *self;
        Lifetime { time: self.cache_time, stale_while_revalidate, stale_if_error }
    }

    /// What it contributes to the options of a request.
    pub fn defaults(&self) -> Defaults {
        Defaults { format: self.output_format, max_dimension: self.max_dimension }
    }

    /// The directories that it stores in, each with the field that names it.
    pub fn stores(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let cache = self.cache.iter().map(|cache| ("cache_path", cache.path.as_path()));
        let originals = self.originals.iter();
        cache.chain(originals.map(|originals| ("originals_cache.path", originals.path.as_path())))
    }

    /// What was read from the file system for this handler.
    pub fn resolved(&self) -> Resolved {
        let directory = match &self.origin {
            Origin::Directory(directory) => Some(directory.clone()),
            Origin::S3(_) => None,
        };
        Resolved { directory, error_image: Arc::clone(&self.error_image.bytes) }
    }

    pub(super) fn read(
        value: &Value,
        path: String,
        resolved: Option<&Resolved>,
    ) -> Result<Handler> {
        let fields = &Fields::of(value, path, KNOWN)?;
        let name = fields.text("name")?;
        let prefix = fields.text("prefix")?;
        let (route, route_field) = match (prefix, name) {
            (Some(prefix), _) => (prefix, "prefix"),
            (None, Some(name)) => (name, "name"),
            (None, None) => return Err(fields.error("name", "required when there is no prefix")),
        };
        check_route(fields, route_field, route)?;

        let origin = origin(fields, resolved)?;
        let error_image = error_image(fields, resolved)?;
        let output_format = match fields.string("output_format")? {
            None | Some("") => None,
            Some(written) => {
                let format = Format::parse(&written.to_ascii_lowercase());
                Some(format.filter(|format| format.is_written()).ok_or_else(|| {
                    let names = or_list(formats_that(Format::is_written).map(Format::name));
                    fields.error("output_format", format!("must be {names}, not {written:?}"))
                })?)
            }
        };
        let cache_time = match fields.integer("cache_time", -1..=i64::from(u32::MAX))? {
            None => CacheTime::Seconds(DEFAULT_CACHE_SECONDS),
            Some(-1) => CacheTime::Never,
            Some(0) => CacheTime::Forever,
            Some(seconds) => CacheTime::Seconds(seconds.unsigned_abs()),
        };
        let cache = cache(fields, cache_time)?;
        let originals = originals(fields, cache_time, &origin)?;
        let duration = |name, default| -> Result<Duration> {
            let written = fields.integer(name, 0..=i64::from(u32::MAX))?;
            Ok(written.map_or(default, |seconds| Duration::from_secs(seconds.unsigned_abs())))
        };
        let stale_while_revalidate = duration("stale_while_revalidate", Duration::ZERO)?;
        let stale_if_error = duration("stale_if_error", DEFAULT_STALE_IF_ERROR)?;
        let negative_cache_time = duration("negative_cache_time", DEFAULT_NEGATIVE_CACHE_TIME)?;
        let negative_cache_time = match cache_time {
            CacheTime::Never => Duration::ZERO,
            _ => negative_cache_time,
        };
        let allowed_formats = allowed_formats(fields)?;
        let max_dimension = fields
            .integer("max_dimension", 1..=LARGEST_MAX_DIMENSION)?
            .and_then(|most| u32::try_from(most).ok())
            .unwrap_or(DEFAULT_MAX_DIMENSION);
        let precise_errors = match fields.string("error_status")? {
            None | Some("404") => false,
            Some("precise") => true,
            Some(other) => {
                return Err(fields.error(
                    "error_status",
                    format!("must be \"precise\" or \"404\", not {other:?}"),
                ));
            }
        };
        let cors_origin = match fields.text("cors_origin")? {
            Some(value) if value != "*" && !is_origin(value) => {
                return Err(
                    fields.error("cors_origin", "must be * or one origin, as https://example.com")
                );
            }
            other => other.map(str::to_owned),
        };
        let fail_on = match fields.string("fail_on")? {
            None | Some("truncated") => FailOn::Truncated,
            Some("none") => FailOn::None,
            Some("error") => FailOn::Error,
            Some("warning") => FailOn::Warning,
            Some(other) => {
                return Err(fields.error(
                    "fail_on",
                    format!("must be none, truncated, error or warning, not {other:?}"),
                ));
            }
        };
        let token =
            fields.object("token", token::KNOWN)?.map(|token| Token::read(&token)).transpose()?;
        let size_policy = SizePolicy::read(fields, max_dimension)?;
        let max_variants = match fields.integer("max_variants", 0..=i64::from(MOST_VARIANTS))? {
            // A token that is for one URL only is bound enough.
            None if token.as_ref().is_some_and(Token::binds_url) => None,
            None => size_policy.default_max_variants(),
            Some(most) => usize::try_from(most).ok().filter(|most| *most > 0),
        };
        let route = route.to_owned();
        let handler = Handler {
            route,
            route_field,
            origin,
            error_image,
            output_format,
            cache,
            originals,
            cache_time,
            stale_while_revalidate,
            stale_if_error,
            negative_cache_time,
            allowed_formats,
            max_dimension,
            precise_errors,
            cors_origin,
            fail_on,
            size_policy,
            max_variants,
            token,
        };
        handler.size_policy.check_presets(fields, &handler)?;
        Ok(handler)
    }
}

fn check_route(fields: &Fields, field: &str, route: &str) -> Result<()> {
    if route.contains('/') {
        return Err(fields
            .error(field, format!("{route:?} must not contain a slash: it is one path segment")));
    }
    if ["-", ".", ".."].contains(&route) {
        return Err(fields
            .error(field, format!("{route:?} can't be a path segment of ours; choose another")));
    }
    if route.chars().any(|c| c.is_control() || c == '?' || c == '#') {
        return Err(fields.error(field, "must not contain control characters, ? or #"));
    }
    Ok(())
}

fn origin(fields: &Fields, resolved: Option<&Resolved>) -> Result<Origin> {
    let directory = fields.text("directory")?;
    let aws = fields.object("aws", AWS_KNOWN)?;
    match (directory, aws) {
        (Some(_), Some(_)) => {
            Err(fields.error("directory", "a handler has either aws or directory, not both"))
        }
        (None, None) => {
            Err(fields.error("aws", "required: where the originals are (or directory)"))
        }
        (Some(directory), None) => {
            if let Some(directory) = resolved.and_then(|resolved| resolved.directory.clone()) {
                return Ok(Origin::Directory(directory));
            }
            let real = std::fs::canonicalize(directory).map_err(|error| {
                fields.error("directory", format!("{directory}: can't be opened: {error}"))
            })?;
            if !real.is_dir() {
                return Err(fields.error("directory", format!("{directory}: is not a directory")));
            }
            Ok(Origin::Directory(real))
        }
        (None, Some(aws)) => Ok(Origin::S3(s3(&aws, resolved.is_some())?)),
    }
}

fn s3(aws: &Fields, is_checked: bool) -> Result<S3> {
    let bucket =
        aws.text("bucket_name")?.ok_or_else(|| aws.error("bucket_name", "required"))?.to_owned();
    if !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(aws.error(
            "bucket_name",
            "may contain letters, digits, dots, hyphens and underscores only",
        ));
    }
    let directory = aws.string("file_path")?.unwrap_or_default().trim_matches('/').to_owned();
    if directory.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(aws.error("file_path", "must not have . or .. as a segment"));
    }
    let region = aws.text("region")?.unwrap_or("us-east-1").to_owned();
    if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(
            aws.error("region", format!("must be a region's name, as eu-west-1, not {region:?}"))
        );
    }
    let endpoint = match aws.text("endpoint")? {
        None => None,
        Some(written) => {
            Some(checked_endpoint(written).map_err(|message| aws.error("endpoint", message))?)
        }
    };
    // A bucket name with dots does not match the wildcard certificate of *.s3.amazonaws.com, and few private
    // endpoints resolve bucket.host: both want the path style.
    let path_style = aws.bool("path_style")?.unwrap_or(endpoint.is_some() || bucket.contains('.'));
    let credentials = credentials(aws)?;
    let ca_file = aws.text("ca_file")?.map(PathBuf::from);
    if let (Some(path), false) = (&ca_file, is_checked) {
        std::fs::metadata(path).map_err(|error| {
            aws.error("ca_file", format!("{}: can't be read: {error}", path.display()))
        })?;
    }
    let json_path = aws.path("").trim_end_matches('.').to_owned();
    Ok(S3 { bucket, directory, region, endpoint, path_style, credentials, ca_file, json_path })
}

fn credentials(aws: &Fields) -> Result<Credentials> {
    let access = aws.secret("aws_access")?;
    let secret = aws.secret("aws_secret")?;
    let session_token = aws.secret("session_token")?;
    let anonymous = aws.bool("anonymous")?.unwrap_or(false);
    match (access, secret) {
        (Some(_), _) | (_, Some(_)) if anonymous => {
            Err(aws.error("anonymous", "is true, so aws_access and aws_secret must not be given"))
        }
        (Some(access), Some(secret)) => Ok(Credentials::Static { access, secret, session_token }),
        (Some(_), None) => Err(aws.error("aws_secret", "required when aws_access is given")),
        (None, Some(_)) => Err(aws.error("aws_access", "required when aws_secret is given")),
        (None, None) if session_token.is_some() => {
            Err(aws.error("session_token", "needs aws_access and aws_secret as well"))
        }
        (None, None) if anonymous => Ok(Credentials::Anonymous),
        (None, None) => Ok(Credentials::Chain),
    }
}

fn checked_endpoint(written: &str) -> std::result::Result<String, String> {
    let endpoint = written.trim_end_matches('/');
    if is_origin(endpoint) {
        return Ok(endpoint.to_owned());
    }
    Err(format!("must be http:// or https://, a host and perhaps a port, not {written:?}"))
}

/// `scheme://host` or `scheme://host:port` (RFC 6454 §6.1).
fn is_origin(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))
    else {
        return false;
    };
    // The colons of an IPv6 address are inside its brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_name = |host: &str| {
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    let is_ipv6 = |host: &str| {
        let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inside.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let port_is_right = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    !host.is_empty() && (is_name(host) || is_ipv6(host)) && port_is_right
}

fn error_image(fields: &Fields, resolved: Option<&Resolved>) -> Result<ErrorImage> {
    if let Some(bytes) = resolved.map(|resolved| &resolved.error_image)
        && let Some(format) = Format::of_bytes(bytes)
    {
        fields.text("error_image")?;
        return Ok(ErrorImage { bytes: Arc::clone(bytes), format });
    }
    let Some(path) = fields.text("error_image")? else {
        return Ok(ErrorImage { bytes: DEFAULT_ERROR_IMAGE.into(), format: Format::Jpeg });
    };
    let length = std::fs::metadata(path)
        .map_err(|error| fields.error("error_image", format!("{path}: can't be read: {error}")))?
        .len();
    if length > LARGEST_ERROR_IMAGE {
        return Err(fields
            .error("error_image", format!("{path}: is larger than {LARGEST_ERROR_IMAGE} bytes")));
    }
    let bytes = std::fs::read(path)
        .map_err(|error| fields.error("error_image", format!("{path}: can't be read: {error}")))?;
    let format = Format::of_original(&bytes).ok_or_else(|| {
        let titles = or_list(formats_that(Format::is_read).map(Format::title));
        fields.error("error_image", format!("{path}: is not a {titles}"))
    })?;
    Ok(ErrorImage { bytes: bytes.into(), format })
}

fn cache(fields: &Fields, time: CacheTime) -> Result<Option<Cache>> {
    let enabled = fields.bool("cache_enabled")?;
    let path = fields.text("cache_path")?;
    let max_bytes = fields.integer("cache_max_bytes", 1..=LARGEST_CACHE)?.map(i64::unsigned_abs);
    let min_free = fields.integer("cache_min_free", 0..=LARGEST_CACHE)?.map(i64::unsigned_abs);
    if enabled == Some(false) || time == CacheTime::Never {
        return Ok(None);
    }
    let Some(path) = path else {
        return match enabled {
            Some(true) => Err(fields.error("cache_path", "required when cache_enabled is true")),
            _ => Ok(None),
        };
    };
    Ok(Some(Cache { path: PathBuf::from(path), max_bytes, min_free }))
}

fn originals(fields: &Fields, time: CacheTime, origin: &Origin) -> Result<Option<Originals>> {
    let Some(written) = fields.object("originals_cache", ORIGINALS_KNOWN)? else { return Ok(None) };
    let path = written.text("path")?.ok_or_else(|| written.error("path", "required"))?;
    let max_bytes = written.integer("max_bytes", 1..=LARGEST_CACHE)?.map(i64::unsigned_abs);
    if let Origin::Directory(_) = origin {
        return Err(
            fields.error("originals_cache", "is for buckets; a directory's files are here already")
        );
    }
    if time == CacheTime::Never {
        return Ok(None);
    }
    Ok(Some(Originals { path: PathBuf::from(path), max_bytes }))
}

fn allowed_formats(fields: &Fields) -> Result<Option<Vec<String>>> {
    let Some(items) = fields.array("allowed_formats")? else { return Ok(None) };
    let mut extensions = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item {
            Value::String(extension) if !extension.trim_start_matches('.').is_empty() => {
                extensions.push(extension.trim_start_matches('.').to_ascii_lowercase());
            }
            other => {
                let message = format!("must be an extension, as \"jpg\", not {}", other.kind());
                return Err(fields.error(&format!("allowed_formats[{index}]"), message));
            }
        }
    }
    Ok(Some(extensions))
}
