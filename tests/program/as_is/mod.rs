//! Originals as they are: `raw=true`, files that are passed through, and names of downloads.

mod downloads;
mod files;
mod large;
mod raw;

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::merged;
use crate::support::server::Server;

pub const SVG: &[u8] =
    b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\"><script>alert(1)</script></svg>";
pub const PDF: &[u8] = b"%PDF-1.7\n1 0 obj\n<</Type /Catalog>>\nendobj\n%%EOF\n";
pub const HTML: &[u8] = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>";

/// All types of `passthrough`.
pub fn all_types() -> Value {
    json!(["svg", "ico", "bmp", "tiff", "heic", "jxl", "pdf", "mp4", "mov", "webm"])
}

/// A server with one handler on a directory, with a cache.
pub fn start(directory: &Directory, cache: &Directory, fields: Value) -> Server {
    let base = merged(directory.handler(), json!({"cache_path": cache.path()}));
    Server::with_handler(merged(base, fields))
}

/// An MP4 of this length that is no video.
pub fn mp4(length: usize) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2mp41".to_vec();
    let mut state = 1_u32;
    while bytes.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Fails unless this is the file, with this type and the fields that keep a browser from running it.
#[track_caller]
pub fn check(answer: &Answer, content_type: &str, body: &[u8]) {
    assert_eq!(answer.status, 200, "{:?}", answer.headers);
    assert_eq!(answer.expect("Content-Type"), content_type);
    assert_eq!(answer.body, body);
    check_security(answer);
}

#[track_caller]
pub fn check_security(answer: &Answer) {
    assert_eq!(answer.expect("X-Content-Type-Options"), "nosniff");
    let policy = answer.expect("Content-Security-Policy");
    let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    assert!(
        directives.contains(&"sandbox") && directives.contains(&"default-src 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("script") && !policy.contains("allow-"), "{policy}");
}
