//! The blocking tiny_http loop on the private socket.
//!
//! tiny_http never sees bytes of a client. The edge opens its connections one at a time and pings each before it uses
//! it, because tiny_http may queue a connection on the idle thread of another one.

use std::io::{self, Cursor};
use std::path::Path;

use tiny_http::{Header, Request, Response, Server, StatusCode};

use super::pool::Pool;
use super::service::Service;
use crate::cache::{OriginalEntry, Rendered};
use crate::error::Failure;
use crate::wire;

/// Serves until the process exits. `ready` is called once connections are accepted.
pub fn serve(
    socket: &Path,
    service: Service,
    threads: usize,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let server = Server::http_unix(socket).map_err(|error| io::Error::other(error.to_string()))?;
    let pool = Pool::start(threads, move |request: Request| respond(request, &service))?;
    ready()?;
    loop {
        let request = server.recv()?;
        if request.url() == wire::PING_PATH {
            send(request, 200, Vec::new(), Vec::new());
        } else if let Err(request) = pool.submit(request) {
            // Not from the edge, which has as many connections as the pool has threads.
            send(request, 503, Vec::new(), b"every thread is busy\n".to_vec());
        }
    }
}

fn respond(request: Request, service: &Service) {
    let target = request.url().to_owned();
    let not_before = number(&request, wire::NOT_BEFORE_HEADER).unwrap_or_default();
    let id = number(&request, wire::REQUEST_ID_HEADER);
    let result = service.serve(&target, not_before, id);
    // Checked after the work, so that a failure that it may have caused is marked.
    let outdated = service.is_outdated().then(|| header(wire::OUTDATED_HEADER, "1")).flatten();
    match result {
        Ok(rendered) => send_image(request, rendered, outdated),
        Err(failure) => send_failure(request, &failure, outdated),
    }
}

fn number(request: &Request, name: &str) -> Option<u64> {
    let header = request
        .headers()
        .iter()
        .find(|header| header.field.as_str().as_str().eq_ignore_ascii_case(name))?;
    header.value.as_str().parse().ok()
}

fn send_image(request: Request, rendered: Rendered, outdated: Option<Header>) {
    let image = rendered.image;
    let mut headers = vec![
        rendered.disk_bytes.and_then(|bytes| header(wire::DISK_BYTES_HEADER, &bytes.to_string())),
        header(wire::VALIDATED_AT_HEADER, &rendered.validated_at.to_string()),
        rendered.revalidated.then(|| header(wire::REVALIDATED_HEADER, "1")).flatten(),
        match rendered.original {
            OriginalEntry::None => None,
            OriginalEntry::Stored(bytes) => header(wire::ORIGINAL_HEADER, &bytes.to_string()),
            OriginalEntry::Used => header(wire::ORIGINAL_HEADER, wire::ORIGINAL_USED),
        },
        outdated,
        header(wire::FORMAT_HEADER, image.format.name()),
        header(wire::SHA256_HEADER, &image.sha256),
    ];
    if let Some(seconds) = image.last_modified {
        headers.push(header(wire::LAST_MODIFIED_HEADER, &seconds.to_string()));
    }
    headers.push(header("Content-Type", image.format.media_type()));
    send(request, 200, headers, image.bytes);
}

fn send_failure(request: Request, failure: &Failure, outdated: Option<Header>) {
    let headers = vec![
        outdated,
        header(wire::ERROR_HEADER, failure.code.name()),
        header("Content-Type", "text/plain"),
    ];
    send(request, failure.code.precise_status(), headers, failure.detail.clone().into_bytes());
}

/// Can't fail: the values are words, numbers and hashes.
fn header(name: &str, value: &str) -> Option<Header> {
    Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()
}

fn send(request: Request, status: u16, headers: Vec<Option<Header>>, body: Vec<u8>) {
    let length = body.len();
    let headers = headers.into_iter().flatten().collect();
    let response =
        Response::new(StatusCode(status), headers, Cursor::new(body), Some(length), None)
            // The edge reads a body with a Content-Length in one piece.
            .with_chunked_threshold(usize::MAX);
    // The edge may have closed the connection after `render_timeout`.
    let _ = request.respond(response);
}
