//! Socket activation: the test is the service manager, which keeps the listening sockets open.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, size_of};
use crate::support::server::{Server, Setup};
use crate::support::set_on_drop::SetOnDrop;
use crate::support::{eventually, merged};

const SECRET: &str = "0123456789abcdef";

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

fn listener() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

fn copy(socket: &OwnedFd) -> OwnedFd {
    socket.try_clone().unwrap()
}

/// Sends requests until `enough` is set, on one connection each or, with `keeps`, on connections that the server closes.
/// Every request must get an image.
fn load(
    address: SocketAddr,
    number: usize,
    keeps: bool,
    enough: &AtomicBool,
    answered: &AtomicUsize,
) {
    let mut client = Client::connect(address);
    let mut round = 0;
    while !enough.load(Ordering::Relaxed) {
        let target = match round % 2 {
            0 => "/h/a.png?w=40".to_owned(),
            _ => format!("/h/a.png?f=jpg&w={}&q={}", 1 + round / 2 % 80, 1 + number),
        };
        let connected = Instant::now();
        if !keeps {
            client = Client::connect(address);
        }
        let sent = client.try_send(&request("GET", &target, &[]));
        let has_slept = connected.elapsed() > Duration::from_millis(300);
        let answer = sent.and_then(|()| client.try_read(false));
        let is_closed = match answer {
            Ok(Some(answer)) => {
                let is_last = answer.header("Connection") == Some("close");
                answer.ok();
                answered.fetch_add(1, Ordering::Relaxed);
                round += 1;
                is_last
            }
            // The connection was idle: RFC 9112 section 9.3.1 lets a client repeat the request.
            // On a machine under load, a client may sleep as long between connecting and sending.
            closed if keeps || has_slept => {
                assert!(!matches!(closed, Ok(Some(_))));
                true
            }
            failed => panic!("{target}: {:?}", failed.map(|answer| answer.is_some())),
        };
        if is_closed {
            client = Client::connect(address);
        }
    }
}

#[test]
fn restart_with_a_passed_socket_loses_no_request() {
    let directory = directory();
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let (socket, address) = listener();
    let start = || {
        let config = json!({"handlers": [handler], "limits": {"connections_per_address": 1000}});
        let server = Setup::verbatim(&config.to_string(), false);
        let server = server.sockets("http", vec![copy(&socket)]).start();
        assert_eq!(server.http(), address);
        server
    };
    let mut server = start();
    let enough = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..6 {
            let (enough, answered) = (&enough, &answered);
            scope.spawn(move || load(address, number, number % 2 == 0, enough, answered));
        }
        let _ends_with_this_block = SetOnDrop(&enough);
        for _ in 0..4 {
            let before = answered.load(Ordering::Relaxed);
            eventually("requests are answered", || answered.load(Ordering::Relaxed) > before + 60);
            // As systemd does: the next process starts when the previous one has exited.
            server.terminate();
            assert_eq!(server.wait().code(), Some(0));
            assert!(server.log.event("stopped").contains(" info "));
            server = start();
        }
        let before = answered.load(Ordering::Relaxed);
        eventually("requests are answered", || answered.load(Ordering::Relaxed) > before + 60);
    });
}

#[test]
fn connections_of_the_time_without_a_process_are_served_by_the_next_one() {
    let directory = directory();
    let (socket, address) = listener();
    let config = json!({"handlers": [directory.handler()]}).to_string();
    let start = || Setup::verbatim(&config, false).sockets("http", vec![copy(&socket)]).start();
    let mut server = start();
    server.get("/h/a.png").ok();
    // Accepted, and sent completely only when the server accepts no more connections.
    let mut early = Client::connect(address);
    let whole = request("GET", "/h/a.png?w=20", &[]);
    early.send(&whole[..20]);
    let is_accepting = |server: &Server| {
        let threads = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap().flatten();
        threads
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
            .any(|name| name.trim_end() == "accept")
    };
    assert!(is_accepting(&server));
    server.terminate();
    eventually("it accepts no more connections", || !is_accepting(&server));
    // A process that does not wait for the rest exits meanwhile.
    thread::sleep(Duration::from_millis(100));
    early.send(&whole[20..]);
    assert_eq!(size_of(&early.read().ok().body), (20, 15));
    assert_eq!(server.wait().code(), Some(0));
    let mut waiting = Client::connect(address);
    waiting.send(&request("GET", "/h/a.png?w=40", &[]));
    assert!(waiting.is_open());
    let next = start();
    assert_eq!(size_of(&waiting.read().ok().body), (40, 30));
    // A renderer that had the socket could take connections.
    let link = |id: u32, name: &str| std::fs::read_link(format!("/proc/{id}/fd/{name}")).unwrap();
    let passed = link(next.id(), "3");
    let renderer = next.renderer().id;
    let descriptors = std::fs::read_dir(format!("/proc/{renderer}/fd")).unwrap();
    let names = descriptors.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.map(|name| link(renderer, &name)).all(|link| link != passed), "{passed:?}");
}

#[test]
fn sockets_of_every_kind_replace_the_configured_ports() {
    let directory = directory();
    let certificates = Certificates::new();
    let (https, https_address) = listener();
    let (admin, admin_address) = listener();
    let config = json!({
        "handlers": [directory.handler()],
        "address": "127.0.0.1",
        "http_port": 0,
        // Taken: a program that tried to listen there would fail.
        "https_enabled": true, "https_port": https_address.port(),
        "https_cert": "chain.pem", "https_key": "key.pem",
        "admin": {"address": admin_address.to_string(), "secret": SECRET},
    });
    let setup = |config: &Value| {
        Setup::new(config.clone())
            .file("chain.pem", certificates.chain_pem.as_bytes())
            .file("key.pem", certificates.key_pem.as_bytes())
            .sockets("https:admin", vec![copy(&https), copy(&admin)])
    };
    let server = setup(&config).start();
    Client::connect(server.listening_on("http://")).get("/h/a.png").ok();
    let ask = |server: &Server| {
        let tls = certificates.client(&[&TLS13]);
        Client::connect_tls(https_address, "localhost", tls).unwrap().get("/h/a.png").ok();
        let bearer = format!("Bearer {SECRET}");
        let stats =
            Client::connect(admin_address).get_with("/-/stats", &[("Authorization", &bearer)]);
        assert_eq!(stats.status, 200, "{}", server.id());
    };
    ask(&server);
    // A reload keeps them; one that has no use for them is refused.
    server.reload_well(merged(config.clone(), json!({"access_log": false})));
    ask(&server);
    let mut without = config.clone();
    without.as_object_mut().unwrap().remove("admin");
    let said = server.reload(without.clone());
    assert!(said.contains("event=reload_failed") && said.contains("admin: required"), "{said}");
    ask(&server);
    let refused = Setup::new(without).sockets("admin", vec![copy(&admin)]);
    let output = refused
        .file("chain.pem", certificates.chain_pem.as_bytes())
        .file("key.pem", certificates.key_pem.as_bytes())
        .run();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("admin: required: the service manager passes a socket"), "{said}");
}

#[test]
fn a_passed_unix_socket_is_served_and_stays() {
    let directory = directory();
    let place = Directory::new();
    let path = place.path().join("http.sock");
    let socket = OwnedFd::from(UnixListener::bind(&path).unwrap());
    let config =
        merged(json!({"handlers": [directory.handler()]}), json!({"http_socket": "unused.sock"}));
    for _ in 0..2 {
        let mut server = Setup::new(config.clone()).sockets("http", vec![copy(&socket)]).start();
        Client::connect_unix(&path).get("/h/a.png").ok();
        assert!(!server.directory().path().join("unused.sock").exists());
        server.terminate();
        assert_eq!(server.wait().code(), Some(0));
        assert!(path.exists());
    }
}

#[test]
fn invalid_sockets_are_refused_with_a_sentence() {
    let directory = directory();
    let config = json!({"handlers": [directory.handler()]});
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let connection = || {
        let (_socket, address) = listener();
        OwnedFd::from(std::net::TcpStream::connect(address).unwrap())
    };
    for (names, socket, part) in [
        ("www", listener().0, "LISTEN_FDNAMES: a socket is named \"www\""),
        ("", listener().0, "LISTEN_FDNAMES: a socket is named \"\""),
        ("https", listener().0, "https_enabled: required"),
        ("http", udp(), "LISTEN_FDS: descriptor 3 is not a listening stream socket"),
        ("http", file(), "LISTEN_FDS: descriptor 3 is not a listening stream socket"),
        ("http", connection(), "LISTEN_FDS: descriptor 3 is not a listening stream socket"),
    ] {
        let output = Setup::new(config.clone()).sockets(names, vec![socket]).run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part) && !said.contains("panicked"), "no {part:?} in {said}");
    }
    // Other numbers than were passed.
    for count in ["many", "4294967295"] {
        let setup = Setup::new(config.clone()).sockets("http", vec![listener().0]);
        let output = setup.env("LISTEN_FDS", count).run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("LISTEN_FDS: is not a number"), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
    let setup = Setup::new(config).sockets("http", vec![listener().0]);
    let output = setup.env("LISTEN_FDS", "3").run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("LISTEN_FDS: descriptor 4 is not open"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn variables_for_another_process_pass_no_socket() {
    let directory = directory();
    let server = Setup::new(json!({"handlers": [directory.handler()]}))
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "4294967295")
        .env("LISTEN_FDNAMES", "www")
        .start();
    server.get("/h/a.png").ok();
}
