//! Answers requests and writes responses, whole or in parts, with their deadlines and access log lines.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::body::UnreadBody;
use super::{Connection, Scratch, Turn};
use crate::edge::http::forwarded::{self, Client};
use crate::edge::http::request::{Method, Request};
use crate::edge::http::request_ids::request_ids;
use crate::edge::http::response::{Body, HeadOptions, Response};
use crate::edge::net::endpoint::ListenerKind;
use crate::edge::serve::access_log::{self, Line};
use crate::edge::serve::answer::{Answer, Reply};
use crate::edge::serve::responder::{Job, Responder};
use crate::edge::serve::running_config::RunningConfig;
use crate::log::context::{self, RequestIds};
use crate::metrics::{METRICS, ResponseCount};

/// A request whose answer waits for a renderer or for disks. It moves to a thread with its connection.
#[derive(Debug)]
pub(super) struct PendingRequest {
    job: Job,
    request: Summary<'static>,
    body: UnreadBody,
    /// The configuration that the request began with.
    running: Arc<RunningConfig>,
}

/// A response that the socket has not taken completely.
#[derive(Debug)]
pub(super) struct PartialResponse {
    answer: Answer,
    head: String,
    sent: usize,
    keep_alive: bool,
    request: Summary<'static>,
}

/// The parts of a request that the response head and the access log need.
#[derive(Debug)]
struct Summary<'r> {
    ids: RequestIds,
    client: Client,
    /// Empty for a request that could not be parsed, as the target.
    method: Cow<'r, str>,
    target: Cow<'r, str>,
    is_head: bool,
    is_http_10: bool,
    keep_alive: bool,
}

impl<'r> Summary<'r> {
    fn new(request: &Request<'r>, ids: RequestIds, client: Client) -> Summary<'r> {
        Summary {
            ids,
            client,
            method: request.method_name.into(),
            target: request.target.into(),
            is_head: request.method == Method::Head,
            is_http_10: request.is_http_10,
            keep_alive: request.keep_alive,
        }
    }

    /// Of a request that could not be parsed.
    fn of_invalid(client: Client) -> Summary<'r> {
        Summary {
            ids: RequestIds::random(),
            client,
            method: Cow::Borrowed(""),
            target: Cow::Borrowed(""),
            is_head: false,
            is_http_10: false,
            keep_alive: false,
        }
    }

    fn into_owned(self) -> Summary<'static> {
        Summary {
            method: self.method.into_owned().into(),
            target: self.target.into_owned().into(),
            ..self
        }
    }

    fn body<'a>(&self, answer: &'a Answer) -> &'a Body {
        if self.is_head { &Body::None } else { &answer.response.body }
    }
}

impl Connection {
    /// Answers a request. If that has to wait, the request is left in `pending`.
    pub(super) fn respond(
        &mut self,
        request: &Request,
        turn: &mut Turn,
        scratch: &mut Scratch,
        responder: &Responder,
    ) -> io::Result<()> {
        let started = Instant::now();
        self.registration.set_busy(started);
        self.active = Some((started, responder.shutdown.begin()));
        let running = responder.running.get();
        self.head_timeout = running.limits.head_timeout;
        self.idle_timeout = running.limits.idle_timeout;
        let ids = request_ids(request, running.trusted_proxies.contains(self.peer));
        let _scope = context::enter(ids.clone());
        let (client, reply) = self.answer(request, &running, responder);
        let mut summary = Summary::new(request, ids, client);
        match reply {
            Reply::Ready(answer) => {
                // Its body is not read, so the next request can't be.
                summary.keep_alive &= request.body_length == 0;
                self.send(answer, summary, running, turn, scratch, responder)
            }
            Reply::Pending(job) => {
                let body = UnreadBody::of(request);
                let request = summary.into_owned();
                self.pending = Some(Box::new(PendingRequest { job, request, body, running }));
                Ok(())
            }
        }
    }

    /// Reads the body of a request, waits for the answer, and sends it.
    pub(super) fn finish(
        &mut self,
        pending: PendingRequest,
        buffer: &mut Vec<u8>,
        turn: &mut Turn,
        scratch: &mut Scratch,
        responder: &Responder,
    ) -> io::Result<()> {
        let PendingRequest { mut job, mut request, body, running } = pending;
        let _scope = context::enter(request.ids.clone());
        // Only a client that knows the admin secret may let a replaced running config wait for a body.
        let read = job.body().map_or(Ok(()), |into| self.read_body(body, buffer, into));
        let answer = match read {
            Ok(()) => job.run(&running),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                request.keep_alive = false;
                let response = Response::text(408, "the body did not arrive in time");
                Answer { error: Some("bad_request"), ..Answer::plain(response) }
            }
            Err(error) => return Err(error),
        };
        self.send(answer, request, running, turn, scratch, responder)
    }

    fn answer(
        &self,
        request: &Request,
        running: &RunningConfig,
        responder: &Responder,
    ) -> (Client, Reply<Job>) {
        if self.kind == ListenerKind::Admin {
            let client = Client { address: self.peer, secure: false };
            return (client, responder.answer_admin(request, self.peer, running));
        }
        let secure = self.stream.is_tls();
        let client = forwarded::client(request, self.peer, secure, &running.trusted_proxies);
        (client, responder.answer(request, client, running))
    }

    /// Sends a response. If the socket takes only a part of it, the rest is left in `unsent`.
    fn send(
        &mut self,
        answer: Answer,
        request: Summary,
        running: Arc<RunningConfig>,
        turn: &mut Turn,
        scratch: &mut Scratch,
        responder: &Responder,
    ) -> io::Result<()> {
        let is_last = responder.shutdown.is_stopping() || self.registration.is_closing();
        let keep_alive = request.keep_alive && !is_last;
        let options = HeadOptions {
            request_id: Some(request.ids.id.as_str()),
            is_http_10: request.is_http_10,
            keep_alive,
            hsts: running.hsts.filter(|_| request.client.secure),
        };
        scratch.head.clear();
        let now = SystemTime::now();
        responder.record_failure(&answer, request.ids.id.as_str(), now);
        answer.response.write_head(&mut scratch.head, &mut scratch.date, now, options);
        let body = request.body(&answer);
        self.start_write(scratch.head.len().saturating_add(body.length()), &running);
        let is_logged = running.access_log;
        // A client may be slow from here on, and a replaced running config must not wait for it.
        drop(running);
        let mut sent = 0;
        let result = self.stream.send_response(scratch.head.as_bytes(), body, &mut sent);
        turn.sent += sent;
        if let Err(error) = &result
            && error.kind() == ErrorKind::WouldBlock
        {
            let request = request.into_owned();
            let head = std::mem::take(&mut scratch.head);
            self.unsent =
                Some(Box::new(PartialResponse { answer, head, sent, keep_alive, request }));
            return Ok(());
        }
        self.account(&answer, &request, &result, sent, is_logged.then_some(now));
        self.end_write(result, keep_alive)
    }

    /// Sends the rest of a response, blocking.
    pub(super) fn send_rest(
        &mut self,
        mut unsent: Box<PartialResponse>,
        responder: &Responder,
    ) -> io::Result<()> {
        let body = unsent.request.body(&unsent.answer);
        let result = self.stream.send_response(unsent.head.as_bytes(), body, &mut unsent.sent);
        let logged = responder.running.get().access_log.then(SystemTime::now);
        let PartialResponse { answer, request, sent, keep_alive, .. } = *unsent;
        self.account(&answer, &request, &result, sent, logged);
        self.end_write(result, keep_alive)
    }

    /// Answers bytes that are not a valid request, and closes.
    pub fn refuse(&mut self, response: Response, scratch: &mut Scratch, responder: &Responder) {
        let _active = responder.shutdown.begin();
        self.registration.set_busy(Instant::now());
        let running = responder.running.get();
        let answer = Answer { error: Some("bad_request"), ..Answer::plain(response) };
        let client = Client { address: self.peer, secure: self.stream.is_tls() };
        let request = Summary::of_invalid(client);
        let options = HeadOptions {
            request_id: Some(request.ids.id.as_str()),
            is_http_10: false,
            keep_alive: false,
            hsts: running.hsts.filter(|_| client.secure),
        };
        scratch.head.clear();
        let now = SystemTime::now();
        answer.response.write_head(&mut scratch.head, &mut scratch.date, now, options);
        let body = answer.response.body.bytes();
        self.start_write(scratch.head.len() + body.len(), &running);
        // It is short: if the socket does not take it at once, the client is not reading, and the rest is dropped.
        let mut sent = 0;
        let result = self.stream.send(scratch.head.as_bytes(), body, &mut sent);
        self.account(&answer, &request, &result, sent, running.access_log.then_some(now));
        self.start_lingering_close();
    }

    /// Sets the write deadline: what is left of the grace, plus the time that `length` bytes take at `min_write_rate`.
    fn start_write(&mut self, length: usize, running: &RunningConfig) {
        let timeout = running.limits.write_timeout;
        let rate = running.limits.min_write_rate.max(1);
        let for_length = Duration::from_micros((length as u64).saturating_mul(1_000_000) / rate);
        self.write_started = Instant::now();
        self.write_deadline = self.write_started + self.write_grace.min(timeout) + for_length;
        self.stream.socket().set_write_deadline(self.write_deadline, timeout);
    }

    fn end_write(&mut self, result: io::Result<()>, keep_alive: bool) -> io::Result<()> {
        self.active = None;
        result?;
        self.write_grace = self.write_deadline.saturating_duration_since(Instant::now());
        if !keep_alive {
            self.start_lingering_close();
        }
        Ok(())
    }

    /// Counts a response of which `sent` bytes were sent, and adds its line to the access log if a time is given.
    fn account(
        &self,
        answer: &Answer,
        request: &Summary,
        result: &io::Result<()>,
        sent: usize,
        logged: Option<SystemTime>,
    ) {
        let ended = Instant::now();
        let since = |started| ended.saturating_duration_since(started);
        let took = self.active.as_ref().map_or(Duration::ZERO, |(started, _)| since(*started));
        let status = answer.response.status;
        let error = if result.is_err() { Some("client_gone") } else { answer.error };
        let metrics = match &answer.handler {
            _ if self.kind == ListenerKind::Admin => &METRICS.admin,
            Some(handler) => handler,
            None => &METRICS.without_handler,
        };
        let (cache, bytes) = (answer.cache, sent as u64);
        metrics.count_response(ResponseCount { status, cache, error, bytes, took });
        let Some(now) = logged else { return };
        let line = Line {
            ids: &request.ids,
            client: request.client.address,
            method: &request.method,
            target: &request.target,
            bytes: if result.is_ok() { request.body(answer).length() } else { 0 },
            took,
            write_took: since(self.write_started),
            error,
            answer,
        };
        access_log::add(&line, now);
    }
}
