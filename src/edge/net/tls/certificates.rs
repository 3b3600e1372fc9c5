//! Loads certificates, checks that each matches its key, and chooses one by the client's server name.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use webpki::EndEntityCert;

use crate::certificate_expiry::expiry;
use crate::config::{Certificate, ConfigError, Https};
use crate::log::warn;

/// The mode bit that lets every user read a file (S_IROTH).
const OTHERS_READ: u32 = 0o004;

/// The certificates of a configuration.
#[derive(Debug)]
pub struct Certificates {
    /// For clients that send no server name, or one that no certificate has.
    default: Arc<CertifiedKey>,
    /// By the DNS names of the leaves in lower case, including wildcards, in the order of the configuration.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The files, each with the Unix time at which the first of its certificates expires.
    pub expiries: Vec<(String, u64)>,
}

impl Certificates {
    pub fn load(https: &Https) -> Result<Certificates, ConfigError> {
        let mut default = None;
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        let mut expiries = Vec::new();
        for certificate in &https.certificates {
            let (names, key) = load(certificate)?;
            // An expired intermediate certificate fails like an expired leaf.
            if let Some(first) = key.cert.iter().filter_map(expiry).min() {
                expiries.push((certificate.cert.display().to_string(), first));
            }
            for name in names {
                by_name.entry(name).or_default().push(Arc::clone(&key));
            }
            default.get_or_insert(key);
        }
        let required = || ConfigError::new("https_cert", "required");
        Ok(Certificates { default: default.ok_or_else(required)?, by_name, expiries })
    }

    /// The first certificate for this name whose key has a signature scheme that the client supports.
    pub fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        // RFC 9525 §6.3: a wildcard stands for one label.
        let wildcard =
            name.split_once('.').map(|(_, parent)| format!("*.{parent}")).unwrap_or_default();
        let for_name =
            || [&name, &wildcard].into_iter().filter_map(|name| self.by_name.get(name)).flatten();
        for_name()
            .find(|certificate| certificate.key.choose_scheme(schemes).is_some())
            // The handshake then fails with an alert that tells the reason.
            .or_else(|| for_name().next())
            .map_or_else(|| Arc::clone(&self.default), Arc::clone)
    }
}

/// Loads one chain and its key. Also returns the DNS names of its leaf.
fn load(certificate: &Certificate) -> Result<(Vec<String>, Arc<CertifiedKey>), ConfigError> {
    let Certificate { cert, cert_field, key, key_field } = certificate;
    let cert_error = |message| error(cert_field, cert, message);
    let key_error = |message| error(key_field, key, message);

    let chain = CertificateDer::pem_slice_iter(&read(cert_field, cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|reason| cert_error(format!("can't be read as PEM: {reason}")))?;
    let leaf = chain.first().ok_or_else(|| cert_error("has no certificate".into()))?;
    let names = EndEntityCert::try_from(leaf)
        .map_err(|reason| cert_error(format!("its first certificate can't be used: {reason}")))?
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect();

    let private = PrivateKeyDer::from_pem_slice(&read(key_field, key)?)
        .map_err(|reason| key_error(format!("can't be read as PEM: {reason}")))?;
    let private = ring::sign::any_supported_type(&private)
        .map_err(|reason| key_error(format!("can't be used: {reason}")))?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        // A key that does not reveal its public half can't be compared.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok((names, Arc::new(certified)))
        }
        Err(_) => Err(key_error(format!("is not the key of {}", cert.display()))),
    }
}

fn read(field: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|reason| error(field, path, format!("can't be read: {reason}")))
}

fn error(field: &str, path: &Path, message: String) -> ConfigError {
    ConfigError::new(field, format!("{}: {message}", path.display()))
}

/// Warns of key files that every user can read: the key is all it takes to impersonate the server.
pub fn warn_world_readable_keys(https: &Https) {
    for Certificate { key, key_field, .. } in &https.certificates {
        if fs::metadata(key).is_ok_and(|metadata| metadata.mode() & OTHERS_READ != 0) {
            let key = key.display();
            warn!(
                "key_world_readable",
                "{key_field}: every user of this machine can read {key}; run chmod o-r {key}"
            );
        }
    }
}
