//! Objects that were uploaded with a `Content-Encoding`.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::support::directory::Directory;
use crate::support::images::{self, GREEN, Image, close, size_of};
use crate::support::origin::{RawOrigin, Then};
use crate::support::server::Server;
use crate::support::{eventually, merged};

fn image() -> Vec<u8> {
    images::png(images::solid(40, 30, GREEN))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An object with this coding, whose entity tag is that of the encoded bytes.
fn encoded(bytes: &[u8], fields: &[&str]) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"encoded\"\r\nContent-Type: image/png\r\n",
        bytes.len()
    );
    for value in fields {
        write!(head, "Content-Encoding: {value}\r\n").unwrap();
    }
    [head.as_bytes(), b"\r\n", bytes].concat()
}

/// The objects that are images by one name each, and those that are refused.
fn origin() -> RawOrigin {
    RawOrigin::start(|request, peer| {
        let image = image();
        let key = request.path();
        let key = key.trim_start_matches("/bucket/");
        if request.header("if-none-match") == Some("\"encoded\"") {
            return peer.send(b"HTTP/1.1 304 Not Modified\r\nETag: \"encoded\"\r\n\r\n");
        }
        let bomb = || gzip(&vec![0; 3 << 20]);
        let (bytes, fields): (Vec<u8>, &[&str]) = match key {
            "gzip" => (gzip(&image), &["gzip"]),
            "x-gzip" => (gzip(&image), &["X-GZip"]),
            "deflate" => (zlib(&image), &["deflate"]),
            "twice" => (gzip(&gzip(&image)), &["gzip, gzip"]),
            "two-fields" => (gzip(&zlib(&image)), &["deflate", "gzip"]),
            "identity" => (image, &["identity"]),
            "aws-chunked" => (image, &["aws-chunked"]),
            "aws-chunked-gzip" => (gzip(&image), &["gzip,aws-chunked"]),
            "not-encoded" => (image, &["gzip"]),
            "br" => (b"\x8b\x07\x80hello\x03".to_vec(), &["br"]),
            "zstd" => (b"\x28\xb5\x2f\xfd\0\0\x01\0\0".to_vec(), &["gzip, zstd"]),
            "bomb" => (bomb(), &["gzip"]),
            "bomb-in-gzip" => (gzip(&bomb()), &["gzip, gzip"]),
            "half" => (gzip(&image)[..40].to_vec(), &["gzip"]),
            "no-image" => (gzip(b"hello, world"), &["gzip"]),
            "unnamed" => (gzip(&image), &[]),
            "broken" => {
                let whole = encoded(&gzip(&image), &["gzip"]);
                let _ = peer.write(&whole[..whole.len() - 10]);
                return Then::Close;
            }
            other => panic!("{other}"),
        };
        peer.send(&encoded(&bytes, fields))
    })
}

#[test]
fn encoded_originals_are_decoded() {
    let origin = origin();
    let server = Server::with_handler(merged(
        origin.handler(),
        json!({"error_status": "precise", "output_format": "png"}),
    ));
    for key in [
        "gzip",
        "x-gzip",
        "deflate",
        "twice",
        "two-fields",
        "identity",
        "aws-chunked",
        "aws-chunked-gzip",
        "not-encoded",
    ] {
        let answer = server.get(&format!("/h/{key}?w=20")).ok();
        assert_eq!(size_of(&answer.body), (20, 15), "{key}");
        assert!(close(Image::decode(&answer.body).at(50, 50), GREEN), "{key}");
        assert_eq!(answer.header("Content-Encoding"), None, "{key}");
    }
    for (key, status, code, part) in [
        ("br", 415, "unsupported_format", "Content-Encoding \"br\""),
        ("zstd", 415, "unsupported_format", "Content-Encoding \"zstd\""),
        ("half", 415, "corrupt_image", "not valid gzip"),
        ("no-image", 415, "unsupported_format", "no-image"),
        ("unnamed", 415, "unsupported_format", "unnamed"),
        ("broken", 502, "origin_truncated", "broken"),
    ] {
        let answer = server.get(&format!("/h/{key}"));
        assert_eq!((answer.status, answer.expect("X-Error")), (status, code), "{key}");
        server.log.event_with("image_failed", part);
    }
    // An object that can't be decoded says nothing about its origin.
    server.get("/h/gzip").ok();
}

#[test]
fn decompression_bombs_stop_at_origin_max_bytes() {
    let origin = origin();
    let server = Server::with_limits(
        merged(origin.handler(), json!({"error_status": "precise"})),
        json!({"origin_max_bytes": 1 << 20}),
    );
    server.get("/h/gzip").ok();
    let renderer = server.renderer();
    for key in ["bomb", "bomb-in-gzip"] {
        let answer = server.get(&format!("/h/{key}"));
        assert_eq!((answer.status, answer.expect("X-Error")), (413, "too_large"), "{key}");
        server.log.event_with("image_failed", "limits.origin_max_bytes");
    }
    assert!(renderer.lives());
    server.get("/h/gzip?w=7").ok();
}

#[test]
fn a_cached_original_is_decoded_once_and_revalidated_by_its_own_entity_tag() {
    let origin = origin();
    let [cache, originals] = [Directory::new(), Directory::new()];
    let server = Server::with_handler(merged(
        origin.handler(),
        json!({
            "cache_path": cache.path(),
            "originals_cache": {"path": originals.path()},
            "cache_time": 1,
        }),
    ));
    let first = server.get("/h/gzip?w=20").ok();
    assert_eq!(originals.files().len(), 1, "{:?}", originals.files());
    let stored = std::fs::read(&originals.files()[0]).unwrap();
    assert!(stored.ends_with(&image()), "the decoded bytes are stored");
    eventually("it expires and is revalidated", || {
        let answer = server.get("/h/gzip?w=20").ok();
        assert_eq!(answer.body, first.body);
        answer.expect("X-Cache") == "revalidated"
    });
    // Another size is made from the stored original, which is still valid.
    assert_eq!(size_of(&server.get("/h/gzip?w=10").ok().body), (10, 8));
    let requests = origin.requests();
    let unconditional = requests.iter().filter(|one| one.header("if-none-match").is_none());
    assert_eq!(unconditional.count(), 1);
    assert!(requests.iter().all(|one| one.header("accept-encoding") == Some("identity")));
}
