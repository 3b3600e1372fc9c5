//! `"results"`: the bucket in which several servers share their results.

use std::time::Duration;

use super::error::{ConfigError, Result};
use super::fields::Fields;
use super::origin::{self, Credentials, Origins, S3};
use super::schema::{Defaulted, Optional, integer, object, seconds, table};
use crate::cache::CacheTime;

/// The name of the field, for checks of several handlers.
pub const FIELD: &str = "results";

table! {
    pub TABLE;
    /// A bucket in which servers share their variants ([shared results](cache.md#shared-results)), with the fields of
    /// [`aws`](#aws) except `anonymous` and `request_payer`; needs `cache_path`, and no `directory`.
    RESULTS: Optional<Fields<'static>> = object(FIELD, origin::AWS_TABLE).absent("none");
    /// The longest time that a lookup in `results` may take.
    RESULTS_TIMEOUT: Defaulted<Duration> =
        seconds::<Duration>("results_timeout").default_milliseconds(150);
    /// A variant whose decoding and encoding took less is not uploaded to `results`; 0: all are.
    SHARE_MIN_MS: Defaulted<u64> =
        integer::<u64>("share_min_ms", 0, 60_000).unit("milliseconds").default(5);
}

/// The bucket of shared results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    pub bucket: S3,
    /// For one lookup.
    pub timeout: Duration,
    /// The least time of a render whose result is shared.
    pub min_render_time: Duration,
}

impl Results {
    /// `None` without the field, and for a handler that caches nothing.
    pub fn read(
        fields: &Fields,
        origins: &Origins,
        cache_time: CacheTime,
        has_cache: bool,
        is_checked: bool,
    ) -> Result<Option<Results>> {
        let timeout = fields.get(&RESULTS_TIMEOUT)?;
        let min_render_time = Duration::from_millis(fields.get(&SHARE_MIN_MS)?);
        let Some(written) = fields.optional(&RESULTS)? else {
            let needs = |name: &str| fields.error(name, format!("has no effect without {FIELD}"));
            return match [RESULTS_TIMEOUT.name(), SHARE_MIN_MS.name()]
                .into_iter()
                .find(|name| fields.has(name))
            {
                Some(name) => Err(needs(name)),
                None => Ok(None),
            };
        };
        let bucket = origin::read_s3(written, is_checked)?;
        if bucket.credentials == Credentials::Anonymous {
            let message = "must be false: whoever can write results decides what is served";
            return Err(ConfigError::new(format!("{}.anonymous", bucket.json_path), message));
        }
        if bucket.request_payer {
            let message = "is for originals: not every request to results can be paid for so";
            return Err(ConfigError::new(format!("{}.request_payer", bucket.json_path), message));
        }
        if origins.local_directories().next().is_some() {
            let message =
                "is for buckets and web servers; the directories of two servers may differ";
            return Err(fields.error(FIELD, message));
        }
        if cache_time == CacheTime::Never {
            return Ok(None);
        }
        if !has_cache {
            return Err(fields.error(FIELD, "needs a cache_path: results are kept there as well"));
        }
        Ok(Some(Results { bucket, timeout, min_render_time }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{error_of, parse};

    fn text(fields: &str) -> String {
        let cache = r#""cache_path": "/tmp/c", "aws": {"bucket_name": "b", "file_path": "o"}"#;
        format!(r#"{{"handlers": [{{"name": "h", {cache}, {fields}}}]}}"#)
    }

    #[test]
    fn results_have_the_fields_of_a_bucket_and_defaults() {
        let results = |fields| parse(&text(fields)).handlers.remove(0).results;
        let own = results(
            r#""results": {"bucket_name": "r", "file_path": "/x/", "region": "eu-west-1",
                "endpoint": "http://h:1", "aws_access": "a", "aws_secret": "s"}"#,
        )
        .unwrap();
        assert_eq!((own.bucket.bucket.as_str(), own.bucket.directory.as_str()), ("r", "x"));
        assert_eq!(own.bucket.json_path, "handlers[0].results");
        assert_eq!(own.timeout, Duration::from_millis(150));
        assert_eq!(own.min_render_time, Duration::from_millis(5));
        let other = results(
            r#""results": {"bucket_name": "r"}, "results_timeout": 0.5, "share_min_ms": 0"#,
        )
        .unwrap();
        assert_eq!((other.timeout.as_millis(), other.min_render_time), (500, Duration::ZERO));
        assert_eq!(results(r#""results": {"bucket_name": "r"}, "cache_time": -1"#), None);
        assert_eq!(results(r#""server_timing": false"#), None);
    }

    #[test]
    fn errors_of_results_name_their_path() {
        for (fields, expected) in [
            (r#""results": {}"#, "results.bucket_name: required"),
            (r#""results": {"bucket_nam": "r"}"#, "results.bucket_nam: unknown field"),
            (r#""results": "r""#, "results: must be an object"),
            (
                r#""results": {"bucket_name": "r", "anonymous": true}"#,
                "results.anonymous: must be false",
            ),
            (
                r#""results": {"bucket_name": "r", "request_payer": true}"#,
                "results.request_payer: is for originals",
            ),
            (
                r#""results": {"bucket_name": "r"}, "cache_enabled": false"#,
                "results: needs a cache_path",
            ),
            (
                r#""results": {"bucket_name": "r"}, "results_timeout": 0"#,
                "results_timeout: must be from 0.001",
            ),
            (
                r#""results": {"bucket_name": "r"}, "share_min_ms": -1"#,
                "share_min_ms: must be from 0",
            ),
            (r#""results_timeout": 1"#, "results_timeout: has no effect without results"),
            (r#""share_min_ms": 1"#, "share_min_ms: has no effect without results"),
            (
                r#""results": {"bucket_name": "b", "file_path": "o"}"#,
                "results: is among the originals",
            ),
            (
                r#""results": {"bucket_name": "b", "file_path": "o/r"}"#,
                "results: is among the originals of handlers[0]",
            ),
        ] {
            let error = error_of(&text(fields));
            assert!(error.starts_with(&format!("handlers[0].{expected}")), "{fields}: {error}");
        }
        for elsewhere in [
            r#""results": {"bucket_name": "b"}"#,
            r#""results": {"bucket_name": "b", "file_path": "other"}"#,
            r#""results": {"bucket_name": "b", "file_path": "o", "endpoint": "http://h"}"#,
        ] {
            parse(&text(elsewhere));
        }
        let directory = r#"{"handlers": [{"name": "h", "directory": "/", "cache_path": "/tmp/c",
            "results": {"bucket_name": "r"}}]}"#;
        assert!(error_of(directory).starts_with("handlers[0].results: is for buckets"));
    }
}
