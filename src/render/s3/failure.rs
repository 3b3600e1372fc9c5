//! The failures of requests that get no response or lose it midway.

use std::fmt;
use std::io;
use std::time::Duration;

use ureq::{Error, Timeout};

use super::{Bucket, Deadline, ObjectName};
use crate::error::{Code, Failure};

const CONNECT_TIMEOUT: &str = "limits.origin_connect_timeout";

impl Bucket {
    pub(super) fn truncated(
        &self,
        object: &ObjectName,
        error: io::Error,
        read: usize,
        length: Option<u64>,
        deadline: Deadline,
    ) -> Failure {
        match Error::from(error) {
            Error::Timeout(_) => {
                let Deadline { whole, field, .. } = deadline;
                let problem = format!("only {read} bytes were read within {whole:?} ({field})");
                object.failure(Code::OriginTimeout, problem)
            }
            error => {
                let length = length.map(|length| format!(" of {length}")).unwrap_or_default();
                let problem = format!("the response ended after {read}{length} bytes: {error}");
                object.failure(Code::OriginTruncated, problem)
            }
        }
    }

    /// The failure for a request without a response.
    pub(super) fn no_response(
        &self,
        object: &ObjectName,
        deadline: Deadline,
        error: &Error,
    ) -> Failure {
        let host = self.region.endpoint();
        let limits = &self.limits;
        let late = |what: &str, limit: Duration, field: &str| {
            let problem = format_args!("{host} {what} within {limit:?} ({field})");
            object.failure(Code::OriginTimeout, problem)
        };
        match error {
            Error::Timeout(Timeout::Resolve) => {
                late("was not resolved", limits.origin_connect_timeout, CONNECT_TIMEOUT)
            }
            Error::Timeout(Timeout::Connect) => {
                late("did not connect", limits.origin_connect_timeout, CONNECT_TIMEOUT)
            }
            Error::Timeout(Timeout::SendRequest | Timeout::SendBody | Timeout::RecvResponse) => {
                late(
                    "did not begin to answer",
                    limits.origin_first_byte_timeout,
                    "limits.origin_first_byte_timeout",
                )
            }
            Error::Timeout(_) => late("did not answer", deadline.whole, deadline.field),
            Error::Io(error) => self.unreachable(object, &self.io_problem(error)),
            Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::Other(_) => {
                self.unreachable(object, error)
            }
            error => {
                let problem = format_args!("{host} sent no valid response: {error}");
                object.failure(Code::OriginError, problem)
            }
        }
    }

    fn unreachable(&self, object: &ObjectName, problem: &dyn fmt::Display) -> Failure {
        let host = self.region.endpoint();
        let problem = format_args!("{host} can't be reached: {problem}");
        object.failure(Code::OriginUnreachable, problem)
    }

    fn io_problem(&self, error: &io::Error) -> String {
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(problem)) => {
                let path = &self.config.json_path;
                format!(
                    "its certificate is not trusted ({problem}); for a private CA set {path}.ca_file"
                )
            }
            Some(problem) => format!("TLS failed: {problem}"),
            None if is_closed(&Error::Io(error.kind().into())) => {
                format!("the connection was closed twice: {error}")
            }
            None => error.to_string(),
        }
    }
}

/// Whether the peer closed the connection before the head of its response.
pub(super) fn is_closed(error: &Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    match error {
        Error::Io(error) => {
            [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof]
                .contains(&error.kind())
        }
        _ => false,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
