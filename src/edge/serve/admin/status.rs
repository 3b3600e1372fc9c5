//! `GET /-/status`: the handlers and what is wrong with them, the last failures, the keys that crashed a renderer.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::config::Origin;
use crate::edge::renderer::Tracked;
use crate::edge::serve::failures::Failures;
use crate::edge::serve::page::handler_data;
use crate::edge::serve::readiness::{Audience, Readiness};
use crate::edge::serve::running_config::RunningConfig;
use crate::edge::variants::HandlerState;

pub fn status(running: &RunningConfig, readiness: &Readiness, failures: &Failures) -> Value {
    let mut handlers: Vec<_> = running.images.handlers().collect();
    handlers.sort_unstable_by(|a, b| a.config.route.cmp(&b.config.route));
    let renderer = running.images.variants().renderer();
    let reasons = readiness.failure(Audience::Operators).unwrap_or_default();
    let crashes = renderer.crashes();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "not_ready": reasons.lines().collect::<Vec<_>>(),
        "handlers": handlers.into_iter().map(|state| handler(state, readiness)).collect::<Vec<_>>(),
        "caches": caches(running),
        "failures": failures.to_json(),
        "crashes": crashes.into_iter().map(crash).collect::<Vec<_>>(),
    })
}

/// The memory cache and each cache directory, whose totals are complete once it has been scanned.
fn caches(running: &RunningConfig) -> Vec<Value> {
    let memory = running.images.variants().memory();
    let (entries, bytes) = memory.totals();
    let max_bytes = memory.max_bytes();
    let memory =
        json!({"name": "memory", "entries": entries, "bytes": bytes, "max_bytes": max_bytes});
    let mut managers: Vec<_> = running.managers.iter().collect();
    managers.sort_unstable_by_key(|(path, _)| *path);
    let directories = managers.into_iter().map(|(path, manager)| {
        let (entries, bytes) = manager.totals();
        json!({
            "name": path.to_string_lossy(),
            "entries": entries,
            "bytes": bytes,
            "max_bytes": manager.limits().max_bytes,
        })
    });
    std::iter::once(memory).chain(directories).collect()
}

fn handler(state: &HandlerState, readiness: &Readiness) -> Value {
    let HandlerState { config, circuit_breaker, .. } = state;
    let mut value = handler_data(config);
    value["origins"] = config.origins.iter().map(origin).collect();
    value["cache_path"] =
        config.cache.as_ref().map(|cache| cache.path.to_string_lossy().into_owned()).into();
    value["playground"] = config.playground.into();
    let caches: Vec<&Path> = config.stores().map(|store| store.path.as_path()).collect();
    let mut problems = readiness.problems(&config.route, &caches);
    if circuit_breaker.is_open(Instant::now()) {
        problems.push("the origin failed in the last seconds: stale images are served".into());
    }
    value["problems"] = problems.into();
    value
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::S3(s3) => json!({
            "kind": "bucket",
            "bucket": s3.bucket,
            "file_path": s3.directory,
            "region": s3.region,
            "endpoint": s3.endpoint,
        }),
        Origin::Directory(directory) => {
            json!({"kind": "directory", "directory": directory.path.to_string_lossy()})
        }
        Origin::Http(http) => json!({"kind": "http", "url": http.base()}),
    }
}

fn crash(Tracked { path, is_timeout, is_blocked, left }: Tracked) -> Value {
    json!({"path": path, "timeout": is_timeout, "blocked": is_blocked, "seconds": left.as_secs()})
}
