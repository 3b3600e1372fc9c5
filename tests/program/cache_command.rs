//! `s3imageserver cache …`, with and without a server on the directories.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{stat, with_admin};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::server::{self, PROGRAM, Server, Setup};
use crate::support::{eventually, merged};

/// `cache` with these arguments and the configuration in a directory.
fn command(directory: &Directory, arguments: &[&str]) -> Command {
    let mut command = server::command(Path::new(PROGRAM), directory.path());
    command.arg("cache").args(arguments).arg("-c").arg(directory.path().join("config.json"));
    command
}

/// Standard output, standard error and exit status of `cache`.
#[track_caller]
pub fn cache(directory: &Directory, arguments: &[&str]) -> (String, String, Option<i32>) {
    let Output { stdout, stderr, status } = server::run(&mut command(directory, arguments));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let stdout = text(stdout);
    let stderr = text(stderr);
    assert!(!stderr.contains("panicked") && !stderr.contains("listening"), "{stderr}");
    (stdout, stderr, status.code())
}

fn originals() -> Directory {
    let image = images::png(images::noise(64, 64));
    Directory::new().with("a.png", &image).with("b/c d.png", &image).with("b/e.png", &image)
}

fn cached(originals: &Directory, cache: &Directory, fields: Value) -> Value {
    merged(merged(originals.handler(), json!({"cache_path": cache.path()})), fields)
}

fn is_hit(server: &Server, target: &str) -> bool {
    server.get(target).ok().expect("X-Cache") == "hit"
}

const TARGETS: [&str; 5] =
    ["/h/a.png?w=10", "/h/a.png?w=20", "/h/b/c%20d.png?w=10", "/h/b/e.png?w=10", "/h/b/e.png?w=20"];

fn get_all(server: &Server) {
    TARGETS.iter().for_each(|target| drop(server.get(target).ok()));
}

#[test]
fn cache_commands_work_on_the_cache_of_a_running_server() {
    let originals = originals();
    let directory = Directory::new();
    let server = Server::with_handler(cached(&originals, &directory, json!({})));
    get_all(&server);
    assert!(TARGETS.iter().all(|target| is_hit(&server, target)));
    let at = server.directory();

    let (stats, _, status) = cache(at, &["stats", "--json"]);
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let handler = &stats["folders"][0]["handlers"][0];
    assert_eq!(
        (status, &handler["results"]["entries"], &handler["fresh"]),
        (Some(0), &json!(5), &json!(5))
    );
    let (table, _, status) = cache(at, &["stats"]);
    assert!(
        status == Some(0) && table.contains(": 5 entries, ") && table.contains("/h/"),
        "{table}"
    );

    let (output, _, status) = cache(at, &["verify"]);
    assert!(status == Some(0) && output.contains("5 entries valid, 0 damaged"), "{output}");
    let entry = directory.files().remove(0);
    let good = fs::read(&entry).unwrap();
    fs::write(&entry, &good[..good.len() - 1]).unwrap();
    for (arguments, end) in
        [(&["verify"][..], "its header\n"), (&["verify", "--remove"], "; removed\n")]
    {
        let (output, _, status) = cache(at, arguments);
        let line = format!("{}: the entry does not have the length in", entry.display());
        assert!(status == Some(1) && output.contains(&line) && output.contains(end), "{output}");
    }
    assert!(!entry.exists());

    eventually("it is rendered again", || {
        get_all(&server);
        entry.exists()
    });
    let (output, _, status) = cache(at, &["purge", "/h/b/c%20d.png"]);
    assert!(status == Some(0) && output.starts_with("/h/b/c%20d.png?"), "{output}");
    eventually("the server notices", || !is_hit(&server, TARGETS[2]));
    assert!(is_hit(&server, TARGETS[0]) && is_hit(&server, TARGETS[3]));
    let (output, _, status) = cache(at, &["purge", "/h/b/"]);
    assert!(
        status == Some(0) && output.contains("3 entries removed") && !output.contains("/h/a.png"),
        "{output}"
    );
    eventually("the server notices", || !is_hit(&server, TARGETS[4]));
    assert!(is_hit(&server, TARGETS[0]));
    let (output, _, status) = cache(at, &["purge", "--all"]);
    assert!(status == Some(0) && output.contains("entries removed"), "{output}");
    eventually("the server notices", || !is_hit(&server, TARGETS[0]));
}

#[test]
fn purged_entries_do_not_count_towards_cache_max_bytes() {
    let originals = originals();
    let directory = Directory::new();
    let config = |fields| {
        let handlers = [cached(&originals, &directory, fields)];
        with_admin(json!({"handlers": handlers, "memory_cache": 0}))
    };
    let server = Setup::new(config(json!({}))).check_interval(100).start();
    let indexed = |entries: u64| {
        eventually("the index is up to date", || stat(&server, "/caches/0/entries") == entries);
    };
    let get = |key: &str, count: u32| {
        for number in 0..count {
            server.get(&format!("/h/{key}.png?f=jpg&q=100&bg={number:06x}")).ok();
        }
    };
    get("a", 10);
    // The later entries get another time of use.
    std::thread::sleep(Duration::from_millis(200));
    get("b/e", 10);
    let bytes: u64 =
        directory.files().iter().map(|file| fs::metadata(file).unwrap().blocks() * 512).sum();
    server.reload_well(config(json!({"cache_max_bytes": bytes + bytes / 20})));
    let (output, _, _) = cache(server.directory(), &["purge", "/h/b/"]);
    assert!(output.contains("10 entries removed"), "{output}");
    indexed(10);
    get("b/c%20d", 8);
    indexed(18);
    // Five checks, at which nothing may be evicted.
    std::thread::sleep(Duration::from_millis(500));
    indexed(18);
    let (output, _, _) = cache(server.directory(), &["purge", "/h/a.png"]);
    assert!(output.contains("10 entries removed"), "purged entries still counted: {output}");
}

#[test]
fn a_closed_standard_output_does_not_stop_the_command() {
    let originals = originals();
    let directory = Directory::new();
    let server = Server::with_handler(cached(&originals, &directory, json!({})));
    get_all(&server);
    for arguments in [&["stats"][..], &["stats", "--json"], &["verify"], &["purge", "/h/"]] {
        let mut child = command(server.directory(), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut output = String::new();
        child.stderr.take().unwrap().read_to_string(&mut output).unwrap();
        assert_eq!((child.wait().unwrap().code(), output.as_str()), (Some(0), ""), "{arguments:?}");
    }
    assert_eq!(fs::read_dir(directory.path().join("v1")).unwrap().count(), 0);
}

#[test]
fn invalid_cache_commands_are_usage_errors() {
    let originals = originals();
    let directory = Directory::new();
    let at = Directory::new();
    at.put(
        "config.json",
        json!({"handlers": [cached(&originals, &directory, json!({}))]}).to_string().as_bytes(),
    );
    for (arguments, part) in [
        (&[][..], "one of stats, verify and purge"),
        (&["purge"], "--all"),
        (&["purge", "/nobody/a.png"], "no handler"),
        (&["purge", "/h/a.png?w=10"], "without a query"),
        (&["purge", "--all", "--json"], "--json"),
    ] {
        let (_, output, status) = cache(&at, arguments);
        assert!(status == Some(2) && output.contains(part), "{arguments:?}: {output}");
    }
    // No port is opened, not even the default 80.
    assert_eq!(cache(&at, &["verify"]).2, Some(0));
    at.put("config.json", b"{\"handlers\": [{\"name\": \"h\", \"directori\": \".\"}]}");
    let (_, output, status) = cache(&at, &["stats"]);
    assert!(status == Some(2) && output.contains("handlers[0].directori"), "{output}");
}
