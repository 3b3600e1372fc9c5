//! The log and the access log.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::origin::{self, RawOrigin};
use crate::support::server::Server;
use crate::support::unused_port::UnusedPort;
use crate::support::{eventually, merged};

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

#[test]
fn access_log_has_one_line_of_nine_columns_per_request() {
    let directory = directory();
    let cache = Directory::new();
    let server =
        Server::with_handler(merged(directory.handler(), json!({"cache_path": cache.path()})));
    let length = server.get("/h/a.png?w=40").ok().body.len().to_string();
    server.get("/h/a.png?w=40&x=again").ok();
    let error_length = server.get("/h/missing.png").failed("not_found").body.len().to_string();
    let head = server.head_with("/h/a.png?w=40&head", &[]);
    assert_eq!(head.status, 200);
    let tag = head.expect("ETag").to_owned();
    assert_eq!(server.get_with("/h/a.png?w=40&tag", &[("If-None-Match", &tag)]).status, 304);
    server.get("/h/a.png?w=0");
    server.get("/nowhere/x");
    server.ask("POST", "/h/a.png?post");
    for (target, method, status, bytes, cache, error) in [
        ("/h/a.png?w=40", "GET", "200", Some(length.as_str()), "miss", "-"),
        ("/h/a.png?w=40&x=again", "GET", "200", Some(&length), "hit", "-"),
        ("/h/missing.png", "GET", "404", Some(&error_length), "miss", "not_found"),
        ("/h/a.png?w=40&head", "HEAD", "200", Some("0"), "hit", "-"),
        ("/h/a.png?w=40&tag", "GET", "304", Some("0"), "hit", "-"),
        ("/h/a.png?w=0", "GET", "400", None, "-", "-"),
        ("/nowhere/x", "GET", "404", None, "-", "no_such_handler"),
        ("/h/a.png?post", "POST", "405", None, "-", "-"),
    ] {
        let line = server.log.access(target);
        assert_eq!(line.len(), 9, "{line:?}");
        let time = parse_timestamp(&line[0]);
        let age = SystemTime::now().duration_since(time).unwrap_or_default();
        assert!(age < Duration::from_secs(120), "{line:?}");
        assert_eq!(line[1], "127.0.0.1", "{line:?}");
        assert_eq!((line[2].as_str(), line[4].as_str()), (method, status), "{line:?}");
        if let Some(bytes) = bytes {
            assert_eq!(line[5], bytes, "{line:?}");
        }
        let took: f64 = line[6].strip_suffix("ms").expect("milliseconds").parse().unwrap();
        assert!((0.0..60_000.0).contains(&took), "{line:?}");
        assert_eq!(line[7], cache, "{line:?}");
        if error != "-" || status == "200" || status == "304" {
            assert_eq!(line[8], error, "{line:?}");
        }
    }
}

/// Parses `2026-11-22T15:29:41.123Z`.
#[track_caller]
fn parse_timestamp(text: &str) -> SystemTime {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
    // Howard Hinnant's days_from_civil.
    let mut year = number(0, 4);
    let month = number(5, 7);
    let day = number(8, 10);
    year -= u64::from(month <= 2);
    let of_era = year % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + number(20, 23))
}

#[test]
fn requests_are_not_logged_without_access_log() {
    let directory = directory();
    let server = Server::start(json!({"handlers": [directory.handler()], "access_log": false}));
    server.get("/h/a.png?w=40").ok();
    server.get("/h/missing.png").failed("not_found");
    // This failure is logged, after the requests above would have been.
    directory.put("text.png", b"no image");
    server.get("/h/text.png").failed("unsupported_format");
    server.terminate();
    let mut server = server;
    server.wait();
    let lines = server.log.lines();
    assert!(!lines.iter().any(|line| line.contains(" GET ")), "{lines:?}");
}

#[test]
fn every_event_has_a_time_a_level_and_a_name() {
    let directory = directory();
    let mut server = Server::start(json!({"handlers": [directory.handler()], "access_log": false}));
    server.reload_well(json!({"handlers": [directory.handler()], "access_log": false}));
    server.reload_text("{}");
    server.terminate();
    server.wait();
    server.log.event("stopped");
    let lines = server.log.lines();
    for line in &lines {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        parse_timestamp(fields[0]);
        assert!(["error", "warn", "info", "debug"].contains(&fields[1]), "{line}");
        assert!(fields[2].starts_with("event=") && !fields[3].is_empty(), "{line}");
    }
    let level = |event: &str| {
        let event = format!("event={event}");
        let line = lines.iter().find(|line| line.contains(&event)).unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!([level("listening"), level("reload_ok"), level("stopped")], ["info"; 3]);
    assert_eq!(level("reload_failed"), "error");
}

#[test]
fn events_below_the_log_level_are_not_logged() {
    let directory = directory();
    let config = |name: &str, level: &str| {
        let handler = merged(directory.handler(), json!({"name": name}));
        json!({"handlers": [handler], "access_log": false, "log_level": level})
    };
    let mut server = Server::start(config("h", "info"));
    server.log.event("renderer_ready");
    let refused = server.reload(config("h", "verbose"));
    assert!(
        refused.contains("event=reload_failed") && refused.contains(": log_level: "),
        "{refused}"
    );
    server.put_config(config("j", "error"));
    server.hang_up();
    eventually("the new configuration is in use", || server.get("/j/a.png").status == 200);
    server.reload_text("{}");
    server.terminate();
    server.wait();
    let lines = server.log.lines();
    let has = |event: &str| lines.iter().any(|line| line.contains(&format!(" event={event} ")));
    assert!(has("listening") && has("reload_failed"), "{lines:?}");
    assert!(!has("reload_ok") && !has("stopping") && !has("stopped"), "{lines:?}");
}

#[test]
fn targets_can_not_forge_log_lines() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    server.get("/h/x%0A2026-01-01T00:00:00.000Z%20forged%20line.png");
    server.get("/h/x%1B%5B31m%0D%0Aforged.png?w=1%0Aforged");
    server.get_with("/h/last.png", &[("User-Agent", "forged\tby \u{e9}")]);
    server.log.access("/h/last.png");
    for line in server.log.lines() {
        assert!(!line.starts_with("forged") && !line.starts_with("2026-01-01"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn origin_errors_are_logged_without_secrets() {
    let refusing = UnusedPort::new();
    let failing =
        RawOrigin::always(origin::answer(500, &[], b"<Error><Code>InternalError</Code></Error>"));
    let down = json!({
        "bucket_name": "images-bucket",
        "endpoint": format!("http://{}", refusing.address()),
        "aws_access": "AKLOG",
        "aws_secret": "never-in-a-log",
        "session_token": "nor-this-token",
    });
    let handlers = [
        json!({"name": "down", "aws": down}),
        merged(failing.handler(), json!({"name": "failing"})),
    ];
    let server = Server::start(json!({"handlers": handlers}));
    server.get("/down/some-key.png").failed("origin_unreachable");
    server.get("/failing/other-key.png").failed("origin_error");
    let expect_logged = |code: &str, what: &str| {
        // The access log has the code, an event the reason.
        let lines = server.log.lines();
        let line = lines.iter().find(|line| line.contains(what) && !line.contains(" GET "));
        assert!(line.is_some_and(|line| !line.ends_with(code)), "{code}: {lines:?}");
    };
    crate::support::eventually("both are logged", || {
        let lines = server.log.lines();
        ["some-key.png", "other-key.png"]
            .iter()
            .all(|key| lines.iter().any(|line| line.contains(key) && !line.contains(" GET ")))
    });
    expect_logged("origin_unreachable", "some-key.png");
    expect_logged("origin_error", "500");
    let log = server.log.lines().join("\n");
    for secret in ["never-in-a-log", "nor-this-token", "raw-secret", "Signature"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn configured_secrets_are_never_logged() {
    let certificates = Certificates::new();
    let directory = directory();
    let aws = json!({"bucket_name": "b", "aws_access": "AKLIFE", "aws_secret": "life-secret", "endpoint": "http://127.0.0.1:1"});
    let config: Value = json!({
        "handlers": [directory.handler(), {"name": "s", "aws": aws}],
        "https_enabled": true,
        "https_port": 0,
        "https_cert": "bundle.crt",
        "https_key": "cert.key",
    });
    let mut server = crate::support::server::Setup::new(config)
        .file("bundle.crt", certificates.chain_pem.as_bytes())
        .file("cert.key", certificates.key_pem.as_bytes())
        .start();
    server.get("/h/a.png").ok();
    server.get("/s/a.png").failed("origin_unreachable");
    server.terminate();
    server.wait();
    let log = server.log.lines().join("\n");
    assert!(log.contains("listening on https://127.0.0.1:"), "{log}");
    assert!(!log.contains("life-secret") && !log.contains("PRIVATE KEY"), "{log}");
}
