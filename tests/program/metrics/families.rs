//! The families beyond requests and renders: what each of them counts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use rustls::client::Resumption;
use rustls::version::TLS13;
use serde_json::json;

use super::{directory, expect, scrape, server_with_traffic, value};
use crate::admin::{cached, config, send, send_with_fields, with_admin};
use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::handshake::Handshake;
use crate::support::images;
use crate::support::origin::{self, RawOrigin, object};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

/// The names of docs/metrics.md, whose table equals the one in the code.
pub fn documented() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `s3imageserver_"));
    rows.filter_map(|row| Some(format!("s3imageserver_{}", row.split_once('`')?.0))).collect()
}

#[test]
fn each_documented_family_is_written_once_and_no_other() {
    let (directory, cache) = (directory(), Directory::new());
    let server = server_with_traffic(&directory, &cache);
    let open_metrics = send_with_fields(
        &server,
        "GET",
        "/-/metrics",
        &[("Accept", "application/openmetrics-text")],
    );
    let without_total = |name: &String| name.trim_end_matches("_total").to_owned();
    for (text, mut expected) in [
        (scrape(&server), documented()),
        (open_metrics.text().to_owned(), documented().iter().map(without_total).collect()),
    ] {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut written: Vec<String> =
            types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
        assert!(written.len() > 40, "{text}");
        written.sort();
        expected.sort();
        assert_eq!(written, expected);
    }
}

#[test]
fn connections_are_open_until_they_are_closed() {
    let limits = json!({"limits": {"connections_per_address": 20}});
    let directory = directory();
    let server = Server::start(merged(config(directory.handler()), limits));
    let mut clients = Vec::new();
    loop {
        let mut client = server.client();
        if client.get("/-/health").status == 503 {
            break;
        }
        clients.push(client);
    }
    let accepted = clients.len() as f64;
    // Leaves room for connections of the admin listener, which have the same limit.
    let mut closed = 0.0;
    for mut client in clients.drain(5..) {
        client.send(&request("GET", "/-/health", &[("Connection", "close")]));
        assert_eq!(client.read().status, 200);
        assert!(client.ended());
        closed += 1.0;
    }
    expect(&server, r#"connections_refused_total{cause="connections_per_address"}"#, 1.0);
    let open = r#"connections_open{listener="http"}"#;
    eventually("the others are closed", || value(&scrape(&server), open) == 5.0);
    let text = scrape(&server);
    assert_eq!(value(&text, r#"connections_accepted_total{listener="http"}"#), accepted, "{text}");
    assert!(value(&text, r#"connections_accepted_total{listener="admin"}"#) > 1.0, "{text}");
    // The response to a refused connection is counted like any other.
    let responses = |status: u16| {
        value(
            &text,
            &format!("http_requests_total{{handler=\"\",status=\"{status}\",cache=\"none\"}}"),
        )
    };
    assert_eq!((responses(503), responses(200)), (1.0, accepted + closed), "{text}");
}

#[test]
fn connections_without_a_proxy_header_are_refused() {
    let proxied = json!({"proxy_protocol": true, "trusted_proxies": ["127.0.0.1"]});
    let directory = directory();
    let server = Server::start(merged(config(directory.handler()), proxied));
    let mut client = server.client();
    client.send(&request("GET", "/h/a.png", &[]));
    assert!(client.ended());
    expect(&server, r#"connections_refused_total{cause="proxy_header"}"#, 1.0);
}

#[test]
fn handshakes_are_counted_by_result_and_certificates_by_expiry() {
    let certificates = Certificates::new();
    let directory = directory();
    let https = json!({
        "https_enabled": true, "https_port": 0, "https_cert": "bundle.crt", "https_key": "cert.key",
    });
    let config = merged(config(directory.handler()), https);
    let server = Setup::new(config)
        .file("bundle.crt", certificates.chain_pem.as_bytes())
        .file("cert.key", certificates.key_pem.as_bytes())
        .start();
    let mut client = certificates.client_config(&[&TLS13]);
    client.resumption = Resumption::in_memory_sessions(8);
    let client = Arc::new(client);
    for _ in 0..3 {
        Handshake::new(server.https(), "localhost", Arc::clone(&client)).unwrap().finish();
    }
    let stranger = Certificates::new().client(&[&TLS13]);
    assert!(Client::connect_tls(server.https(), "localhost", stranger).is_err());
    let handshakes = |result: &str| format!("tls_handshakes_total{{result=\"{result}\"}}");
    expect(&server, &handshakes("full"), 1.0);
    expect(&server, &handshakes("resumed"), 2.0);
    expect(&server, &handshakes("failed"), 1.0);
    // The default of the library that issues the certificates: 4096-01-01.
    let expiry = r#"certificate_expiry_timestamp_seconds{file="bundle.crt"}"#;
    expect(&server, expiry, 67_090_118_400.0);
}

#[test]
fn restarts_of_the_renderer_are_counted_by_cause_and_its_processor_time_never_falls() {
    let directory = directory();
    let server = Setup::new(config(directory.handler())).check_interval(20).start();
    server.get("/h/a.png?w=5").ok();
    let up = "renderer_up";
    eventually("the renderer has answered a ping", || value(&scrape(&server), up) == 1.0);
    let cpu = |text: &str| value(text, r#"process_cpu_seconds_total{process="renderer"}"#);
    let mut last = cpu(&scrape(&server));
    for (signal, cause, count) in [
        (Signal::ABORT, "crash", 1.0),
        (Signal::KILL, "killed", 1.0),
        (Signal::ABORT, "crash", 2.0),
    ] {
        let renderer = server.renderer();
        renderer.signal(signal);
        expect(&server, &format!("renderer_restarts_total{{cause=\"{cause}\"}}"), count);
        eventually("another renderer runs", || value(&scrape(&server), up) == 1.0);
        let now = cpu(&scrape(&server));
        assert!(now >= last, "{now} < {last}");
        last = now;
    }
    let text = scrape(&server);
    for process in ["edge", "renderer"] {
        let memory = format!("process_resident_memory_bytes{{process=\"{process}\"}}");
        assert!(value(&text, &memory) > 1e6, "{text}");
    }
    assert!(last > 0.0);
}

#[test]
fn replacements_of_the_renderer_are_counted_by_limit() {
    let directory = directory();
    let limits = json!({"limits": {"renderer_max_renders": 2}});
    let server = Server::start(merged(config(directory.handler()), limits));
    for width in 1..=3 {
        server.get(&format!("/h/a.png?w={width}")).ok();
    }
    eventually("the renderer is replaced", || {
        value(&scrape(&server), r#"renderer_restarts_total{cause="max_renders"}"#) >= 1.0
    });
}

#[test]
fn the_renderer_tells_its_permits_and_fetches_in_flight() {
    let gate = Gate::new();
    let closed = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        closed.pass();
        peer.send(&object(&image()))
    });
    let limits =
        json!({"renders_at_once": 3, "memory_budget": 1_000_000_000, "fetches_at_once": 4});
    let config = merged(config(origin.handler()), json!({"limits": limits}));
    let server = Setup::new(config).check_interval(20).start();
    let mut clients: Vec<Client> = (0..5).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/h/{number}.png?w=5"), &[]));
    }
    eventually("four fetches are in flight and one request waits", || {
        let text = scrape(&server);
        let values =
            ["origin_fetches_in_flight", "renderer_requests_in_flight", "renderer_queue_length"];
        values.map(|name| value(&text, name)) == [4.0, 4.0, 1.0]
    });
    let text = scrape(&server);
    for (name, expected) in [
        ("render_permits", 3.0),
        ("renders_in_flight", 0.0),
        ("renders_waiting", 0.0),
        ("memory_budget_bytes", 1e9),
        ("memory_budget_used_bytes", 0.0),
        ("memory_budget_waited_bytes", 0.0),
        // Keys in the configuration.
        (r#"credentials_found{handler="h"}"#, 1.0),
    ] {
        assert!(text.contains(&format!("s3imageserver_{name} ")), "{name}\n{text}");
        assert_eq!(value(&text, name), expected, "{name}\n{text}");
    }
    assert!(!text.contains("credentials_expiry_timestamp_seconds{"), "{text}");
    gate.open();
    clients.iter_mut().for_each(|client| drop(client.read().ok()));
    eventually("nothing is in flight", || {
        let text = scrape(&server);
        ["origin_fetches_in_flight", "renderer_requests_in_flight", "renderer_queue_length"]
            .iter()
            .all(|name| value(&text, name) == 0.0)
    });
}

#[test]
fn credentials_that_expire_have_a_time_and_missing_ones_are_reported() {
    let expires = "2099-01-01T00:00:00Z";
    let body = json!({
        "AccessKeyId": "AKID", "SecretAccessKey": "SECRET", "Token": "T", "Expiration": expires,
    });
    let fields = [("Content-Type", "application/json")];
    let metadata = RawOrigin::always(origin::answer(200, &fields, body.to_string().as_bytes()));
    let handlers = json!({"handlers": [
        {"name": "chain", "aws": {"bucket_name": "images"}},
        {"name": "public", "aws": {"bucket_name": "images", "anonymous": true}},
    ]});
    let server = Setup::new(with_admin(handlers.clone()))
        .check_interval(20)
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/x", metadata.address()))
        .start();
    expect(&server, r#"credentials_found{handler="chain"}"#, 1.0);
    let expiry = r#"credentials_expiry_timestamp_seconds{handler="chain"}"#;
    expect(&server, expiry, 4_070_908_800.0);
    assert!(!scrape(&server).contains(r#"credentials_found{handler="public"}"#));

    let server = Setup::new(with_admin(handlers)).check_interval(20).start();
    let missing = "s3imageserver_credentials_found{handler=\"chain\"} 0\n";
    eventually("the credentials are missing", || scrape(&server).contains(missing));
}

#[test]
fn requests_that_share_a_render_are_coalesced() {
    let gate = Gate::new();
    let closed = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        closed.pass();
        peer.send(&object(&image()))
    });
    let server = Server::start(config(origin.handler()));
    let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&request("GET", "/h/a.png?w=5", &[])));
    origin.wait_for_requests(1);
    // A request that comes late would ask again, as there is no cache.
    thread::sleep(Duration::from_millis(200));
    gate.open();
    clients.iter_mut().for_each(|client| drop(client.read().ok()));
    let text = scrape(&server);
    let coalesced = value(&text, r#"coalesced_requests_total{handler="h"}"#);
    let rendered = value(&text, r#"variants_total{handler="h",result="rendered"}"#);
    assert_eq!(coalesced + rendered, 10.0, "{text}");
    assert!(rendered == origin.requests().len() as f64 && coalesced >= 1.0, "{text}");
}

#[test]
fn caches_tell_their_entries_evictions_and_purges() {
    let (directory, cache) = (directory(), Directory::new());
    let server = server_with_traffic(&directory, &cache);
    let path = cache.path().to_str().unwrap().to_owned();
    let entries = format!("cache_entries{{directory=\"{path}\"}}");
    expect(&server, &entries, 1.0);
    let text = scrape(&server);
    assert!(value(&text, &format!("cache_bytes{{directory=\"{path}\"}}")) > 0.0, "{text}");
    assert_eq!(value(&text, "memory_cache_entries"), 1.0, "{text}");
    assert!(value(&text, "memory_cache_bytes") > 1024.0, "{text}");
    // The first hit read the file.
    assert_eq!(value(&text, r#"memory_cache_hits_total{handler="h"}"#), 1.0, "{text}");
    assert_eq!(send(&server, "POST", "/-/purge/h/a.png").status, 200);
    expect(&server, &entries, 0.0);
    let removed = |cause: &str| {
        format!("cache_removed_entries_total{{directory=\"{path}\",cause=\"{cause}\"}}")
    };
    expect(&server, &removed("purged"), 1.0);
    expect(&server, r#"purges_total{kind="key"}"#, 1.0);
    let text = scrape(&server);
    assert_eq!(value(&text, "memory_cache_entries"), 0.0, "{text}");
    // One variant takes more than the limit.
    let small = merged(cached(directory.handler(), &cache), json!({"cache_max_bytes": 1}));
    server.reload_well(config(small));
    server.get("/h/a.png?w=6").ok();
    expect(&server, &removed("evicted"), 1.0);
    assert_eq!(value(&scrape(&server), &removed("purged")), 1.0, "a reload resets nothing");
}

#[test]
fn revalidations_and_the_circuit_breaker_of_a_failing_origin() {
    let origin = RawOrigin::start(|request, peer| match request.number {
        0 => peer.send(&object(&image())),
        _ => peer.send(&origin::answer(500, &[], b"")),
    });
    let cache = Directory::new();
    let handler = merged(cached(origin.handler(), &cache), json!({"cache_time": 1}));
    let server = Server::start(config(handler));
    server.get("/h/a.png?w=5").ok();
    thread::sleep(Duration::from_millis(1050));
    assert_eq!(server.get("/h/a.png?w=5").ok().expect("X-Cache"), "stale");
    expect(&server, r#"circuit_breaker_open{handler="h"}"#, 1.0);
    expect(&server, r#"stale_revalidations_total{handler="h",result="failed"}"#, 1.0);
    expect(&server, r#"origin_retries_total{handler="h"}"#, 1.0);
    expect(&server, r#"variants_total{handler="h",result="failed"}"#, 1.0);
    expect(&server, r#"http_requests_total{handler="h",status="200",cache="stale"}"#, 1.0);
}

#[test]
fn refused_tokens_are_counted_by_reason() {
    let directory = directory();
    let token =
        json!({"token": {"type": "hmac", "secrets": ["a-secret-of-a-handler-that-is-long"]}});
    let server = Server::start(config(merged(directory.handler(), token)));
    server.get("/h/a.png?w=5").failed("token_refused");
    server.get("/h/a.png?w=5&t=x").failed("token_refused");
    let refused =
        |reason: &str| format!("tokens_refused_total{{handler=\"h\",reason=\"{reason}\"}}");
    expect(&server, &refused("absent"), 1.0);
    expect(&server, &refused("malformed"), 1.0);
    assert!(!scrape(&server).contains("a-secret"), "no secret is a label");
}

#[test]
fn loads_of_the_configuration_are_counted_and_dated() {
    let directory = directory();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let before = now().floor();
    let server = Server::start(config(directory.handler()));
    let text = scrape(&server);
    let (started, loaded) = ("start_time_seconds", "config_load_timestamp_seconds");
    assert!((before..=now()).contains(&value(&text, started)), "{text}");
    assert!((before..=now()).contains(&value(&text, loaded)), "{text}");
    assert!(server.reload_text("{").contains("event=reload_failed"));
    thread::sleep(Duration::from_millis(1100));
    server.reload_well(config(directory.handler()));
    let after = scrape(&server);
    for (series, expected) in [
        (r#"config_reloads_total{result="ok"}"#, 1.0),
        (r#"config_reloads_total{result="failed"}"#, 1.0),
        (started, value(&text, started)),
    ] {
        assert_eq!(value(&after, series), expected, "{series}\n{after}");
    }
    assert!(value(&after, loaded) > value(&text, loaded), "{after}");
}
