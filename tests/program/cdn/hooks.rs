//! Purge hooks, with a CDN that is well, slow, down or refuses.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{handler, image, tag};
use crate::admin::{config, send, send_ok};
use crate::support::certificates::Certificates;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::merged;
use crate::support::origin::{self, RawOrigin, Request, Then};
use crate::support::server::{Server, Setup};
use crate::support::unused_port::UnusedPort;

const SECRET: &str = "hush-hush-this-is-a-secret";

struct Cdn {
    hook: RawOrigin,
    server: Server,
    config: Value,
    _directories: [Directory; 2],
}

impl Cdn {
    #[track_caller]
    fn purge(&self, key: &str) {
        send_ok(&self.server, "POST", &format!("/-/purge/h/{key}"));
    }

    /// The targets of the requests, in their order.
    fn targets(&self) -> Vec<String> {
        self.hook.requests().into_iter().map(|request| request.target).collect()
    }

    /// The number of requests with this result.
    fn count(&self, result: &str) -> f64 {
        let series = format!("purge_hook_requests_total{{handler=\"h\",result=\"{result}\"}}");
        metric(&self.server, &series).unwrap_or_default()
    }

    fn waiting(&self) -> f64 {
        metric(&self.server, "purge_hook_waiting{handler=\"h\"}").unwrap()
    }
}

fn metric(server: &Server, series: &str) -> Option<f64> {
    let series = format!("s3imageserver_{series} ");
    let metrics = send(server, "GET", "/-/metrics");
    Some(metrics.text().lines().find_map(|line| line.strip_prefix(&series))?.parse().unwrap())
}

/// A server whose hook is at this path of an origin.
fn start(hook: RawOrigin, path: &str, fields: Value) -> Cdn {
    start_with(hook, path, fields, json!({}))
}

/// The same with more fields of the configuration. Retries follow after milliseconds instead of seconds.
fn start_with(hook: RawOrigin, path: &str, fields: Value, more: Value) -> Cdn {
    let url = format!("{}{path}", hook.url());
    let fields = merged(json!({"url": url, "headers": {"Authorization": "$CDN_SECRET"}}), fields);
    let directories = [Directory::new().with("a.png", &image()), Directory::new()];
    let handler = handler(&directories[0], &directories[1], json!({"purge_hook": fields}));
    let config = merged(config(handler), more);
    let setup = Setup::new(config.clone()).check_interval(10);
    Cdn { hook, server: setup.env("CDN_SECRET", SECRET).start(), config, _directories: directories }
}

fn well() -> RawOrigin {
    RawOrigin::always(origin::answer(200, &[], b"{}"))
}

/// A hook that answers once the gate is open.
fn behind(gate: &Gate) -> RawOrigin {
    let gate = gate.clone();
    RawOrigin::start(move |_, peer| {
        gate.pass();
        peer.send(&origin::answer(204, &[], b""))
    })
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[test]
fn a_purge_of_a_key_and_of_a_prefix_are_sent() {
    let body_of = json!({"tag": "{tag}", "key": "{key}", "prefix": "{prefix}", "url": "https://img.test{path}"});
    let cdn = start(well(), "/p/{handler}?k={key}", json!({"body": body_of, "method": "PUT"}));
    cdn.purge("s/%22a%0D%0A%C3%BC%7Btag%7D.png");
    cdn.hook.wait_for_requests(1);
    send_ok(&cdn.server, "DELETE", "/-/purge/h/s/");
    cdn.hook.wait_for_requests(2);
    let [first, second] = &cdn.hook.requests()[..] else { panic!() };
    assert_eq!(first.method, "PUT");
    assert_eq!(first.target, "/p/h?k=s/%22a%0D%0A%C3%BC%7Btag%7D.png");
    assert_eq!(first.header("authorization"), Some(SECRET));
    assert_eq!(first.header("content-type"), Some("application/json"));
    let key = "s/\"a\r\n\u{fc}{tag}.png";
    assert_eq!(
        body(first),
        json!({
            "tag": tag(&format!("h/{key}")), "key": key, "prefix": "",
            "url": "https://img.test/h/s/%22a%0D%0A%C3%BC%7Btag%7D.png",
        })
    );
    assert_eq!(second.target, "/p/h?k=");
    assert_eq!(
        body(second),
        json!({"tag": tag("h/s/"), "key": "", "prefix": "s/", "url": "https://img.test/h/s/"})
    );
    eventually("they are counted", || cdn.count("ok") == 2.0);
    assert_eq!(cdn.waiting(), 0.0);
    assert_eq!(cdn.server.log.count("purge_hook_failed"), 0);
}

#[test]
fn a_burst_of_purges_is_sent_in_few_requests() {
    let gate = Gate::new();
    let fields = json!({"body": {"tags": "{tags}"}, "max_tags": 10});
    let cdn = start(behind(&gate), "/", fields);
    cdn.purge("first");
    cdn.hook.wait_for_requests(1);
    for number in 0..25 {
        cdn.purge(&number.to_string());
        cdn.purge("again");
    }
    assert_eq!(cdn.waiting(), 27.0);
    gate.open();
    eventually("all are sent", || cdn.waiting() == 0.0);
    let bodies: Vec<Value> = cdn.hook.requests().iter().map(body).collect();
    let counts: Vec<usize> =
        bodies.iter().map(|body| body["tags"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [1, 10, 10, 6]);
    let mut sent: Vec<&str> = bodies
        .iter()
        .flat_map(|body| body["tags"].as_array().unwrap())
        .map(|tag| tag.as_str().unwrap())
        .collect();
    let mut expected: Vec<String> = (0..25).map(|number| tag(&format!("h/{number}"))).collect();
    expected.extend(["h/first", "h/again"].map(tag));
    sent.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sent, expected);
}

#[test]
fn a_slow_hook_delays_neither_purges_nor_images() {
    let gate = Gate::new();
    // One connection for images.
    let limits = json!({"limits": {"fetches_at_once": 1}});
    let mut cdn = start_with(behind(&gate), "/{tag}", json!({"timeout": 60}), limits);
    let started = Instant::now();
    for width in 1..=5 {
        cdn.purge("a.png");
        cdn.server.get(&format!("/h/a.png?w={width}")).ok();
    }
    cdn.hook.wait_for_requests(1);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(cdn.hook.requests().len(), 1, "the others wait");
    gate.open();
    eventually("the last purge is sent", || cdn.hook.requests().len() == 2);
    cdn.server.terminate();
    assert!(cdn.server.wait().success());
}

#[test]
fn a_hook_that_fails_is_sent_again_and_given_up_in_the_end() {
    let hook = RawOrigin::start(|request, peer| {
        let status = if request.number < 2 { 503 } else { 200 };
        peer.send(&origin::answer(status, &[], b""))
    });
    let cdn = start(hook, "/secret-path/{tag}", json!({}));
    cdn.purge("a.png");
    eventually("it succeeds", || cdn.count("ok") == 1.0);
    assert_eq!(cdn.count("retried"), 2.0);
    assert_eq!(cdn.targets(), vec![format!("/secret-path/{}", tag("h/a.png")); 3]);
    let line = cdn.server.log.event("purge_hook_retried");
    assert!(line.contains("status 503") && line.contains("http://127.0.0.1:"), "{line}");

    let hook = RawOrigin::always(origin::answer(500, &[], b""));
    let cdn = start(hook, "/secret-path/{tag}", json!({}));
    cdn.purge("a.png");
    let line = cdn.server.log.event_with("purge_hook_failed", "status 500");
    assert_eq!(cdn.hook.requests().len(), 5);
    assert_eq!((cdn.count("retried"), cdn.count("failed")), (4.0, 1.0));
    assert_eq!(cdn.waiting(), 0.0);
    let log = cdn.server.log.lines().join("\n");
    assert!(!log.contains(SECRET) && !log.contains("secret-path"), "{line}");
}

#[test]
fn a_hook_that_is_refused_or_redirected_is_not_sent_again() {
    let elsewhere = well();
    let location = format!("http://{}/", elsewhere.address());
    for (status, fields) in [(403, vec![]), (302, vec![("Location", location.as_str())])] {
        let hook = RawOrigin::always(origin::answer(status, &fields, b""));
        let cdn = start(hook, "/", json!({"body": ["{tags}"]}));
        cdn.purge("a.png");
        cdn.server.log.event_with("purge_hook_failed", &format!("status {status}"));
        assert_eq!(cdn.hook.requests().len(), 1);
    }
    assert_eq!(elsewhere.accepted(), 0, "redirects are not followed");
}

#[test]
fn a_hook_is_not_sent_to_a_server_without_a_trusted_certificate() {
    let certificates = Certificates::new();
    let hook = RawOrigin::start_tls(certificates.server(), |_, _| Then::Close);
    let cdn = start(hook, "/", json!({}));
    cdn.purge("a.png");
    cdn.server.log.event("purge_hook_failed");
    assert!(cdn.hook.accepted() > 0 && cdn.hook.requests().is_empty());
}

#[test]
fn a_hook_that_is_down_costs_no_purge() {
    let port = UnusedPort::new();
    let url = format!("http://{}/", port.address());
    let cdn = start(well(), "/", json!({"url": url, "body": {"tags": "{tags}"}}));
    cdn.server.get("/h/a.png").ok();
    assert_eq!(send_ok(&cdn.server, "POST", "/-/purge/h/a.png")["renditions"], json!(1));
    cdn.server.log.event("purge_hook_retried");
    cdn.server.log.event("purge_hook_failed");
    assert_eq!(cdn.server.get("/h/a.png").ok().expect("X-Cache"), "miss");
}

#[test]
fn what_waits_outlives_renderers_and_reloads() {
    let gate = Gate::new();
    let cdn = start(behind(&gate), "/{tag}", json!({}));
    cdn.purge("a.png");
    cdn.hook.wait_for_requests(1);
    cdn.purge("b.png");
    // The request in flight is lost with its renderer, and sent again by the next one.
    cdn.server.renderer().signal(rustix::process::Signal::KILL);
    cdn.server.log.event("purge_hook_retried");
    gate.open();
    eventually("both are sent", || cdn.count("ok") == 2.0);
    let sent = |key: &str| {
        let target = format!("/{}", tag(key));
        cdn.targets().into_iter().filter(|sent| *sent == target).count()
    };
    assert_eq!((sent("h/a.png"), sent("h/b.png")), (2, 1));
    cdn.server.reload_well(cdn.config.clone());
    send_ok(&cdn.server, "DELETE", "/-/purge/h/");
    eventually("the hook of the new configuration is sent", || sent("h/") == 1);
}

#[test]
fn a_stopping_server_waits_for_its_hooks() {
    let gate = Gate::new();
    let mut cdn = start(behind(&gate), "/{tag}", json!({}));
    for key in ["a", "b", "c"] {
        cdn.purge(key);
    }
    cdn.hook.wait_for_requests(1);
    cdn.server.terminate();
    cdn.server.log.event("stopping");
    gate.open();
    assert!(cdn.server.wait().success());
    assert_eq!(cdn.hook.requests().len(), 3);
    assert_eq!(cdn.server.log.count("purge_hook_failed"), 0);

    // A second signal ends the wait, and what is lost is logged.
    let gate = Gate::new();
    let mut cdn = start(behind(&gate), "/{tag}", json!({}));
    cdn.purge("a");
    cdn.hook.wait_for_requests(1);
    cdn.server.terminate();
    cdn.server.log.event("stopping");
    cdn.server.terminate();
    assert!(cdn.server.wait().success());
    cdn.server.log.event("purge_hook_failed");
    gate.open();
}

#[test]
fn a_handler_without_a_bucket_can_send_its_hook_from_the_sandbox() {
    // The handlers of these tests have a directory, so only the hook makes the sandbox allow connections.
    let cdn = start(well(), "/", json!({"method": "GET"}));
    cdn.purge("a.png");
    cdn.hook.wait_for_requests(1);
    assert_eq!(cdn.hook.requests()[0].method, "GET");
    assert!(cdn.hook.requests()[0].body.is_empty());
}

#[test]
fn a_purge_is_repeated_for_servers_that_learn_of_it_later() {
    let cdn = start(well(), "/{tag}", json!({"repeat_after": 1}));
    cdn.purge("a.png");
    cdn.hook.wait_for_requests(1);
    assert_eq!(cdn.waiting(), 1.0);
    cdn.hook.wait_for_requests(2);
    assert_eq!(cdn.targets(), vec![format!("/{}", tag("h/a.png")); 2]);
    eventually("nothing waits", || cdn.waiting() == 0.0);
}
