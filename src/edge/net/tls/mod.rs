//! The TLS side of the listener: rustls with ring. One `ServerConfig` lives as long as the process; the certificates
//! in it are replaced under it, so that no connection and no session is lost by a refresh.

mod certificates;
mod sessions;
mod watch;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{ConfigError, Https};
use crate::log::{error, info};
use certificates::{Certificates, warn_of_open_keys};
use sessions::Sessions;
use watch::Look;
pub use watch::watch;

/// What a TLS connection starts from, and the certificates that can be replaced in it.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    chooser: Arc<Chooser>,
    loaded: Mutex<Loaded>,
}

/// Where the certificates in use came from.
#[derive(Debug)]
struct Loaded {
    https: Https,
    /// How the files looked just before they were last read, with or without success.
    look: Look,
}

/// Proves that every certificate can be used.
pub fn check(https: &Https) -> Result<(), ConfigError> {
    Certificates::load(https).map(drop)
}

impl Tls {
    /// Loads the certificates.
    pub fn new(https: &Https) -> Result<Tls, ConfigError> {
        // First, so that a change while the files are read is seen by the next look.
        let look = Look::at(https);
        let chooser = Arc::new(Chooser(RwLock::new(Arc::new(Certificates::load(https)?))));
        warn_of_open_keys(https);
        let config = server_config(Arc::clone(&chooser)).map_err(|reason| {
            ConfigError::new("https_enabled", format!("TLS can't be set up: {reason}"))
        })?;
        let loaded = Mutex::new(Loaded { https: https.clone(), look });
        Ok(Tls { config: Arc::new(config), chooser, loaded })
    }

    /// What to start a connection with. It stays the same when the certificates are replaced.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Puts the certificates of another configuration in the place of those in use. On an error all of the old
    /// ones stay.
    pub fn reload(&self, https: &Https) -> Result<(), ConfigError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let look = Look::at(https);
        self.chooser.replace(Certificates::load(https)?);
        warn_of_open_keys(https);
        *loaded = Loaded { https: https.clone(), look };
        Ok(())
    }

    /// Loads the files again if they have changed, are all there, and are still as they were at the last look: a
    /// refresh writes the certificate first and then the key. Returns how they look now.
    fn refresh(&self, last: &Look) -> Look {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let look = Look::at(&loaded.https);
        if look == loaded.look || look != *last || !look.is_whole() {
            return look;
        }
        let changed = look.changed_since(&loaded.look, &loaded.https);
        match Certificates::load(&loaded.https) {
            Ok(certificates) => {
                self.chooser.replace(certificates);
                info!("certificates_reloaded", "using the changed certificates: {changed}");
                warn_of_open_keys(&loaded.https);
            }
            Err(error) => {
                error!(
                    "certificates_failed",
                    "keeping the previous certificates until the files change: {error}"
                )
            }
        }
        loaded.look = look.clone();
        look
    }
}

/// TLS 1.2 and 1.3 for HTTP/1.1. A client whose ALPN names other protocols only is refused (RFC 7301 §3.2).
fn server_config(chooser: Arc<Chooser>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(chooser);
    // One for each handshake: a resumption takes one and gives one, and rustls would make two each time.
    config.send_tls13_tickets = 1;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A TLS 1.3 client resumes with a ticket, under a key that is replaced every six hours and forgotten after twelve.
    // A TLS 1.2 client resumes with a session that is kept here, and if it asks for a ticket it gets one as well:
    // rustls has one switch for the tickets of both versions. Both mechanisms forget within a day, so a recorded
    // connection can't be read with what is found in our memory later.
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(Sessions::default());
    // No 0-RTT (`max_early_data_size` is 0): what comes with it may be a replay (RFC 8446 §8).
    Ok(config)
}

/// Chooses the certificate for each handshake.
#[derive(Debug)]
struct Chooser(RwLock<Arc<Certificates>>);

impl Chooser {
    fn replace(&self, certificates: Certificates) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificates);
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        Some(certificates.choose(client.server_name(), client.signature_schemes()))
    }
}

#[cfg(test)]
mod tests;
