//! The admin listener: purges, statistics, metrics, health and readiness, for clients that send its secret.
//!
//! It is a separate listener, so that no mistake in front of the public ports (a proxy's rule, a path that is decoded
//! twice) exposes it.

mod command;
mod metrics;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

pub use self::command::PurgeTarget;
use self::command::{Command, CommandError};
use super::answer::{Answer, Reply};
use super::readiness::{Audience, Readiness};
use super::router;
use super::running_config::RunningConfig;
use super::shutdown::Shutdown;
use crate::edge::http::request::Request;
use crate::edge::http::response::{Body, Response};
use crate::edge::variants::Counts;
use crate::edge::variants::purge::{Removed, Rerendered};
use crate::log::{error, warn_ratelimited};

/// Answers a request. A purge may wait for disks and renderers.
pub fn answer(
    request: &Request,
    peer: Option<IpAddr>,
    running: &RunningConfig,
    shutdown: &Shutdown,
    readiness: &Readiness,
) -> Reply<PurgeTarget> {
    // There may be no secret any more: a connection can outlive the configuration with its listener.
    if !running.admin.as_ref().is_some_and(|secret| secret.authorizes(request)) {
        return Reply::Ready(unauthorized(peer));
    }
    match Command::parse(request) {
        Err(error) => Reply::Ready(bad_request(&error)),
        Ok(Command::Health) => {
            Reply::Ready(Answer::plain(router::health(request.method, shutdown)))
        }
        Ok(Command::Ready) => {
            let audience = Audience::Operators;
            let response = router::ready(request.method, shutdown, readiness, audience);
            Reply::Ready(Answer::plain(response))
        }
        Ok(Command::Stats) => Reply::Ready(Answer::plain(json(200, &stats(running)))),
        Ok(Command::Metrics) => Reply::Ready(Answer::plain(metrics::metrics(request, running))),
        Ok(Command::Purge(target)) => Reply::Pending(target),
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

pub fn purge(target: &PurgeTarget, running: &RunningConfig) -> Answer {
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
        Some(Ok(value)) => Answer::plain(json(200, &value)),
        Some(Err(error)) => purge_incomplete(&error),
        None => {
            const CODE: &str = "no_such_handler";
            let response = json(404, &json!({"error": "no handler has this name"}));
            Answer { error: Some(CODE), ..Answer::plain(response.with("X-Error", CODE)) }
        }
    }
}

/// Names in responses are older than the terms of the code and stay: `renditions` are variants.
fn key_result(Removed { variants, originals }: Removed) -> Value {
    json!({"renditions": variants, "original": originals > 0})
}

fn prefix_result(Removed { variants, originals }: Removed) -> Value {
    json!({"renditions": variants, "originals": originals})
}

/// An entry that could not be removed would be served again once the purge log has forgotten the purge.
fn purge_incomplete(error: &io::Error) -> Answer {
    error!("purge_incomplete", "purge incomplete, send it again: {error}");
    let response =
        json(500, &json!({"error": format!("not everything could be removed: {error}")}));
    Answer { error: Some("refresh_failed"), ..Answer::plain(response) }
}

fn bad_request(error: &CommandError) -> Answer {
    let mut response = json(error.status, &json!({"error": error.sentence}));
    if let Some(methods) = error.allow {
        response = response.with("Allow", methods);
    }
    Answer { error: Some("bad_request"), ..Answer::plain(response) }
}

/// RFC 6750 §3.1: without credentials, the response has no error code or other information.
fn unauthorized(peer: Option<IpAddr>) -> Answer {
    let peer = peer.map_or("a client".to_owned(), |address| address.to_string());
    warn_ratelimited!(
        "admin_refused",
        "refused {peer}: it did not send the secret of admin.secret"
    );
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
