//! The request of `--check --online`, and what its response means to an operator.

use std::time::Instant;

use ureq::http::StatusCode;

use super::{Bucket, Request, drain, refusal};
use crate::error::{Code, Failure};
use crate::render::origin::Fetched;

/// A key that nobody stores.
const PROBE: &str = ".s3imageserver-check";

impl Bucket {
    /// Asks for a key that exists, or for one that need not. Returns the sentence about a bucket that works.
    pub(super) fn ask(&self, key: Option<&str>) -> Result<String, Failure> {
        let object = self.object(key.unwrap_or(PROBE))?;
        if let Some(key) = key {
            return match super::Fetch::fetch(self, key, None, &mut 0)? {
                Fetched::Original(original) => {
                    Ok(format!("{object} has {} bytes", original.bytes.len()))
                }
                Fetched::Unchanged => Ok(object.to_string()),
            };
        }
        let deadline = Instant::now() + self.limits.origin_timeout;
        let url = &self.url(&object, deadline)?;
        let response =
            self.get(&object, &Request { url, if_none_match: None }, deadline, &mut 0)?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = drain(response);
        let host = self.region.endpoint();
        match (status, refusal::error_code(&body).as_deref()) {
            (StatusCode::NOT_FOUND, Some("NoSuchKey")) => {
                Ok(format!("bucket {} at {host} answers", self.config.bucket))
            }
            // A web server, or a proxy in front of the S3 server.
            (StatusCode::OK | StatusCode::NOT_FOUND, None) => {
                let problem = format_args!(
                    "{host} answered {} as no S3 server does: is it the endpoint of S3?",
                    status.as_u16()
                );
                Err(object.failure(Code::OriginError, problem))
            }
            (_, code) => {
                let object = object.to_string();
                let failure = refusal::failure(&self.config, &object, status, &headers, &body);
                let hint = match code {
                    Some("AccessDenied") => {
                        "; to tell these apart, name a key that exists: --check --online /HANDLER/KEY"
                    }
                    _ => "",
                };
                Err(Failure::new(failure.code, format!("{}{hint}", failure.detail)))
            }
        }
    }
}
