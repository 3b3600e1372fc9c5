//! Choosing a certificate, and reloading changed ones.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::support::certificates::{Certificates, Issued};
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::handshake::{Handshake, accept_any};
use crate::support::server::{self, Server, Setup};
use crate::support::set_on_drop::SetOnDrop;

/// A handler, and HTTPS with `0.crt` and `0.key`, `1.crt` and `1.key`, and so on.
fn setup(issued: &[&Issued]) -> Setup {
    let more: Vec<Value> = (1..issued.len())
        .map(|index| json!({"cert": format!("{index}.crt"), "key": format!("{index}.key")}))
        .collect();
    let config = json!({
        "handlers": [{"name": "h", "directory": "."}],
        "https_enabled": true,
        "https_port": 0,
        "https_cert": "0.crt",
        "https_key": "0.key",
        "https_certificates": more,
    });
    issued.iter().enumerate().fold(Setup::new(config), |setup, (index, issued)| {
        setup
            .file(&format!("{index}.crt"), issued.chain_pem.as_bytes())
            .file(&format!("{index}.key"), issued.key_pem.as_bytes())
    })
}

/// The certificate that the server presents for a server name.
#[track_caller]
fn presented(server: &Server, name: &str) -> CertificateDer<'static> {
    Handshake::new(server.https(), name, accept_any(&TLS13, None)).unwrap().leaf()
}

/// Overwrites the first pair of files, as a renewal does.
fn renew(server: &Server, issued: &Issued) {
    server.directory().put("0.crt", issued.chain_pem.as_bytes());
    server.directory().put("0.key", issued.key_pem.as_bytes());
}

#[test]
fn certificate_is_chosen_by_server_name() {
    let certificates = Certificates::new();
    let address = certificates.issue(&["127.0.0.1"]);
    let one = certificates.issue(&["One.test", "two.test"]);
    let wildcard = certificates.issue(&["*.wild.test"]);
    let exact = certificates.issue(&["exact.wild.test"]);
    let server = setup(&[&address, &one, &wildcard, &exact]).start();
    for (name, expected) in [
        ("one.test", &one),
        ("TWO.TEST", &one),
        ("a.wild.test", &wildcard),
        ("A.Wild.Test", &wildcard),
        ("exact.wild.test", &exact),
        // A wildcard matches exactly one label.
        ("wild.test", &address),
        ("a.b.wild.test", &address),
        ("sub.one.test", &address),
        ("elsewhere.test", &address),
        ("test", &address),
        // No server name is sent.
        ("127.0.0.1", &address),
    ] {
        assert!(presented(&server, name) == expected.leaf, "{name}");
    }
    // Clients can verify the chain.
    for name in ["one.test", "a.wild.test", "127.0.0.1"] {
        for version in [&TLS12, &TLS13] {
            let mut client =
                Client::connect_tls(server.https(), name, certificates.client(&[version])).unwrap();
            assert_eq!(client.get("/-/health").status, 200);
        }
    }
}

#[test]
fn certificate_is_chosen_by_signature_scheme() {
    const RSA: &[SignatureScheme] =
        &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    let certificates = Certificates::new();
    let default = certificates.issue(&["default.test"]);
    let names = ["both.test", "*.wild.test"];
    let ecdsa = certificates.issue(&names);
    let rsa = certificates.issue_for(&names, &server::data("rsa-pkcs8.key"));
    for (pair, first) in [([&default, &ecdsa, &rsa], &ecdsa), ([&default, &rsa, &ecdsa], &rsa)] {
        let server = setup(&pair).start();
        for version in [&TLS12, &TLS13] {
            for (schemes, expected) in [(Some(RSA), &rsa), (Some(ECDSA), &ecdsa), (None, first)] {
                for name in ["both.test", "a.wild.test"] {
                    let handshake =
                        Handshake::new(server.https(), name, accept_any(version, schemes)).unwrap();
                    assert!(handshake.leaf() == expected.leaf, "{name} {version:?} {schemes:?}");
                }
            }
            // This name has an ECDSA certificate only.
            assert!(
                Handshake::new(server.https(), "default.test", accept_any(version, Some(RSA)))
                    .is_err()
            );
        }
    }
}

#[test]
fn private_keys_may_be_pkcs_8_pkcs_1_or_sec_1() {
    let certificates = Certificates::new();
    let names = ["localhost"];
    for (key, same_in_pkcs_8) in [
        ("rsa-pkcs8.key", "rsa-pkcs8.key"),
        ("rsa-pkcs1.key", "rsa-pkcs8.key"),
        ("ec-pkcs8.key", "ec-pkcs8.key"),
        ("ec-sec1.key", "ec-pkcs8.key"),
    ] {
        let mut issued = certificates.issue_for(&names, &server::data(same_in_pkcs_8));
        issued.key_pem = String::from_utf8(server::data(key)).unwrap();
        let server = setup(&[&issued]).start();
        for version in [&TLS12, &TLS13] {
            let mut client =
                Client::connect_tls(server.https(), "localhost", certificates.client(&[version]))
                    .unwrap();
            assert_eq!(client.get("/-/health").status, 200, "{key} {version:?}");
        }
    }
}

#[test]
fn invalid_certificate_or_key_fails_the_start_and_names_its_field() {
    let certificates = Certificates::new();
    let first = certificates.issue(&["a.test"]);
    let second = certificates.issue(&["b.test"]);
    let third = certificates.issue(&["c.test"]);
    let rsa = server::data("rsa-pkcs8.key");
    for (file, bytes, field) in [
        ("2.key", second.key_pem.as_bytes(), "https_certificates[1].key"),
        ("2.key", &rsa, "https_certificates[1].key"),
        ("2.key", b"", "https_certificates[1].key"),
        ("2.crt", b"", "https_certificates[1].cert"),
        ("1.crt", second.key_pem.as_bytes(), "https_certificates[0].cert"),
        (
            "1.crt",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "https_certificates[0].cert",
        ),
        ("1.crt", b"-----BEGIN CERTIFICATE-----\n", "https_certificates[0].cert"),
        ("0.key", second.key_pem.as_bytes(), "https_key"),
    ] {
        let setup = setup(&[&first, &second, &third]).file(file, bytes);
        let started = setup.run();
        let mut check = server::command(Path::new(server::PROGRAM), setup.directory().path());
        let checked = server::run(check.args(["--check", "-c", "config.json"]));
        for output in [started, checked] {
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(&format!("{field}: {file}: ")), "no {field:?} in {said:?}");
            assert!(!said.contains("listening on"), "{said}");
        }
    }
}

#[test]
fn changed_certificate_is_reloaded_without_a_failed_request() {
    let certificates = Certificates::new();
    let [old, new, newer] = [(); 3].map(|()| certificates.issue(&["localhost"]));
    let server = setup(&[&old]).start();
    assert!(presented(&server, "localhost") == old.leaf);
    let config = |resumption| {
        let mut config = certificates.client_config(&[&TLS12, &TLS13]);
        config.resumption = resumption;
        Arc::new(config)
    };
    let configs = [config(Resumption::disabled()), config(Resumption::in_memory_sessions(8))];
    let mut kept =
        Client::connect_tls(server.https(), "localhost", Arc::clone(&configs[0])).unwrap();

    let enough = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for config in &configs {
            scope.spawn(|| {
                // A panic fails the test when the scope ends.
                while !enough.load(Ordering::Relaxed) {
                    let mut client =
                        Client::connect_tls(server.https(), "localhost", Arc::clone(config))
                            .unwrap();
                    assert_eq!(client.get("/-/health").status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _ends_with_this_block = SetOnDrop(&enough);
        let more_answers = || {
            let before = answered.load(Ordering::Relaxed);
            eventually("requests are answered", || answered.load(Ordering::Relaxed) > before + 20);
        };
        more_answers();
        renew(&server, &new);
        eventually("the new certificate is presented", || {
            presented(&server, "localhost") == new.leaf
        });
        more_answers();
        // Replaced by renaming.
        server.directory().put("next.crt", newer.chain_pem.as_bytes());
        server.directory().put("next.key", newer.key_pem.as_bytes());
        for kind in ["crt", "key"] {
            let path = |name| server.directory().path().join(format!("{name}.{kind}"));
            fs::rename(path("next"), path("0")).unwrap();
        }
        eventually("the newer certificate is presented", || {
            presented(&server, "localhost") == newer.leaf
        });
        more_answers();
    });
    assert_eq!(kept.get("/-/health").status, 200, "an open connection outlives both reloads");
    server.log.event("certificates_reloaded");
}

#[test]
fn invalid_new_certificate_leaves_the_old_one_in_use() {
    let certificates = Certificates::new();
    let [old, new, other] = [(); 3].map(|()| certificates.issue(&["localhost"]));
    let second = certificates.issue(&["second.test"]);
    let server = setup(&[&old, &second]).start();

    server.directory().put("0.crt", b"not a certificate");
    let said = server.log.event("certificates_failed");
    assert!(said.contains("https_cert: 0.crt: "), "{said}");
    assert!(presented(&server, "localhost") == old.leaf);

    // All or nothing: a valid first pair is not used without the second.
    server.directory().put("1.key", other.key_pem.as_bytes());
    renew(&server, &new);
    server.log.event_with("certificates_failed", "https_certificates[0].key: 1.key: ");
    assert!(presented(&server, "localhost") == old.leaf);
    assert!(presented(&server, "second.test") == second.leaf);

    server.directory().put("1.key", second.key_pem.as_bytes());
    eventually("the valid one is presented", || presented(&server, "localhost") == new.leaf);
    assert!(presented(&server, "second.test") == second.leaf);
}

#[test]
fn missing_certificate_file_is_waited_for() {
    let certificates = Certificates::new();
    let [old, new] = [(); 2].map(|()| certificates.issue(&["localhost"]));
    let server = setup(&[&old]).check_interval(100).start();
    fs::remove_file(server.directory().path().join("0.key")).unwrap();
    server.directory().put("0.crt", new.chain_pem.as_bytes());
    // Five checks.
    thread::sleep(Duration::from_millis(500));
    assert!(presented(&server, "localhost") == old.leaf);
    server.directory().put("0.key", new.key_pem.as_bytes());
    eventually("the new certificate is presented", || presented(&server, "localhost") == new.leaf);
    let warnings: Vec<_> =
        server.log.lines().into_iter().filter(|line| line.contains("https_")).collect();
    assert!(warnings.iter().all(|line| line.contains("key_world_readable")), "{warnings:?}");
}

#[test]
fn world_readable_key_is_warned_of_at_start_and_reload() {
    let certificates = Certificates::new();
    let issued = certificates.issue(&["localhost"]);
    let with_mode = |mode| {
        let setup = setup(&[&issued, &issued]);
        for key in ["0.key", "1.key"] {
            fs::set_permissions(setup.directory().path().join(key), Permissions::from_mode(mode))
                .unwrap();
        }
        setup.start()
    };
    let open = with_mode(0o604);
    open.log.event_with("key_world_readable", "https_key: ");
    open.log.event_with("key_world_readable", "https_certificates[0].key: ");

    let closed = with_mode(0o640);
    assert_eq!(closed.log.count("key_world_readable"), 0);
    fs::set_permissions(closed.directory().path().join("1.key"), Permissions::from_mode(0o644))
        .unwrap();
    closed.log.event_with("key_world_readable", "https_certificates[0].key: ");
    assert_eq!(closed.log.count("key_world_readable"), 1, "{:?}", closed.log.lines());
}
