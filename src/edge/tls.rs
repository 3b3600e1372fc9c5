//! The TLS side of the listener: rustls with ring.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{ConfigError, Https};

/// Loads certificate chain and key, and proves that they belong together.
pub fn server_config(https: &Https) -> Result<Arc<ServerConfig>, ConfigError> {
    let Some(first) = https.certificates.first() else {
        return Err(ConfigError { path: "https_cert".into(), message: "required".into() });
    };
    let https = first;
    let cert_error = |message: String| error("https_cert", &https.cert, message);
    let chain = CertificateDer::pem_file_iter(&https.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| cert_error(format!("can't be read as PEM: {error}")))?;
    if chain.is_empty() {
        return Err(cert_error("has no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&https.key)
        .map_err(|reason| error("https_key", &https.key, format!("can't be read as PEM: {reason}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|reason| cert_error(reason.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|reason| {
            error("https_key", &https.key, format!("does not go with {}: {reason}", https.cert.display()))
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn error(field: &str, path: &std::path::Path, message: String) -> ConfigError {
    ConfigError { path: field.into(), message: format!("{}: {message}", path.display()) }
}
