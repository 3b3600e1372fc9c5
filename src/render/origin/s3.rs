//! Originals from a bucket.

use super::{Fetch, Fetched, Kind, Original};
use crate::config::{ConfigError, Limits, S3};
use crate::error::{Code, Failure};
use crate::log::RateLimited;
use crate::render::read_path::{ReadPath, Variable};
use crate::render::s3::{self, Bucket, Deadline, Got, Object, Role};
use crate::renderer_status::CredentialsStatus;

/// A bucket whose objects are originals.
struct S3Origin {
    bucket: Bucket,
    warning: RateLimited,
}

impl Kind for S3 {
    fn check(&self) -> Result<(), ConfigError> {
        s3::check(self)
    }

    fn connects(&self) -> bool {
        true
    }

    fn read_paths(&self, variable: Variable) -> Vec<ReadPath> {
        s3::read_paths(self, variable)
    }

    fn open(&self, limits: &Limits) -> Result<Box<dyn Fetch>, Failure> {
        Ok(Box::new(S3Origin {
            bucket: Bucket::open(self, Role::Origin, limits)?,
            warning: RateLimited::default(),
        }))
    }
}

impl S3Origin {
    /// Warns of a response that clients get as "not found" although the configuration may be wrong.
    fn warn_if_not_shown(&self, failure: &Failure) {
        if failure.code != Code::NotShown {
            return;
        }
        let path = self.bucket.json_path();
        self.warning.warn(
            "origin_access_denied",
            format_args!(
                "{}; answered not_found: the key does not exist or {path} is wrong",
                failure.detail
            ),
        );
    }
}

impl Fetch for S3Origin {
    fn fetch(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        deadline: Deadline,
        retries: &mut u32,
    ) -> Result<Fetched, Failure> {
        match self.bucket.get(key, if_none_match, deadline, retries) {
            Ok(Got::Object(Object { bytes, etag, last_modified, cache_control })) => {
                let origin = None;
                Ok(Fetched::Original(Original {
                    bytes,
                    etag,
                    last_modified,
                    cache_control,
                    origin,
                }))
            }
            Ok(Got::NotModified) => Ok(Fetched::Unchanged),
            Err(failure) => {
                self.warn_if_not_shown(&failure);
                Err(failure)
            }
        }
    }

    fn credentials(&self) -> Option<CredentialsStatus> {
        self.bucket.credentials()
    }

    fn probe(&self, key: Option<&str>, deadline: Deadline) -> Result<String, Failure> {
        self.bucket.probe(key, deadline)
    }
}
