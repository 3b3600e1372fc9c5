//! What the admin listener answers: whoever has its secret may refresh what is cached.
//!
//! It is a listener of its own, so that no mistake in front of the public ports (a proxy's rule, a path that is decoded
//! twice) leads here.

mod command;
mod secret;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use command::{Command, Refresh, Refused};
pub use secret::{Secret, bearer};

use super::images::Answer;
use super::lifecycle::Lifecycle;
use super::refresh::{Dropped, Rendered};
use super::request::Request;
use super::response::{Body, Response};
use super::results::Counts;
use super::routes;
use super::site::Site;
use crate::report::{OnceAMinute, say};

/// Answers a request of this peer. `None` if something has to be waited for and that is not wanted.
pub fn answer(
    request: &Request,
    peer: Option<IpAddr>,
    may_wait: bool,
    site: &Site,
    lifecycle: &Lifecycle,
) -> Option<Answer> {
    // A connection may outlive the configuration that had a listener for it.
    if !site.admin.as_ref().is_some_and(|secret| secret.is_in(request)) {
        return Some(unauthorized(peer));
    }
    match Command::of(request) {
        Err(refused) => Some(refusal(&refused)),
        Ok(Command::Health) => Some(Answer::plain(routes::health(lifecycle))),
        Ok(Command::Stats) => Some(Answer::plain(json(200, &stats(site)))),
        Ok(Command::Refresh(refresh)) => may_wait.then(|| obey(&refresh, site)),
    }
}

/// What the renderer was asked for since the start or the last reload, and what is known of the cache folders: all of
/// them only once they have been gone through.
fn stats(site: &Site) -> Value {
    let Counts { rendered, renewed, failed } = site.images.counts();
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let caches = site.keepers.iter().map(|(path, keeper)| {
        let (entries, bytes) = keeper.known();
        json!({"path": path.to_string_lossy(), "entries": entries, "bytes": bytes})
    });
    json!({
        "rendered": count(rendered),
        "renewed": count(renewed),
        "failed": count(failed),
        "caches": caches.collect::<Vec<_>>(),
    })
}

fn obey(refresh: &Refresh, site: &Site) -> Answer {
    let done = match refresh {
        Refresh::Key { route, key, render: false } => {
            site.refresher.key(route, key, &site.images).map(|done| done.map(of_key))
        }
        Refresh::Key { route, key, render: true } => {
            let done = site.refresher.key_and_render(route, key, &site.images);
            done.map(|done| {
                done.map(|(dropped, Rendered { rendered, failed })| {
                    let mut answer = of_key(dropped);
                    answer["rendered"] = rendered.into();
                    answer["failed"] = failed.into();
                    answer
                })
            })
        }
        Refresh::Prefix { route, prefix } => {
            let done = site.refresher.prefix(route, prefix, &site.images);
            done.map(|done| {
                done.map(|Dropped { renditions, originals }| {
                json!({"renditions": renditions, "originals": originals})
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

fn of_key(Dropped { renditions, originals }: Dropped) -> Value {
    json!({"renditions": renditions, "original": originals > 0})
}

/// What could not be removed may come back, once the refresh is not remembered any more: that is no success.
fn failed(error: &io::Error) -> Answer {
    say!("admin: a refresh is not complete, ask for it again: {error}");
    let response = json(500, &json!({"error": format!("not everything could be removed: {error}")}));
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
    static COMPLAINT: OnceAMinute = OnceAMinute::new();
    let peer = peer.map_or("somebody".to_owned(), |address| address.to_string());
    COMPLAINT.line(format_args!("admin: {peer} was refused: it did not send the secret of admin.secret"));
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
