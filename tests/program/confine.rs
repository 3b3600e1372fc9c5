//! The sandbox of the renderer, and the `user` that both processes run as.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images::{self, BLUE, Image, RED, close};
use crate::support::process::Process;
use crate::support::server::{self, PROGRAM, Server, Setup};
use crate::support::skip::skip;
use crate::support::{eventually, merged};

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// The values of a field in a file of /proc.
#[track_caller]
fn field(path: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.split_whitespace().map(str::to_owned).collect()
}

fn status(id: u32, name: &str) -> Vec<String> {
    field(&format!("/proc/{id}/status"), name)
}

/// Landlock is not visible from outside. The unit tests of the sandbox check what it denies; here, the replacement of a
/// renderer whose directories were replaced shows that it is active.
fn has_landlock(server: &Server) -> bool {
    let has = server.log.count("not_sandboxed") == 0;
    if !has {
        skip("the kernel has no Landlock");
    }
    has
}

#[test]
fn sandbox_sets_no_new_privs_for_every_thread() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    server.get("/h/a.png").ok();
    let threads = format!("/proc/{}/task", server.renderer().id);
    let mut count = 0;
    for thread in fs::read_dir(threads).unwrap().flatten() {
        let path = thread.path().join("status").display().to_string();
        assert_eq!(field(&path, "NoNewPrivs:"), ["1"], "{}", field(&path, "Name:").join(" "));
        count += 1;
    }
    assert!(count > 2, "{count}");
}

#[test]
fn sandbox_sets_hard_resource_limits() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_limits(directory.handler(), json!({"fetches_at_once": 8}));
    let limits = format!("/proc/{}/limits", server.renderer().id);
    // The soft and the hard limit.
    assert_eq!(field(&limits, "Max core file size")[..2], ["0", "0"]);
    for name in ["Max data size", "Max open files"] {
        let found = field(&limits, name);
        assert_ne!(found[0], "unlimited", "{name}");
        assert_eq!(found[0], found[1], "{name}");
    }
    let files: u64 = field(&limits, "Max open files")[0].parse().unwrap();
    assert!((8 * 8..1000).contains(&files), "{files}");
}

#[test]
fn decoders_need_no_temporary_files() {
    let image = || images::gradient(80, 60);
    let files = [
        ("jpg", images::jpeg(image())),
        ("png", images::png(image())),
        ("webp", images::webp(image())),
        ("gif", server::data("anim.gif")),
        ("avif", server::data("quarters.avif")),
    ];
    let directory =
        files.iter().fold(Directory::new(), |directory, (name, bytes)| directory.with(name, bytes));
    // libvips decodes images with more bytes than this into a temporary file.
    let config = json!({"handlers": [directory.handler()]});
    let server = Setup::new(config).env("VIPS_DISC_THRESHOLD", "1").start();
    for (name, _) in &files {
        server.get(&format!("/h/{name}?f=png")).ok();
    }
}

#[test]
fn sandbox_of_a_deleted_cache_is_replaced_without_failing_a_request() {
    let directory = Directory::new().with("a.png", &image());
    let place = Directory::new();
    let cache = place.path().join("cache");
    let server = Server::with_handler(merged(directory.handler(), json!({"cache_path": cache})));
    server.get("/h/a.png?w=9").ok();
    assert_eq!(server.get("/h/a.png?w=9").ok().expect("X-Cache"), "hit");
    let first = server.renderer();

    fs::remove_dir_all(&cache).unwrap();
    let mut width = 10;
    eventually("images are cached again", || {
        width += 1;
        let target = format!("/h/a.png?w={}", 10 + width % 50);
        server.get(&target).ok();
        server.get(&target).ok().expect("X-Cache") == "hit"
    });
    eventually("the first renderer is gone", || !has_landlock(&server) || !first.lives());
    assert_eq!(server.log.count("cache_write_failed"), 0, "{:#?}", server.log.lines());
    assert!(server.renderer().lives());
}

#[test]
fn sandbox_of_replaced_originals_is_replaced_without_failing_a_request() {
    let place = Directory::new();
    let put = |name: &str, colour| place.put(name, &images::png(images::solid(20, 20, colour)));
    put("now/a.png", RED);
    put("next/a.png", BLUE);
    let [now, next, old] = ["now", "next", "old"].map(|name| place.path().join(name));
    let server = Server::with_handler(json!({"name": "h", "directory": now}));
    let assert_colour = |colour, width| {
        let body = server.get(&format!("/h/a.png?w={width}&f=png")).ok().body;
        assert!(close(Image::decode(&body).at(3, 3), colour));
    };
    assert_colour(RED, 11);
    fs::rename(&now, &old).unwrap();
    server.get("/h/a.png?w=12").failed("origin_unreachable");
    fs::rename(&next, &now).unwrap();
    // The first request is answered by a new renderer already.
    (13..20).for_each(|width| assert_colour(BLUE, width));
    let renderer = server.renderer();
    (20..25).for_each(|width| assert_colour(BLUE, width));
    assert_eq!(server.renderer(), renderer, "one replacement is enough");
}

#[test]
fn sandbox_of_a_missing_directory_is_replaced_once_it_exists() {
    let place = Directory::new();
    let originals = place.path().join("originals");
    place.put("originals/a.png", &image());
    let server = Server::with_handler(json!({"name": "h", "directory": originals}));
    fs::remove_dir_all(&originals).unwrap();
    let first = server.renderer();
    first.signal(rustix::process::Signal::KILL);
    eventually("the renderer is gone", || !first.lives());
    server.get("/h/a.png?w=2").failed("origin_unreachable");
    place.put("originals/a.png", &image());
    server.get("/h/a.png?w=3").ok();
}

/// Only root can change the user (setresuid(2)).
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}

/// A server that changes to this user, in a world-readable directory, with a parent for the socket directory.
fn with_user(user: &str, config: Value) -> Setup {
    let setup = Setup::new(merged(config, json!({"user": user})));
    let run = setup.directory().path().join("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, Permissions::from_mode(0o1777)).unwrap();
    open(setup.directory().path());
    setup.env("RUNTIME_DIRECTORY", run.to_str().unwrap())
}

fn open(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

fn close_to_others(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
}

/// World-readable originals.
fn originals() -> Directory {
    let directory = Directory::new().with("a.png", &image());
    open(directory.path());
    directory
}

#[track_caller]
fn expect_refusal(output: &Output, start: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!(": {start}")), "no {start:?} in {stderr:?}");
    stderr
}

#[test]
fn user_gives_up_root_after_a_privileged_port_is_opened() {
    if !is_root() {
        return;
    }
    let originals = originals();
    let free =
        (600..1024).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    let config = json!({"http_port": free, "handlers": [merged(originals.handler(), json!({"cache_path": "cache"}))]});
    let server = with_user("1:2", config).start();
    server.get("/h/a.png?w=7").ok();
    assert_eq!(server.get("/h/a.png?w=7").ok().expect("X-Cache"), "hit");
    assert_eq!(server.http().port(), free);

    for id in [server.id(), server.renderer().id] {
        // Real, effective, saved and file system (proc_pid_status(5)).
        assert_eq!(status(id, "Uid:"), ["1"; 4]);
        assert_eq!(status(id, "Gid:"), ["2"; 4]);
        assert_eq!(status(id, "Groups:"), [""; 0]);
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(status(id, set), ["0000000000000000"], "{set}");
        }
    }
    let cache = server.directory().path().join("cache");
    let mut files = Directory::files(server.directory());
    files.retain(|path| path.starts_with(&cache));
    assert!(!files.is_empty());
    for path in [vec![cache], files].concat() {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1, 2), "{}", path.display());
    }

    // A later renderer has the same user.
    let first = server.renderer();
    first.signal(rustix::process::Signal::KILL);
    eventually("the renderer is gone", || !first.lives());
    server.get("/h/a.png?w=8").ok();
    assert_eq!(status(server.renderer().id, "Uid:"), ["1"; 4]);
}

#[test]
fn user_becomes_the_owner_of_both_caches_of_a_bucket() {
    if !is_root() {
        return;
    }
    let handler = json!({
        "name": "h",
        "aws": {"bucket_name": "b", "anonymous": true},
        "cache_path": "cache",
        "originals_cache": {"path": "originals"},
    });
    let server = with_user("1:2", json!({"handlers": [handler]})).start();
    for name in ["cache", "originals"] {
        let metadata = fs::metadata(server.directory().path().join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1, 2), "{name}");
    }
}

#[test]
fn user_by_name_gets_its_supplementary_groups() {
    if !is_root() {
        return;
    }
    let lines = |path: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
    };
    let groups = lines("/etc/group");
    let groups_of = |user: &str| {
        let groups = groups.iter().filter(|group| group[3].split(',').any(|name| name == user));
        let mut ids: Vec<String> = groups.map(|group| group[2].clone()).collect();
        ids.sort();
        ids
    };
    let Some(user) = lines("/etc/passwd").into_iter().find(|user| !groups_of(&user[0]).is_empty())
    else {
        return skip("no group of this machine has a member");
    };
    let originals = originals();
    let server = with_user(&user[0], json!({"handlers": [originals.handler()]})).start();
    for id in [server.id(), server.renderer().id] {
        let mut found = status(id, "Groups:");
        found.sort();
        assert_eq!(found, groups_of(&user[0]));
        assert_eq!(status(id, "Uid:"), [user[2].as_str(); 4]);
        assert_eq!(status(id, "Gid:"), [user[3].as_str(); 4]);
    }
}

#[test]
fn without_user_the_processes_keep_theirs() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    let own = fs::metadata("/proc/self").unwrap();
    for id in [server.id(), server.renderer().id] {
        assert_eq!(status(id, "Uid:"), vec![own.uid().to_string(); 4]);
    }
    // Root is not needed to name the user that the server has already.
    let own = format!("{}:{}", own.uid(), own.gid());
    let server = Setup::new(json!({"user": own, "handlers": [directory.handler()]})).start();
    server.get("/h/a.png").ok();
}

#[test]
fn user_that_does_not_exist_is_refused() {
    let directory = Directory::new();
    for user in ["no-such-user", "root:no-such-group", "4294967295:0"] {
        let setup = Setup::new(json!({"user": user, "handlers": [directory.handler()]}));
        expect_refusal(&setup.run(), "user: ");
    }
}

/// A file that this process writes can't be executed while a child that another test has just started still has it open
/// (ETXTBSY), so that another process writes it.
fn copy_program(to: &Path) {
    assert!(Command::new("cp").args([Path::new(PROGRAM), to]).status().unwrap().success());
}

#[test]
fn user_can_be_changed_only_by_root() {
    let directory = Directory::new();
    open(directory.path());
    let text =
        json!({"user": "1:1", "http_port": 0, "handlers": [directory.handler()]}).to_string();
    let directory = directory.with("config.json", text.as_bytes());
    let program = directory.path().join("program");
    copy_program(&program);
    open(&program);
    let mut command = server::command(&program, directory.path());
    if geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let stderr = expect_refusal(&server::run(&mut command), "user: ");
    assert!(stderr.contains("only root can"), "{stderr}");
}

#[test]
fn user_without_access_to_a_path_is_refused_with_the_field_of_the_path() {
    if !is_root() {
        return;
    }
    let originals = originals();
    let handler = |over: Value| json!({"handlers": [merged(originals.handler(), over)]});

    let setup = with_user("1:1", handler(json!({"cache_path": "cache"})));
    setup.directory().put("cache/something", b"of root");
    let stderr = expect_refusal(&setup.run(), "handlers[0].cache_path: ");
    assert!(stderr.contains("chown -R 1:1 cache"), "{stderr}");

    // A directory of the user with cache entries of root.
    let setup = with_user("1:1", handler(json!({"cache_path": "cache"})));
    setup.directory().put("cache/v1/aa/entry", b"of root");
    chown(setup.directory().path().join("cache"), Some(1), Some(1)).unwrap();
    expect_refusal(&setup.run(), "handlers[0].cache_path: ");

    let bucket = json!({"bucket_name": "b", "anonymous": true});
    let with_originals =
        json!({"name": "h", "aws": bucket, "originals_cache": {"path": "originals"}});
    let setup = with_user("1:1", json!({"handlers": [with_originals]}));
    setup.directory().put("originals/something", b"of root");
    expect_refusal(&setup.run(), "handlers[0].originals_cache.path: ");

    let closed = Directory::new();
    close_to_others(closed.path());
    expect_refusal(
        &with_user("1:1", json!({"handlers": [closed.handler()]})).run(),
        "handlers[0].directory: ",
    );

    let setup = with_user("1:1", handler(json!({})));
    let program = setup.directory().path().join("program");
    copy_program(&program);
    close_to_others(&program);
    let stderr = expect_refusal(&setup.program(program.clone()).run(), "user: ");
    assert!(stderr.contains(&format!("chmod a+rx {}", program.display())), "{stderr}");
}

#[test]
fn user_without_access_to_the_binary_still_starts_renderers() {
    if !is_root() {
        return;
    }
    let closed = Directory::new();
    let originals = originals();
    close_to_others(closed.path());
    let program = closed.path().join("program");
    copy_program(&program);
    let server =
        with_user("1:1", json!({"handlers": [originals.handler()]})).program(program).start();
    server.get("/h/a.png").ok();
    assert_eq!(Process::children_of(server.id()).len(), 1);
}
