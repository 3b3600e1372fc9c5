//! Requests with bodies: who may send one, and those that are too long, malformed, late, cut off, or hide another request.

use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::{
    IMAGES, KEY, S3, TARGET, bearer, body, cached, config, counts, created, post, post_ok,
    size_and_status, small_image, start, with_body,
};
use crate::admin::{SECRET, admin, send_ok, warm};
use crate::support::client::{Answer, Client, request};
use crate::support::directory::Directory;
use crate::support::merged;
use crate::support::server::Server;

/// A server whose handler has no image.
fn bare(limits: serde_json::Value) -> (S3, Directory, Server) {
    let (s3, cache) = (S3::start(), Directory::new());
    let config = merged(config(cached(s3.handler(), &cache)), json!({"limits": limits}));
    let server = Server::start(config);
    (s3, cache, server)
}

fn authorized() -> Vec<(&'static str, String)> {
    vec![("Authorization", bearer())]
}

fn borrowed<'f>(fields: &'f [(&'static str, String)]) -> Vec<(&'static str, &'f str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Sends bytes on a new connection to the admin listener and reads a response.
#[track_caller]
fn exchange(server: &Server, bytes: &[u8]) -> (Answer, Client) {
    let mut client = Client::connect(admin(server));
    client.send(bytes);
    (client.read(), client)
}

#[test]
fn events_need_the_secret_as_bearer_token_or_as_password() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    let basic = |text: String| format!("Basic {}", BASE64_STANDARD.encode(text));
    let event = body("s3-put.json");
    let right = bearer();
    let mut refused: Vec<Vec<(&str, String)>> = vec![vec![]];
    for value in [
        "",
        "Bearer x",
        SECRET,
        &basic(SECRET.to_owned()),
        &basic(format!("{SECRET}:")),
        &basic(format!("sns:{SECRET}x")),
        &format!("Basic sns:{SECRET}"),
        &format!("Digest {SECRET}"),
    ] {
        refused.push(vec![("Authorization", value.to_owned())]);
    }
    refused.push(vec![("Authorization", right.clone()), ("Authorization", right.clone())]);
    for fields in refused {
        let bytes = with_body("/-/events", &borrowed(&fields), event.as_bytes());
        let (answer, mut client) = exchange(&server, &bytes);
        assert_eq!((answer.status, answer.body.len()), (401, 0), "{fields:?}");
        assert_eq!(answer.expect("WWW-Authenticate"), "Basic realm=\"events\"");
        assert_eq!(answer.expect("Connection"), "close");
        assert!(client.ended(), "{fields:?}");
    }
    assert_eq!(size_and_status(&server, TARGET).1, "hit");
    // SNS sends the password of its URL after the challenge.
    for (user, sequencer) in [("", "01"), ("sns", "02"), ("a user", "03")] {
        let value = basic(format!("{user}:{SECRET}"));
        let event = created("summer/red+flower%2B.png", sequencer);
        let fields = [("Authorization", value.as_str())];
        let (answer, _) = exchange(&server, &with_body("/-/events", &fields, event.as_bytes()));
        assert_eq!(counts(&answer), json!({"events": 1, "purged": 1}), "{user}");
    }
    // The password opens nothing else.
    let value = basic(format!("sns:{SECRET}"));
    for (method, target) in [("GET", "/-/stats"), ("POST", "/-/purge/h/a"), ("GET", "/-/events/")] {
        let bytes = request(method, target, &[("Authorization", &value)]);
        let (answer, _) = exchange(&server, &bytes);
        assert_eq!((answer.status, answer.expect("WWW-Authenticate")), (401, "Bearer"), "{target}");
    }
}

#[test]
fn bodies_are_refused_elsewhere_and_in_other_forms() {
    let (_s3, _cache, server) = bare(json!({}));
    let event = body("s3-put.json");
    let fields = authorized();
    let fields = borrowed(&fields);
    // The public listener.
    for target in ["/-/events", "/h/a.png"] {
        let mut client = server.client();
        client.send(&with_body(target, &fields, event.as_bytes()));
        assert_eq!(client.read().status, 413, "{target}");
        assert!(client.ended());
    }
    assert_eq!(server.send(&request("POST", "/-/events", &fields)).status, 405);
    // Other paths and methods of the admin listener.
    for target in ["/-/purge/h/a.png", "/-/sign/h/a.png", "/-/events/", "/-/stats"] {
        let (answer, mut client) = exchange(&server, &with_body(target, &fields, b"{}"));
        assert_eq!(answer.status, 413, "{target}");
        assert!(client.ended());
    }
    let chunked = |more: &[(&str, &str)]| {
        let fields = [&fields[..], &[("Transfer-Encoding", "chunked")], more].concat();
        [request("POST", "/-/events", &fields), b"2\r\n{}\r\n0\r\n\r\n".to_vec()].concat()
    };
    let length = |length: &str| {
        let fields = [&fields[..], &[("Content-Length", length)]].concat();
        [request("POST", "/-/events", &fields), b"{}".to_vec()].concat()
    };
    let twice = [&fields[..], &[("Content-Length", "2"), ("Content-Length", "2")]].concat();
    for (bytes, expected) in [
        (chunked(&[]), 411),
        (chunked(&[("Content-Length", "2")]), 400),
        (length("262145"), 413),
        (length("99999999999999999999999999"), 413),
        (length("-1"), 400),
        (length("2, 2"), 400),
        (length("0x2"), 400),
        (request("POST", "/-/events", &twice), 400),
    ] {
        let (answer, mut client) = exchange(&server, &bytes);
        let head = String::from_utf8_lossy(&bytes);
        assert_eq!(answer.status, expected, "{head}");
        assert_eq!(answer.expect("Connection"), "close");
        assert!(client.ended(), "{head}");
    }
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let mut client = Client::connect(admin(&server));
        client.send(&request(method, "/-/events", &fields));
        let answer = client.try_read(method == "HEAD").unwrap().unwrap();
        assert_eq!((answer.status, answer.expect("Allow")), (405, "POST"), "{method}");
    }
}

#[test]
fn malformed_bodies_are_400_and_change_nothing() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    let record = |record: serde_json::Value| json!({"Records": [record]}).to_string();
    let deep = format!("{{\"Records\": {}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let objects = "{\"a\":".repeat(20_000);
    let wrong_types = [
        json!({"eventName": 1, "s3": {}}),
        json!({"eventName": "ObjectCreated:Put", "s3": []}),
        json!({"eventName": "ObjectCreated:Put", "s3": {"bucket": 1, "object": 2}}),
        json!({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "images"}}}),
        json!({
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": ["images"]}, "object": {"key": KEY}},
        }),
        json!({
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "images"}, "object": {"key": {"key": KEY}}},
        }),
    ];
    let wrong_types: Vec<String> = wrong_types.into_iter().skip(1).map(record).collect();
    let mut bodies = vec![
        "",
        " ",
        "{",
        "null",
        "1",
        "\"Records\"",
        "{}",
        "[{}]",
        "{\"Records\": 1}",
        "\u{0}",
        "Action=Publish&Message=x",
        "<xml/>",
        &deep,
        &objects,
    ];
    bodies.extend(wrong_types.iter().map(String::as_str));
    for body in bodies {
        let answer = post(&server, body);
        assert_eq!(answer.status, 400, "{body:.80}: {}", answer.text());
        let value = counts(&answer);
        let error = value["error"].as_str().unwrap();
        assert!(error.starts_with("the body "), "{error}");
    }
    server.log.event("event_refused");
    let mut client = Client::connect(admin(&server));
    client.send(&with_body("/-/events", &[("Authorization", &bearer())], b"{\"a\": \"\xff\"}"));
    assert_eq!(client.read().status, 400);
    assert_eq!(size_and_status(&server, TARGET).1, "hit");
    // Odd values of what is not needed are no obstacle.
    let odd = json!({"Records": [{
        "eventSource": 1, "eventName": "ObjectCreated:Put", "eventTime": [], "eventVersion": {},
        "s3": {
            "bucket": {"name": "images", "arn": 5},
            "object": {"key": "summer/red+flower%2B.png", "size": "x", "eTag": {}, "sequencer": 7},
        },
    }]});
    assert_eq!(post_ok(&server, &odd.to_string()), json!({"events": 1, "purged": 1}));
    // A key that no object can have.
    for key in ["..%2Fa", "a/../b", "%00", &"k".repeat(1025)] {
        let counts = post_ok(&server, &created(key, "01"));
        assert_eq!(counts, json!({"events": 1, "unmatched": 1}), "{key}");
    }
}

#[test]
fn the_longest_body_is_accepted_in_pieces() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    let event = created("summer/red+flower%2B.png", "01");
    let longest = format!("{event}{}", " ".repeat((256 << 10) - event.len()));
    let bytes = with_body("/-/events", &[("Authorization", &bearer())], longest.as_bytes());
    let mut client = Client::connect(admin(&server));
    for piece in bytes.chunks(50_000) {
        client.send(piece);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(counts(&client.read()), json!({"events": 1, "purged": 1}));
    // Byte by byte, with empty lines at the start of the body.
    let event = format!("\r\n\r\n{}", created("summer/red+flower%2B.png", "02"));
    for byte in with_body("/-/events", &[("Authorization", &bearer())], event.as_bytes()) {
        client.send(&[byte]);
    }
    assert_eq!(counts(&client.read()), json!({"events": 1, "purged": 1}));
}

#[test]
fn a_late_body_is_408_and_half_a_body_is_nothing() {
    let (s3, _cache, server) = bare(json!({"head_timeout": 1}));
    s3.put(&IMAGES, KEY, &small_image());
    warm(&server, TARGET);
    let bytes =
        with_body("/-/events", &[("Authorization", &bearer())], body("s3-put.json").as_bytes());
    let half = &bytes[..bytes.len() - 20];
    let started = Instant::now();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(admin(&server))).collect();
    for client in &mut clients {
        client.send(half);
    }
    // Dribbling does not extend the time.
    let mut dribbling = Client::connect(admin(&server));
    dribbling.send(&bytes[..bytes.len() - 1000]);
    for byte in &bytes[bytes.len() - 1000..] {
        if dribbling.try_send(&[*byte]).is_err() || started.elapsed() > Duration::from_secs(10) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    for client in &mut clients {
        let answer = client.read();
        assert_eq!((answer.status, answer.expect("Connection")), (408, "close"));
        assert!(client.ended());
    }
    let mut cut = Client::connect(admin(&server));
    cut.send(half);
    cut.finish_sending();
    assert!(cut.ended());
    let mut reset = Client::connect(admin(&server));
    reset.send(half);
    reset.reset();
    assert_eq!(size_and_status(&server, TARGET).1, "hit");
    assert_eq!(post_ok(&server, &body("s3-put.json")), json!({"events": 1, "purged": 1}));
}

#[test]
fn a_client_that_expects_100_gets_it_before_its_body() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    let event = body("s3-put.json");
    let length = event.len().to_string();
    let fields = |secret: &str| {
        let fields =
            [("Authorization", secret), ("Content-Length", &length), ("Expect", "100-Continue")];
        request("POST", "/-/events", &fields)
    };
    let mut client = Client::connect(admin(&server));
    client.send(&fields(&bearer()));
    assert_eq!(client.read().status, 100);
    client.send(event.as_bytes());
    assert_eq!(counts(&client.read()), json!({"events": 1, "purged": 1}));
    // A body that does not wait.
    client.send(&[fields(&bearer()), event.clone().into_bytes()].concat());
    assert_eq!(counts(&client.read()), json!({"events": 1, "repeated": 1}));
    // One that is not wanted is not sent.
    client.send(&fields("Bearer x"));
    assert_eq!(client.read().status, 401);
    assert!(client.ended());
}

#[test]
fn bodies_end_where_their_length_says() {
    let s3 = S3::start();
    let cache = Directory::new();
    let server = start(&s3, &cache, json!({}));
    let right = bearer();
    let fields = [("Authorization", right.as_str())];
    let first = with_body("/-/events", &fields, body("s3-put.json").as_bytes());
    let second = with_body("/-/events", &fields, b"[]");
    let health = request("GET", "/-/health", &fields);
    // Pipelined, in one write and cut at each of some places.
    let all = [&first[..], &second, b"\r\n", &health, &second, &health].concat();
    for cut in [all.len(), first.len() - 1, first.len(), first.len() + 1, first.len() + 40, 10] {
        let mut client = Client::connect(admin(&server));
        client.send(&all[..cut]);
        thread::sleep(Duration::from_millis(10));
        client.send(&all[cut..]);
        assert_eq!(counts(&client.read())["events"], 1, "{cut}");
        assert_eq!(counts(&client.read()), json!({}), "{cut}");
        assert_eq!(client.read().text(), "ok\n", "{cut}");
        assert_eq!(counts(&client.read()), json!({}), "{cut}");
        assert_eq!(client.read().text(), "ok\n", "{cut}");
    }
    // A request hidden in a body that is refused is not answered, nor one in a body that is read.
    let hidden = request("DELETE", "/-/purge/h/", &fields);
    let wrong = [("Authorization", "Bearer x")];
    for (fields, status) in [(&[][..], 401), (&wrong[..], 401), (&fields[..], 400)] {
        warm(&server, TARGET);
        let (answer, mut client) = exchange(&server, &with_body("/-/events", fields, &hidden));
        assert_eq!(answer.status, status);
        if status == 401 {
            assert!(client.ended());
        } else {
            client.send(&health);
            assert_eq!(client.read().text(), "ok\n");
        }
        assert_eq!(size_and_status(&server, TARGET).1, "hit");
    }
    let purged = send_ok(&server, "DELETE", "/-/purge/h/");
    assert_eq!(purged["renditions"], 1);
}
