//! A renderer that is killed, hangs or exceeds its memory limit under load: every image is served, hits are answered at
//! once, and the edge leaks nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{HIT, LONG, setup};
use crate::support::eventually;
use crate::support::images::{self, size_of};
use crate::support::server::Server;
use crate::support::set_on_drop::SetOnDrop;
use crate::support::vitals::Vitals;

const CLIENTS: usize = 8;

/// The number of responses to each client.
struct Load([AtomicUsize; CLIENTS]);

impl Load {
    /// Waits until each client gets the response to a request that it sends from now on.
    #[track_caller]
    fn wait_for_all(&self) {
        let before = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        eventually("every client is answered", || {
            self.0
                .iter()
                .zip(before)
                .all(|(count, before)| count.load(Ordering::Relaxed) >= before + 2)
        });
    }
}

/// Runs `harm` while clients request variants that are not cached, each of its own original.
fn under_load(limits: Value, harm: impl FnOnce(&Server, &Vitals, &Load)) {
    let mut setup = setup(json!({"limits": limits}));
    let image = images::png(images::gradient(80, 60));
    for number in 0..CLIENTS {
        setup = setup.file(&format!("originals/{number}.png"), &image);
    }
    // A tenth of the usual time until a stopped renderer counts as hung would be too short on a busy machine.
    let server = setup.check_interval(250).start();
    let vitals = Vitals::of(&server, HIT);
    let enough = AtomicBool::new(false);
    let load = Load(Default::default());
    thread::scope(|scope| {
        let _end = SetOnDrop(&enough);
        for (number, answered) in load.0.iter().enumerate() {
            let server = &server;
            let enough = &enough;
            scope.spawn(move || {
                let mut client = server.client();
                for round in 0.. {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let width = 1 + round % 80;
                    let height = 1 + round / 80;
                    let target = format!("/h/{number}.png?w={width}&h={height}&e=true&f=png");
                    assert_eq!(size_of(&client.get(&target).ok().body), (width, height));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load.wait_for_all();
        harm(&server, &vitals, &load);
        load.wait_for_all();
    });
    vitals.are_back();
}

#[test]
fn killed_renderers_lose_no_image() {
    under_load(json!({"queue_timeout": 60}), |server, vitals, load| {
        for _ in 0..4 {
            let renderer = server.renderer();
            renderer.signal(Signal::KILL);
            vitals.answers_at_once();
            eventually("the renderer has exited", || !renderer.lives());
            vitals.answers_at_once();
            // A request that loses two renderers in a row is not retried.
            load.wait_for_all();
        }
    });
}

#[test]
fn hung_renderer_loses_no_image() {
    under_load(json!({"queue_timeout": 60}), |server, vitals, _| {
        let renderer = server.renderer();
        renderer.signal(Signal::STOP);
        let started = Instant::now();
        while renderer.lives() {
            vitals.answers_at_once();
            assert!(started.elapsed() < LONG, "it hangs for {:?}", started.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn renderer_over_max_rss_is_replaced_under_load_without_losing_an_image() {
    under_load(json!({"queue_timeout": 60, "renderer_max_rss": 1 << 20}), |server, vitals, _| {
        let started = Instant::now();
        let replaced = || server.log.count("renderer_replaced");
        while replaced() < 2 {
            vitals.answers_at_once();
            assert!(started.elapsed() < LONG, "{} were replaced", replaced());
            thread::sleep(Duration::from_millis(50));
        }
    });
}
