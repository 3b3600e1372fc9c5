//! A folder as the origin: no key leaves it.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::support::folder::Folder;
use crate::support::pictures::{self, GREEN, Picture, RED, close};
use crate::support::server::{Server, Setup};

/// `inside` is served; `outside` has pictures too, so that an escape would show.
fn two_folders() -> Folder {
    Folder::new()
        .with("inside/a.png", &pictures::png(pictures::solid(4, 4, GREEN)))
        .with("inside/deep/b.png", &pictures::png(pictures::solid(4, 4, GREEN)))
        .with("outside/secret.png", &pictures::png(pictures::solid(4, 4, RED)))
        .with("secret.png", &pictures::png(pictures::solid(4, 4, RED)))
}

fn server(folder: &Folder) -> Server {
    Server::with_handler(json!({"name": "h", "directory": folder.path().join("inside")}))
}

#[test]
fn files_are_served_by_their_path() {
    let folder = two_folders();
    let server = server(&folder);
    for target in ["/h/a.png", "/h/deep/b.png", "/h/deep%2Fb.png", "/h/%61.png"] {
        assert!(close(Picture::decode(&server.get(target).ok().body).at(50, 50), GREEN), "{target}");
    }
    for target in ["/h/A.png", "/h/b.png", "/h/a.png/x", "/h/deep/none.png", "/h/a.pn"] {
        server.get(target).failed("not_found");
    }
}

#[test]
fn no_path_leaves_the_folder() {
    let folder = two_folders();
    let server = server(&folder);
    let absolute = folder.path().join("secret.png");
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
fn no_symbolic_link_leads_out_of_the_folder() {
    let folder = two_folders();
    let inside = folder.path().join("inside");
    symlink(folder.path().join("secret.png"), inside.join("absolute.png")).unwrap();
    symlink("../secret.png", inside.join("relative.png")).unwrap();
    symlink("../outside", inside.join("folder")).unwrap();
    symlink("relative.png", inside.join("chain.png")).unwrap();
    symlink("loop.png", inside.join("loop.png")).unwrap();
    symlink("/proc/self/root", inside.join("root")).unwrap();
    let server = server(&folder);
    let through_root = format!("root{}", folder.path().join("secret.png").display());
    for name in ["absolute.png", "relative.png", "folder/secret.png", "chain.png", "loop.png", &through_root]
    {
        server.get(&format!("/h/{name}")).failed("not_found");
    }
    server.get("/h/a.png").ok();
}

#[test]
fn a_link_made_while_the_server_runs_is_no_way_out_either() {
    let folder = two_folders();
    let server = server(&folder);
    server.get("/h/deep/b.png").ok();
    let deep = folder.path().join("inside/deep");
    std::fs::rename(&deep, folder.path().join("inside/was-deep")).unwrap();
    symlink("../outside", &deep).unwrap();
    server.get("/h/deep/secret.png").failed("not_found");
}

#[test]
fn what_is_not_a_regular_file_is_not_there() {
    let folder = two_folders();
    let inside = folder.path().join("inside");
    mknodat(CWD, inside.join("pipe.png"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(inside.join("socket.png")).unwrap();
    let server = server(&folder);
    // A pipe that nobody writes to would be waited for until a deadline: not_found comes at once.
    for name in ["deep", "deep/", "pipe.png", "socket.png"] {
        server.get(&format!("/h/{name}")).failed("not_found");
    }
}

#[test]
fn a_folder_may_be_named_by_a_relative_path_and_a_link() {
    let folder = two_folders();
    symlink("inside", folder.path().join("link")).unwrap();
    let server = Server::with_handler(json!({"name": "h", "directory": folder.path().join("link")}));
    server.get("/h/a.png").ok();
    let relative = Setup::new(json!({"handlers": [{"name": "h", "directory": "pictures"}]}))
        .file("pictures/a.png", &pictures::png(pictures::solid(4, 4, GREEN)))
        .start();
    relative.get("/h/a.png").ok();
}

#[test]
fn a_file_that_changes_is_seen_once_nothing_is_cached() {
    let folder = two_folders();
    let server = server(&folder);
    let first = server.get("/h/a.png").ok();
    folder.put("inside/a.png", &pictures::png(pictures::solid(5, 5, RED)));
    let second = server.get("/h/a.png").ok();
    assert_ne!(first.expect("ETag"), second.expect("ETag"));
    std::fs::remove_file(folder.path().join("inside/a.png")).unwrap();
    server.get("/h/a.png").failed("not_found");
}
