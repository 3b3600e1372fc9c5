//! Certificates that are replaced while nobody listens; the whole program is held to it in tests/program.

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

/// A pair of files and the certificate in them.
fn put(directory: &Path, stem: &str) -> (Certificate, Vec<u8>) {
    let made = generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let certificate = Certificate {
        cert: directory.join(format!("{stem}.crt")),
        cert_field: "https_cert".into(),
        key: directory.join(format!("{stem}.key")),
        key_field: "https_key".into(),
    };
    for (file, pem) in
        [(&certificate.cert, made.cert.pem()), (&certificate.key, made.signing_key.serialize_pem())]
    {
        fs::write(file, pem).unwrap();
        // The clock of file systems is too coarse to tell two writes of a test apart.
        let age = Duration::from_secs(WRITES.fetch_add(1, Ordering::Relaxed));
        fs::File::options()
            .append(true)
            .open(file)
            .unwrap()
            .set_modified(UNIX_EPOCH + age)
            .unwrap();
    }
    (certificate, made.cert.der().to_vec())
}

fn https(certificates: Vec<Certificate>) -> Https {
    Https { port: 0, certificates, strict: false, hsts: None }
}

fn in_use(tls: &Tls) -> Vec<u8> {
    let certificates = Arc::clone(&tls.chooser.0.read().unwrap());
    certificates.choose(Some("a.test"), &[SignatureScheme::ECDSA_NISTP256_SHA256]).cert[0].to_vec()
}

#[test]
fn files_are_read_again_only_when_two_looks_agree() {
    let directory = TempDir::new().unwrap();
    let (certificate, old) = put(directory.path(), "a");
    let tls = Tls::new(&https(vec![certificate.clone()])).unwrap();
    let unchanged = tls.refresh(&Look::default());
    assert_eq!(unchanged, tls.refresh(&unchanged));

    let (_, new) = put(directory.path(), "a");
    let first = tls.refresh(&unchanged);
    assert_ne!(first, unchanged);
    assert!(in_use(&tls) == old, "the first look at a change may be in the middle of it");
    let (_, newer) = put(directory.path(), "a");
    let second = tls.refresh(&first);
    assert!(in_use(&tls) == old, "it is still changing");
    assert_eq!(tls.refresh(&second), second);
    assert!(in_use(&tls) == newer && newer != new);
}

#[test]
fn another_configuration_takes_over_whole_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let (a, old) = put(directory.path(), "a");
    let (b, new) = put(directory.path(), "b");
    let tls = Tls::new(&https(vec![a.clone()])).unwrap();
    let config = Arc::clone(tls.config());

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
    assert!(Arc::ptr_eq(&config, tls.config()));
    // What is watched from here on are the new files.
    put(directory.path(), "a");
    let look = tls.refresh(&Look::default());
    tls.refresh(&look);
    assert!(in_use(&tls) == new);
    let (_, newer) = put(directory.path(), "b");
    let look = tls.refresh(&look);
    tls.refresh(&look);
    assert!(in_use(&tls) == newer);
}

#[test]
fn the_watcher_keeps_nothing_alive_that_nobody_else_uses() {
    let directory = TempDir::new().unwrap();
    let (certificate, _) = put(directory.path(), "a");
    let tls = Arc::new(Tls::new(&https(vec![certificate])).unwrap());
    watch(&tls).unwrap();
    let (config, tls) = (Arc::clone(tls.config()), Arc::downgrade(&{ tls }));
    let deadline = Instant::now() + Duration::from_secs(20);
    while tls.strong_count() > 0 {
        assert!(Instant::now() < deadline, "the watcher keeps it");
        thread::sleep(Duration::from_millis(10));
    }
    // Those that are still served keep what they need.
    assert!(config.ticketer.enabled() && config.session_storage.can_cache());
    assert_eq!(config.max_early_data_size, 0);
}
