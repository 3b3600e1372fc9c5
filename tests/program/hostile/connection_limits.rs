//! More connections than `limits.connections`, descriptors or threads allow.

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

/// Sets a soft resource limit of the server.
fn limit(server: &Server, what: &str, most: &str) {
    let process = server.id().to_string();
    let mut command = Command::new("prlimit");
    // Without CAP_SYS_RESOURCE prlimit works only on processes of the same user.
    let owner = fs::metadata(format!("/proc/{process}")).unwrap();
    if owner.uid() != getuid().as_raw() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    // The hard limit stays, so that the soft one can be raised again.
    let output = command.args(["--pid", &process, &format!("--{what}={most}:")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn connection_table_keeps_the_newest_of_two_thousand_connections() {
    const ALL: usize = 2000;
    const MAX_CONNECTIONS: usize = 1024;
    raise_file_limit();
    let server = start(json!({"connections": MAX_CONNECTIONS}));
    // For 1024 connections and what the allocator keeps of them.
    let vitals = Vitals::of(&server, HIT).sparing(24 << 20);
    let mut clients = Vec::with_capacity(ALL);
    for number in 0..ALL {
        let mut client = server.client();
        // Some connections are idle after a request, and some before the first.
        if number % 4 > 0 {
            client.get(HIT).ok();
        }
        clients.push(client);
        if number % 100 == 0 {
            vitals.answers_at_once();
        }
    }
    vitals.holds_at_most(24 << 20);
    eventually("no thread is left", || vitals.more_threads() == 0);
    // The table also held the connections of `vitals`, and it measures idleness in milliseconds, during each of which
    // several connections open.
    const MARGIN: usize = 50;
    let newest = &clients[ALL - MAX_CONNECTIONS + MARGIN..];
    assert!(newest.iter().all(Client::is_open), "one of the newest was closed");
    let oldest = &clients[..ALL - MAX_CONNECTIONS - MARGIN];
    eventually("the oldest are closed", || !oldest.iter().any(Client::is_open));
    let open = clients.iter().filter(|client| client.is_open()).count();
    assert!((MAX_CONNECTIONS - MARGIN..=MAX_CONNECTIONS).contains(&open), "{open} are open");
    // The newest are all served.
    for client in &mut clients[ALL - MAX_CONNECTIONS + MARGIN..] {
        client.get(HIT).ok();
    }
    drop(clients);
    vitals.are_back();
}

#[test]
fn lingering_close_makes_room_at_once() {
    const MAX_CONNECTIONS: usize = 20;
    let server = start(json!({"connections": MAX_CONNECTIONS}));
    let vitals = Vitals::of(&server, HIT);
    for _ in 0..3 {
        let mut refused = crowd(&server, MAX_CONNECTIONS);
        for client in &mut refused {
            client.send(b"nonsense\r\n\r\n");
            assert_eq!(client.read().status, 400);
        }
        // All of them are in a lingering close, of which a fifth is over.
        thread::sleep(Duration::from_millis(200));
        let mut next = crowd(&server, MAX_CONNECTIONS);
        for client in &mut next {
            client.get(HIT).ok();
        }
        drop((refused, next));
    }
    vitals.are_back();
}

#[test]
fn refused_connections_take_few_descriptors_and_not_for_long() {
    const REFUSED: usize = 1000;
    /// `MAX_CLOSING` of the connection table, and the connections within the limit.
    const MAX_MORE: usize = 256 + 2;
    raise_file_limit();
    let server = start(json!({"connections_per_address": 2}));
    let mut within = crowd(&server, 2);
    within.iter_mut().for_each(|client| drop(client.get(HIT).ok()));
    let before = server.process().descriptors();
    let refused = crowd(&server, REFUSED);
    within.iter_mut().for_each(|client| drop(client.get(HIT).ok()));
    let more = server.process().descriptors().saturating_sub(before);
    assert!(more <= MAX_MORE, "{more} descriptors");
    eventually("all refused connections are closed", || server.process().descriptors() <= before);
    drop(refused);
}

#[test]
fn running_out_of_descriptors_closes_idle_connections_only() {
    const DESCRIPTORS: usize = 80;
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    limit(&server, "nofile", &DESCRIPTORS.to_string());
    let mut idle = crowd(&server, DESCRIPTORS * 3);
    thread::sleep(Duration::from_millis(100));
    // While they stay open, new clients are still served, misses too.
    for width in 1..=15 {
        let started = Instant::now();
        let mut client = server.client();
        client.get(&format!("/h/a.png?w={width}")).ok();
        client.get(HIT).ok();
        assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    }
    server.log.event("accept_failed");
    vitals.uses_no_cpu();
    idle.clear();
    vitals.are_back();
}

#[test]
fn failed_thread_start_closes_one_connection_only() {
    // RLIMIT_NPROC does not apply to root, so the server switches to another user.
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
        // Hits need no thread.
        kept.get(HIT).ok();
    }
    vitals.answers_at_once();
    server.log.event("thread_failed");
    assert_eq!(server.log.count("thread_failed"), 1, "logged once a minute");
    limit(&server, "nproc", "1000");
    server.get("/h/a.png?w=20").ok();
    vitals.are_back();
}
