//! The admin listener: purges, events of buckets, status, statistics, metrics, images, health and readiness, for clients
//! that send its secret; and a page, which asks for it.
//!
//! It is a separate listener, so that no mistake in front of the public ports (a proxy's rule, a path that is decoded
//! twice) exposes it.

mod command;
mod metrics;
mod status;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde_json::{Value, json};

pub use self::command::EVENTS;
use self::command::{Command, CommandError, PurgeTarget};
use super::answer::{Answer, Reply};
use super::events::{Events, EventsJob};
use super::failures::Failures;
use super::image_handler::ImageJob;
use super::readiness::{Audience, Readiness};
use super::running_config::RunningConfig;
use super::shutdown::Shutdown;
use super::{page, router};
use crate::cache_tag::PurgeScope;
use crate::edge::http::conditional::Conditions;
use crate::edge::http::request::Request;
use crate::edge::http::response::{Body, Response};
use crate::edge::variants::Counts;
use crate::edge::variants::purge::{PurgeError, Removed, Rerendered};
use crate::log::{error_ratelimited, warn_ratelimited};
use crate::time::unix_seconds;
use crate::token;

/// The part of a request that waits for disks or a renderer.
#[derive(Debug)]
pub enum AdminJob {
    Purge(PurgeTarget),
    Keys(String),
    Image(ImageJob),
    Events(EventsJob),
}

/// Answers a request, or returns the job that does.
pub fn answer(
    request: &Request,
    peer: Option<IpAddr>,
    running: &RunningConfig,
    shutdown: &Shutdown,
    readiness: &Readiness,
    failures: &Failures,
    events: &Arc<Events>,
) -> Reply<AdminJob> {
    // There may be no secret any more: a connection can outlive the configuration with its listener.
    let Some(secret) = &running.admin else { return Reply::Ready(unauthorized(peer)) };
    let command = Command::parse(request);
    // The page tells nothing, and a browser sends no secret before it is loaded.
    if command == Ok(Command::Page) {
        return Reply::Ready(Answer::plain(page::admin(&Conditions::from_request(request))));
    }
    // Senders of events can't choose the scheme.
    let is_events = request.path() == EVENTS;
    let is_authorized =
        secret.authorizes(request) || (is_events && secret.authorizes_as_password(request));
    if !is_authorized {
        return Reply::Ready(if is_events {
            unauthorized_event(request, peer)
        } else {
            unauthorized(peer)
        });
    }
    let ready = |response| Reply::Ready(Answer::plain(response));
    match command {
        Err(error) => Reply::Ready(bad_request(&error)),
        Ok(Command::Page) => ready(page::admin(&Conditions::from_request(request))),
        Ok(Command::Health) => ready(router::health(request.method, shutdown)),
        Ok(Command::Ready) => {
            ready(router::ready(request.method, shutdown, readiness, Audience::Operators))
        }
        Ok(Command::Stats) => ready(json(200, &stats(running))),
        Ok(Command::Metrics) => ready(metrics::metrics(request, running, readiness)),
        Ok(Command::Status) => ready(json(200, &status::status(running, readiness, failures))),
        Ok(Command::Sign(target)) => Reply::Ready(sign(&target, running)),
        Ok(Command::Keys(route)) => Reply::Pending(AdminJob::Keys(route)),
        Ok(Command::Image(path)) => {
            running.images.lookup_for_admin(request, &path).map(AdminJob::Image)
        }
        Ok(Command::Purge(target)) => Reply::Pending(AdminJob::Purge(target)),
        Ok(Command::Events) => Reply::Pending(AdminJob::Events(EventsJob::new(events))),
    }
}

impl AdminJob {
    /// Where it takes the body of its request. `None` if it has none.
    pub fn body(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            AdminJob::Events(job) => Some(&mut job.body),
            AdminJob::Purge(_) | AdminJob::Keys(_) | AdminJob::Image(_) => None,
        }
    }

    pub fn run(self, running: &RunningConfig) -> Answer {
        match self {
            AdminJob::Purge(target) => purge(&target, running),
            AdminJob::Keys(route) => keys(&route, running),
            AdminJob::Image(job) => running.images.make_for_admin(job),
            AdminJob::Events(job) => {
                let outcome = job.run(running);
                let response = json(outcome.status, &outcome.body);
                Answer { error: outcome.error, ..Answer::plain(response) }
            }
        }
    }
}

/// The first keys of a handler with a directory.
fn keys(route: &str, running: &RunningConfig) -> Answer {
    if !running.images.handlers().any(|handler| handler.config.route == route) {
        return no_such_handler();
    }
    match running.images.variants().renderer().keys(route) {
        Some((keys, complete)) => {
            Answer::plain(json(200, &json!({"keys": keys, "complete": complete})))
        }
        None => Answer::overloaded(),
    }
}

fn sign(target: &str, running: &RunningConfig) -> Answer {
    let now = unix_seconds(SystemTime::now());
    let handlers = running.images.handlers().map(|handler| &handler.config);
    match token::sign(handlers, target, None, now) {
        Ok(url) => Answer::plain(json(200, &json!({"url": url}))),
        Err(sentence) => {
            let response = json(400, &json!({"error": sentence}));
            Answer { error: Some("bad_request"), ..Answer::plain(response) }
        }
    }
}

/// The counts since the start or the last reload, and the totals of each cache directory. The totals are complete once
/// the directory has been scanned.
fn stats(running: &RunningConfig) -> Value {
    let Counts { rendered, revalidated, failed } = running.images.variants().counts();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let caches = running.managers.iter().map(|(path, manager)| {
        let (entries, bytes) = manager.totals();
        json!({"path": path.to_string_lossy(), "entries": entries, "bytes": bytes})
    });
    json!({
        "rendered": count(rendered),
        "renewed": count(revalidated),
        "failed": count(failed),
        "caches": caches.collect::<Vec<_>>(),
    })
}

fn purge(target: &PurgeTarget, running: &RunningConfig) -> Answer {
    let RunningConfig { purger, .. } = running;
    let result = match target {
        PurgeTarget::Key { route, key, render: false } => {
            purger.purge_key(route, key).map(|result| result.map(key_result))
        }
        PurgeTarget::Key { route, key, render: true } => {
            let result = purger.purge_key_and_rerender(route, key);
            result.map(|result| {
                result.map(|(removed, Rerendered { rendered, failed })| {
                    let mut value = key_result(removed);
                    value["rendered"] = rendered.into();
                    value["failed"] = failed.into();
                    value
                })
            })
        }
        PurgeTarget::Prefix { route, prefix } => {
            purger.purge_prefix(route, prefix).map(|result| result.map(prefix_result))
        }
    };
    match result {
        Some(Ok(mut value)) => {
            if let Some(tag) = tag(target, running) {
                value["tag"] = tag.into();
            }
            Answer::plain(json(200, &value))
        }
        Some(Err(error)) => purge_incomplete(&error),
        None => no_such_handler(),
    }
}

/// The cache tag of what was purged, for a handler with tags.
fn tag(target: &PurgeTarget, running: &RunningConfig) -> Option<String> {
    let (route, scope) = match target {
        PurgeTarget::Key { route, key, .. } => (route, PurgeScope::Key(key.clone())),
        PurgeTarget::Prefix { route, prefix } => (route, PurgeScope::Prefix(prefix.clone())),
    };
    let handler = running.purger.handler(route)?;
    handler.config.cdn.cache_tags.as_ref().map(|_| scope.tag(route))
}

fn no_such_handler() -> Answer {
    const CODE: &str = "no_such_handler";
    let response = json(404, &json!({"error": "no handler has this name"}));
    Answer { error: Some(CODE), ..Answer::plain(response.with("X-Error", CODE)) }
}

/// Names in responses are older than the terms of the code and stay: `renditions` are variants.
fn key_result(Removed { variants, originals }: Removed) -> Value {
    json!({"renditions": variants, "original": originals > 0})
}

fn prefix_result(Removed { variants, originals }: Removed) -> Value {
    json!({"renditions": variants, "originals": originals})
}

fn purge_incomplete(error: &PurgeError) -> Answer {
    error_ratelimited!("purge_incomplete", "purge incomplete, send it again: {error}");
    let status = match error {
        PurgeError::NotRemoved(_) => 500,
        PurgeError::NotShared(_) => 502,
    };
    let response = json(status, &json!({"error": error.to_string()}));
    Answer { error: Some("refresh_failed"), ..Answer::plain(response) }
}

fn bad_request(error: &CommandError) -> Answer {
    let mut response = json(error.status, &json!({"error": error.sentence}));
    if let Some(methods) = error.allow {
        response = response.with("Allow", methods);
    }
    Answer { error: Some("bad_request"), ..Answer::plain(response) }
}

/// SNS sends the user and the password of its subscription only after a challenge for them (RFC 7617 §2).
fn unauthorized_event(request: &Request, peer: Option<IpAddr>) -> Answer {
    if request.raw("authorization").next().is_some() {
        warn_refused(peer);
    }
    let response = Response::new(401, Body::Text(String::new()))
        .with("WWW-Authenticate", "Basic realm=\"events\"")
        .with("Cache-Control", "no-store");
    Answer { error: Some("unauthorized"), ..Answer::plain(response) }
}

fn warn_refused(peer: Option<IpAddr>) {
    let peer = peer.map_or("a client".to_owned(), |address| address.to_string());
    warn_ratelimited!(
        "admin_refused",
        "refused {peer}: it did not send the secret of admin.secret"
    );
}

/// RFC 6750 §3.1: without credentials, the response has no error code or other information.
fn unauthorized(peer: Option<IpAddr>) -> Answer {
    warn_refused(peer);
    let response = Response::new(401, Body::Text(String::new()))
        .with("WWW-Authenticate", "Bearer")
        .with("Cache-Control", "no-store");
    Answer { error: Some("unauthorized"), ..Answer::plain(response) }
}

fn json(status: u16, value: &Value) -> Response {
    Response::new(status, Body::Text(format!("{value}\n")))
        .with("Content-Type", "application/json")
        .with("Cache-Control", "no-store")
}
