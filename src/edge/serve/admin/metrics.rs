//! `GET /-/metrics`: the counted values, and those that are read when they are asked for.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use crate::edge::http::request::Request;
use crate::edge::http::response::{Body, Response};
use crate::edge::renderer::{Renderer, usage};
use crate::edge::serve::readiness::{Audience, Readiness};
use crate::edge::serve::running_config::RunningConfig;
use crate::metrics::family::{
    CACHE_BYTES, CACHE_ENTRIES, CIRCUIT_BREAKER_OPEN, CRASH_TRACKED_KEYS, CREDENTIALS_EXPIRY,
    CREDENTIALS_FOUND, FETCHES_IN_FLIGHT, MEMORY_BUDGET, MEMORY_BUDGET_USED, MEMORY_BUDGET_WAITED,
    MEMORY_CACHE_BYTES, MEMORY_CACHE_ENTRIES, PROCESS_CPU, PROCESS_MEMORY, PURGE_HOOK_WAITING,
    PURGES_READ, QUEUE_LENGTH, READY, RENDER_PERMITS, RENDERER_UP, RENDERS_IN_FLIGHT,
    RENDERS_WAITING, SHARED_BREAKER_OPEN, SHARED_CREDENTIALS_FOUND, SHARED_UPLOADS,
    SHARED_UPLOADS_PENDING, SHARED_UPLOADS_PENDING_BYTES,
};
use crate::metrics::{Exposition, METRICS, Writer};
use crate::renderer_status::{CredentialsStatus, RendererStatus};
use crate::time::unix_seconds;

/// The metrics of the process, in the format that the request accepts.
pub fn metrics(request: &Request, running: &RunningConfig, readiness: &Readiness) -> Response {
    let exposition = Exposition::negotiate(&request.list("accept").unwrap_or_default());
    let mut writer = Writer::new(exposition);
    METRICS.write(&mut writer);
    write_caches(running, &mut writer);
    let is_ready = readiness.failure(Audience::Operators).is_none();
    writer.family(READY).add(&[], u8::from(is_ready));
    write_renderer(running.images.variants().renderer(), &mut writer);
    write_usage(&mut writer);
    Response::new(200, Body::Text(writer.finish()))
        .with("Content-Type", exposition.content_type())
        .with("Vary", "Accept")
        .with("Cache-Control", "no-store")
}

fn write_caches(running: &RunningConfig, writer: &mut Writer) {
    let now = Instant::now();
    let handlers: BTreeMap<&str, bool> = running
        .images
        .handlers()
        .map(|handler| (handler.metrics.name.as_str(), handler.circuit_breaker.is_open(now)))
        .collect();
    let mut samples = writer.family(CIRCUIT_BREAKER_OPEN);
    handlers.iter().for_each(|(name, is_open)| samples.add(&[name], u8::from(*is_open)));
    let mut samples = writer.family(PURGES_READ);
    for (name, read) in purges_read(running) {
        samples.add(&[name], read);
    }
    let (entries, bytes) = running.images.variants().memory().totals();
    writer.family(MEMORY_CACHE_ENTRIES).add(&[], entries);
    writer.family(MEMORY_CACHE_BYTES).add(&[], bytes);
    // Different spellings of one directory share a manager, but each would be a series.
    let directories: BTreeMap<_, _> = running
        .managers
        .values()
        .map(|manager| (manager.path().to_string_lossy(), manager.totals()))
        .collect();
    let mut samples = writer.family(CACHE_ENTRIES);
    directories.iter().for_each(|(path, (entries, _))| samples.add(&[path], entries));
    let mut samples = writer.family(CACHE_BYTES);
    directories.iter().for_each(|(path, (_, bytes))| samples.add(&[path], bytes));
    let mut samples = writer.family(PURGE_HOOK_WAITING);
    for (route, count) in running.purger.waiting_for_hooks() {
        samples.add(&[&route], count);
    }
}

/// When the shared journal of each handler that has one was last read, in Unix seconds.
fn purges_read(running: &RunningConfig) -> BTreeMap<&str, u64> {
    let sharing = running.images.handlers().filter(|handler| handler.config.results.is_some());
    let read = sharing.map(|handler| {
        let read = handler.journal.read().map_or(0, unix_seconds);
        (handler.metrics.name.as_str(), read)
    });
    read.collect()
}

fn write_renderer(renderer: &Renderer, writer: &mut Writer) {
    writer.family(QUEUE_LENGTH).add(&[], renderer.queue_length());
    let (suspects, blocked) = renderer.crash_tracked();
    let mut samples = writer.family(CRASH_TRACKED_KEYS);
    samples.add(&["suspect"], suspects);
    samples.add(&["blocked"], blocked);
    let status = renderer.status();
    writer.family(RENDERER_UP).add(&[], u8::from(status.is_some()));
    let status = status.as_deref();
    for (family, value) in [
        (RENDERS_IN_FLIGHT, (|status| status.permits_used) as fn(&RendererStatus) -> u64),
        (RENDERS_WAITING, |status| status.renders_waiting),
        (RENDER_PERMITS, |status| status.permits),
        (MEMORY_BUDGET, |status| status.memory_budget),
        (MEMORY_BUDGET_USED, |status| status.memory_used),
        (MEMORY_BUDGET_WAITED, |status| status.memory_waiting),
        (FETCHES_IN_FLIGHT, |status| status.fetches),
        (SHARED_UPLOADS_PENDING, |status| status.uploads),
        (SHARED_UPLOADS_PENDING_BYTES, |status| status.upload_bytes),
    ] {
        let mut samples = writer.family(family);
        status.map(value).into_iter().for_each(|value| samples.add(&[], value));
    }
    write_credentials(status, writer);
    write_results(status, writer);
}

fn write_credentials(status: Option<&RendererStatus>, writer: &mut Writer) {
    let all = || status.into_iter().flat_map(|status| &status.credentials);
    let now = unix_seconds(SystemTime::now());
    let mut samples = writer.family(CREDENTIALS_FOUND);
    for (route, credentials) in all() {
        samples.add(&[route], u8::from(credentials.is_usable(now)));
    }
    let mut samples = writer.family(CREDENTIALS_EXPIRY);
    for (route, credentials) in all() {
        if let CredentialsStatus::Found { expires: Some(expires) } = credentials {
            samples.add(&[route], expires);
        }
    }
}

fn write_results(status: Option<&RendererStatus>, writer: &mut Writer) {
    let all = || status.into_iter().flat_map(|status| &status.results);
    let now = unix_seconds(SystemTime::now());
    let mut samples = writer.family(SHARED_UPLOADS);
    for (route, results) in all() {
        samples.add(&[route, "uploaded"], results.uploaded);
        samples.add(&[route, "failed"], results.failed);
        samples.add(&[route, "dropped"], results.dropped);
    }
    let mut samples = writer.family(SHARED_BREAKER_OPEN);
    all().for_each(|(route, results)| samples.add(&[route], u8::from(results.is_breaker_open)));
    let mut samples = writer.family(SHARED_CREDENTIALS_FOUND);
    for (route, results) in all() {
        samples.add(&[route], u8::from(results.credentials.is_usable(now)));
    }
}

fn write_usage(writer: &mut Writer) {
    let usage = usage::read();
    let processes = || {
        let both = usage.map(|(edge, renderers)| [("edge", edge), ("renderer", renderers)]);
        both.into_iter().flatten()
    };
    let mut samples = writer.family(PROCESS_CPU);
    processes().for_each(|(name, usage)| samples.add(&[name], usage.cpu_seconds));
    let mut samples = writer.family(PROCESS_MEMORY);
    processes().for_each(|(name, usage)| samples.add(&[name], usage.resident_bytes));
}
