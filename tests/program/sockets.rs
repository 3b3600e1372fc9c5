//! Listeners: `http_socket`, and addresses of both families.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::merged;
use crate::support::process;
use crate::support::server::{Server, Setup};

fn directory() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(80, 60)))
}

fn with(directory: &Directory, more: Value) -> Value {
    merged(json!({"handlers": [directory.handler()]}), more)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[test]
fn http_socket_is_served_and_removed_at_shutdown() {
    let directory = directory();
    let mut server = Server::start(with(&directory, json!({"http_socket": "run.sock"})));
    let path = server.directory().path().join("run.sock");
    assert!(server.log.event("listening").ends_with(" listening on run.sock"));
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let mut client = Client::connect_unix(&path);
    for _ in 0..3 {
        client.get("/h/a.png?w=40").ok();
        client.get("/h/missing.png").failed("not_found");
    }
    // Pipelining, and a close.
    client.send(&request("GET", "/h/a.png?w=41", &[]).repeat(20));
    (0..20).for_each(|_| drop(client.read().ok()));
    client.get_with("/h/a.png", &[("Connection", "close")]).ok();
    client.expect_closed();
    let mut half = Client::connect_unix(&path);
    half.send(&request("GET", "/h/a.png", &[]));
    half.finish_sending();
    half.read().ok();
    half.expect_closed();
    // The access log has no address to show.
    assert_eq!(server.log.access("/h/a.png?w=40")[1], "-");
    // No port is opened, not even the default one.
    assert_eq!(server.log.count("listening"), 1);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn http_socket_and_http_port_are_both_served() {
    let directory = directory();
    let more = json!({"http_socket": "deep/run.sock", "http_port": 0, "address": "127.0.0.1"});
    let setup = Setup::new(with(&directory, more)).file("deep/x", b"");
    let path = setup.directory().path().join("deep/run.sock");
    let mut server = setup.start();
    server.log.event_with("listening", "deep/run.sock");
    server.get("/h/a.png").ok();
    Client::connect_unix(&path).get("/h/a.png").ok();
    // A socket or port that is already open can't be opened under another name.
    for (more, field) in [
        (json!({"http_socket": path}), "http_socket"),
        (json!({"http_port": server.http().port()}), "http_port"),
        (json!({"http_port": server.http().port(), "address": "0.0.0.0"}), "http_port"),
    ] {
        let said = server.reload(with(&directory, more));
        let expected = "is already in use by this server itself; restart the server";
        assert!(said.contains(&format!(" {field}: ")) && said.ends_with(expected), "{said}");
        server.get("/h/a.png").ok();
        Client::connect_unix(&path).get("/h/a.png").ok();
    }
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn stale_http_socket_is_replaced_and_one_in_use_is_not() {
    let directory = directory();
    let config = |path: &Path| with(&directory, json!({"http_socket": path}));
    let place = Directory::new();
    let path = place.path().join("run.sock");

    // A stale socket of a killed server.
    let mut killed = Server::start(config(&path));
    process::send(killed.id(), Signal::KILL);
    killed.wait();
    assert!(is_socket(&path));
    let server = Server::start(config(&path));
    Client::connect_unix(&path).get("/h/a.png").ok();

    // The socket of a running server.
    let output = Setup::new(config(&path)).run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let is_right =
        said.contains("is already in use") || said.contains("exists and is not a socket");
    assert!(said.contains("http_socket: ") && is_right, "{said}");
    Client::connect_unix(&path).get("/h/a.png").ok();
    drop(server);

    // The socket of another program, which does not accept.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let output = Setup::new(config(&path)).run();
    assert_eq!(output.status.code(), Some(2));
    assert!(is_socket(&path));
    drop(other);

    // A socket with a full backlog.
    fs::remove_file(&path).unwrap();
    let busy = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&busy, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&busy, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let output = Setup::new(config(&path)).run();
    assert_eq!(output.status.code(), Some(2));
    assert!(is_socket(&path));

    // A datagram socket, as loggers have.
    fs::remove_file(&path).unwrap();
    let logger = UnixDatagram::bind(&path).unwrap();
    let output = Setup::new(config(&path)).run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not a stream socket") && is_socket(&path), "{said}");
    drop((busy, logger));

    // Other kinds of files, and unusable paths.
    let file = place.put("file", b"text");
    let directory = place.path().join("directory");
    let link = place.path().join("link");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink(place.path().join("nowhere"), &link).unwrap();
    let nowhere = place.path().join("no/such/directory/run.sock");
    let long = place.path().join("x".repeat(120));
    for path in [&file, &directory, &link, &nowhere, &long] {
        let output = Setup::new(config(path)).run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(": http_socket: "), "{said}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"text");
    assert!(directory.is_dir() && fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn deleted_http_socket_is_created_again_by_a_reload() {
    let directory = directory();
    let config = with(&directory, json!({"http_socket": "run.sock"}));
    let server = Server::start(config.clone());
    let path = server.directory().path().join("run.sock");
    let mut kept = Client::connect_unix(&path);
    kept.get("/h/a.png?w=40").ok();
    fs::remove_file(&path).unwrap();
    server.reload_well(config);
    Client::connect_unix(&path).get("/h/a.png?w=40").ok();
    kept.get("/h/a.png?w=40").ok();
}

#[test]
fn http_socket_of_another_server_is_not_removed_at_shutdown() {
    let directory = directory();
    let mut server = Server::start(with(&directory, json!({"http_socket": "run.sock"})));
    let path = server.directory().path().join("run.sock");
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(UnixStream::connect(&path).is_ok());
    drop(other);
}

#[test]
fn forwarding_fields_count_on_a_trusted_http_socket() {
    let directory = directory();
    for (trusted, expected) in
        [(json!(["unix:"]), "192.0.2.7"), (json!(["127.0.0.1"]), "-"), (json!([]), "-")]
    {
        let more = json!({"http_socket": "run.sock", "trusted_proxies": trusted});
        let server = Server::start(with(&directory, more));
        let path = server.directory().path().join("run.sock");
        let mut client = Client::connect_unix(&path);
        client.get_with("/h/a.png?told", &[("X-Forwarded-For", "192.0.2.7")]).ok();
        assert_eq!(server.log.access("/h/a.png?told")[1], expected, "{trusted}");
    }
    // `unix:` does not cover the port of the same server.
    let more = json!({"http_socket": "run.sock", "http_port": 0, "address": "127.0.0.1", "trusted_proxies": ["unix:"]});
    let server = Server::start(with(&directory, more));
    server.get_with("/h/a.png?told", &[("X-Forwarded-For", "192.0.2.7")]).ok();
    assert_eq!(server.log.access("/h/a.png?told")[1], "127.0.0.1");
}

#[test]
fn proxy_header_is_required_on_a_trusted_http_socket() {
    let directory = directory();
    let more =
        json!({"http_socket": "run.sock", "trusted_proxies": ["unix:"], "proxy_protocol": true});
    let server = Server::start(with(&directory, more));
    let path = server.directory().path().join("run.sock");
    let mut client = Client::connect_unix(&path);
    client.send(b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n");
    client.get("/h/a.png?told").ok();
    assert_eq!(server.log.access("/h/a.png?told")[1], "192.0.2.9");
    let mut without = UnixStream::connect(&path).unwrap();
    without.write_all(&request("GET", "/h/a.png?untold", &[])).unwrap();
    let mut answer = Vec::new();
    // The connection may be reset, because the server does not read the request.
    let _ = without.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    server.log.event_with("proxy_header_invalid", "http_socket");
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn address_may_be_one_or_all_of_ipv4_and_ipv6() {
    let directory = directory();
    let four = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let six = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    // (address, its form in the log, whether IPv4 is served, whether IPv6 is served)
    let mut cases = vec![
        (Some("127.0.0.1"), "http://127.0.0.1:", true, false),
        (Some("0.0.0.0"), "http://*:", true, false),
        (None, "http://*:", true, has_ipv6()),
    ];
    if has_ipv6() {
        cases.extend([
            (Some("::1"), "http://[::1]:", false, true),
            (Some("::"), "http://*:", true, true),
        ]);
    }
    for (address, shown, has_four, has_six) in cases {
        let mut config =
            with(&directory, json!({"http_port": 0, "limits": {"connections_per_address": 2}}));
        if let Some(address) = address {
            config["address"] = json!(address);
        }
        let server = Setup::verbatim(&config.to_string(), false).start();
        let port = server.listening_on(shown).port();
        for (address, expected) in [(four(port), has_four), (six(port), has_six)] {
            let client = Client::try_connect(address);
            assert_eq!(client.is_ok(), expected, "{config} {address}");
            let Ok(mut client) = client else { continue };
            let target = format!("/h/a.png?{}", if address.is_ipv4() { "four" } else { "six" });
            client.get(&target).ok();
            // An IPv4 client is logged with its IPv4 address, on a dual-stack socket too.
            assert_eq!(server.log.access(&target)[1], address.ip().to_string());
        }
    }
}

#[test]
fn trusted_ipv4_proxy_is_recognized_on_a_dual_stack_socket() {
    let directory = directory();
    let config = with(&directory, json!({"http_port": 0, "trusted_proxies": ["127.0.0.0/8"]}));
    let server = Setup::verbatim(&config.to_string(), false).start();
    server.get_with("/h/a.png?told", &[("X-Forwarded-For", "2001:db8::7")]).ok();
    assert_eq!(server.log.access("/h/a.png?told")[1], "2001:db8::7");
}

#[test]
fn port_in_use_on_any_address_is_an_error() {
    let directory = directory();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    for address in [Some("127.0.0.1"), Some("0.0.0.0"), None] {
        let mut config = with(&directory, json!({"http_port": port}));
        if let Some(address) = address {
            config["address"] = json!(address);
        }
        let output = Setup::verbatim(&config.to_string(), false).run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("http_port: {port} is already in use")), "{said}");
    }
}
