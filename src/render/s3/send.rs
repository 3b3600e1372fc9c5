//! Sends a signed request, and once more if that may help.

use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Request as HttpRequest, Response, header};
use ureq::{AsSendBody, Body, Error, Timeout};

use super::failure::is_closed;
use super::signing::Action;
use super::{Bucket, Deadline, ObjectName, refusal};
use crate::error::Failure;

/// How much of an error response is read: for its error code, and so that the connection can be used again.
const MAX_ERROR_BODY: u64 = 64 << 10;
/// A deadline this much shorter than the agent's own timeout needs no configuration of its own.
const NEGLIGIBLE: Duration = Duration::from_millis(20);

pub(super) struct Request<'r> {
    pub action: Action<'r>,
    /// The entity tag of `If-None-Match`.
    pub if_none_match: Option<&'r str>,
    /// Of a PUT.
    pub body: &'r [u8],
    pub deadline: Deadline,
}

impl<'r> Request<'r> {
    /// A request without a condition and without a body.
    pub(super) fn new(action: Action<'r>, deadline: Deadline) -> Request<'r> {
        Request { action, if_none_match: None, body: &[], deadline }
    }

    fn method(&self) -> Method {
        match self.action {
            Action::Get | Action::List(_) => Method::GET,
            Action::Put(_) => Method::PUT,
            Action::Delete => Method::DELETE,
        }
    }
}

/// Whether a request may use a kept connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Any,
    New,
}

impl Bucket {
    /// Sends a request and reads the head of its response. A closed connection and a 5xx are tried once more, at once:
    /// both are often over by then, and the first is that of a connection which was closed while it was idle. All
    /// requests may be repeated (RFC 9110 §9.2.2).
    ///
    /// `retries` counts the requests that are sent again.
    pub(super) fn send(
        &self,
        object: &ObjectName,
        request: &Request,
        retries: &mut u32,
    ) -> Result<Response<Body>, Failure> {
        let url = &self.url(object, &request.action, request.deadline)?;
        let outcome = match self.attempt(url, request, Connection::Any) {
            Ok(response) if response.status().is_server_error() => {
                drain(response);
                *retries += 1;
                self.attempt(url, request, Connection::Any)
            }
            Err(error) if is_closed(&error) => {
                *retries += 1;
                self.attempt(url, request, Connection::New)
            }
            outcome => outcome,
        };
        outcome.map_err(|error| self.no_response(object, request.deadline, &error))
    }

    fn attempt(
        &self,
        url: &str,
        request: &Request,
        connection: Connection,
    ) -> Result<Response<Body>, Error> {
        let left = request.deadline.left();
        if left.is_zero() {
            return Err(Error::Timeout(Timeout::Global));
        }
        match request.action {
            Action::Put(_) => self.run(request.to_http(url, request.body)?, left, connection),
            // A body of no bytes would still be announced.
            _ => self.run(request.to_http(url, ())?, left, connection),
        }
    }

    fn run(
        &self,
        request: HttpRequest<impl AsSendBody>,
        left: Duration,
        connection: Connection,
    ) -> Result<Response<Body>, Error> {
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

    /// The failure for a response with another status than the request is answered with.
    pub(super) fn refused(
        &self,
        object: &ObjectName,
        request: &Request,
        response: Response<Body>,
    ) -> Failure {
        let status = response.status();
        let headers = response.headers().clone();
        let body = drain(response);
        let answer = refusal::Answer { status, headers: &headers, body: &body };
        refusal::failure(&self.config, self.role, object, request.action.permission(), &answer)
    }
}

impl Request<'_> {
    fn to_http<B>(&self, url: &str, body: B) -> Result<HttpRequest<B>, Error> {
        let mut request = HttpRequest::builder().method(self.method()).uri(url);
        if let Some(etag) = self.if_none_match {
            // Not part of the signature, which covers no header of a GET but the host.
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let (Action::Put(fields), Some(headers)) = (&self.action, request.headers_mut()) {
            headers.extend((*fields).clone());
        }
        Ok(request.body(body)?)
    }
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Reads the start of an error response. A read error does not matter. A body that is read whole gives its connection
/// back to the pool.
pub(super) fn drain(response: Response<Body>) -> Vec<u8> {
    let mut body = Vec::new();
    if content_length(response.headers()).is_none_or(|length| length <= MAX_ERROR_BODY) {
        let _ = response.into_body().into_reader().take(MAX_ERROR_BODY + 1).read_to_end(&mut body);
    }
    body
}
