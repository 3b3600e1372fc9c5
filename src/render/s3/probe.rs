//! The request of `--check --online`, and what its response means to an operator.

use ureq::http::StatusCode;

use super::refusal::{self, Answer};
use super::send::Request;
use super::signing::Action;
use super::{Bucket, Deadline, Got, Role};
use crate::error::{Code, Failure};
use crate::render::http::drain;

/// A key that nobody stores.
const PROBE: &str = ".s3imageserver-check";

impl Bucket {
    /// Asks for a key that exists, or for one that need not. Returns a phrase about a bucket that works.
    ///
    /// # Errors
    ///
    /// A sentence about what is wrong with the configuration, the credentials or the bucket.
    pub fn probe(&self, key: Option<&str>, deadline: Deadline) -> Result<String, Failure> {
        let object = self.object(key.unwrap_or(PROBE))?;
        if let Some(key) = key {
            return match self.get(key, None, deadline, &mut 0)? {
                Got::Object(found) => Ok(format!("{object} has {} bytes", found.bytes.len())),
                Got::NotModified => Ok(object.to_string()),
            };
        }
        let request = Request::new(Action::Get, deadline);
        let response = self.send(&object, &request, &mut 0)?;
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
                let answer = Answer { status, headers: &headers, body: &body };
                let permission = Action::Get.permission();
                let failure =
                    refusal::failure(&self.config, self.role, &object, permission, &answer);
                let hint = match code {
                    Some("AccessDenied") if self.role == Role::Origin => {
                        "; to tell these apart, name a key that exists: --check --online /HANDLER/KEY"
                    }
                    _ => "",
                };
                Err(Failure::new(failure.code, format!("{}{hint}", failure.detail)))
            }
        }
    }
}
