//! Reloads (SIGHUP): a new configuration takes over without a lost request, and an invalid one changes nothing.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::handshake::{Handshake, accept_any};
use crate::support::images::{self, BLUE, GREEN, RED, size_of};
use crate::support::origin::{RawOrigin, object};
use crate::support::process::Process;
use crate::support::server::{Server, Setup};
use crate::support::set_on_drop::SetOnDrop;
use crate::support::{eventually, merged, settled};

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

fn directory() -> Directory {
    Directory::new().with("a.png", &image())
}

fn one(handler: &Value) -> Value {
    json!({"handlers": [handler]})
}

/// An origin that answers when the gate opens.
fn gated(gate: &Gate) -> RawOrigin {
    let held = gate.clone();
    RawOrigin::start(move |_, peer| {
        held.pass();
        peer.send(&object(&image()))
    })
}

/// The number of socket directories.
fn socket_directories(server: &Server) -> usize {
    let entries = fs::read_dir(server.directory().path()).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("s3imageserver-"))
        .count()
}

/// Sends requests, on one connection or on many, until `enough` is set. Every response must be an image.
fn load(
    address: SocketAddr,
    number: usize,
    keeps: bool,
    enough: &AtomicBool,
    answered: &AtomicUsize,
) {
    let mut client = Client::connect(address);
    for round in 0.. {
        if enough.load(Ordering::Relaxed) {
            return;
        }
        // Hits and misses alternate.
        let target = match round % 2 {
            0 => "/h/a.png?w=40".to_owned(),
            _ => format!("/h/a.png?f=jpg&w={}&q={}", 1 + round / 2 % 80, 1 + number),
        };
        if !keeps {
            client = Client::connect(address);
        }
        client.get(&target).ok();
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn reload_loses_no_request() {
    let directory = directory();
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let server = Server::start(one(&handler));
    server.get("/h/a.png?w=40").ok();
    let enough = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..4 {
            let address = server.http();
            let enough = &enough;
            let answered = &answered;
            scope.spawn(move || load(address, number, number % 2 == 0, enough, answered));
        }
        let _ends_with_this_block = SetOnDrop(&enough);
        for config in [
            merged(one(&handler), json!({"access_log": false})),
            merged(one(&handler), json!({"memory_cache": 0})),
            one(&merged(handler.clone(), json!({"cache_time": 60}))),
            merged(one(&handler), json!({"limits": {"fetches_at_once": 2, "idle_timeout": 5}})),
            merged(one(&handler), json!({"trusted_proxies": ["127.0.0.1"]})),
        ] {
            let before = answered.load(Ordering::Relaxed);
            eventually("requests are answered", || answered.load(Ordering::Relaxed) > before + 60);
            server.reload_well(config);
        }
        let before = answered.load(Ordering::Relaxed);
        eventually("requests are answered", || answered.load(Ordering::Relaxed) > before + 60);
    });
}

#[test]
fn reload_applies_to_requests_on_open_connections() {
    let one_directory = Directory::new().with("a.png", &images::png(images::solid(10, 10, RED)));
    let other = Directory::new().with("a.png", &images::png(images::solid(20, 20, BLUE)));
    let cache = Directory::new();
    let base = merged(one_directory.handler(), json!({"cache_path": cache.path()}));
    let server = Server::start(one(&base));
    let mut kept = server.client();
    assert_eq!(kept.get("/h/a.png").ok().expect("X-Cache"), "miss");
    // The second hit is from memory.
    for _ in 0..2 {
        assert_eq!(kept.get("/h/a.png").ok().expect("X-Cache"), "hit");
    }
    assert_eq!(kept.get("/i/a.png").status, 404);
    let default_error = kept.get("/h/missing.png").failed("not_found");

    // The same image with other header fields.
    let with = |fields: Value| one(&merged(base.clone(), fields));
    server.reload_well(with(json!({"cors_origin": "*", "cache_time": 77})));
    let answer = kept.get("/h/a.png").ok();
    assert_eq!(answer.expect("X-Cache"), "hit");
    assert_eq!(answer.expect("Access-Control-Allow-Origin"), "*");
    assert_eq!(answer.cache_control(), ["public", "max-age=77"]);
    let unchanged = kept.get_with("/h/a.png", &[("If-None-Match", answer.expect("ETag"))]);
    assert_eq!((unchanged.status, unchanged.cache_control()), (304, vec!["public", "max-age=77"]));

    server.reload_well(with(json!({"cors_origin": "https://a.test", "output_format": "gif"})));
    let answer = kept.get("/h/a.png").ok();
    assert_eq!((answer.expect("X-Cache"), answer.expect("Content-Type")), ("miss", "image/gif"));
    assert_eq!(answer.expect("Access-Control-Allow-Origin"), "https://a.test");

    server.reload_well(with(json!({"cache_time": -1})));
    let answer = kept.get("/h/a.png").ok();
    assert_eq!((answer.expect("X-Cache"), answer.cache_control()), ("miss", vec!["no-store"]));
    assert_eq!(answer.header("Access-Control-Allow-Origin"), None);

    // Another error image under the same name, although the first one has been sent.
    server.directory().put("error.png", &images::png(images::solid(7, 5, GREEN)));
    server.reload_well(with(json!({"error_image": "error.png"})));
    let error = kept.get("/h/missing.png").failed("not_found");
    assert_ne!(error.body, default_error.body);
    assert_eq!(size_of(&error.body), (7, 5));
    server.directory().put("error.png", &images::png(images::solid(9, 8, GREEN)));
    server.reload_well(with(json!({"error_image": "error.png", "allowed_formats": ["jpg"]})));
    let error = kept.get("/h/a.png").failed("format_not_allowed");
    assert_eq!(size_of(&error.body), (9, 8), "the same name, another file");

    // Another origin under the same name, and the first origin under another name.
    let same_name = merged(other.handler(), json!({"cache_path": cache.path()}));
    let second = merged(base.clone(), json!({"name": "i"}));
    server.reload_well(json!({"handlers": [same_name, second]}));
    assert_eq!(size_of(&kept.get("/h/a.png").ok().body), (20, 20));
    assert_eq!(size_of(&kept.get("/i/a.png").ok().body), (10, 10));
    server.reload_well(one(&base));
    assert_eq!(kept.get("/i/a.png").failed("no_such_handler").status, 404);
    assert_eq!(size_of(&kept.get("/h/a.png").ok().body), (10, 10));
}

#[test]
fn reload_changes_limits_and_access_log() {
    let directory = directory();
    let server = Server::start(one(&directory.handler()));
    let mut kept = server.client();
    kept.get("/h/a.png?seen").ok();
    let config = json!({"handlers": [directory.handler()], "access_log": false, "limits": {"idle_timeout": 0.2}});
    server.reload_well(config);
    kept.get("/h/a.png?unseen").ok();
    kept.expect_closed();
    let config = json!({"handlers": [directory.handler()], "limits": {"source_max_pixels": 10}});
    server.reload_well(config);
    server.get("/h/a.png?seen-again").failed("too_many_pixels");
    server.log.access("/h/a.png?seen");
    server.log.access("/h/a.png?seen-again");
    assert!(!server.log.lines().iter().any(|line| line.contains("unseen")));
}

#[test]
fn reload_opens_and_closes_listeners() {
    let directory = directory();
    let server = Server::start(one(&directory.handler()));
    let first = server.http();
    let mut kept = server.client();
    kept.get("/h/a.png").ok();
    // The new listener is open when the old one is closed.
    server.reload_well(merged(one(&directory.handler()), json!({"address": "127.0.0.2"})));
    let second = server.listening_on("http://127.0.0.2:");
    Client::connect(second).get("/h/a.png").ok();
    assert!(Client::try_connect(first).is_err(), "the old port is still open");
    kept.get("/h/a.png").ok();

    let socket = server.directory().path().join("http.sock");
    server.reload_well(merged(one(&directory.handler()), json!({"http_socket": "http.sock"})));
    server.log.event_with("listening", "http.sock");
    Client::connect_unix(&socket).get("/h/a.png").ok();
    assert!(Client::try_connect(second).is_err(), "the old port is still open");
    kept.get("/h/a.png").ok();

    // A socket that stays is not bound again.
    let before = fs::symlink_metadata(&socket).unwrap();
    let both = json!({"address": "127.0.0.2", "http_port": 0, "http_socket": "http.sock"});
    server.reload_well(merged(one(&directory.handler()), both));
    let third = server.listening_on("http://127.0.0.2:");
    Client::connect(third).get("/h/a.png").ok();
    Client::connect_unix(&socket).get("/h/a.png").ok();
    let after = fs::symlink_metadata(&socket).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&after)
    );

    server.reload_well(merged(one(&directory.handler()), json!({"address": "127.0.0.2"})));
    assert!(!socket.exists(), "a socket without a listener is not removed");
    assert_eq!(server.listening_on("http://127.0.0.2:"), third, "port 0 keeps its port");
    Client::connect(third).get("/h/a.png").ok();
}

#[test]
fn reload_adds_changes_and_removes_https() {
    let certificates = Certificates::new();
    let [old, new] = [(); 2].map(|()| certificates.issue(&["localhost"]));
    let directory = directory();
    let server = Server::start(one(&directory.handler()));
    let put = |name: &str, issued: &crate::support::certificates::Issued| {
        server.directory().put(&format!("{name}.crt"), issued.chain_pem.as_bytes());
        server.directory().put(&format!("{name}.key"), issued.key_pem.as_bytes());
    };
    put("old", &old);
    put("new", &new);
    let with = |name: &str, more: Value| {
        let https = json!({
            "https_enabled": true,
            "https_port": 0,
            "https_cert": format!("{name}.crt"),
            "https_key": format!("{name}.key"),
        });
        merged(merged(one(&directory.handler()), https), more)
    };
    let presented =
        |address| Handshake::new(address, "localhost", accept_any(&TLS13, None)).unwrap().leaf();
    let mut plain = server.client();
    plain.get("/h/a.png").ok();

    server.reload_well(with("old", json!({})));
    let address = server.listening_on("https://");
    assert!(presented(address) == old.leaf);
    let mut secure =
        Client::connect_tls(address, "localhost", certificates.client(&[&TLS13])).unwrap();
    secure.get("/h/a.png").ok();
    plain.get("/h/a.png").ok();

    server.reload_well(with("new", json!({"https_strict": true, "https_hsts": 60})));
    assert_eq!(server.listening_on("https://"), address);
    assert!(presented(address) == new.leaf);
    let location = format!("https://images.test:{}/h/a.png", address.port());
    let redirect = plain.get("/h/a.png");
    assert_eq!((redirect.status, redirect.expect("Location")), (301, location.as_str()));
    assert_eq!(secure.get("/h/a.png").ok().expect("Strict-Transport-Security"), "max-age=60");

    // Only the files of the running config are watched.
    let next = certificates.issue(&["localhost"]);
    put("old", &old);
    put("new", &next);
    eventually("the renewed certificate is presented", || presented(address) == next.leaf);

    // All or nothing.
    put("bad", &old);
    server.directory().put("bad.key", new.key_pem.as_bytes());
    let said = server.reload(with("bad", json!({})));
    assert!(said.contains("https_key: bad.key: "), "{said}");
    assert!(presented(address) == next.leaf);
    assert_eq!(plain.get("/h/a.png").status, 301);

    server.reload_well(one(&directory.handler()));
    assert!(Client::try_connect(address).is_err(), "the HTTPS port is still open");
    plain.get("/h/a.png").ok();
    assert_eq!(secure.get("/h/a.png").ok().header("Strict-Transport-Security"), None);
    server.reload_well(with("old", json!({})));
    let address = server.listening_on("https://");
    assert!(presented(address) == old.leaf);
}

#[test]
fn reload_with_an_invalid_configuration_keeps_the_previous_one() {
    let directory = directory();
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let server = Server::start(one(&handler));
    server.get("/h/a.png?w=40").ok();
    let taken = TcpListener::bind("127.0.0.3:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    server.directory().put("file", b"no socket");
    let before = (server.renderer(), server.process().descriptors(), server.process().threads());
    let other = merged(handler.clone(), json!({"name": "other"}));
    for (config, sentence) in [
        ("{\"handlers\": [".to_owned(), "config.json:1:14: not valid JSON: "),
        (
            merged(one(&other), json!({"adress": "::1"})).to_string(),
            "adress: unknown field, did you mean address?",
        ),
        (
            merged(one(&other), json!({"http_port": "80"})).to_string(),
            "http_port: must be a whole number",
        ),
        (
            one(&merged(other.clone(), json!({"error_image": "none.png"}))).to_string(),
            "handlers[0].error_image: none.png: can't be read",
        ),
        (
            one(&json!({"name": "h", "directory": "no/such/directory"})).to_string(),
            "handlers[0].directory: no/such/directory: can't be opened",
        ),
        (
            merged(one(&other), json!({"address": "127.0.0.3", "http_port": port})).to_string(),
            "http_port: PORT is already in use",
        ),
        (merged(one(&other), json!({"http_socket": "file"})).to_string(), "http_socket: file "),
        (merged(one(&other), json!({"user": "nobody"})).to_string(), "user: "),
        (
            merged(one(&other), json!({"https_enabled": true, "https_port": 0})).to_string(),
            "https_cert: required",
        ),
        (
            merged(one(&other), json!({"proxy_protocol": true})).to_string(),
            "proxy_protocol: needs trusted_proxies",
        ),
    ] {
        let said = server.reload_text(&config);
        let sentence = sentence.replace("PORT", &port.to_string());
        assert!(said.contains(&sentence), "{sentence:?} is not in {said:?}");
        assert!(said.contains("event=reload_failed"), "{said}");
        assert_eq!(server.get("/h/a.png?w=40").ok().expect("X-Cache"), "hit");
        server.get("/other/a.png").failed("no_such_handler");
    }
    assert_eq!(fs::read(server.directory().path().join("file")).unwrap(), b"no socket");
    fs::remove_file(server.directory().path().join("config.json")).unwrap();
    server.hang_up();
    server.log.event_with("reload_failed", "config.json: can't be read");
    // The first renderer is still running and works.
    assert_eq!(server.get("/h/a.png?w=41").ok().expect("X-Cache"), "miss");
    assert_eq!(server.renderer(), before.0);
    eventually("the failed reloads leak nothing", || {
        // The count before may include the last client while it was closing.
        server.process().descriptors() <= before.1
            && server.process().threads() <= before.2
            && socket_directories(&server) == 1
    });
    server.reload_well(one(&other));
    server.get("/other/a.png").ok();
}

#[test]
fn reload_lets_active_requests_finish_under_the_previous_configuration() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let directory = directory();
    let old = merged(origin.handler(), json!({"cors_origin": "https://old.test"}));
    let server = Server::start(one(&old));
    let renderer = server.renderer();
    let mut working = server.client();
    working.send(&request("GET", "/h/a.png?w=40", &[]));
    origin.wait_for_requests(1);
    // Twice, and while other clients request the same image.
    for _ in 0..2 {
        server.reload_well(one(&directory.handler()));
        assert_eq!(size_of(&server.get("/h/a.png?w=30").ok().body).0, 30);
        server.get("/h/a.png?w=40").ok();
    }
    assert!(renderer.lives() && socket_directories(&server) >= 2);
    assert!(working.is_quiet_for(Duration::from_millis(50)));
    gate.open();
    let answer = working.read().ok();
    assert_eq!(answer.expect("Access-Control-Allow-Origin"), "https://old.test");
    eventually("the old renderer ends", || !renderer.lives());
    eventually("its socket directory is removed", || socket_directories(&server) == 1);
    // The next request on the same connection uses the new configuration.
    assert_eq!(working.get("/h/a.png?w=40").ok().header("Access-Control-Allow-Origin"), None);
}

#[test]
fn reload_stops_the_old_renderer_despite_a_slow_reader() {
    let directory = directory().with("noise.png", &images::png(images::noise(1500, 1500)));
    let server = Server::start(one(&directory.handler()));
    let renderer = server.renderer();
    let mut slow = server.client();
    // More than the socket buffers hold.
    slow.send(&request("GET", "/h/noise.png", &[]).repeat(3));
    slow.wait_for_first_bytes();
    server.reload_well(one(&directory.handler()));
    eventually("the old renderer ends", || !renderer.lives());
    for _ in 0..3 {
        slow.read().ok();
    }
}

#[test]
fn reload_leaks_nothing() {
    let certificates = Certificates::new();
    let directory = directory();
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let server = Setup::new(one(&handler))
        .file("a.crt", certificates.chain_pem.as_bytes())
        .file("a.key", certificates.key_pem.as_bytes())
        .start();
    let process = server.process();
    let mut kept: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut use_it = || {
        for client in &mut kept {
            client.get("/h/a.png?w=40").ok();
            client.get("/h/missing.png").failed("not_found");
        }
    };
    let measured = || (process.descriptors(), process.threads());
    use_it();
    // The counts after the first reload are the baseline, since it opens everything that stays open.
    server.reload_well(one(&handler));
    use_it();
    let renderer = server.renderer();
    let has_one_renderer = || {
        socket_directories(&server) == 1 && Process::count_children_and_zombies(server.id()) == 1
    };
    eventually("the first renderer is gone", has_one_renderer);
    let before = settled("threads and descriptors are closed", measured);
    for round in 0..20 {
        let more = match round % 4 {
            0 => {
                json!({"https_enabled": true, "https_port": 0, "https_cert": "a.crt", "https_key": "a.key"})
            }
            1 => json!({"http_port": 0, "http_socket": "http.sock"}),
            2 => json!({"nonsense": true}),
            _ => json!({}),
        };
        assert_eq!(
            server.reload(merged(one(&handler), more)).contains("event=reload_ok"),
            round % 4 != 2
        );
        use_it();
    }
    eventually("nothing has leaked", || {
        let now = measured();
        // The baseline may include the first renderer while it was draining.
        now.0 <= before.0 && now.1 <= before.1 && has_one_renderer()
    });
    assert_ne!(server.renderer(), renderer);
    assert!(!renderer.lives());
}

#[test]
fn reload_keeps_the_token_validator() {
    let directory = directory();
    let cache = Directory::new();
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    let server = Setup::new(one(&handler)).program(crate::token::example()).start();
    let mut kept = server.client();
    let renderer = server.renderer();
    for config in [merged(one(&handler), json!({"access_log": false})), one(&handler)] {
        kept.get("/h/a.png?t=letmein").ok();
        server.reload_well(config);
        assert_eq!(kept.get("/h/a.png?t=letmein").ok().expect("X-Cache"), "hit");
        kept.get("/h/a.png?t=wrong").failed("token_refused");
        server.get("/h/a.png").failed("token_refused");
    }
    // An idle connection with a thread of its own does not keep a renderer.
    eventually("the old renderers end", || !renderer.lives() && server.children().len() == 1);
}

#[test]
fn reload_signals_are_coalesced() {
    let directory = directory();
    let mut server = Server::start(one(&directory.handler()));
    let config = |number: usize| {
        merged(
            one(&directory.handler()),
            json!({"address": "127.0.0.1", "http_port": 0, "memory_cache": number}),
        )
    };
    for number in 0..30 {
        server.directory().put("config.json", config(number).to_string().as_bytes());
        server.hang_up();
    }
    server.directory().put(
        "config.json",
        merged(
            config(0),
            json!({"handlers": [merged(directory.handler(), json!({"name": "last"}))]}),
        )
        .to_string()
        .as_bytes(),
    );
    server.hang_up();
    eventually("the last configuration is in force", || server.get("/last/a.png").status == 200);
    eventually("the old renderers end", || server.children().len() == 1);
    // SIGTERM right after SIGHUP.
    server.hang_up();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(socket_directories(&server), 0);
}

#[test]
fn shutdown_after_a_reload_drains_requests_of_the_previous_configuration() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let directory = directory();
    let mut server = Server::start(one(&origin.handler()));
    let mut working = server.client();
    working.send(&request("GET", "/h/a.png", &[]));
    origin.wait_for_requests(1);
    server.reload_well(one(&directory.handler()));
    server.terminate();
    eventually("the port is closed", || Client::try_connect(server.http()).is_err());
    assert!(server.lives(), "the drain ends before the active request");
    gate.open();
    working.read().ok();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(socket_directories(&server), 0);
}

#[test]
fn shutdown_after_a_reload_cleans_up_a_renderer_that_does_not_finish() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let directory = directory();
    let mut server = Server::start(one(&origin.handler()));
    let mut working = server.client();
    working.send(&request("GET", "/h/a.png", &[]));
    origin.wait_for_requests(1);
    server.reload_well(json!({"handlers": [directory.handler()], "limits": {"stop_timeout": 0.3}}));
    assert_eq!(socket_directories(&server), 2);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(socket_directories(&server), 0);
    gate.open();
}

#[test]
fn sighup_to_every_process_is_a_reload_and_not_a_crash() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let server = Server::start(one(&origin.handler()));
    let mut working = server.client();
    working.send(&request("GET", "/h/a.png", &[]));
    origin.wait_for_requests(1);
    server.renderer().signal(Signal::HUP);
    server.reload_well(one(&origin.handler()));
    gate.open();
    working.read().ok();
    assert_eq!(origin.requests().len(), 1, "the request was sent again");
    assert_eq!(server.log.count("renderer_exited"), 0, "{:?}", server.log.lines());
}
