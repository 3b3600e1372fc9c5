//! The renderer process: its start, its end, and a renderer that is killed, hangs or is slow. Crashes are in
//! crashes.rs.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::process::{self, Process};
use crate::support::s3::{IMAGES, S3};
use crate::support::server::Server;
use crate::support::{TIMEOUT, eventually, merged};

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// An origin that sends `held*` once the gate opens.
fn gated(gate: &Gate) -> RawOrigin {
    let held = gate.clone();
    RawOrigin::start(move |request, peer| {
        if request.path().contains("held") {
            held.pass();
        }
        peer.send(&object(&image()))
    })
}

#[test]
fn renderer_is_a_separate_process_of_the_same_binary() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    server.get("/h/a.png").ok();
    let renderer = server.renderer();
    assert_ne!(renderer.id, server.id());
    let program = |id: u32| std::fs::read_link(format!("/proc/{id}/exe")).unwrap();
    assert_eq!(program(renderer.id), program(server.id()), "the same binary");
}

/// The renderer's socket, from its environment.
pub fn socket_of(renderer: &Process) -> PathBuf {
    let environment = std::fs::read(format!("/proc/{}/environ", renderer.id)).unwrap();
    let variables =
        environment.split(|byte| *byte == 0).map(|pair| String::from_utf8_lossy(pair).into_owned());
    let socket =
        variables.filter_map(|pair| Some(pair.split_once("RENDERER_SOCKET=")?.1.to_owned()));
    PathBuf::from(socket.collect::<Vec<_>>().pop().expect("a variable that names the socket"))
}

#[test]
fn socket_directory_is_private_and_removed_at_the_end() {
    let directory = Directory::new().with("a.png", &image());
    let mut server = Server::with_handler(directory.handler());
    server.get("/h/a.png").ok();
    let socket = socket_of(&server.renderer());
    let private = socket.parent().unwrap().to_owned();
    let mode = std::fs::metadata(&private).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{}", private.display());
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(!private.exists(), "{} is left", private.display());
}

#[test]
fn renderer_serves_a_plain_http_request_on_its_socket() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    let mut stream = UnixStream::connect(socket_of(&server.renderer())).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
        .write_all(b"GET /h/a.png?w=20&f=png HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    let start = answer.windows(4).position(|four| four == b"\x89PNG").expect("a PNG");
    assert_eq!(size_of(&answer[start..]), (20, 15));
}

#[test]
fn kill_during_a_request_retries_it_on_the_next_renderer() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let cache = Directory::new();
    let server =
        Server::with_handler(merged(origin.handler(), json!({"cache_path": cache.path()})));
    server.get("/h/cached.png").ok();
    let first = server.renderer();

    let mut client = server.client();
    client.send(&request("GET", "/h/held.png?w=30", &[]));
    origin.wait_for_requests(2);
    first.signal(Signal::KILL);
    // A hit needs no renderer.
    assert_eq!(server.get("/h/cached.png").ok().expect("X-Cache"), "hit");

    // The next request waits for the new renderer.
    server.get("/h/next.png").ok();
    assert_ne!(server.renderer(), first);
    gate.open();
    assert_eq!(size_of(&client.read().ok().body), (30, 23));
}

#[test]
fn renderer_killed_repeatedly_is_started_again_each_time() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    let mut seen = Vec::new();
    for round in 0..6 {
        let renderer = server.renderer();
        assert!(!seen.contains(&renderer));
        renderer.signal([Signal::KILL, Signal::ABORT][round % 2]);
        let deadline = Instant::now() + TIMEOUT;
        // No sleep: the request must be sent before the edge has noticed the exit.
        while renderer.lives() {
            assert!(Instant::now() < deadline, "the renderer survived the signal");
        }
        seen.push(renderer);
        // It was killed between two requests, so none fails.
        server.get(&format!("/h/a.png?w={}", round + 1)).ok();
    }
}

#[test]
fn renderer_ignores_the_signals_of_a_service_manager() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let mut server = Server::with_handler(origin.handler());
    let mut working = server.client();
    working.send(&request("GET", "/h/held.png", &[]));
    origin.wait_for_requests(1);
    let renderer = server.renderer();
    for signal in [Signal::TERM, Signal::INT] {
        renderer.signal(signal);
    }
    server.terminate();
    gate.open();
    working.read().ok();
    assert_eq!(server.wait().code(), Some(0));
    eventually("the renderer is gone", || !renderer.lives());
}

#[test]
fn idle_renderer_that_is_killed_is_started_again() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    let first = server.renderer();
    first.signal(Signal::KILL);
    eventually("another renderer runs", || {
        let now = server.renderer();
        now != first && now.lives()
    });
}

#[test]
fn renderer_is_started_again_after_its_files_were_removed() {
    let directory = Directory::new().with("a.png", &image());
    let files = Directory::new();
    let image = files.put("error.png", &images::png(images::solid(6, 4, [1, 2, 3])));
    let gone = files.path().join("gone");
    let cache = files.path().join("cache");
    std::fs::create_dir(&gone).unwrap();
    let own = json!({"name": "h", "error_image": image, "cache_path": cache});
    let other = json!({"name": "other", "directory": gone});
    let server = Server::start(json!({"handlers": [merged(directory.handler(), own), other]}));
    server.get("/h/a.png?w=10").ok();

    std::fs::remove_file(&image).unwrap();
    std::fs::remove_dir(&gone).unwrap();
    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::write(&cache, b"a file where the directory was").unwrap();
    let renderer = server.renderer();
    renderer.signal(Signal::KILL);
    eventually("the renderer is gone", || !renderer.lives());

    server.get("/h/a.png?w=11").ok();
    server.get("/other/a.png").failed("origin_unreachable");
    let error = server.get("/h/none.png").failed("not_found");
    assert_eq!(size_of(&error.body), (6, 4), "the error image was read when the server started");
}

#[test]
fn hung_renderer_is_replaced_after_render_timeout() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let cache = Directory::new();
    let handler = merged(origin.handler(), json!({"cache_path": cache.path()}));
    let server = Server::with_limits(handler, json!({"render_timeout": 1}));
    server.get("/h/cached.png").ok();
    let hanging = server.renderer();
    hanging.signal(Signal::STOP);
    let started = Instant::now();
    let mut client = server.client();
    client.send(&request("GET", "/h/a.png?w=3", &[]));
    assert_eq!(server.get("/h/cached.png").ok().expect("X-Cache"), "hit");
    let answer = client.read();
    assert_eq!(answer.status, 404);
    assert!(
        ["render_timeout", "renderer_failed"].contains(&answer.expect("X-Error")),
        "{:?}",
        answer.headers
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    eventually("images are rendered again", || server.get("/h/a.png?w=4").status == 200);
    eventually("the hung renderer is gone", || !hanging.lives());
}

#[test]
fn slow_origin_fails_with_render_timeout_and_does_not_hang_the_renderer() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let limits =
        json!({"render_timeout": 0.6, "origin_first_byte_timeout": 60, "origin_timeout": 60});
    let server = Server::with_limits(origin.handler(), limits);
    server.get("/h/held.png").failed("render_timeout");
    server.get("/h/free.png").ok();
    gate.open();
}

#[test]
fn two_hundred_concurrent_requests_are_answered() {
    let s3 = S3::start();
    let cache = Directory::new();
    for n in 0..20 {
        s3.put(&IMAGES, &format!("{n}.png"), &images::png(images::gradient(60 + n, 40)));
    }
    let server = Server::with_handler(merged(s3.handler(), json!({"cache_path": cache.path()})));
    let mut clients: Vec<Client> = (0..200).map(|_| server.client()).collect();
    // All requests are sent before the first answer is read; ten clients request each image.
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/h/{}.png?h=20", n % 20), &[]));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.read().ok();
        let expected = ((60 + n as u32 % 20) as f64 / 2.0).round() as u32;
        assert_eq!(size_of(&answer.body), (expected, 20), "{n}");
    }
    assert_eq!(cache.files().len(), 20);
}

#[test]
fn singleflight_fetches_one_image_once() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let cache = Directory::new();
    let server =
        Server::with_handler(merged(origin.handler(), json!({"cache_path": cache.path()})));
    let mut clients: Vec<Client> = (0..30).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(&request("GET", "/h/held.png?w=30", &[]));
    }
    origin.wait_for_requests(1);
    gate.open();
    let first = clients[0].read().ok();
    for client in &mut clients[1..] {
        assert_eq!(client.read().ok().body, first.body);
    }
    // A request that was too late to share the render was a cache hit.
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn singleflight_renders_one_error_image_for_concurrent_failures() {
    let image = images::png(images::noise(600, 400));
    let directory = Directory::new().with("error.png", &image);
    let handler =
        merged(directory.handler(), json!({"error_image": directory.path().join("error.png")}));
    // A request that does not share the render would find the only connection in use and fail.
    let server = Server::with_limits(handler, json!({"fetches_at_once": 1, "queue_length": 0}));
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(&request("GET", "/h/a%2F..%2Fb.png?w=300", &[]));
    }
    for client in &mut clients {
        assert_eq!(size_of(&client.read().failed("invalid_key").body), (300, 200));
    }
}

#[test]
fn singleflight_goes_on_when_its_first_client_disconnects() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let server = Server::with_handler(origin.handler());
    let mut leaving = server.client();
    leaving.send(&request("GET", "/h/held.png", &[]));
    origin.wait_for_requests(1);
    let mut staying = server.client();
    staying.send(&request("GET", "/h/held.png", &[]));
    drop(leaving);
    gate.open();
    staying.read().ok();
}

#[test]
fn renderer_exits_when_the_edge_is_killed() {
    let directory = Directory::new().with("a.png", &image());
    let mut server = Server::with_handler(directory.handler());
    server.get("/h/a.png").ok();
    let renderer = server.renderer();
    process::send(server.id(), Signal::KILL);
    server.wait();
    eventually("the renderer is gone", || !renderer.lives());
}

#[test]
fn stopped_renderer_exits_when_the_edge_is_killed() {
    let directory = Directory::new().with("a.png", &image());
    let mut server = Server::with_handler(directory.handler());
    server.get("/h/a.png").ok();
    let renderer = server.renderer();
    // A stopped process can't read the end of its standard input.
    renderer.signal(Signal::STOP);
    process::send(server.id(), Signal::KILL);
    server.wait();
    eventually("the renderer is gone", || !renderer.lives());
}

#[test]
fn renderer_has_a_lower_priority_than_the_edge() {
    let directory = Directory::new().with("a.png", &image());
    let server = Server::with_handler(directory.handler());
    let edge = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap();
    let edge: i64 =
        edge.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap();
    let renderer = server.renderer();
    assert_eq!(renderer.niceness(), (edge + 10).min(19));
    // Including the threads of libvips.
    server.get("/h/a.png").ok();
    for task in std::fs::read_dir(format!("/proc/{}/task", renderer.id)).unwrap().flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let niceness =
            stat.rsplit(')').next().unwrap().split_whitespace().nth(16).map(str::parse::<i64>);
        assert!(niceness.is_none_or(|niceness| niceness == Ok((edge + 10).min(19))), "{stat}");
    }
}

#[test]
fn secrets_are_not_in_a_command_line_or_environment() {
    let aws = json!({"bucket_name": "b", "aws_access": "AKX", "aws_secret": "very-secret-indeed"});
    let server = Server::with_handler(json!({"name": "h", "aws": aws}));
    for id in [server.id(), server.renderer().id] {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap();
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap();
        assert!(
            !images::holds(&line, b"very-secret-indeed")
                && !images::holds(&environment, b"very-secret-indeed")
        );
    }
}
