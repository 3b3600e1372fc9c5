//! Lines on standard error: complete and in order from many clients, and nobody waits for who reads them.

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
fn lines_of_many_clients_are_complete_and_in_the_order_of_each_connection() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 250;
    let (directory, cache) = (directory(), Directory::new());
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let mut server = Server::with_handler(handler);
    server.get("/h/a.png?w=40").ok();
    let address = server.http();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut connection = Client::connect(address);
                for number in 0..REQUESTS {
                    // Some one by one, some pipelined; a few are no hits.
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
    eventually("every line is there", || {
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
struct Unread {
    child: Child,
    stderr: Option<ChildStderr>,
    setup: Setup,
}

impl Unread {
    fn start(config: serde_json::Value) -> Unread {
        let setup = Setup::new(merged(config, json!({"http_socket": "http.sock"})));
        let mut child = setup.command().stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take();
        let unread = Unread { child, stderr, setup };
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

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_standard_error_that_nobody_reads_stops_nothing() {
    let (directory, cache) = (directory().with("text.png", b"no image"), Directory::new());
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let mut server = Unread::start(json!({"handlers": [handler]}));
    let mut client = server.client();
    client.get("/h/a.png?w=40").ok();
    // 9 MB of lines, where the pipe takes 64 KiB and the server keeps one MiB.
    let filler = "x".repeat(3000);
    let hit = request("GET", &format!("/h/a.png?w=40&{filler}"), &[]);
    for _ in 0..150 {
        client.send(&hit.repeat(20));
        (0..20).for_each(|_| drop(client.read().ok()));
    }
    // What is worth a line of its own besides: failures, and dead and new renderers.
    for number in 0..20 {
        server.client().get(&format!("/h/text.png?w={}", number + 1)).failed("unsupported_format");
    }
    let renderers = process::Process::children_of(server.child.id());
    renderers.iter().for_each(|renderer| renderer.signal(Signal::KILL));
    eventually("another renderer makes images", || {
        server.client().get("/h/a.png?w=41").status == 200
    });
    // A reload; the next one is only begun when it has been told of.
    for name in ["i", "j"] {
        let config = json!({
            "handlers": [merged(directory.handler(), json!({"name": name}))],
            "http_socket": "http.sock",
        });
        server.setup.directory().put("config.json", config.to_string().as_bytes());
        server.signal(Signal::HUP);
        let target = format!("/{name}/a.png");
        eventually("the new configuration is in force", || {
            server.client().get(&target).status == 200
        });
    }
    // Somebody reads again.
    let log = Log::of(server.stderr.take().unwrap());
    let told = log.event("log_lines_dropped");
    let lost: usize =
        told.split_once(" dropped ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let lines: Vec<String> =
        log.lines().into_iter().filter(|line| line.contains(" GET ")).collect();
    assert!(lines.iter().all(|line| line.split(' ').count() == 9), "a line is torn");
    assert!(lines.len() > 300 && lost > 1000, "{} lines, {lost} lost", lines.len());
    assert!(lines.len() + lost >= 3000, "{} lines, {lost} lost", lines.len());
    // Sentences had room of their own.
    log.event("reload_ok");
    server.client().get("/j/a.png?read").ok();
    log.access("/j/a.png?read");
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_keep_a_server_from_stopping() {
    let directory = directory();
    let mut server = Unread::start(json!({"handlers": [directory.handler()]}));
    let mut client = server.client();
    let filler = "x".repeat(3000);
    for _ in 0..50 {
        client.get(&format!("/-/health?{filler}"));
    }
    thread::sleep(Duration::from_millis(50));
    server.signal(Signal::TERM);
    let mut status = None;
    eventually("it ends", || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(!server.socket().exists());
}
