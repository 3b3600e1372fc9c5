//! Replacing certificates, without a listener; tests/program tests it with one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{fs, thread};

use rcgen::generate_simple_self_signed;
use rustls::SignatureScheme;
use tempfile::TempDir;

use super::*;
use crate::config::Certificate;

static WRITES: AtomicU64 = AtomicU64::new(0);

/// Writes a new certificate and its key. Also returns the certificate as DER.
fn put(directory: &Path, stem: &str) -> (Certificate, Vec<u8>) {
    let generated = generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let certificate = Certificate {
        cert: directory.join(format!("{stem}.crt")),
        cert_field: "https_cert".into(),
        key: directory.join(format!("{stem}.key")),
        key_field: "https_key".into(),
    };
    for (file, pem) in [
        (&certificate.cert, generated.cert.pem()),
        (&certificate.key, generated.signing_key.serialize_pem()),
    ] {
        fs::write(file, pem).unwrap();
        // The timestamps of file systems are too coarse to tell two writes of a test apart.
        let age = Duration::from_secs(WRITES.fetch_add(1, Ordering::Relaxed));
        fs::File::options()
            .append(true)
            .open(file)
            .unwrap()
            .set_modified(UNIX_EPOCH + age)
            .unwrap();
    }
    (certificate, generated.cert.der().to_vec())
}

fn https(certificates: Vec<Certificate>) -> Https {
    Https { port: 0, certificates, strict: false, hsts: None }
}

fn in_use(tls: &Tls) -> Vec<u8> {
    let certificates = Arc::clone(&tls.resolver.0.read());
    certificates.choose(Some("a.test"), &[SignatureScheme::ECDSA_NISTP256_SHA256]).cert[0].to_vec()
}

#[test]
fn certificates_are_reloaded_only_when_two_checks_see_the_same_files() {
    let directory = TempDir::new().unwrap();
    let (certificate, old) = put(directory.path(), "a");
    let tls = Tls::new(&https(vec![certificate.clone()])).unwrap();
    let unchanged = tls.reload_if_changed(&FileStamps::default());
    assert_eq!(unchanged, tls.reload_if_changed(&unchanged));

    let (_, new) = put(directory.path(), "a");
    let first = tls.reload_if_changed(&unchanged);
    assert_ne!(first, unchanged);
    assert!(in_use(&tls) == old, "the files may be half written at the first check");
    let (_, newer) = put(directory.path(), "a");
    let second = tls.reload_if_changed(&first);
    assert!(in_use(&tls) == old, "the files are still changing");
    assert_eq!(tls.reload_if_changed(&second), second);
    assert!(in_use(&tls) == newer && newer != new);
}

#[test]
fn tls_reload_replaces_all_certificates_or_none() {
    let directory = TempDir::new().unwrap();
    let (a, old) = put(directory.path(), "a");
    let (b, new) = put(directory.path(), "b");
    let tls = Tls::new(&https(vec![a.clone()])).unwrap();
    let config = Arc::clone(&tls.config);

    let crossed = Certificate {
        key_field: "https_certificates[0].key".into(),
        key: a.key.clone(),
        ..b.clone()
    };
    let error = tls.reload(&https(vec![b.clone(), crossed])).unwrap_err();
    assert_eq!(error.path, "https_certificates[0].key");
    assert!(in_use(&tls) == old);

    tls.reload(&https(vec![b])).unwrap();
    assert!(in_use(&tls) == new);
    assert!(Arc::ptr_eq(&config, &tls.config));
    // From here on the new files are watched.
    put(directory.path(), "a");
    let stamps = tls.reload_if_changed(&FileStamps::default());
    tls.reload_if_changed(&stamps);
    assert!(in_use(&tls) == new);
    let (_, newer) = put(directory.path(), "b");
    let stamps = tls.reload_if_changed(&stamps);
    tls.reload_if_changed(&stamps);
    assert!(in_use(&tls) == newer);
}

#[test]
fn certificate_watcher_ends_when_tls_is_dropped() {
    let directory = TempDir::new().unwrap();
    let (certificate, _) = put(directory.path(), "a");
    let tls = Arc::new(Tls::new(&https(vec![certificate])).unwrap());
    watch(&tls).unwrap();
    let config = Arc::clone(&tls.config);
    let tls = Arc::downgrade(&{ tls });
    let deadline = Instant::now() + Duration::from_secs(20);
    while tls.strong_count() > 0 {
        assert!(Instant::now() < deadline, "the watcher keeps it alive");
        thread::sleep(Duration::from_millis(10));
    }
    // Open connections keep the config.
    assert!(config.ticketer.enabled() && config.session_storage.can_cache());
    assert_eq!(config.max_early_data_size, 0);
}
