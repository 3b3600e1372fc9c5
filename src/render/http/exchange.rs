//! Sends a request to an origin, once more if that may help, and reads its response within its limits.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderMap, Request, Response, header};
use ureq::{Agent, AsSendBody, Body, Error, Timeout};

use super::Deadline;
use super::closed::is_closed;
use crate::config::Limits;
use crate::error::{Code, Failure};

/// How much of an error response is read: for its error code, and so that the connection can be used again.
const MAX_ERROR_BODY: u64 = 64 << 10;
/// A deadline this much shorter than the agent's own timeout needs no configuration of its own.
const NEGLIGIBLE: Duration = Duration::from_millis(20);

/// The way to an origin, for one request, and the words for its failures.
pub struct Exchange<'e> {
    pub agent: &'e Agent,
    pub limits: &'e Limits,
    /// Who answers: the endpoint or the server.
    pub host: String,
    /// What is asked for.
    pub subject: &'e dyn fmt::Display,
    /// The JSON path of the origin, to name its fields.
    pub json_path: &'e str,
}

/// The largest body that is read, and the words for a larger one.
#[derive(Clone, Copy)]
pub struct MaxBytes {
    pub bytes: u64,
    /// The field that sets it, in parentheses after a space.
    pub field: &'static str,
}

impl MaxBytes {
    /// Those of an original.
    pub fn of_original(limits: &Limits) -> MaxBytes {
        MaxBytes { bytes: limits.origin_max_bytes, field: " (limits.origin_max_bytes)" }
    }
}

/// Whether a request may use a kept connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Any,
    New,
}

impl Exchange<'_> {
    /// Sends a request and reads the head of its response. A closed connection and a 5xx are tried once more, at once:
    /// both are often over by then, and the first is that of a connection which was closed while it was idle. All
    /// requests may be repeated (RFC 9110 §9.2.2).
    ///
    /// `make` makes the request for each attempt; `retries` counts the requests that are sent again.
    pub fn send<B: AsSendBody>(
        &self,
        make: impl Fn() -> Result<Request<B>, Error>,
        deadline: Deadline,
        retries: &mut u32,
    ) -> Result<Response<Body>, Failure> {
        let outcome = match self.attempt(make(), deadline, Connection::Any) {
            Ok(response) if response.status().is_server_error() => {
                drain(response);
                *retries += 1;
                self.attempt(make(), deadline, Connection::Any)
            }
            Err(error) if is_closed(&error) => {
                *retries += 1;
                self.attempt(make(), deadline, Connection::New)
            }
            outcome => outcome,
        };
        outcome.map_err(|error| self.no_response(deadline, &error))
    }

    fn attempt(
        &self,
        request: Result<Request<impl AsSendBody>, Error>,
        deadline: Deadline,
        connection: Connection,
    ) -> Result<Response<Body>, Error> {
        let request = request?;
        let left = deadline.left();
        if left.is_zero() {
            return Err(Error::Timeout(Timeout::Global));
        }
        let whole = self.limits.origin_timeout;
        let is_whole = left <= whole && left + NEGLIGIBLE >= whole;
        if connection == Connection::Any && is_whole {
            return self.agent.run(request);
        }
        let mut config = self.agent.configure_request(request).timeout_global(Some(left));
        if connection == Connection::New {
            config = config.max_idle_age(Duration::ZERO);
        }
        self.agent.run(config.build())
    }

    /// Reads a body whose end is known.
    pub fn read_body(
        &self,
        headers: &HeaderMap,
        body: Body,
        max: MaxBytes,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Failure> {
        let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let length = if is_chunked { None } else { content_length(headers) };
        if !is_chunked && length.is_none() {
            // Such a body ends with the connection, whether it is complete or not.
            let problem = "the response has no Content-Length, so it may be incomplete";
            return Err(self.failure(Code::OriginError, problem));
        }
        let limit = max.bytes;
        let too_large = || {
            let problem = format_args!("is larger than {limit} bytes{}", max.field);
            self.failure(Code::TooLarge, problem)
        };
        let expected = length.unwrap_or_default();
        if expected > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(expected).unwrap_or(usize::MAX)).map_err(
            |error| {
                let problem = format_args!("can't allocate memory for it: {error}");
                self.failure(Code::OriginError, problem)
            },
        )?;
        // The connection goes back into the pool only when the end of the body has been read.
        let read = body.into_reader().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.truncated(error, bytes.len(), length, deadline)),
        }
    }

    /// A failure of this request.
    pub fn failure(&self, code: Code, problem: impl fmt::Display) -> Failure {
        Failure::new(code, format!("{}: {problem}", self.subject))
    }
}

/// The length that a response announces.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Reads the start of an error response. A read error does not matter. A body that is read whole gives its connection
/// back to the pool.
pub fn drain(response: Response<Body>) -> Vec<u8> {
    let mut body = Vec::new();
    if content_length(response.headers()).is_none_or(|length| length <= MAX_ERROR_BODY) {
        let _ = response.into_body().into_reader().take(MAX_ERROR_BODY + 1).read_to_end(&mut body);
    }
    body
}
