//! What the service manager hears from the server: the test is the manager.

use std::os::unix::net::UnixDatagram;

use serde_json::json;

use crate::support::TIMEOUT;
use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::server::{Server, Setup};

struct Manager {
    socket: UnixDatagram,
    directory: Directory,
}

impl Manager {
    fn new() -> Manager {
        let directory = Directory::new().with("a.png", &images::png(images::solid(8, 8, RED)));
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Manager { socket, directory }
    }

    fn start(&self, watchdog: &str) -> Server {
        let mut setup = Setup::new(json!({"handlers": [self.directory.handler()]}))
            .env("NOTIFY_SOCKET", self.directory.path().join("notify").to_str().unwrap());
        if !watchdog.is_empty() {
            setup = setup.env("WATCHDOG_USEC", watchdog);
        }
        setup.start()
    }

    /// The next message that has this line.
    #[track_caller]
    fn message_with(&self, line: &str) -> String {
        let mut seen = Vec::new();
        for _ in 0..100 {
            let mut bytes = [0; 4096];
            let length =
                self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{error}: {seen:?}"));
            let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if message.lines().any(|known| known == line) {
                return message;
            }
            seen.push(message);
        }
        panic!("no {line}: {seen:?}");
    }
}

#[test]
fn the_manager_hears_of_start_reload_and_stop() {
    let manager = Manager::new();
    let mut server = manager.start("");
    let ready = manager.message_with("READY=1");
    // It accepts connections by then.
    server.get("/h/a.png").ok();
    assert!(ready.contains("\nSTATUS=serving 0 connections; 0 images rendered"), "{ready}");

    let config = json!({"handlers": [manager.directory.handler()]});
    server.reload_well(config.clone());
    let reloading = manager.message_with("RELOADING=1");
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    manager.message_with("READY=1");
    // systemd waits for the end of a reload that fails as well.
    assert!(server.reload(json!({"handlers": []})).contains("reload_failed"));
    manager.message_with("RELOADING=1");
    manager.message_with("READY=1");

    server.terminate();
    manager.message_with("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_watchdog_gets_messages_while_the_server_runs() {
    let manager = Manager::new();
    let server = manager.start("2000000");
    manager.message_with("READY=1");
    for _ in 0..3 {
        let message = manager.message_with("WATCHDOG=1");
        assert!(message.contains("STATUS=serving "), "{message}");
    }
    let figures = server.get("/h/a.png").ok();
    drop(figures);
    let mut message = String::new();
    while !message.contains("; 1 images rendered") {
        message = manager.message_with("WATCHDOG=1");
    }
    // Its renderer must not speak for it.
    let environment = std::fs::read(format!("/proc/{}/environ", server.renderer().id)).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"));
}

#[test]
fn a_manager_that_is_gone_does_not_matter() {
    let directory = Directory::new().with("a.png", &images::png(images::solid(8, 8, RED)));
    let mut server = Setup::new(json!({"handlers": [directory.handler()]}))
        .env("NOTIFY_SOCKET", "/no/such/socket")
        .env("WATCHDOG_USEC", "1000000")
        .start();
    server.log.event("notify_failed");
    server.get("/h/a.png").ok();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
}
