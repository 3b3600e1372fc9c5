//! The log sink: lines of concurrent clients are complete and in order, and a full pipe blocks nothing.

use std::collections::HashMap;
use std::process::{Child, ChildStderr, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::server::{Log, Server, Setup};
use crate::support::{eventually, merged, process};

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

#[test]
fn access_log_lines_of_concurrent_clients_are_complete_and_in_order() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 250;
    let directory = directory();
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let mut server = Server::with_handler(handler);
    server.get("/h/a.png?w=40").ok();
    let address = server.http();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut connection = Client::connect(address);
                for number in 0..REQUESTS {
                    // Some one by one, some pipelined; a few are misses.
                    let width = if number % 50 == 0 { 41 + client } else { 40 };
                    connection.send(&request(
                        "GET",
                        &format!("/h/a.png?w={width}&c{client}={number}"),
                        &[],
                    ));
                    if client % 2 == 0 || number % 10 == 9 {
                        (0..if client % 2 == 0 { 1 } else { 10 })
                            .for_each(|_| drop(connection.read().ok()));
                    }
                }
            });
        }
    });
    server.terminate();
    server.wait();
    let mut next: HashMap<String, usize> = HashMap::new();
    eventually("every line is written", || {
        server.log.lines().iter().any(|line| line.ends_with("event=stopped stopped"))
    });
    for line in server.log.lines() {
        let Some((_, name)) = line.split_once("&c") else { continue };
        assert_eq!(line.split(' ').count(), 9, "{line}");
        let (client, number) = name.split(' ').next().unwrap().split_once('=').unwrap();
        let expected = next.entry(client.to_owned()).or_default();
        assert_eq!(number, expected.to_string(), "{line}");
        *expected += 1;
    }
    assert_eq!(next.len(), CLIENTS);
    assert!(next.values().all(|count| *count == REQUESTS), "{next:?}");
}

/// A server on a Unix socket, whose standard error is a pipe that is not read.
struct UnreadStderr {
    child: Child,
    stderr: Option<ChildStderr>,
    setup: Setup,
}

impl UnreadStderr {
    fn start(config: serde_json::Value) -> UnreadStderr {
        let setup = Setup::new(merged(config, json!({"http_socket": "http.sock"})));
        let mut child = setup.command().stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take();
        let unread = UnreadStderr { child, stderr, setup };
        eventually("it listens", || {
            std::os::unix::net::UnixStream::connect(unread.socket()).is_ok()
        });
        unread
    }

    fn socket(&self) -> std::path::PathBuf {
        self.setup.directory().path().join("http.sock")
    }

    fn client(&self) -> Client {
        Client::connect_unix(&self.socket())
    }

    fn signal(&self, signal: Signal) {
        process::send(self.child.id(), signal);
    }
}

impl Drop for UnreadStderr {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_full_stderr_pipe_does_not_block_the_server() {
    let directory = directory().with("text.png", b"no image");
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let mut server = UnreadStderr::start(json!({"handlers": [handler]}));
    let mut client = server.client();
    client.get("/h/a.png?w=40").ok();
    // 9 MB of lines: the pipe takes 64 KiB, the log sink 1 MiB.
    let filler = "x".repeat(3000);
    let hit = request("GET", &format!("/h/a.png?w=40&{filler}"), &[]);
    for _ in 0..150 {
        client.send(&hit.repeat(20));
        (0..20).for_each(|_| drop(client.read().ok()));
    }
    // Events: failed images, renderers that exit and start.
    for number in 0..20 {
        server.client().get(&format!("/h/text.png?w={}", number + 1)).failed("unsupported_format");
    }
    let renderers = process::Process::children_of(server.child.id());
    renderers.iter().for_each(|renderer| renderer.signal(Signal::KILL));
    eventually("another renderer is ready", || server.client().get("/h/a.png?w=41").status == 200);
    // Reloads; the second one starts after the first one has been logged.
    for name in ["i", "j"] {
        let config = json!({
            "handlers": [merged(directory.handler(), json!({"name": name}))],
            "http_socket": "http.sock",
        });
        server.setup.directory().put("config.json", config.to_string().as_bytes());
        server.signal(Signal::HUP);
        let target = format!("/{name}/a.png");
        eventually("the new configuration is in use", || {
            server.client().get(&target).status == 200
        });
    }
    // The pipe is read again.
    let log = Log::of(server.stderr.take().unwrap());
    let dropped_event = log.event("log_lines_dropped");
    let lost: usize = dropped_event
        .split_once(" dropped ")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let lines: Vec<String> =
        log.lines().into_iter().filter(|line| line.contains(" GET ")).collect();
    assert!(lines.iter().all(|line| line.split(' ').count() == 9), "a line is incomplete");
    assert!(lines.len() > 300 && lost > 1000, "{} lines, {lost} lost", lines.len());
    assert!(lines.len() + lost >= 3000, "{} lines, {lost} lost", lines.len());
    // Events have a buffer of their own.
    log.event("reload_ok");
    server.client().get("/j/a.png?read").ok();
    log.access("/j/a.png?read");
}

#[test]
fn a_full_stderr_pipe_does_not_prevent_shutdown() {
    let directory = directory();
    let mut server = UnreadStderr::start(json!({"handlers": [directory.handler()]}));
    let mut client = server.client();
    let filler = "x".repeat(3000);
    for _ in 0..50 {
        client.get(&format!("/-/health?{filler}"));
    }
    thread::sleep(Duration::from_millis(50));
    server.signal(Signal::TERM);
    let mut status = None;
    eventually("it exits", || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(!server.socket().exists());
}
