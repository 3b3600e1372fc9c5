//! More connections than there is room for: than places, than descriptors, than threads.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::getuid;
use serde_json::json;

use super::{HIT, LONG, crowd, raise_file_limit, setup, start};
use crate::support::client::{Client, request};
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::vitals::Vitals;

/// From now on the server may have this many of something, until it is told otherwise.
fn limit(server: &Server, what: &str, most: &str) {
    let process = server.id().to_string();
    let mut command = Command::new("prlimit");
    // Who is not root may do it with processes of his own only, and root without CAP_SYS_RESOURCE, too.
    let owner = fs::metadata(format!("/proc/{process}")).unwrap();
    if owner.uid() != getuid().as_raw() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    // The hard limit stays, so that the soft one can be raised again.
    let output = command.args(["--pid", &process, &format!("--{what}={most}:")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_thousand_connections_have_room_for_a_thousand_and_the_newest_stay() {
    const ALL: usize = 2000;
    const PLACES: usize = 1024;
    raise_file_limit();
    let server = start(json!({"connections": PLACES}));
    // For 1,024 connections and what the allocator keeps of them.
    let vitals = Vitals::of(&server, HIT).sparing(24 << 20);
    let mut clients = Vec::with_capacity(ALL);
    for number in 0..ALL {
        let mut client = server.client();
        // Some are idle after a request and some before any.
        if number % 4 > 0 {
            client.get(HIT).ok();
        }
        clients.push(client);
        if number % 100 == 0 {
            vitals.answers_at_once();
        }
    }
    vitals.holds_at_most(24 << 20);
    eventually("no thread waits with them", || vitals.more_threads() == 0);
    // Those that asked for an image every now and then had places, too. Who is idle for longest is told in
    // milliseconds, in which many come.
    const NEAR: usize = 50;
    let newest = &clients[ALL - PLACES + NEAR..];
    assert!(newest.iter().all(Client::is_open), "one of the newest was closed");
    let oldest = &clients[..ALL - PLACES - NEAR];
    eventually("the oldest are closed", || !oldest.iter().any(Client::is_open));
    let open = clients.iter().filter(|client| client.is_open()).count();
    assert!((PLACES - NEAR..=PLACES).contains(&open), "{open} are open");
    // And all of the newest are served.
    for client in &mut clients[ALL - PLACES + NEAR..] {
        client.get(HIT).ok();
    }
    drop(clients);
    vitals.are_back();
}

#[test]
fn who_is_seen_off_makes_room_at_once() {
    const PLACES: usize = 20;
    let server = start(json!({"connections": PLACES}));
    let vitals = Vitals::of(&server, HIT);
    for _ in 0..3 {
        let mut refused = crowd(&server, PLACES);
        for client in &mut refused {
            client.send(b"nonsense\r\n\r\n");
            assert_eq!(client.read().status, 400);
        }
        // None of them has closed its side, and each has a second for that, of which a fifth is over.
        thread::sleep(Duration::from_millis(200));
        let mut next = crowd(&server, PLACES);
        for client in &mut next {
            client.get(HIT).ok();
        }
        drop((refused, next));
    }
    vitals.are_back();
}

#[test]
fn without_descriptors_the_idlest_make_room_and_nobody_else_is_hurt() {
    const DESCRIPTORS: usize = 80;
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    limit(&server, "nofile", &DESCRIPTORS.to_string());
    let mut idle = crowd(&server, DESCRIPTORS * 3);
    thread::sleep(Duration::from_millis(100));
    // They stay, and whoever comes is served all the same, with misses as well.
    for width in 1..=15 {
        let started = Instant::now();
        let mut client = server.client();
        client.get(&format!("/h/a.png?w={width}")).ok();
        client.get(HIT).ok();
        assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    }
    server.log.event("accept_failed");
    vitals.costs_nothing();
    idle.clear();
    vitals.are_back();
}

#[test]
fn a_thread_that_can_not_be_had_costs_one_connection_only() {
    // The limit does not bind root, so the server becomes somebody else.
    let user = if getuid().is_root() { json!({"user": "65534:65534"}) } else { json!({}) };
    let setup = setup(user);
    let run = setup.directory().path().join("run");
    fs::create_dir(&run).unwrap();
    for directory in ["run", "originals", "cache", ""] {
        fs::set_permissions(
            setup.directory().path().join(directory),
            fs::Permissions::from_mode(0o1777),
        )
        .unwrap();
    }
    let server = setup.env("RUNTIME_DIRECTORY", run.to_str().unwrap()).start();
    let vitals = Vitals::of(&server, HIT);
    let mut kept = server.client();
    kept.get(HIT).ok();

    limit(&server, "nproc", "1");
    for width in 20..40 {
        let mut client = server.client();
        client.send(&request("GET", &format!("/h/a.png?w={width}"), &[]));
        client.expect_closed();
        // Hits need none.
        kept.get(HIT).ok();
    }
    vitals.answers_at_once();
    let complaints =
        || server.log.lines().iter().filter(|line| line.contains("event=thread_failed")).count();
    server.log.event("thread_failed");
    assert_eq!(complaints(), 1, "once a minute is enough");
    limit(&server, "nproc", "1000");
    server.get("/h/a.png?w=20").ok();
    vitals.are_back();
}
