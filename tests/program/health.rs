//! `s3imageserver health`, against healthy servers and others.

use std::io::{Read, Write};
use std::net::{TcpListener, ToSocketAddrs};
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::server::{PROGRAM, Server, Setup, command, run};
use crate::support::unused_port::UnusedPort;

/// Standard output, standard error and exit status of `health` with these arguments.
#[track_caller]
fn health(directory: &Directory, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = command(Path::new(PROGRAM), directory.path());
    let Output { stdout, stderr, status } = run(command.arg("health").args(arguments));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), status.code())
}

/// Fails unless `health` exits with this status and one line that contains `part`.
#[track_caller]
fn expect_error(directory: &Directory, arguments: &[&str], status: i32, part: &str) {
    let (stdout, stderr, code) = health(directory, arguments);
    assert_eq!((code, stdout.as_str()), (Some(status), ""), "{arguments:?}: {stderr}");
    assert!(
        stderr.starts_with("s3imageserver: ") && stderr.contains(part),
        "{arguments:?}: {stderr}"
    );
    assert_eq!(stderr.matches('\n').count(), 1, "{arguments:?}: {stderr}");
}

#[track_caller]
fn expect_healthy(directory: &Directory, arguments: &[&str]) {
    assert_eq!(
        health(directory, arguments),
        (String::new(), String::new(), Some(0)),
        "{arguments:?}"
    );
}

fn handlers() -> Value {
    json!([{"name": "h", "directory": "."}])
}

/// A directory with the configuration file of a server on this port.
fn config(port: u16, more: Value) -> Directory {
    let base = json!({"handlers": handlers(), "address": "127.0.0.1", "http_port": port});
    let config = crate::support::merged(base, more);
    Directory::new().with("config.json", config.to_string().as_bytes())
}

#[test]
fn health_checks_a_url_or_the_configured_server() {
    let server = Server::start(json!({"handlers": handlers()}));
    let port = server.http().port();
    let directory = config(port, json!({}));
    expect_healthy(&directory, &[]);
    expect_healthy(&directory, &["-c", "config.json"]);
    let nothing = Directory::new();
    for url in [
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/-/health"),
        format!("http://127.0.0.1:{port}/-/health?who=me"),
    ] {
        expect_healthy(&nothing, &[&url]);
    }
    // A minimal system has no /etc/hosts.
    if ("localhost", port).to_socket_addrs().is_ok() {
        expect_healthy(&nothing, &[&format!("http://localhost:{port}")]);
    }
    // The access log has it like any other request.
    server.log.access("/-/health?who=me");
    // The server's own configuration has port 0.
    expect_error(server.directory(), &[], 2, "http_port: 0 ");
}

#[test]
fn health_finds_a_server_on_every_address() {
    let config = json!({"handlers": handlers(), "http_port": 0});
    let server = Setup::verbatim(&config.to_string(), false).start();
    let directory = Directory::new();
    for address in [Value::Null, json!("0.0.0.0")] {
        let mut config = json!({"handlers": handlers(), "http_port": server.http().port()});
        if !address.is_null() {
            config["address"] = address;
        }
        directory.put("config.json", config.to_string().as_bytes());
        expect_healthy(&directory, &[]);
    }
}

#[test]
fn health_uses_the_unix_socket_without_a_port() {
    let mut server = Server::start(json!({"handlers": handlers(), "http_socket": "run.sock"}));
    expect_healthy(server.directory(), &[]);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    expect_error(server.directory(), &[], 1, "http_socket run.sock: ");
}

#[test]
fn health_is_not_redirected_to_https() {
    let certificates = Certificates::new();
    let more = json!({
        "handlers": handlers(), "https_enabled": true, "https_port": 0, "https_strict": true,
        "https_cert": "chain.pem", "https_key": "key.pem",
    });
    let server = Setup::new(more)
        .file("chain.pem", certificates.chain_pem.as_bytes())
        .file("key.pem", certificates.key_pem.as_bytes())
        .start();
    let url = format!("http://127.0.0.1:{}", server.http().port());
    expect_healthy(&Directory::new(), &[&url]);
    expect_error(
        &Directory::new(),
        &[&format!("{url}/h/a.png")],
        1,
        "/h/a.png: the status is 301, not 200",
    );
}

#[test]
fn health_sends_a_proxy_header_with_proxy_protocol() {
    let more = json!({"trusted_proxies": ["127.0.0.1", "unix:"], "proxy_protocol": true});
    let config_of = |more: Value| crate::support::merged(json!({"handlers": handlers()}), more);
    let server = Server::start(config_of(more.clone()));
    let directory = config(server.http().port(), more.clone());
    expect_healthy(&directory, &[]);
    // With a URL no header is sent.
    let url = format!("http://{}", server.http());
    expect_error(&directory, &[&url], 1, &url);
    let server =
        Server::start(config_of(crate::support::merged(more, json!({"http_socket": "run.sock"}))));
    expect_healthy(server.directory(), &[]);
}

#[test]
fn a_stopping_or_stopped_server_is_unhealthy() {
    let limits = json!({"stop_delay": 60});
    let mut server = Server::start(json!({"handlers": handlers(), "limits": limits}));
    let directory = config(server.http().port(), json!({}));
    expect_healthy(&directory, &[]);
    server.terminate();
    eventually("health is 503", || server.get("/-/health").status == 503);
    expect_error(&directory, &[], 1, "/-/health: the status is 503, not 200");
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    let port = UnusedPort::at(server.http());
    expect_error(
        &directory,
        &[],
        1,
        &format!("http://{}/-/health: Connection refused", port.address()),
    );
}

#[test]
fn unexpected_responses_are_errors() {
    let server = Server::start(json!({"handlers": handlers()}));
    let directory = Directory::new();
    let url = format!("http://{}", server.http());
    expect_error(&directory, &[&format!("{url}/")], 1, "the status is 404, not 200");
    expect_error(&directory, &[&format!("{url}/elsewhere")], 1, "the status is 404, not 200");
    expect_error(
        &directory,
        &["http://no-such-host.invalid"],
        1,
        "http://no-such-host.invalid/-/health: ",
    );
    for (answer, part) in [
        ("", "closed without a response"),
        ("SSH-2.0-server\r\n", "not HTTP/1.1"),
        ("HTTP/1.1 200", "not HTTP/1.1"),
        ("HTTP/1.1 500 Oops\r\n\r\n", "the status is 500, not 200"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        expect_error(&directory, &[&url], 1, part);
        peer.join().unwrap();
    }
}

#[test]
fn health_has_a_timeout_of_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = config(listener.local_addr().unwrap().port(), json!({}));
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Single bytes do not extend the timeout.
        while stream.write_all(b"H").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let started = Instant::now();
    expect_error(&directory, &[], 1, "no response within 5 s");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(15), "{took:?}");
    peer.join().unwrap();
}

#[test]
fn invalid_urls_and_configurations_are_usage_errors() {
    let directory = Directory::new();
    expect_error(&directory, &["https://127.0.0.1"], 2, "plain HTTP");
    expect_error(&directory, &["127.0.0.1:80"], 2, "the URL \"127.0.0.1:80\" must be http://HOST");
    expect_error(&directory, &[], 2, "config.json: can't be read");
    expect_error(&directory, &["-c", "absent.json"], 2, "absent.json: can't be read");
    directory.put("config.json", b"{\"handlers\": [{\"name\": \"h\", \"directori\": \".\"}]}");
    expect_error(&directory, &[], 2, "handlers[0].directori: unknown field");
    let (_, stderr, status) = health(&directory, &["--check"]);
    assert!(status == Some(2) && stderr.contains("--check is not for health"), "{stderr}");
}
