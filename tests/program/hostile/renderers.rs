//! A renderer that is killed, stands still or swells while a crowd waits for it: nobody loses an image, hits are
//! answered at once, and nothing of the old renderers is left in the edge.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{AtEnd, HIT, LONG, setup};
use crate::support::eventually;
use crate::support::images::{self, size_of};
use crate::support::server::Server;
use crate::support::vitals::Vitals;

const CLIENTS: usize = 8;

/// How many answers each client has got.
struct Load([AtomicUsize; CLIENTS]);

impl Load {
    /// Waits until everybody has got an answer to something that was asked from now on.
    #[track_caller]
    fn wait_for_everybody(&self) {
        let before = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        eventually("everybody is answered", || {
            self.0
                .iter()
                .zip(before)
                .all(|(count, before)| count.load(Ordering::Relaxed) >= before + 2)
        });
    }
}

/// Clients that ask for one result after the other that is not in the cache, each of an image of its own, while
/// something is done to the renderer.
fn under_load(limits: Value, harm: impl FnOnce(&Server, &Vitals, &Load)) {
    let mut setup = setup(json!({"limits": limits}));
    let image = images::png(images::gradient(80, 60));
    for number in 0..CLIENTS {
        setup = setup.file(&format!("originals/{number}.png"), &image);
    }
    let server = setup.start();
    let vitals = Vitals::of(&server, HIT);
    let (enough, load) = (AtomicBool::new(false), Load(Default::default()));
    thread::scope(|scope| {
        let _end = AtEnd(&enough);
        for (number, answered) in load.0.iter().enumerate() {
            let (server, enough) = (&server, &enough);
            scope.spawn(move || {
                let mut client = server.client();
                for round in 0.. {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let (width, height) = (1 + round % 80, 1 + round / 80);
                    let target = format!("/h/{number}.png?w={width}&h={height}&e=true&f=png");
                    assert_eq!(size_of(&client.get(&target).ok().body), (width, height));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load.wait_for_everybody();
        harm(&server, &vitals, &load);
        load.wait_for_everybody();
    });
    vitals.are_back();
}

#[test]
fn one_killed_after_the_other_costs_nobody_an_image() {
    under_load(json!({"queue_timeout": 60}), |server, vitals, load| {
        for _ in 0..4 {
            let renderer = server.renderer();
            renderer.signal(Signal::KILL);
            vitals.answers_at_once();
            eventually("it is dead", || !renderer.lives());
            vitals.answers_at_once();
            // Who has lost two renderers in a row is not tried a third time.
            load.wait_for_everybody();
        }
    });
}

#[test]
fn one_that_stands_still_costs_nobody_an_image() {
    under_load(json!({"queue_timeout": 60}), |server, vitals, _| {
        let renderer = server.renderer();
        renderer.signal(Signal::STOP);
        let started = Instant::now();
        while renderer.lives() {
            vitals.answers_at_once();
            assert!(started.elapsed() < LONG, "it stands still for {:?}", started.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn one_that_swells_is_replaced_under_load_and_nobody_loses_an_image() {
    under_load(json!({"queue_timeout": 60, "renderer_max_rss": 1 << 20}), |server, vitals, _| {
        let started = Instant::now();
        let swollen = || {
            server
                .log
                .lines()
                .iter()
                .filter(|line| line.contains("event=renderer_replaced"))
                .count()
        };
        while swollen() < 2 {
            vitals.answers_at_once();
            assert!(started.elapsed() < LONG, "{} were replaced", swollen());
            thread::sleep(Duration::from_millis(50));
        }
    });
}
