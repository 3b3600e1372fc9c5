//! A directory as the origin: no key leads out of it.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::support::directory::Directory;
use crate::support::images::{self, GREEN, Image, RED, close};
use crate::support::server::{Server, Setup};

/// `inside` is served; `outside` has images too, so that an escape would show.
fn two_directories() -> Directory {
    Directory::new()
        .with("inside/a.png", &images::png(images::solid(4, 4, GREEN)))
        .with("inside/deep/b.png", &images::png(images::solid(4, 4, GREEN)))
        .with("outside/secret.png", &images::png(images::solid(4, 4, RED)))
        .with("secret.png", &images::png(images::solid(4, 4, RED)))
}

fn server(directory: &Directory) -> Server {
    Server::with_handler(json!({"name": "h", "directory": directory.path().join("inside")}))
}

#[test]
fn files_are_served_by_their_path() {
    let directory = two_directories();
    let server = server(&directory);
    for target in ["/h/a.png", "/h/deep/b.png", "/h/deep%2Fb.png", "/h/%61.png"] {
        assert!(close(Image::decode(&server.get(target).ok().body).at(50, 50), GREEN), "{target}");
    }
    for target in ["/h/A.png", "/h/b.png", "/h/a.png/x", "/h/deep/none.png", "/h/a.pn"] {
        server.get(target).failed("not_found");
    }
}

#[test]
fn keys_do_not_lead_out_of_the_directory() {
    let directory = two_directories();
    let server = server(&directory);
    let absolute = directory.path().join("secret.png");
    let absolute = absolute.to_str().unwrap();
    for path in [
        "../secret.png".to_owned(),
        "deep/../../secret.png".to_owned(),
        "%2e%2e/secret.png".to_owned(),
        "..%2fsecret.png".to_owned(),
        "%2e%2e%2fsecret.png".to_owned(),
        "..%2Foutside%2Fsecret.png".to_owned(),
        "..%5csecret.png".to_owned(),
        "%252e%252e%252fsecret.png".to_owned(),
        "deep/..%2f..%2fsecret.png".to_owned(),
        "./../secret.png".to_owned(),
        "a.png%00.jpg".to_owned(),
        "..%00/secret.png".to_owned(),
        absolute.to_owned(),
        format!("/{absolute}"),
        absolute.replace('/', "%2F"),
        format!("%2F{absolute}"),
        "/etc/passwd".to_owned(),
        "%2Fetc%2Fpasswd".to_owned(),
        "//etc/passwd".to_owned(),
    ] {
        let answer = server.get(&format!("/h/{path}"));
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            ["not_found", "invalid_key"].contains(&answer.expect("X-Error")),
            "{path}: {:?}",
            answer.headers
        );
    }
}

#[test]
fn symbolic_links_do_not_lead_out_of_the_directory() {
    let directory = two_directories();
    let inside = directory.path().join("inside");
    symlink(directory.path().join("secret.png"), inside.join("absolute.png")).unwrap();
    symlink("../secret.png", inside.join("relative.png")).unwrap();
    symlink("../outside", inside.join("directory")).unwrap();
    symlink("relative.png", inside.join("chain.png")).unwrap();
    symlink("loop.png", inside.join("loop.png")).unwrap();
    symlink("/proc/self/root", inside.join("root")).unwrap();
    let server = server(&directory);
    let through_root = format!("root{}", directory.path().join("secret.png").display());
    for name in [
        "absolute.png",
        "relative.png",
        "directory/secret.png",
        "chain.png",
        "loop.png",
        &through_root,
    ] {
        server.get(&format!("/h/{name}")).failed("not_found");
    }
    server.get("/h/a.png").ok();
}

#[test]
fn symbolic_links_created_later_do_not_lead_out_of_the_directory() {
    let directory = two_directories();
    let server = server(&directory);
    server.get("/h/deep/b.png").ok();
    let deep = directory.path().join("inside/deep");
    std::fs::rename(&deep, directory.path().join("inside/was-deep")).unwrap();
    symlink("../outside", &deep).unwrap();
    server.get("/h/deep/secret.png").failed("not_found");
}

#[test]
fn only_regular_files_are_found() {
    let directory = two_directories();
    let inside = directory.path().join("inside");
    mknodat(CWD, inside.join("pipe.png"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(inside.join("socket.png")).unwrap();
    let server = server(&directory);
    // Opening a pipe without a writer would block until a timeout: not_found comes at once.
    for name in ["deep", "deep/", "pipe.png", "socket.png"] {
        server.get(&format!("/h/{name}")).failed("not_found");
    }
}

#[test]
fn a_directory_may_be_a_relative_path_or_a_link() {
    let directory = two_directories();
    symlink("inside", directory.path().join("link")).unwrap();
    let server =
        Server::with_handler(json!({"name": "h", "directory": directory.path().join("link")}));
    server.get("/h/a.png").ok();
    let relative = Setup::new(json!({"handlers": [{"name": "h", "directory": "images"}]}))
        .file("images/a.png", &images::png(images::solid(4, 4, GREEN)))
        .start();
    relative.get("/h/a.png").ok();
}

#[test]
fn a_changed_file_is_served_without_a_cache() {
    let directory = two_directories();
    let server = server(&directory);
    let first = server.get("/h/a.png").ok();
    directory.put("inside/a.png", &images::png(images::solid(5, 5, RED)));
    let second = server.get("/h/a.png").ok();
    assert_ne!(first.expect("ETag"), second.expect("ETag"));
    std::fs::remove_file(directory.path().join("inside/a.png")).unwrap();
    server.get("/h/a.png").failed("not_found");
}
