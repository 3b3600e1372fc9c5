//! The blocking tiny_http loop on the private socket.
//!
//! tiny_http never sees bytes of a client. The edge opens its connections one at a time and pings each before it uses
//! it, because tiny_http may queue a connection on the idle thread of another one.

use std::fmt::{Display, Write as _};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use tiny_http::{Request, Server};

use super::pool::Pool;
use super::purge_hook::PurgeHooks;
use super::service::Service;
use crate::cache::{OriginalEntry, Rendered};
use crate::cache_tag::PurgeScope;
use crate::error::Failure;
use crate::log::context::{self, RequestIds};
use crate::log::request_id::RequestId;
use crate::phases::Phases;
use crate::wire::{self, HookAnswer, NotBefore};

/// Serves until the process exits. `ready` is called once connections are accepted.
pub fn serve(
    socket: &Path,
    service: Service,
    hooks: PurgeHooks,
    threads: usize,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let server = Server::http_unix(socket).map_err(|error| io::Error::other(error.to_string()))?;
    let service = Arc::new(service);
    let for_pool = Arc::clone(&service);
    let pool = Pool::start("worker", threads, threads, move |request: Request| {
        respond(request, &for_pool);
    })?;
    // A thread of its own, so that a slow CDN delays no image.
    let hook_threads = usize::from(!hooks.is_empty());
    let hook_pool = Pool::start("hook", hook_threads, hook_threads, move |request: Request| {
        respond_hook(request, &hooks);
    })?;
    ready()?;
    loop {
        let request = server.recv()?;
        if request.url() == wire::PING_PATH {
            let status = service.status().to_string();
            send(request, Head::new(200, "text/plain", false), status.as_bytes());
            continue;
        }
        let pool = if request.url().starts_with(wire::HOOK_PATH) { &hook_pool } else { &pool };
        if let Err(request) = pool.submit(request) {
            // Not from the edge, which has as many connections as the pool has threads, and one for hooks.
            send(request, Head::new(503, "text/plain", false), b"every thread is busy\n");
        }
    }
}

fn respond(request: Request, service: &Service) {
    let target = request.url().to_owned();
    if let Some(route) = target.strip_prefix(wire::KEYS_PATH) {
        let keys = serde_json::Value::from(service.keys(route)).to_string();
        return send(request, Head::new(200, "application/json", false), keys.as_bytes());
    }
    if let Some(answer) = service.ask_sns(&target) {
        return match answer {
            Ok(text) => send(request, Head::new(200, "text/plain", false), &text),
            Err(failure) => send_failure(request, &failure, false, &Phases::default()),
        };
    }
    if target.starts_with(wire::JOURNAL_PATH) {
        return match service.call_journal(&target) {
            Ok(body) => send(request, Head::new(200, "application/json", false), body.as_bytes()),
            Err(failure) => send_failure(request, &failure, false, &Phases::default()),
        };
    }
    let [time, purge] = [wire::NOT_BEFORE_HEADER, wire::PURGE_HEADER]
        .map(|name| number(&request, name).unwrap_or_default());
    let id = number(&request, wire::REQUEST_ID_HEADER);
    let client_id = header(&request, wire::CLIENT_REQUEST_ID_HEADER);
    let client_id = client_id.and_then(|id| RequestId::parse(id.as_bytes()));
    let _scope = client_id.map(|id| context::enter(RequestIds { id, trace: None }));
    let mut phases = Phases::default();
    let result = service.serve(&target, NotBefore { time, purge }, id, &mut phases);
    // Checked after the work, so that a failure that it may have caused is marked.
    let outdated = service.is_outdated();
    match result {
        Ok(rendered) => send_image(request, rendered, outdated, &phases),
        Err(failure) => send_failure(request, &failure, outdated, &phases),
    }
}

fn respond_hook(mut request: Request, hooks: &PurgeHooks) {
    let route = request.url().strip_prefix(wire::HOOK_PATH).unwrap_or_default().to_owned();
    let mut body = Vec::new();
    let read = request.as_reader().take(wire::MAX_HOOK_BODY as u64).read_to_end(&mut body);
    let scopes = read.ok().and_then(|_| serde_json::from_slice::<Vec<PurgeScope>>(&body).ok());
    let answer = match scopes {
        Some(scopes) => hooks.send(&route, &scopes),
        None => HookAnswer::Refused("malformed request from the edge".to_owned()),
    };
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    send(request, Head::new(200, "application/json", false), &text);
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let mut headers = request.headers().iter();
    let header =
        headers.find(|header| header.field.as_str().as_str().eq_ignore_ascii_case(name))?;
    Some(header.value.as_str())
}

fn number(request: &Request, name: &str) -> Option<u64> {
    header(request, name)?.parse().ok()
}

fn send_image(request: Request, rendered: Rendered, outdated: bool, phases: &Phases) {
    let image = rendered.image;
    let mut head = Head::new(200, image.media_type.content_type(), outdated);
    if let Some(bytes) = rendered.disk_bytes {
        head.add(wire::DISK_BYTES_HEADER, bytes);
    }
    head.add(wire::VALIDATED_AT_HEADER, rendered.validated_at);
    if rendered.revalidated {
        head.add(wire::REVALIDATED_HEADER, 1);
    }
    if rendered.shared {
        head.add(wire::SHARED_HEADER, 1);
    }
    match rendered.original {
        OriginalEntry::None => {}
        OriginalEntry::Stored(bytes) => head.add(wire::ORIGINAL_HEADER, bytes),
        OriginalEntry::Used => head.add(wire::ORIGINAL_HEADER, wire::ORIGINAL_USED),
    }
    head.add(wire::FORMAT_HEADER, image.media_type.name());
    head.add(wire::SHA256_HEADER, &image.sha256);
    if let Some(seconds) = image.last_modified {
        head.add(wire::LAST_MODIFIED_HEADER, seconds);
    }
    if let Some(value) = image.cache_control {
        head.add(wire::CACHE_CONTROL_HEADER, value);
    }
    if let Some(level) = image.quality {
        head.add(wire::QUALITY_HEADER, level);
    }
    head.add_phases(phases);
    send(request, head, &image.bytes);
}

fn send_failure(request: Request, failure: &Failure, outdated: bool, phases: &Phases) {
    let mut head = Head::new(failure.code.precise_status(), "text/plain", outdated);
    head.add(wire::ERROR_HEADER, failure.code.name());
    head.add_phases(phases);
    send(request, head, failure.detail.as_bytes());
}

/// A response head. Values are words, numbers and hashes, so none ends its line.
struct Head(String);

impl Head {
    fn new(status: u16, media_type: &str, outdated: bool) -> Head {
        let mut head = Head(format!("HTTP/1.1 {status} \r\nContent-Type: {media_type}\r\n"));
        if outdated {
            head.add(wire::OUTDATED_HEADER, 1);
        }
        head
    }

    fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{name}: {value}\r\n");
    }

    fn add_phases(&mut self, phases: &Phases) {
        if *phases != Phases::default() {
            self.add(wire::PHASES_HEADER, phases);
        }
    }
}

/// Writes the body in one piece: tiny_http's own writer would wake the edge for every 8 KB.
fn send(request: Request, mut head: Head, body: &[u8]) {
    head.add("Content-Length", format_args!("{}\r\n", body.len()));
    let mut writer = request.into_writer();
    // The edge may have closed the connection after `render_timeout`.
    let _ = writer
        .write_all(head.0.as_bytes())
        .and_then(|()| writer.write_all(body))
        .and_then(|()| writer.flush());
}
