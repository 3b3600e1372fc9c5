//! TLS termination: rustls with ring. The `ServerConfig` stays and only its certificates are replaced, so that a
//! renewed certificate loses no connection and no session.

mod certificates;
mod sessions;
mod watch;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{ConfigError, Https};
use crate::log::{error, info};
use crate::metrics::METRICS;
use crate::sync::{Mutex, RwLock};
use certificates::{Certificates, warn_world_readable_keys};
use sessions::Sessions;
use watch::FileStamps;
pub use watch::watch;

/// The TLS configuration of the HTTPS listener, with replaceable certificates.
#[derive(Debug)]
pub struct Tls {
    /// Stays the same when the certificates are replaced.
    pub config: Arc<ServerConfig>,
    resolver: Arc<CertResolver>,
    loaded: Mutex<Loaded>,
}

/// The source of the certificates in use.
#[derive(Debug)]
struct Loaded {
    https: Https,
    /// The files' stamps just before they were last read, successfully or not.
    stamps: FileStamps,
}

/// Checks that every certificate is usable.
pub fn check(https: &Https) -> Result<(), ConfigError> {
    Certificates::load(https).map(drop)
}

impl Tls {
    pub fn new(https: &Https) -> Result<Tls, ConfigError> {
        // Before reading the files, so that a change while they are read is noticed.
        let stamps = FileStamps::read(https);
        let resolver = Arc::new(CertResolver::new(Certificates::load(https)?));
        warn_world_readable_keys(https);
        let config = server_config(Arc::clone(&resolver)).map_err(|reason| {
            ConfigError::new("https_enabled", format!("TLS can't be set up: {reason}"))
        })?;
        let loaded = Mutex::new(Loaded { https: https.clone(), stamps });
        Ok(Tls { config: Arc::new(config), resolver, loaded })
    }

    /// Replaces the certificates with those of another configuration. On an error all of the old ones stay in use.
    pub fn reload(&self, https: &Https) -> Result<(), ConfigError> {
        let mut loaded = self.loaded.lock();
        let stamps = FileStamps::read(https);
        self.resolver.replace(Certificates::load(https)?);
        warn_world_readable_keys(https);
        *loaded = Loaded { https: https.clone(), stamps };
        Ok(())
    }

    /// Reloads the files if they have changed, all exist, and have the same stamps as at the `last` check: a renewal
    /// writes the certificate first and then the key. Returns their stamps now.
    fn reload_if_changed(&self, last: &FileStamps) -> FileStamps {
        let mut loaded = self.loaded.lock();
        let stamps = FileStamps::read(&loaded.https);
        if stamps == loaded.stamps || stamps != *last || !stamps.is_complete() {
            return stamps;
        }
        let changed = stamps.changed_since(&loaded.stamps, &loaded.https);
        match Certificates::load(&loaded.https) {
            Ok(certificates) => {
                self.resolver.replace(certificates);
                info!("certificates_reloaded", "using the changed certificates: {changed}");
                warn_world_readable_keys(&loaded.https);
            }
            Err(error) => {
                error!(
                    "certificates_failed",
                    "keeping the previous certificates until the files change: {error}"
                );
            }
        }
        loaded.stamps = stamps.clone();
        stamps
    }
}

/// TLS 1.2 and 1.3 for HTTP/1.1. A client whose ALPN list lacks `http/1.1` is refused (RFC 7301 §3.2).
fn server_config(resolver: Arc<CertResolver>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // One ticket for each handshake, since a resumption uses up one; rustls sends two by default.
    config.send_tls13_tickets = 1;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A TLS 1.3 client resumes with a ticket, whose key is rotated every six hours and dropped after twelve. A TLS 1.2
    // client resumes with a session stored here, or with a ticket if it asks for one: rustls has one switch for the
    // tickets of both versions. Both secrets are gone within a day, so that a recorded connection can't be decrypted
    // later with the contents of this process's memory.
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(Sessions::default());
    // No 0-RTT (`max_early_data_size` is 0), because early data can be replayed (RFC 8446 §8).
    Ok(config)
}

/// Chooses the certificate for each handshake.
#[derive(Debug)]
struct CertResolver(RwLock<Arc<Certificates>>);

impl CertResolver {
    fn new(certificates: Certificates) -> CertResolver {
        report_expiries(&certificates.expiries);
        CertResolver(RwLock::new(Arc::new(certificates)))
    }

    fn replace(&self, certificates: Certificates) {
        report_expiries(&certificates.expiries);
        *self.0.write() = Arc::new(certificates);
    }
}

fn report_expiries(expiries: &[(String, u64)]) {
    // Two entries may name one file, which is one series.
    let mut expiries = expiries.to_vec();
    expiries.sort();
    expiries.dedup_by(|one, first| one.0 == first.0);
    *METRICS.connections.certificates.lock() = expiries;
}

/// A reload has turned HTTPS off.
impl Drop for Tls {
    fn drop(&mut self) {
        report_expiries(&[]);
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = Arc::clone(&self.0.read());
        Some(certificates.choose(hello.server_name(), hello.signature_schemes()))
    }
}

#[cfg(test)]
mod tests;
