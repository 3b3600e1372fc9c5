//! Crash attribution: the image being decoded at a crash fails, and every other request is retried on the next
//! renderer.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, Image, MAGENTA, close, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::process::Process;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

/// Lossless AVIF is slow enough to kill the renderer during the encode.
const SLOW: &str = "f=avif&lossless=true";

/// An origin with large images for `slow*` and small ones for other keys; `held*` is sent once the gate opens.
fn origin(gate: &Gate) -> RawOrigin {
    let large = images::png(images::noise(1200, 900));
    let small = images::png(images::gradient(80, 60));
    let gate = gate.clone();
    RawOrigin::start(move |request, peer| {
        let path = request.path();
        if path.contains("held") {
            gate.pass();
        }
        peer.send(&object(if path.contains("slow") { &large } else { &small }))
    })
}

fn long_origin_timeouts() -> Value {
    json!({"origin_first_byte_timeout": 60, "origin_timeout": 60})
}

/// Rust's stack overflow handler consumes the first SIGSEGV.
fn crash(renderer: &Process) {
    eventually("the renderer has crashed", || {
        renderer.signal(Signal::SEGV);
        !renderer.lives()
    });
}

fn count_requests(origin: &RawOrigin, key: &str) -> usize {
    origin.requests().iter().filter(|request| request.path().ends_with(key)).count()
}

#[test]
fn crash_during_a_fetch_retries_the_request() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Server::with_limits(origin.handler(), long_origin_timeouts());
    let mut clients: Vec<_> = (0..5).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/h/held-{n}.png?w=40"), &[]));
    }
    origin.wait_for_requests(5);
    crash(&server.renderer());
    origin.wait_for_requests(10);
    gate.open();
    for client in &mut clients {
        assert_eq!(size_of(&client.read().ok().body), (40, 30));
    }
    assert_eq!(origin.requests().len(), 10, "each is fetched twice");
}

#[test]
fn crash_attribution_blocks_an_image_decoded_alone_after_two_crashes() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let directory =
        Directory::new().with("error.png", &images::png(images::solid(60, 40, MAGENTA)));
    let error_image = json!({"error_image": directory.path().join("error.png")});
    let server = Server::with_limits(merged(origin.handler(), error_image), long_origin_timeouts());
    let mut bystander = server.client();
    bystander.send(&request("GET", "/h/held.png?w=40", &[]));
    origin.wait_for_requests(1);
    for round in 0..2 {
        let before = origin.requests().len();
        let mut culprit = server.client();
        culprit.send(&request("GET", &format!("/h/slow.png?{SLOW}&w=1200"), &[]));
        origin.wait_for_requests(before + 1);
        let renderer = server.renderer();
        renderer.wait_until_at_work();
        crash(&renderer);
        let failed = culprit.read().failed("renderer_failed");
        assert!(failed.cache_control().contains(&"no-store"));
        if round == 0 {
            gate.open();
            assert_eq!(size_of(&bystander.read().ok().body), (40, 30));
        }
    }

    let error =
        Image::decode(&server.get("/h/slow.png?w=30&f=png").failed("crashes_renderer").body);
    assert_eq!(error.size(), (30, 20), "the error image has the size of the request");
    assert!(close(error.at(15, 10), MAGENTA));
    // With any options.
    for target in ["/h/slow.png", "/h/slow.png?w=10"] {
        server.get(target).failed("crashes_renderer");
    }
    assert_eq!(count_requests(&origin, "slow.png"), 2, "a blocked key is not fetched");
    server.get("/h/other.png").ok();
    server.get("/h/another-slow.png?w=10").ok();
    let reports = server.log.count("key_blocked");
    assert_eq!(reports, 1);
    server.log.event_with("key_blocked", "/h/slow.png ");
}

#[test]
fn crash_attribution_retries_two_suspects_one_at_a_time() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server =
        Server::with_limits(origin.handler(), json!({"renders_at_once": 2, "queue_timeout": 60}));
    let targets = ["one", "two"].map(|name| format!("/h/slow-{name}.png?{SLOW}"));
    let mut clients = targets.clone().map(|target| {
        let mut client = server.client();
        client.send(&request("GET", &target, &[]));
        client
    });
    origin.wait_for_requests(2);
    let first = server.renderer();
    first.wait_until_at_work();
    // Two threads that have used processor time: both images are being rendered.
    eventually("two threads work", || busy_threads(first.id) >= 2);
    crash(&first);

    // The next renderer fetches and decodes one of them alone, until it crashes as well.
    origin.wait_for_requests(3);
    let second = server.renderer();
    second.wait_until_at_work();
    assert_eq!(origin.requests().len(), 3, "the other suspect waits");
    let culprit = origin.requests()[2].path();
    second.signal(Signal::ABORT);

    for (target, client) in targets.iter().zip(&mut clients) {
        let is_culprit = culprit.ends_with(&target[2..target.find('?').unwrap()]);
        let answer = client.read();
        if is_culprit {
            answer.failed("renderer_failed");
            server.get(target).failed("crashes_renderer");
        } else {
            answer.ok();
        }
    }
}

/// The number of threads that have used 0.1 s of processor time or more.
fn busy_threads(process: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let work = |stat: String| -> Option<u64> {
        let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    let works =
        tasks.filter_map(|task| work(std::fs::read_to_string(task.path().join("stat")).ok()?));
    works.filter(|work| *work >= 10).count()
}

#[test]
fn kill_under_load_fails_no_request() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Server::with_limits(origin.handler(), json!({"queue_timeout": 60}));
    let mut clients: Vec<_> = (0..60).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/h/slow-{n}.png?w=400"), &[]));
    }
    origin.wait_for_requests(10);
    server.renderer().signal(Signal::KILL);
    for client in &mut clients {
        assert_eq!(size_of(&client.read().ok().body), (400, 300));
    }
    server.log.event("renderer_exited");
}

#[test]
fn crash_of_a_draining_renderer_retries_its_requests() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let limits = merged(long_origin_timeouts(), json!({"renderer_max_renders": 1}));
    let server = Server::with_limits(origin.handler(), limits);
    let old = server.renderer();
    let mut held = server.client();
    held.send(&request("GET", "/h/held.png?w=40", &[]));
    origin.wait_for_requests(1);
    server.get("/h/a.png").ok();
    eventually("another renderer runs", || Process::children_of(server.id()).len() == 2);
    old.signal(Signal::ABORT);
    origin.wait_for_requests(3);
    gate.open();
    assert_eq!(size_of(&held.read().ok().body), (40, 30));
    let line = server.log.event_with("renderer_exited", &format!(" {} ", old.id));
    assert!(line.contains("SIGABRT"), "{line}");
}

#[test]
fn crash_attribution_of_a_kill_from_outside_only_makes_a_suspect() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Server::with_handler(origin.handler());
    let mut client = server.client();
    client.send(&request("GET", &format!("/h/slow.png?{SLOW}"), &[]));
    origin.wait_for_requests(1);
    let renderer = server.renderer();
    renderer.wait_until_at_work();
    renderer.signal(Signal::KILL);
    client.read().ok();
    server.get("/h/slow.png?w=20").ok();
}

#[test]
fn two_timeouts_block_the_options_of_a_key_and_no_others() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Server::with_limits(origin.handler(), json!({"render_timeout": 0.5}));
    // On a busy machine a timeout may come before the decoder has started, and does not count.
    let mut timeouts = 0;
    let last = loop {
        let answer = server.get(&format!("/h/slow.png?{SLOW}"));
        if answer.header("X-Error") != Some("render_timeout") {
            break answer;
        }
        timeouts += 1;
        assert_eq!(count_requests(&origin, "slow.png"), timeouts);
        assert!(timeouts < 10);
    };
    last.failed("crashes_renderer");
    assert!(timeouts >= 2);
    assert_eq!(count_requests(&origin, "slow.png"), timeouts, "it is refused before the fetch");
    server.log.event_with("key_blocked", "/h/slow.png?f=avif&lossless=true ");
    // Other options are not: how long they take is another matter.
    eventually("the key is served", || server.get("/h/slow.png?w=10&f=png").status == 200);
    server.get(&format!("/h/slow.png?{SLOW}")).failed("crashes_renderer");
    // A slow origin does not block a key.
    for _ in 0..3 {
        server.get("/h/held.png").failed("render_timeout");
    }
    gate.open();
    server.get("/h/held.png").ok();
}

#[test]
fn heartbeat_timeout_replaces_a_stopped_renderer_before_render_timeout() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Setup::new(json!({"handlers": [origin.handler()]})).check_interval(100).start();
    let mut held = server.client();
    held.send(&request("GET", "/h/held.png?w=40", &[]));
    origin.wait_for_requests(1);
    let stopped = server.renderer();
    stopped.signal(Signal::STOP);
    let started = Instant::now();
    let mut waiting = server.client();
    waiting.send(&request("GET", "/h/waiting.png?w=40", &[]));
    assert_eq!(size_of(&waiting.read().ok().body), (40, 30));
    // render_timeout is 60 seconds.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    gate.open();
    assert_eq!(size_of(&held.read().ok().body), (40, 30));
    server.log.event("renderer_hung");
    eventually("the stopped renderer is gone", || !stopped.lives());
}
