//! The blocking tiny_http loop on the private socket.
//!
//! tiny_http is never given a client's bytes. The edge opens its connections one at a time and pings each
//! before it uses it, because a connection can be queued behind another one's idle thread.

use std::io::{self, Cursor};
use std::path::Path;

use tiny_http::{Header, Request, Response, Server, StatusCode};

use super::pool::Pool;
use super::service::Service;
use crate::cache::{OriginalEntry, Rendered};
use crate::error::Failure;
use crate::wire;

/// Serves until the process ends; `ready` is called once connections are accepted.
pub fn serve(
    socket: &Path,
    images: Service,
    workers: usize,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let server = Server::http_unix(socket).map_err(|error| io::Error::other(error.to_string()))?;
    let pool = Pool::start(workers, move |request: Request| answer(request, &images))?;
    ready()?;
    loop {
        let request = server.recv()?;
        if request.url() == wire::PING_PATH {
            send(request, 200, Vec::new(), Vec::new());
        } else if let Err(request) = pool.submit(request) {
            // The edge has no more connections than the pool has workers, so only a stranger gets here.
            send(request, 503, Vec::new(), b"every worker is busy\n".to_vec());
        }
    }
}

fn answer(request: Request, images: &Service) {
    let target = request.url().to_owned();
    let not_before = number(&request, wire::NOT_BEFORE_HEADER).unwrap_or_default();
    let answer = images.answer(&target, not_before, number(&request, wire::REQUEST_ID_HEADER));
    // After the work, so that what has failed because of it is marked.
    let outdated = images.is_outdated().then(|| header(wire::OUTDATED_HEADER, "1")).flatten();
    match answer {
        Ok(made) => send_image(request, made, outdated),
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

fn send_image(request: Request, made: Rendered, outdated: Option<Header>) {
    let image = made.image;
    let mut headers = vec![
        made.disk_bytes.and_then(|bytes| header(wire::STORED_HEADER, &bytes.to_string())),
        header(wire::ASKED_HEADER, &made.validated_at.to_string()),
        made.revalidated.then(|| header(wire::REVALIDATED_HEADER, "1")).flatten(),
        match made.original {
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

/// Our header values are words, numbers and hashes, so the parse can't fail; a header that did is left out.
fn header(name: &str, value: &str) -> Option<Header> {
    Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()
}

fn send(request: Request, status: u16, headers: Vec<Option<Header>>, body: Vec<u8>) {
    let length = body.len();
    let headers = headers.into_iter().flatten().collect();
    let response =
        Response::new(StatusCode(status), headers, Cursor::new(body), Some(length), None)
            // Chunks would make the edge reassemble what it could have read in one go.
            .with_chunked_threshold(usize::MAX);
    // An edge that hung up is no news here.
    let _ = request.respond(response);
}
