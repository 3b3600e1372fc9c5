//! What the admin listener answers: whoever has its secret may purge what is cached.
//!
//! It is a listener of its own, so that no mistake in front of the public ports (a proxy's rule, a path that is decoded
//! twice) leads here.

mod command;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use command::{Command, PurgeTarget, Refused};

use super::image_handler::Answer;
use super::router;
use super::running_config::RunningConfig;
use super::shutdown::Shutdown;
use crate::edge::http::request::Request;
use crate::edge::http::response::{Body, Response};
use crate::edge::variants::Counts;
use crate::edge::variants::purge::{Dropped, Rendered};
use crate::log::{error, warn_ratelimited};

/// Answers a request of this peer. `None` if something has to be waited for and that is not wanted.
pub fn answer(
    request: &Request,
    peer: Option<IpAddr>,
    may_wait: bool,
    running: &RunningConfig,
    shutdown: &Shutdown,
) -> Option<Answer> {
    // A connection may outlive the configuration that had a listener for it.
    if !running.admin.as_ref().is_some_and(|secret| secret.authorizes(request)) {
        return Some(unauthorized(peer));
    }
    match Command::of(request) {
        Err(refused) => Some(refusal(&refused)),
        Ok(Command::Health) => Some(Answer::plain(router::health(shutdown))),
        Ok(Command::Stats) => Some(Answer::plain(json(200, &stats(running)))),
        Ok(Command::PurgeTarget(purge)) => may_wait.then(|| obey(&purge, running)),
    }
}

/// What the renderer was asked for since the start or the last reload, and what is known of the cache directories: all of
/// them only once they have been gone through.
fn stats(running: &RunningConfig) -> Value {
    let Counts { rendered, revalidated, failed } = running.images.counts();
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let caches = running.managers.iter().map(|(path, manager)| {
        let (entries, bytes) = manager.known();
        json!({"path": path.to_string_lossy(), "entries": entries, "bytes": bytes})
    });
    json!({
        "rendered": count(rendered),
        "renewed": count(revalidated),
        "failed": count(failed),
        "caches": caches.collect::<Vec<_>>(),
    })
}

fn obey(purge: &PurgeTarget, running: &RunningConfig) -> Answer {
    let done = match purge {
        PurgeTarget::Key { route, key, render: false } => {
            running.purger.key(route, key, &running.images).map(|done| done.map(of_key))
        }
        PurgeTarget::Key { route, key, render: true } => {
            let done = running.purger.key_and_render(route, key, &running.images);
            done.map(|done| {
                done.map(|(dropped, Rendered { rendered, failed })| {
                    let mut answer = of_key(dropped);
                    answer["rendered"] = rendered.into();
                    answer["failed"] = failed.into();
                    answer
                })
            })
        }
        PurgeTarget::Prefix { route, prefix } => {
            let done = running.purger.prefix(route, prefix, &running.images);
            done.map(|done| {
                done.map(|Dropped { variants, originals }| {
                json!({"renditions": variants, "originals": originals})
            })
            })
        }
    };
    match done {
        Some(Ok(answer)) => Answer::plain(json(200, &answer)),
        Some(Err(error)) => failed(&error),
        None => {
            const CODE: &str = "no_such_handler";
            let response = json(404, &json!({"error": "no handler has this name"}));
            Answer { error: Some(CODE), ..Answer::plain(response.with("X-Error", CODE)) }
        }
    }
}

fn of_key(Dropped { variants, originals }: Dropped) -> Value {
    json!({"renditions": variants, "original": originals > 0})
}

/// What could not be removed may come back, once the purge is not remembered any more: that is no success.
fn failed(error: &io::Error) -> Answer {
    error!("purge_incomplete", "purge incomplete, send it again: {error}");
    let response =
        json(500, &json!({"error": format!("not everything could be removed: {error}")}));
    Answer { error: Some("refresh_failed"), ..Answer::plain(response) }
}

fn refusal(refused: &Refused) -> Answer {
    let response = json(refused.status, &json!({"error": refused.sentence}));
    let response = match refused.allow {
        Some(methods) => response.with("Allow", methods),
        None => response,
    };
    Answer { error: Some("bad_request"), ..Answer::plain(response) }
}

/// RFC 6750 §3.1: whoever sends nothing of this is told that it is needed, and nothing else.
fn unauthorized(peer: Option<IpAddr>) -> Answer {
    let peer = peer.map_or("somebody".to_owned(), |address| address.to_string());
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
