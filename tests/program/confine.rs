//! What the processes may do: as little as their work needs.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images::{self, BLUE, Image, RED, close};
use crate::support::process::Process;
use crate::support::server::{self, PROGRAM, Server, Setup};
use crate::support::{eventually, merged};

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// The words after this field's name in a file of /proc.
#[track_caller]
fn field(path: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.split_whitespace().map(str::to_owned).collect()
}

fn status(id: u32, name: &str) -> Vec<String> {
    field(&format!("/proc/{id}/status"), name)
}

/// Landlock can't be seen from outside; the tests beside the code hold what it refuses. What a renderer does when
/// its directories are replaced shows that it is on.
fn has_landlock(server: &Server) -> bool {
    let has = !server.log.lines().iter().any(|line| line.contains("Landlock"));
    if !has {
        eprintln!("partly skipped: this kernel has no Landlock");
    }
    has
}

#[test]
fn no_thread_of_the_renderer_gets_new_privileges() {
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
fn the_renderers_resources_are_bounded_for_good() {
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
fn no_decoder_wants_a_place_for_temporary_files() {
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
    // As if each of them were large: libvips decodes into a file what has more bytes than this.
    let config = json!({"handlers": [directory.handler()]});
    let server = Setup::new(config).env("VIPS_DISC_THRESHOLD", "1").start();
    for (name, _) in &files {
        server.get(&format!("/h/{name}?f=png")).ok();
    }
}

#[test]
fn a_deleted_cache_is_made_again_and_no_request_notices() {
    let (directory, place) = (Directory::new().with("a.png", &image()), Directory::new());
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
    let complaints = server.log.lines();
    assert!(!complaints.iter().any(|line| line.contains("can't be written")), "{complaints:#?}");
    assert!(server.renderer().lives());
}

#[test]
fn replaced_originals_are_served_and_no_request_notices() {
    let place = Directory::new();
    let put = |name: &str, colour| place.put(name, &images::png(images::solid(20, 20, colour)));
    put("now/a.png", RED);
    put("next/a.png", BLUE);
    let (now, next, old) =
        (place.path().join("now"), place.path().join("next"), place.path().join("old"));
    let server = Server::with_handler(json!({"name": "h", "directory": now}));
    let is = |colour, width| {
        let body = server.get(&format!("/h/a.png?w={width}&f=png")).ok().body;
        assert!(close(Image::decode(&body).at(3, 3), colour));
    };
    is(RED, 11);
    fs::rename(&now, &old).unwrap();
    server.get("/h/a.png?w=12").failed("origin_unreachable");
    fs::rename(&next, &now).unwrap();
    // At once, and from then on.
    (13..20).for_each(|width| is(BLUE, width));
    let renderer = server.renderer();
    (20..25).for_each(|width| is(BLUE, width));
    assert_eq!(server.renderer(), renderer, "one replacement is enough");
}

#[test]
fn a_directory_that_is_missing_at_first_is_used_once_it_is_there() {
    let place = Directory::new();
    let originals = place.path().join("originals");
    place.put("originals/a.png", &image());
    let server = Server::with_handler(json!({"name": "h", "directory": originals}));
    fs::remove_dir_all(&originals).unwrap();
    let first = server.renderer();
    first.signal(rustix::process::Signal::KILL);
    eventually("it is dead", || !first.lives());
    server.get("/h/a.png?w=2").failed("origin_unreachable");
    place.put("originals/a.png", &image());
    server.get("/h/a.png?w=3").ok();
}

/// The tests of `user` change who they are, which only root can.
fn is_root() -> bool {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
    }
    geteuid().is_root()
}

/// A server that becomes this user, in a directory that everybody may enter, with a place for the renderer's socket.
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

/// Originals that everybody may read.
fn originals() -> Directory {
    let directory = Directory::new().with("a.png", &image());
    open(directory.path());
    directory
}

#[track_caller]
fn refused(output: &Output, start: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("s3imageserver: {start}")), "no {start:?} in {said:?}");
    said
}

#[test]
fn a_privileged_port_is_opened_and_then_nobody_is_root_any_more() {
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
        // Real, effective, saved and for files.
        assert_eq!(status(id, "Uid:"), ["1"; 4]);
        assert_eq!(status(id, "Gid:"), ["2"; 4]);
        assert_eq!(status(id, "Groups:"), [""; 0]);
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(status(id, set), ["0000000000000000"], "{set}");
        }
    }
    let cache = server.directory().path().join("cache");
    let mut owners = Directory::files(server.directory());
    owners.retain(|path| path.starts_with(&cache));
    assert!(!owners.is_empty());
    for path in [vec![cache], owners].concat() {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (1, 2), "{}", path.display());
    }

    // Another renderer can be started as well.
    let first = server.renderer();
    first.signal(rustix::process::Signal::KILL);
    eventually("it is dead", || !first.lives());
    server.get("/h/a.png?w=8").ok();
    assert_eq!(status(server.renderer().id, "Uid:"), ["1"; 4]);
}

#[test]
fn both_caches_of_a_bucket_are_given_to_the_user() {
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
        let found = fs::metadata(server.directory().path().join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (1, 2), "{name}");
    }
}

#[test]
fn a_name_brings_its_groups() {
    if !is_root() {
        return;
    }
    let lines = |path: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
    };
    let groups = lines("/etc/group");
    // Of whoever is a member of a group besides the own one.
    let of = |user: &str| {
        let mine = groups.iter().filter(|group| group[3].split(',').any(|member| member == user));
        let mut mine: Vec<String> = mine.map(|group| group[2].clone()).collect();
        mine.sort();
        mine
    };
    let Some(user) = lines("/etc/passwd").into_iter().find(|user| !of(&user[0]).is_empty()) else {
        eprintln!("skipped: no group of this machine has a member");
        return;
    };
    let originals = originals();
    let server = with_user(&user[0], json!({"handlers": [originals.handler()]})).start();
    for id in [server.id(), server.renderer().id] {
        let mut found = status(id, "Groups:");
        found.sort();
        assert_eq!(found, of(&user[0]));
        assert_eq!(status(id, "Uid:"), [user[2].as_str(); 4]);
        assert_eq!(status(id, "Gid:"), [user[3].as_str(); 4]);
    }
}

#[test]
fn without_user_nobody_changes() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    let own = fs::metadata("/proc/self").unwrap();
    for id in [server.id(), server.renderer().id] {
        assert_eq!(status(id, "Uid:"), vec![own.uid().to_string(); 4]);
    }
    // Nor does it take root to be who one is.
    let own = format!("{}:{}", own.uid(), own.gid());
    let server = Setup::new(json!({"user": own, "handlers": [directory.handler()]})).start();
    server.get("/h/a.png").ok();
}

#[test]
fn a_user_that_does_not_exist_is_refused() {
    let directory = Directory::new();
    for user in ["no-such-user", "root:no-such-group", "4294967295:0"] {
        let setup = Setup::new(json!({"user": user, "handlers": [directory.handler()]}));
        refused(&setup.run(), "user: ");
    }
}

#[test]
fn only_root_becomes_somebody_else() {
    let directory = Directory::new();
    open(directory.path());
    let text =
        json!({"user": "1:1", "http_port": 0, "handlers": [directory.handler()]}).to_string();
    let directory = directory.with("config.json", text.as_bytes());
    let program = directory.path().join("program");
    fs::copy(PROGRAM, &program).unwrap();
    open(&program);
    let mut command = server::command(&program, directory.path());
    if geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let said = refused(&server::run(&mut command), "user: ");
    assert!(said.contains("only root can become another user"), "{said}");
}

#[test]
fn what_the_user_can_not_use_is_refused_by_its_name() {
    if !is_root() {
        return;
    }
    let originals = originals();
    let handler = |over: Value| json!({"handlers": [merged(originals.handler(), over)]});

    let setup = with_user("1:1", handler(json!({"cache_path": "cache"})));
    setup.directory().put("cache/something", b"of root");
    let said = refused(&setup.run(), "handlers[0].cache_path: ");
    assert!(said.contains("chown -R 1:1 cache"), "{said}");

    // A directory that the user may write to, with a cache in it that root has begun.
    let setup = with_user("1:1", handler(json!({"cache_path": "cache"})));
    setup.directory().put("cache/v1/aa/entry", b"of root");
    chown(setup.directory().path().join("cache"), Some(1), Some(1)).unwrap();
    refused(&setup.run(), "handlers[0].cache_path: ");

    let bucket = json!({"bucket_name": "b", "anonymous": true});
    let kept = json!({"name": "h", "aws": bucket, "originals_cache": {"path": "originals"}});
    let setup = with_user("1:1", json!({"handlers": [kept]}));
    setup.directory().put("originals/something", b"of root");
    refused(&setup.run(), "handlers[0].originals_cache.path: ");

    let closed = Directory::new();
    close_to_others(closed.path());
    refused(
        &with_user("1:1", json!({"handlers": [closed.handler()]})).run(),
        "handlers[0].directory: ",
    );

    let setup = with_user("1:1", handler(json!({})));
    let program = setup.directory().path().join("program");
    fs::copy(PROGRAM, &program).unwrap();
    close_to_others(&program);
    let said = refused(&setup.program(program.clone()).run(), "user: ");
    assert!(said.contains(&format!("chmod a+rx {}", program.display())), "{said}");
}

#[test]
fn a_program_in_a_directory_that_the_user_can_not_enter_still_starts_renderers() {
    if !is_root() {
        return;
    }
    let (closed, originals) = (Directory::new(), originals());
    close_to_others(closed.path());
    let program = closed.path().join("program");
    fs::copy(PROGRAM, &program).unwrap();
    let server =
        with_user("1:1", json!({"handlers": [originals.handler()]})).program(program).start();
    server.get("/h/a.png").ok();
    assert_eq!(Process::children_of(server.id()).len(), 1);
}
