//! A renderer that is killed, stands still or swells while a crowd waits for it: nobody loses a picture, hits are
//! answered at once, and nothing of the old renderers is left in the edge.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{AtEnd, HIT, LONG, start};
use crate::support::eventually;
use crate::support::pictures::size_of;
use crate::support::server::Server;
use crate::support::vitals::Vitals;

/// Clients that ask for one picture after the other that is not in the cache, each a hundredth of a second's work,
/// while something is done to the renderer.
fn under_load(limits: Value, harm: impl FnOnce(&Server, &Vitals)) {
    let server = start(limits);
    let vitals = Vitals::of(&server, HIT);
    let (enough, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = AtEnd(&enough);
        for number in 0..8 {
            let (server, enough, answered) = (&server, &enough, &answered);
            scope.spawn(move || {
                let mut client = server.client();
                for round in 0.. {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let (width, height) = (1 + round % 80, 1 + number + 8 * (round / 80));
                    let target = format!("/h/a.png?w={width}&h={height}&e=true&f=png");
                    assert_eq!(size_of(&client.get(&target).ok().body), (width, height));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("there is load", || answered.load(Ordering::Relaxed) > 20);
        harm(&server, &vitals);
        let so_far = answered.load(Ordering::Relaxed);
        eventually("there is load again", || answered.load(Ordering::Relaxed) > so_far + 50);
    });
    vitals.are_back();
}

#[test]
fn one_killed_after_the_other_costs_nobody_a_picture() {
    under_load(json!({"queue_timeout": 60}), |server, vitals| {
        let mut last = None;
        for _ in 0..3 {
            let renderer = server.renderer();
            assert_ne!(last.as_ref(), Some(&renderer));
            renderer.signal(Signal::KILL);
            vitals.answers_at_once();
            eventually("it is dead", || !renderer.lives());
            vitals.answers_at_once();
            thread::sleep(Duration::from_millis(200));
            last = Some(renderer);
        }
    });
}

#[test]
fn one_that_stands_still_costs_nobody_a_picture() {
    under_load(json!({"queue_timeout": 60}), |server, vitals| {
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
fn one_that_swells_is_replaced_under_load_and_nobody_loses_a_picture() {
    under_load(json!({"queue_timeout": 60, "renderer_max_rss": 1 << 20}), |server, vitals| {
        let started = Instant::now();
        let swollen = || server.log.lines().iter().filter(|line| line.contains("renderer_max_rss")).count();
        while swollen() < 2 {
            vitals.answers_at_once();
            assert!(started.elapsed() < LONG, "{} were replaced", swollen());
            thread::sleep(Duration::from_millis(50));
        }
    });
}
