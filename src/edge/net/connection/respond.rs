//! Writing responses, whole or in parts, with their deadlines and access log lines.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Connection, Scratch, Turn};
use crate::edge::Edge;
use crate::edge::http::forwarded::{self, Client};
use crate::edge::http::request::{Method, Request};
use crate::edge::http::response::{HeadOptions, Response};
use crate::edge::net::connection::Blocking;
use crate::edge::net::listener::ListenerKind;
use crate::edge::serve::access_log::{self, Line};
use crate::edge::serve::admin;
use crate::edge::serve::image_handler::Answer;
use crate::edge::serve::router;
use crate::edge::serve::running_config::RunningConfig;

/// A response that the socket has not taken completely.
#[derive(Debug)]
pub(super) struct PartialResponse {
    answer: Answer,
    head: String,
    sent: usize,
    options: HeadOptions,
    request: LoggedRequest,
}

/// What the access log says about a request whose bytes are gone from the buffer.
#[derive(Debug)]
struct LoggedRequest {
    client: Option<IpAddr>,
    method: String,
    target: String,
    is_head: bool,
}

impl Connection {
    /// Answers a request. `false` if that would block and must not. If the socket takes only a part of the response,
    /// the rest is left in `unsent`.
    pub(super) fn respond(
        &mut self,
        request: &Request,
        turn: &mut Turn,
        scratch: &mut Scratch,
        edge: &Arc<Edge>,
    ) -> io::Result<bool> {
        if self.active.is_none() {
            let started = Instant::now();
            self.registration.set_busy(started);
            self.active = Some((started, edge.shutdown.begin()));
        }
        let running = edge.running.get();
        self.head_timeout = running.limits.head_timeout;
        self.idle_timeout = running.limits.idle_timeout;
        let may_wait = turn.blocking != Blocking::Never;
        let (client, answer) = self.handle(request, may_wait, &running, edge);
        let Some(answer) = answer else { return Ok(false) };
        let keep_alive =
            request.keep_alive && !edge.shutdown.is_stopping() && !self.registration.is_closing();
        let options = HeadOptions {
            is_http_10: request.is_http_10,
            keep_alive,
            hsts: running.hsts.filter(|_| client.secure),
        };
        scratch.head.clear();
        let now = SystemTime::now();
        answer.response.write_head(&mut scratch.head, &mut scratch.date, now, options);
        let is_head = request.method == Method::Head;
        let body = if is_head { &[] } else { answer.response.body.bytes() };
        self.start_write(scratch.head.len() + body.len(), &running);
        let is_logged = running.access_log;
        // A client may be slow from here on, and a replaced running config must not wait for it.
        drop(running);
        let mut sent = 0;
        let result = self.stream.send(scratch.head.as_bytes(), body, &mut sent);
        turn.sent += sent;
        if let Err(error) = &result
            && error.kind() == ErrorKind::WouldBlock
        {
            let request = LoggedRequest {
                client: client.address,
                method: request.method_name.to_owned(),
                target: request.target.to_owned(),
                is_head,
            };
            let head = std::mem::take(&mut scratch.head);
            self.unsent = Some(Box::new(PartialResponse { answer, head, sent, options, request }));
            return Ok(true);
        }
        if is_logged {
            let line = Line {
                client: client.address,
                method: request.method_name,
                target: request.target,
                ..self.log_line(&answer, body.len(), &result)
            };
            access_log::add(&line, now);
        }
        self.end_write(result, options).map(|()| true)
    }

    /// The client, and its response unless `may_wait` is false and the response needs waiting.
    fn handle(
        &self,
        request: &Request,
        may_wait: bool,
        running: &RunningConfig,
        edge: &Arc<Edge>,
    ) -> (Client, Option<Answer>) {
        if self.kind == ListenerKind::Admin {
            let client = Client { address: self.peer, secure: false };
            let answer = admin::answer(request, self.peer, may_wait, running, &edge.shutdown);
            return (client, answer);
        }
        let secure = self.stream.is_tls();
        let client = forwarded::client(request, self.peer, secure, &running.trusted_proxies);
        (client, router::answer(request, client, may_wait, running, &edge.shutdown))
    }

    /// Sends the rest of a response, blocking: a poller never holds a connection with an unsent one.
    pub(super) fn send_rest(
        &mut self,
        mut unsent: Box<PartialResponse>,
        edge: &Edge,
    ) -> io::Result<()> {
        let body = if unsent.request.is_head { &[] } else { unsent.answer.response.body.bytes() };
        let result = self.stream.send(unsent.head.as_bytes(), body, &mut unsent.sent);
        if edge.running.get().access_log {
            let line = Line {
                client: unsent.request.client,
                method: &unsent.request.method,
                target: &unsent.request.target,
                ..self.log_line(&unsent.answer, body.len(), &result)
            };
            access_log::add(&line, SystemTime::now());
        }
        self.end_write(result, unsent.options)?;
        self.start_waiting(&[]);
        Ok(())
    }

    /// Answers bytes that are not a valid request, and closes.
    pub(super) fn refuse(&mut self, response: Response, scratch: &mut Scratch, edge: &Edge) {
        let _active = edge.shutdown.begin();
        self.registration.set_busy(Instant::now());
        let running = edge.running.get();
        let answer = Answer { error: Some("bad_request"), ..Answer::plain(response) };
        let options = HeadOptions {
            is_http_10: false,
            keep_alive: false,
            hsts: running.hsts.filter(|_| self.stream.is_tls()),
        };
        scratch.head.clear();
        let now = SystemTime::now();
        answer.response.write_head(&mut scratch.head, &mut scratch.date, now, options);
        let body = answer.response.body.bytes();
        self.start_write(scratch.head.len() + body.len(), &running);
        // It is short: if the socket does not take it at once, the client is not reading, and the rest is dropped.
        let result = self.stream.send(scratch.head.as_bytes(), body, &mut 0);
        if running.access_log {
            let line = Line { client: self.peer, ..self.log_line(&answer, body.len(), &result) };
            access_log::add(&line, now);
        }
        self.start_lingering_close();
    }

    /// Sets the write deadline: what is left of the grace, plus the time that `length` bytes take at `min_write_rate`.
    fn start_write(&mut self, length: usize, running: &RunningConfig) {
        let timeout = running.limits.write_timeout;
        let rate = running.limits.min_write_rate.max(1);
        let for_length = Duration::from_micros((length as u64).saturating_mul(1_000_000) / rate);
        self.write_deadline = Instant::now() + self.write_grace.min(timeout) + for_length;
        self.stream.set_write_deadline(self.write_deadline, timeout);
    }

    fn end_write(&mut self, result: io::Result<()>, options: HeadOptions) -> io::Result<()> {
        self.active = None;
        result?;
        self.write_grace = self.write_deadline.saturating_duration_since(Instant::now());
        if !options.keep_alive {
            self.start_lingering_close();
        }
        Ok(())
    }

    fn log_line<'a>(&self, answer: &Answer, length: usize, result: &io::Result<()>) -> Line<'a> {
        Line {
            client: None,
            method: "",
            target: "",
            status: answer.response.status,
            bytes: if result.is_ok() { length } else { 0 },
            took: self.active.as_ref().map_or(Duration::ZERO, |(started, _)| started.elapsed()),
            cache: answer.cache,
            error: if result.is_err() { Some("client_gone") } else { answer.error },
        }
    }
}
