//! `/-/ready`: whether the server can make images and store them.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, images, merged};

const SECRET: &str = "0123456789abcdef";

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

fn start(handler: &Value) -> Server {
    let config = config(handler);
    Setup::new(config).check_interval(20).start()
}

fn config(handler: &Value) -> Value {
    let admin = json!({"address": "127.0.0.1:0", "secret": SECRET});
    json!({"handlers": [handler], "admin": admin})
}

/// Status and body, as operators get them.
#[track_caller]
fn admin(server: &Server) -> (u16, String) {
    ask_admin(server, "/-/ready")
}

#[track_caller]
fn ask_admin(server: &Server, path: &str) -> (u16, String) {
    let mut client = Client::connect(server.listening_on("admin http://"));
    let bearer = format!("Bearer {SECRET}");
    let answer = client.get_with(path, &[("Authorization", &bearer)]);
    (answer.status, answer.text().to_owned())
}

/// The metric, and what the page of the operator says about the only handler.
#[track_caller]
fn expect_shown(server: &Server, is_ready: bool, problem: &str) {
    let metrics = ask_admin(server, "/-/metrics").1;
    let sample = format!("s3imageserver_ready {}", u8::from(is_ready));
    assert!(metrics.lines().any(|line| line == sample), "{metrics}");
    let status: Value = serde_json::from_str(&ask_admin(server, "/-/status").1).unwrap();
    let problems = status["handlers"][0]["problems"].as_array().unwrap();
    assert_eq!(problems.is_empty(), is_ready, "{status}");
    assert!(problems.iter().all(|text| text.as_str().unwrap().contains(problem)), "{status}");
}

/// Waits until the server is ready, or not for this reason only.
#[track_caller]
fn expect(server: &Server, reason: Option<&str>) {
    let expected = match reason {
        None => (200, "ready\n".to_owned()),
        Some(reason) => (503, format!("{reason}\n")),
    };
    eventually(&format!("{expected:?}"), || {
        let answer = server.get("/-/ready");
        (answer.status, answer.text().to_owned()) == expected
    });
}

#[test]
fn ready_answers_the_methods_of_health() {
    let directory = directory();
    let server = start(&directory.handler());
    expect(&server, None);
    let answer = server.get("/-/ready?who=me");
    assert_eq!((answer.status, answer.expect("Cache-Control")), (200, "no-store"));
    let head = server.head_with("/-/ready", &[]);
    assert_eq!((head.status, head.expect("Content-Length"), &head.body[..]), (200, "6", &b""[..]));
    let options = server.ask("OPTIONS", "/-/ready");
    assert_eq!((options.status, options.expect("Allow")), (204, "GET, HEAD, OPTIONS"));
    for method in ["POST", "DELETE", "PUT"] {
        let answer = server.ask(method, "/-/ready");
        assert_eq!((answer.status, answer.expect("Allow")), (405, "GET, HEAD, OPTIONS"));
    }
    assert_eq!(server.get("/-/ready/").status, 404);
    assert_eq!(admin(&server), (200, "ready\n".to_owned()));
    server.log.event("became_ready");
    // Without the secret, the admin listener tells nothing.
    let mut client = Client::connect(server.listening_on("admin http://"));
    assert_eq!(client.get("/-/ready").status, 401);
}

#[test]
fn a_renderer_that_does_not_answer_is_a_reason() {
    let directory = directory();
    let server = start(&directory.handler());
    expect(&server, None);
    let renderer = server.renderer();
    renderer.signal(Signal::STOP);
    expect(&server, Some("the renderer does not answer"));
    let head = server.head_with("/-/ready", &[]);
    assert_eq!((head.status, &head.body[..]), (503, &b""[..]));
    assert_eq!(server.ask("OPTIONS", "/-/ready").status, 503);
    // It is not the server's health.
    assert_eq!(server.get("/-/health").status, 200);
    // It is killed, and the next one answers.
    expect(&server, None);
    server.log.event_with("not_ready", "the renderer does not answer");
}

#[test]
fn a_cache_that_can_not_be_written_is_a_reason() {
    let directory = directory();
    let caches = Directory::new();
    let path = caches.path().join("cache");
    let server = start(&merged(directory.handler(), json!({"cache_path": path})));
    expect(&server, None);
    for _ in 0..2 {
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, b"").unwrap();
        expect(&server, Some("a cache can't be written"));
        let (status, reasons) = admin(&server);
        assert_eq!(status, 503);
        assert!(
            reasons.starts_with(&format!("{}: can't be written: ", path.display())),
            "{reasons}"
        );
        expect_shown(&server, false, "can't be written: ");
        fs::remove_file(&path).unwrap();
        // A deleted directory is created again when it is needed.
        expect(&server, None);
        expect_shown(&server, true, "");
        server.get("/h/a.png").ok();
        eventually("it is created again", || {
            server.get("/h/a.png?w=9").status == 200 && path.is_dir()
        });
    }
    let left = fs::read_dir(&path)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "a probe leaves a file behind");
}

#[test]
fn missing_credentials_are_a_reason_until_a_reload_gives_some() {
    let bucket = |fields: Value| {
        let aws = json!({"bucket_name": "bucket-not-shown", "endpoint": "http://127.0.0.1:1"});
        json!({"name": "route-not-shown", "aws": merged(aws, fields)})
    };
    let server = start(&bucket(json!({})));
    expect(&server, Some("credentials are missing"));
    let (status, reasons) = admin(&server);
    assert_eq!(status, 503);
    assert!(reasons.starts_with("route-not-shown: "), "{reasons}");
    server.log.event_with("not_ready", "route-not-shown");
    let keys = json!({"aws_access": "AKREADY", "aws_secret": "ready-secret"});
    for fields in [keys, json!({"anonymous": true})] {
        server.reload_well(config(&bucket(fields)));
        expect(&server, None);
        server.reload_well(config(&bucket(json!({}))));
        expect(&server, Some("credentials are missing"));
    }
    let log = server.log.lines().join("\n");
    assert!(!log.contains("ready-secret"), "{log}");
}

#[test]
fn a_reload_does_not_interrupt_readiness() {
    let directory = directory();
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let server = start(&handler);
    expect(&server, None);
    for _ in 0..3 {
        server.reload_well(config(&handler));
        for _ in 0..20 {
            assert_eq!(server.get("/-/ready").status, 200);
        }
    }
    assert_eq!(server.log.count("not_ready"), 0);
}

#[test]
fn a_stopping_server_is_not_ready() {
    let directory = directory();
    let limits = json!({"stop_delay": 60});
    let config = merged(config(&directory.handler()), json!({"limits": limits}));
    let mut server = Setup::new(config).check_interval(20).start();
    expect(&server, None);
    server.terminate();
    expect(&server, Some("stopping"));
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
}
