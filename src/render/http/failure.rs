//! The failures of requests that get no response or lose it midway.

use std::fmt;
use std::io;
use std::time::Duration;

use ureq::{Error, Timeout};

use super::closed::is_closed;
use super::public::NotPublic;
use super::{Deadline, Exchange};
use crate::error::{Code, Failure};

const CONNECT_TIMEOUT: &str = "limits.origin_connect_timeout";

impl Exchange<'_> {
    /// The failure for a body that ended early.
    pub fn truncated(
        &self,
        error: io::Error,
        read: usize,
        length: Option<u64>,
        deadline: Deadline,
    ) -> Failure {
        match Error::from(error) {
            Error::Timeout(_) => {
                let Deadline { whole, field, .. } = deadline;
                let problem = format!("only {read} bytes were read within {whole:?} ({field})");
                self.failure(Code::OriginTimeout, problem)
            }
            error => {
                let length = length.map(|length| format!(" of {length}")).unwrap_or_default();
                let problem = format!("the response ended after {read}{length} bytes: {error}");
                self.failure(Code::OriginTruncated, problem)
            }
        }
    }

    /// The failure for a request without a response.
    pub(super) fn no_response(&self, deadline: Deadline, error: &Error) -> Failure {
        let Exchange { host, limits, .. } = self;
        let late = |what: &str, limit: Duration, field: &str| {
            let problem = format_args!("{host} {what} within {limit:?} ({field})");
            self.failure(Code::OriginTimeout, problem)
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
            Error::Io(error) => self.unreachable(&self.io_problem(error)),
            Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::Other(_) => {
                self.unreachable(error)
            }
            error => {
                let problem = format_args!("{host} sent no valid response: {error}");
                self.failure(Code::OriginError, problem)
            }
        }
    }

    fn unreachable(&self, problem: &dyn fmt::Display) -> Failure {
        let host = &self.host;
        let problem = format_args!("{host} can't be reached: {problem}");
        self.failure(Code::OriginUnreachable, problem)
    }

    fn io_problem(&self, error: &io::Error) -> String {
        let path = self.json_path;
        if let Some(NotPublic(address)) = error.get_ref().and_then(|error| error.downcast_ref()) {
            return format!(
                "its address {address} is not public; to connect to it all the same, set {path}.allow_private to true"
            );
        }
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(problem)) => {
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

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
