//! What a renderer was decoding when it ended is to blame; everybody else gets an image from the next one.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, Image, MAGENTA, close, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::{eventually, merged};

/// As AVIF this takes so long that there is time to kill who makes it.
const SLOW: &str = "f=avif&lossless=true";

/// Large images for `slow*`, small ones for others, `held*` not before the gate opens.
fn origin(gate: &Gate) -> RawOrigin {
    let (large, small) =
        (images::png(images::noise(1200, 900)), images::png(images::gradient(80, 60)));
    let gate = gate.clone();
    RawOrigin::start(move |request, peer| {
        let path = request.path();
        if path.contains("held") {
            gate.pass();
        }
        peer.send(&object(if path.contains("slow") { &large } else { &small }))
    })
}

/// With origins that take their time.
fn patient() -> Value {
    json!({"origin_first_byte_timeout": 60, "origin_timeout": 60})
}

/// The first SIGSEGV only ends the handler that Rust installs to tell of stack overflows.
fn crash(renderer: &Process) {
    eventually("it crashes", || {
        renderer.signal(Signal::SEGV);
        !renderer.lives()
    });
}

fn asked_for(origin: &RawOrigin, key: &str) -> usize {
    origin.requests().iter().filter(|request| request.path().ends_with(key)).count()
}

#[test]
fn what_was_being_fetched_survives_a_crash() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Server::with_limits(origin.handler(), patient());
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
    assert_eq!(origin.requests().len(), 10, "each is fetched once more");
}

#[test]
fn the_only_image_being_decoded_is_to_blame_and_refused_the_second_time() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let directory =
        Directory::new().with("error.png", &images::png(images::solid(60, 40, MAGENTA)));
    let error_image = json!({"error_image": directory.path().join("error.png")});
    let server = Server::with_limits(merged(origin.handler(), error_image), patient());
    let mut bystander = server.client();
    bystander.send(&request("GET", "/h/held.png?w=40", &[]));
    origin.wait_for_requests(1);
    for round in 0..2 {
        let asked = origin.requests().len();
        let mut guilty = server.client();
        guilty.send(&request("GET", &format!("/h/slow.png?{SLOW}&w=1200"), &[]));
        origin.wait_for_requests(asked + 1);
        let renderer = server.renderer();
        renderer.wait_until_at_work();
        crash(&renderer);
        let failed = guilty.read().failed("renderer_failed");
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
    // Whatever is made of it.
    for target in ["/h/slow.png", "/h/slow.png?w=10"] {
        server.get(target).failed("crashes_renderer");
    }
    assert_eq!(asked_for(&origin, "slow.png"), 2, "it is not even fetched any more");
    server.get("/h/other.png").ok();
    server.get("/h/another-slow.png?w=10").ok();
    let reports =
        server.log.lines().iter().filter(|line| line.contains("event=key_blocked")).count();
    assert_eq!(reports, 1);
    server.log.line_with("event=key_blocked /h/slow.png ");
}

#[test]
fn of_two_each_is_tried_again_alone_and_the_next_crash_has_a_name() {
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
    // Both are in work: two threads have used processor time.
    eventually("two threads work", || busy_threads(first.id) >= 2);
    crash(&first);

    // One of them alone is fetched and decoded by the next renderer, until that ends as well.
    origin.wait_for_requests(3);
    let second = server.renderer();
    second.wait_until_at_work();
    assert_eq!(origin.requests().len(), 3, "the other one waits");
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

/// How many threads have used a tenth of a second or more.
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
fn a_renderer_killed_from_outside_under_load_costs_nobody_an_image() {
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
    server.log.line_with("event=renderer_exited renderer process ");
}

#[test]
fn a_crash_of_the_renderer_before_costs_nothing_either() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let limits = merged(patient(), json!({"renderer_max_renders": 1}));
    let server = Server::with_limits(origin.handler(), limits);
    let old = server.renderer();
    let mut held = server.client();
    held.send(&request("GET", "/h/held.png?w=40", &[]));
    origin.wait_for_requests(1);
    server.get("/h/a.png").ok();
    eventually("there is another one", || Process::children_of(server.id()).len() == 2);
    old.signal(Signal::ABORT);
    origin.wait_for_requests(3);
    gate.open();
    assert_eq!(size_of(&held.read().ok().body), (40, 30));
    server.log.line_with(&format!(
        "event=renderer_exited draining renderer process {} ended (signal: 6 (SIGABRT)",
        old.id
    ));
}

#[test]
fn a_kill_while_it_is_decoded_makes_an_image_suspicious_but_not_guilty() {
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
fn an_image_that_takes_too_long_twice_is_refused() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Server::with_limits(origin.handler(), json!({"render_timeout": 0.5}));
    for _ in 0..2 {
        let asked = origin.requests().len();
        server.get(&format!("/h/slow.png?{SLOW}")).failed("render_timeout");
        assert_eq!(origin.requests().len(), asked + 1);
    }
    server.get("/h/slow.png?w=10").failed("crashes_renderer");
    assert_eq!(asked_for(&origin, "slow.png"), 2);
    server.log.line_with("event=key_blocked /h/slow.png ");
    // A slow origin is no reason to refuse anything.
    for _ in 0..3 {
        server.get("/h/held.png").failed("render_timeout");
    }
    gate.open();
    server.get("/h/held.png").ok();
}

#[test]
fn a_renderer_that_stands_still_is_replaced_before_its_clients_lose_timeout() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let server = Server::with_handler(origin.handler());
    let mut held = server.client();
    held.send(&request("GET", "/h/held.png?w=40", &[]));
    origin.wait_for_requests(1);
    let still = server.renderer();
    still.signal(Signal::STOP);
    let started = Instant::now();
    let mut waiting = server.client();
    waiting.send(&request("GET", "/h/waiting.png?w=40", &[]));
    assert_eq!(size_of(&waiting.read().ok().body), (40, 30));
    // render_timeout, which would end it too, is 60 seconds.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    gate.open();
    assert_eq!(size_of(&held.read().ok().body), (40, 30));
    server.log.event("renderer_hung");
    eventually("the one that stood still is gone", || !still.lives());
}
