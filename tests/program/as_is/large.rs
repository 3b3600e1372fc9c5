//! Large files: they are bounded by `origin_max_bytes`, and sent from disk in pieces.

use std::fs;

use rustls::version::TLS13;
use serde_json::{Value, json};

use super::{check, mp4, start};
use crate::admin::cache_status;
use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::merged;
use crate::support::server::{Server, Setup};

const MIB: usize = 1 << 20;

fn handler(directory: &Directory, cache: &Directory) -> Value {
    let fields = json!({"cache_path": cache.path(), "passthrough": ["mp4"], "raw": true});
    merged(directory.handler(), fields)
}

#[test]
fn a_file_over_the_limit_is_refused_without_being_read() {
    let directory = Directory::new();
    let path = directory.put("a.mp4", &mp4(100));
    // A sparse file of 100 MiB.
    fs::File::options().write(true).open(path).unwrap().set_len(100 * MIB as u64).unwrap();
    directory.put("b.mp4", &mp4(MIB));
    let cache = Directory::new();
    let server = start(&directory, &cache, json!({"passthrough": ["mp4"], "raw": true}));
    server.get("/h/b.mp4");
    let before = server.process().peak() + server.renderer().peak();
    for target in ["/h/a.mp4", "/h/a.mp4?raw=true", "/h/a.mp4?w=9"] {
        server.get_with(target, &[("Range", "bytes=0-1")]).failed("too_large");
    }
    let grown = (server.process().peak() + server.renderer().peak()).saturating_sub(before);
    assert!(grown < 20 * MIB as u64, "{grown}");
    let limits = json!({"origin_max_bytes": MIB - 1});
    let server = Server::with_limits(handler(&directory, &cache), limits);
    server.get("/h/a.mp4").failed("too_large");
}

#[test]
fn slow_clients_of_large_files_take_no_memory() {
    const CLIENTS: usize = 24;
    const LENGTH: usize = 20 * MIB;
    let [directory, cache] = [Directory::new(), Directory::new()];
    let video = mp4(LENGTH);
    directory.put("a.mp4", &video);
    let server = Server::start(json!({"handlers": [handler(&directory, &cache)]}));
    let first = server.get("/h/a.mp4");
    check(&first, "video/mp4", &video);
    assert_eq!(first.expect("Content-Disposition"), "attachment");
    let before = server.process().peak();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(&request("GET", "/h/a.mp4", &[]));
        client.wait_for_first_bytes();
    }
    let grown = server.process().peak().saturating_sub(before);
    assert!(grown < (CLIENTS * LENGTH / 10) as u64, "{} MiB", grown >> 20);
    for mut client in clients {
        let answer = client.read();
        check(&answer, "video/mp4", &video);
        assert_eq!(cache_status(&answer), "hit");
    }
}

#[test]
fn large_files_arrive_whole_and_in_ranges_over_both_protocols() {
    let [directory, cache] = [Directory::new(), Directory::new()];
    // No multiple of the piece that is read at a time.
    let video = mp4(3 * MIB + 12_345);
    directory.put("a.mp4", &video);
    let certificates = Certificates::new();
    let config = json!({
        "handlers": [handler(&directory, &cache)],
        "memory_cache": 0,
        "https_enabled": true, "https_port": 0, "https_cert": "bundle.crt", "https_key": "cert.key",
    });
    let server = Setup::new(config)
        .file("bundle.crt", certificates.chain_pem.as_bytes())
        .file("cert.key", certificates.key_pem.as_bytes())
        .start();
    let tls =
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    let mut etag = String::new();
    for mut client in [server.client(), tls] {
        for target in ["/h/a.mp4", "/h/a.mp4?raw=true", "/h/a.mp4?w=9"] {
            let answer = client.get(target);
            check(&answer, "video/mp4", &video);
            etag = answer.expect("ETag").to_owned();
            let length = video.len();
            for (range, expected) in [
                ("bytes=0-", 0..length),
                ("bytes=0-0", 0..1),
                ("bytes=65535-65536", 65_535..65_537),
                ("bytes=1000000-", 1_000_000..length),
                ("bytes=-70000", length - 70_000..length),
            ] {
                let answer = client.get_with(target, &[("Range", range)]);
                assert_eq!(answer.status, 206, "{range}");
                let fields = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
                assert_eq!(answer.expect("Content-Range"), fields);
                assert!(answer.body == video[expected], "{range}");
            }
            let not_modified = client.get_with(target, &[("If-None-Match", &*etag)]);
            assert_eq!(not_modified.status, 304);
            assert_eq!(
                client.get_with(target, &[("Range", &*format!("bytes={length}-"))]).status,
                416
            );
            // Requests behind a large response are answered in order.
            client.send(&[request("GET", target, &[]), request("GET", "/-/health", &[])].concat());
            check(&client.read(), "video/mp4", &video);
            assert_eq!(client.read().status, 200);
        }
    }
    let head = server.head_with("/h/a.mp4", &[]);
    assert_eq!(head.expect("Content-Length"), video.len().to_string());
    assert!(!etag.is_empty());
}

#[test]
fn a_damaged_entry_of_a_large_file_is_fetched_again() {
    let [directory, cache] = [Directory::new(), Directory::new()];
    let video = mp4(2 * MIB);
    directory.put("a.mp4", &video);
    let config = || json!({"handlers": [handler(&directory, &cache)], "memory_cache": 0});
    let server = Server::start(config());
    check(&server.get("/h/a.mp4"), "video/mp4", &video);
    drop(server);
    let files = cache.files();
    let mut entry = fs::read(&files[0]).unwrap();
    let last = entry.len() - 1000;
    entry[last] ^= 1;
    fs::write(&files[0], entry).unwrap();
    let server = Server::start(config());
    for cached in ["miss", "hit"] {
        let answer = server.get("/h/a.mp4");
        check(&answer, "video/mp4", &video);
        assert_eq!(cache_status(&answer), cached);
    }
    server.log.event_with("entry_damaged", "does not match its SHA-256");
}
