//! Clients that disconnect at any moment and in any way, and the lingering close.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use serde_json::json;

use super::{HIT, LARGE, LONG, crowd, narrow, start, start_with_large};
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, RED};
use crate::support::origin::{RawOrigin, object};
use crate::support::server::Server;
use crate::support::vitals::Vitals;
use crate::support::{TIMEOUT, eventually, merged};

/// The ways to disconnect.
#[derive(Clone, Copy, Debug)]
enum Way {
    Reset,
    Close,
    /// Shuts down the sending direction, and waits for the server to close.
    Half,
}

const WAYS: [Way; 3] = [Way::Reset, Way::Close, Way::Half];

impl Way {
    #[track_caller]
    fn apply(self, mut client: Client) {
        match self {
            Way::Reset => client.reset(),
            Way::Close => drop(client),
            Way::Half => {
                client.finish_sending();
                assert!(client.ended(), "still open");
            }
        }
    }
}

#[test]
fn clients_that_disconnect_at_any_moment_leak_nothing() {
    let (server, _) = start_with_large(json!({}));
    let vitals = Vitals::of(&server, HIT);
    let hit = request("GET", HIT, &[]);
    let large = request("GET", LARGE, &[]);
    let starts: [&[u8]; 8] = [
        b"",
        b"\r\n",
        b"G",
        &hit[..hit.len() / 2],
        &hit[..hit.len() - 1],
        &hit,
        &[&hit[..], &hit[..9]].concat(),
        &large,
    ];
    for way in WAYS {
        for start in starts {
            for used_before in [false, true] {
                for pause in [0, 3] {
                    let mut client = server.client();
                    if used_before {
                        client.get(HIT).ok();
                    }
                    client.send(start);
                    thread::sleep(Duration::from_millis(pause));
                    way.apply(client);
                }
            }
        }
        // In the middle of a response.
        for _ in 0..4 {
            let mut client = server.client();
            client.send(&large);
            client.read_some();
            way.apply(client);
        }
        vitals.answers_at_once();
    }
    vitals.are_back();
}

/// A server with one image in its cache, whose origin answers `held*` when the gate opens.
fn gated(gate: &Gate, cache: &Directory) -> (RawOrigin, Server) {
    let held = gate.clone();
    let origin = RawOrigin::start(move |request, peer| {
        if request.path().contains("held") {
            held.pass();
        }
        peer.send(&object(&images::png(images::solid(4, 4, RED))))
    });
    let server =
        Server::with_handler(merged(origin.handler(), json!({"cache_path": cache.path()})));
    server.get(HIT).ok();
    (origin, server)
}

#[test]
fn image_is_cached_even_if_its_client_disconnects() {
    let gate = Gate::new();
    let cache = Directory::new();
    let (origin, server) = gated(&gate, &cache);
    let vitals = Vitals::of(&server, HIT);
    let mut half = Vec::new();
    for (number, way) in WAYS.into_iter().cycle().take(9).enumerate() {
        let mut client = server.client();
        client.send(&request("GET", &format!("/h/held-{number}.png"), &[]));
        origin.wait_for_requests(number + 2);
        match way {
            Way::Half => {
                client.finish_sending();
                half.push(client);
            }
            way => way.apply(client),
        }
    }
    vitals.uses_no_cpu();
    vitals.answers_at_once();
    gate.open();
    for client in &mut half {
        client.read().ok();
        client.expect_closed();
    }
    for number in 0..9 {
        let target = format!("/h/held-{number}.png");
        eventually("the image is in the cache", || {
            server.get(&target).ok().expect("X-Cache") == "hit"
        });
    }
    vitals.are_back();
}

#[test]
fn half_closed_client_gets_every_response() {
    let (server, _) = start_with_large(json!({}));
    let vitals = Vitals::of(&server, HIT);
    let mut client = server.client();
    for target in [HIT, "/h/a.png?w=31", "/h/missing.png", LARGE, "/-/health", HIT] {
        client.send(&request("GET", target, &[]));
    }
    client.finish_sending();
    client.read().ok();
    client.read().ok();
    client.read().failed("not_found");
    client.read().ok();
    assert_eq!(client.read().status, 200);
    client.read().ok();
    client.expect_closed();

    // Without a complete request the server closes at once.
    for start in [&b""[..], b"\r\n", b"GET /h/a.png HTTP/1.1\r\nHost: x\r\n"] {
        let mut client = server.client();
        client.send(start);
        let started = Instant::now();
        client.finish_sending();
        client.expect_closed();
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "head_timeout is 10 s: {:?}",
            started.elapsed()
        );
    }
    vitals.are_back();
}

#[test]
fn disconnected_idle_connections_are_released_at_once() {
    // No timeout closes these connections.
    let server = start(json!({"idle_timeout": 3600, "head_timeout": 3600, "write_timeout": 3600}));
    let vitals = Vitals::of(&server, HIT);
    for way in WAYS {
        let mut clients = crowd(&server, 100);
        for client in &mut clients {
            client.get(HIT).ok();
        }
        clients.into_iter().for_each(|client| way.apply(client));
        vitals.are_back();
    }
    vitals.uses_no_cpu();
}

#[test]
fn half_finished_connections_use_no_cpu() {
    let (server, _) = start_with_large(
        json!({"idle_timeout": 3600, "head_timeout": 3600, "write_timeout": 3600}),
    );
    let vitals = Vitals::of(&server, HIT);
    // Half heads, unread responses to a half-closed client, and lingering closes.
    let mut sockets = Vec::new();
    for number in 0..30 {
        let mut socket = super::narrow(server.http());
        match number % 3 {
            0 => socket.write_all(b"GET /h/a.png HTTP/1.1\r\nHost").unwrap(),
            1 => {
                socket.write_all(&request("GET", LARGE, &[])).unwrap();
                socket.shutdown(Shutdown::Write).unwrap();
            }
            _ => socket.write_all(b"nonsense\r\n\r\n").unwrap(),
        }
        sockets.push(socket);
    }
    vitals.uses_no_cpu();
    vitals.answers_at_once();
    drop(sockets);
    vitals.are_back();
    vitals.uses_no_cpu();
}

#[test]
fn thousands_of_short_connections_do_no_harm() {
    const FLOOD: usize = 5000;
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    let address = server.http();
    let flood = thread::spawn(move || {
        for number in 0..FLOOD {
            // A refused connection is not a failure.
            let Ok(mut socket) = TcpStream::connect_timeout(&address, TIMEOUT) else { continue };
            if number % 4 < 2 {
                let _ = socket.write_all(b"GET /");
            }
            if number % 2 == 0 {
                sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
            }
        }
    });
    let started = Instant::now();
    while !flood.is_finished() {
        assert!(started.elapsed() < LONG * 3);
        vitals.answers_at_once();
        thread::sleep(Duration::from_millis(20));
    }
    flood.join().unwrap();
    vitals.are_back();
}

#[test]
fn lingering_close_ends_for_a_client_that_keeps_sending() {
    let server = start(json!({}));
    let vitals = Vitals::of(&server, HIT);
    let mut socket = TcpStream::connect(server.http()).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.set_write_timeout(Some(TIMEOUT)).unwrap();
    socket.write_all(&request("GET", HIT, &[("Connection", "close")])).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let started = Instant::now();
    let error = loop {
        if let Err(error) = socket.write_all(&[b'x'; 1000]) {
            break error;
        }
        assert!(started.elapsed() < LONG, "the server keeps reading");
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    vitals.are_back();
}

#[test]
fn lingering_close_does_not_last_as_long_as_an_idle_connection() {
    const LINGERING_TIMEOUT: Duration = Duration::from_secs(1);
    let (server, _) = start_with_large(json!({"idle_timeout": 60}));
    server.get(HIT).ok();
    // A cache hit, a miss, and a response that the socket does not take at once.
    for target in [HIT, "/h/a.png?w=6", LARGE] {
        let mut socket = narrow(server.http());
        socket.write_all(&request("GET", target, &[("Connection", "close")])).unwrap();
        // Half a second is enough for the server to notice that the client does not read.
        thread::sleep(LINGERING_TIMEOUT / 2);
        let mut response = Vec::new();
        socket.read_to_end(&mut response).unwrap();
        assert!(response.starts_with(b"HTTP/1.1 200"), "{target}");
        let started = Instant::now();
        while socket.write_all(b"x").is_ok() {
            assert!(started.elapsed() < LONG, "{target}: the server keeps reading");
            thread::sleep(Duration::from_millis(50));
        }
    }
}
