//! `GET /-/metrics`: what is counted, the two formats, and who may ask.

mod families;
mod hostile;
mod prometheus;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::admin::{cached, config, send, send_with_fields, small_image, warm};
use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::skip::skip;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub fn scrape(server: &Server) -> String {
    let answer = send(server, "GET", "/-/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.expect("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    answer.text().to_owned()
}

/// The value of a series, without the prefix of its name; 0 if there is none.
pub fn value(text: &str, series: &str) -> f64 {
    let series = format!("s3imageserver_{series} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// Waits until a series has this value: a response is counted after the client has it.
#[track_caller]
fn expect(server: &Server, series: &str, expected: f64) {
    let mut text = String::new();
    eventually(series, || {
        text = scrape(server);
        value(&text, series) >= expected
    });
    assert_eq!(value(&text, series), expected, "{series}\n{text}");
}

/// Sends a request for each kind of response.
fn server_with_traffic(directory: &Directory, cache: &Directory) -> Server {
    let server = Server::start(config(cached(directory.handler(), cache)));
    let mut client = server.client();
    assert_eq!(client.get("/h/a.png?w=5&f=webp").ok().expect("X-Cache"), "miss");
    warm(&server, "/h/a.png?w=5&f=webp");
    client.get("/h/none.png?w=5").failed("not_found");
    client.get("/h/text.png?w=5").failed("unsupported_format");
    assert_eq!(client.get("/h/a.png?w=x").status, 400);
    assert_eq!(client.get("/absent/a.png").status, 404);
    assert_eq!(client.get("/-/health").status, 200);
    server
}

fn directory() -> Directory {
    Directory::new().with("a.png", &small_image()).with("text.png", b"text")
}

#[test]
fn requests_are_counted_by_handler_status_and_cache_result() {
    let (directory, cache) = (directory(), Directory::new());
    let server = server_with_traffic(&directory, &cache);
    let requests = |labels: &str| format!("http_requests_total{{{labels}}}");
    for (labels, count) in [
        (r#"handler="",status="200",cache="none""#, 1.0),
        (r#"handler="",status="404",cache="none""#, 1.0),
        (r#"handler="h",status="400",cache="none""#, 1.0),
        (r#"handler="h",status="404",cache="miss""#, 2.0),
        (r#"handler="h",status="200",cache="miss""#, 1.0),
        (r#"handler="h",status="200",cache="hit""#, 2.0),
    ] {
        expect(&server, &requests(labels), count);
    }
    let text = scrape(&server);
    for (series, count) in [
        (r#"http_request_duration_seconds_count{handler="h",cache="hit"}"#, 2.0),
        (r#"http_request_duration_seconds_bucket{handler="h",cache="hit",le="+Inf"}"#, 2.0),
        (r#"http_errors_total{handler="h",code="not_found"}"#, 1.0),
        (r#"http_errors_total{handler="h",code="unsupported_format"}"#, 1.0),
        (r#"http_errors_total{handler="h",code="bad_request"}"#, 1.0),
        (r#"http_errors_total{handler="",code="no_such_handler"}"#, 1.0),
    ] {
        assert_eq!(value(&text, series), count, "{series}\n{text}");
    }
    assert!(value(&text, r#"http_response_bytes_total{handler="h"}"#) > 1000.0, "{text}");
    assert!(!text.contains("absent"), "{text}");
}

#[test]
fn phases_are_counted_once_for_each_render() {
    let (directory, cache) = (directory(), Directory::new());
    let server = server_with_traffic(&directory, &cache);
    let text = scrape(&server);
    for (series, count) in [
        (r#"origin_fetch_duration_seconds_count{handler="h",outcome="fetched"}"#, 2.0),
        (r#"origin_fetch_duration_seconds_count{handler="h",outcome="not_found"}"#, 1.0),
        (r#"origin_fetched_bytes_total{handler="h"}"#, small_image().len() as f64 + 4.0),
        (r#"decode_duration_seconds_count{input="png",output="webp"}"#, 1.0),
        (r#"encode_duration_seconds_count{input="png",output="webp"}"#, 1.0),
        (r#"decoded_pixels_total{input="png",output="webp"}"#, 100.0),
        (r#"encoded_pixels_total{input="png",output="webp"}"#, 25.0),
        (r#"decode_duration_seconds_count{input="none",output="none"}"#, 1.0),
    ] {
        assert_eq!(value(&text, series), count, "{series}\n{text}");
    }
    for series in [
        r#"decode_duration_seconds_sum{input="png",output="webp"}"#,
        r#"encode_duration_seconds_sum{input="png",output="webp"}"#,
        r#"origin_fetch_duration_seconds_sum{handler="h",outcome="fetched"}"#,
        "renderer_queue_wait_seconds_sum",
    ] {
        assert!(value(&text, series) > 0.0, "{series}\n{text}");
    }
    // Each miss, and the error images.
    assert!(value(&text, "renderer_queue_wait_seconds_count") >= 3.0, "{text}");
}

#[test]
fn a_reload_resets_nothing() {
    let (directory, cache) = (directory(), Directory::new());
    let server = server_with_traffic(&directory, &cache);
    let hits = r#"http_requests_total{handler="h",status="200",cache="hit"}"#;
    expect(&server, hits, 2.0);
    server.reload_well(config(cached(directory.handler(), &cache)));
    warm(&server, "/h/a.png?w=5&f=webp");
    expect(&server, hits, 4.0);
}

#[test]
fn metrics_are_for_get_and_head_with_the_secret_on_the_admin_listener() {
    let server = Server::start(config(directory().handler()));
    assert_eq!(server.get("/-/metrics").status, 404);
    let head = send(&server, "HEAD", "/-/metrics");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.expect("Cache-Control"), "no-store");
    let refused = send(&server, "POST", "/-/metrics");
    assert_eq!((refused.status, refused.expect("Allow")), (405, "GET, HEAD"));
    let mut client = Client::connect(server.listening_on("admin "));
    assert_eq!(client.get("/-/metrics").status, 401);
    expect(&server, r#"admin_requests_total{status="401"}"#, 1.0);
    expect(&server, r#"admin_requests_total{status="405"}"#, 1.0);
    let text = scrape(&server);
    assert!(!text.contains(r#"status="401",cache"#), "{text}");
}

#[track_caller]
fn assert_promtool_accepts(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return skip("there is no promtool (Debian: prometheus)");
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && problems.is_empty(), "{problems}\n{text}");
}

#[test]
fn promtool_accepts_the_metrics() {
    let (directory, cache) = (directory(), Directory::new());
    let server = server_with_traffic(&directory, &cache);
    assert_promtool_accepts(&scrape(&server));
}

#[test]
fn open_metrics_are_sent_to_who_accepts_them() {
    let (directory, cache) = (directory(), Directory::new());
    let server = server_with_traffic(&directory, &cache);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = send_with_fields(&server, "GET", "/-/metrics", &[("Accept", accept)]);
    assert_eq!((answer.status, answer.expect("Content-Type")), (200, OPEN_METRICS));
    assert!(answer.varies_on("Accept"));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    for line in [
        "# TYPE s3imageserver_http_requests counter",
        "# UNIT s3imageserver_http_response_bytes bytes",
        r#"s3imageserver_decoded_pixels_total{input="png",output="webp"} 100"#,
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

#[test]
fn a_handler_with_any_name_has_valid_series() {
    let directory = directory();
    let name = "a \"b\" \\ \u{e9}{x=\"y\"},";
    let mut handler = directory.handler();
    handler["name"] = json!(name);
    let server = Server::start(config(handler));
    server.get("/a%20%22b%22%20%5C%20%C3%A9%7Bx=%22y%22%7D,/a.png?w=5").ok();
    let escaped = r#"handler="a \"b\" \\ é{x=\"y\"},""#;
    let series = format!("http_requests_total{{{escaped},status=\"200\",cache=\"miss\"}}");
    expect(&server, &series, 1.0);
    assert_promtool_accepts(&scrape(&server));
}
