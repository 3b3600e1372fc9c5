//! Sends a signed request.

use ureq::http::{Method, Request as HttpRequest, Response, header};
use ureq::{Body, Error};

use super::signing::Action;
use super::{Bucket, Deadline, ObjectName, refusal};
use crate::error::Failure;
use crate::render::http::drain;

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

impl Bucket {
    /// Sends a request and reads the head of its response, see [`Exchange::send`].
    ///
    /// [`Exchange::send`]: crate::render::http::Exchange::send
    pub(super) fn send(
        &self,
        object: &ObjectName,
        request: &Request,
        retries: &mut u32,
    ) -> Result<Response<Body>, Failure> {
        let url = &self.url(object, &request.action, request.deadline)?;
        let exchange = self.exchange(object);
        match request.action {
            Action::Put(_) => {
                let make = || request.to_http(url, request.body);
                exchange.send(make, request.deadline, retries)
            }
            // A body of no bytes would still be announced.
            _ => exchange.send(|| request.to_http(url, ()), request.deadline, retries),
        }
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
