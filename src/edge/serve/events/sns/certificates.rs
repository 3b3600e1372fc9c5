//! The certificates of SNS, which the renderer fetches, and the verification of messages with them.

use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;

use super::{Refusal, SnsMessage, signature};
use crate::config::Topic;
use crate::singleflight::SingleFlight;
use crate::sync::Mutex;
use crate::wire::SNS_TIMEOUT;

/// How long a certificate is used before it is fetched again.
const TIME_TO_LIVE: Duration = Duration::from_secs(24 * 3600);
/// How long the failure of a fetch is remembered, so that messages don't cause a request each.
const FAILURE_TIME_TO_LIVE: Duration = Duration::from_secs(10);
/// Maximum number of certificates, and of failures. SNS uses one for a region at a time.
const MAX_CERTIFICATES: usize = 32;
/// How long a message waits for the certificate that another one fetches: the renderer's timeout, with the wait for a
/// connection to it.
const WAIT: Duration = SNS_TIMEOUT.saturating_mul(3);

/// Fetches the file of a certificate at the host of this topic. An error is a sentence.
pub type Fetch<'f> = &'f dyn Fn(&Topic, &str) -> Result<Vec<u8>, String>;

type Fetched = Result<CertificateDer<'static>, String>;

/// For the life of the process.
#[derive(Debug)]
pub struct Certificates {
    /// By host and file.
    known: Mutex<Vec<Known>>,
    singleflight: SingleFlight<(String, String), Fetched>,
}

#[derive(Debug)]
struct Known {
    host: String,
    name: String,
    expires: Instant,
    certificate: Fetched,
}

impl Default for Certificates {
    fn default() -> Certificates {
        Certificates { known: Mutex::default(), singleflight: SingleFlight::new() }
    }
}

impl Certificates {
    /// Verifies that SNS has sent a message for this topic.
    pub fn verify(&self, message: &SnsMessage, topic: &Topic, fetch: Fetch) -> Result<(), Refusal> {
        message.check_version()?;
        let signature = message.signature()?;
        let name = message.certificate_name(topic)?;
        let certificate = self.get(topic, name, fetch).map_err(|problem| {
            Refusal::Unavailable(format!("the certificate of SNS ({name}): {problem}"))
        })?;
        message.verify(&signature, &certificate)
    }

    pub(super) fn get(&self, topic: &Topic, name: &str, fetch: Fetch) -> Fetched {
        let host = topic.host();
        if let Some(known) = self.find(&host, name) {
            return known;
        }
        let call = (host, name.to_owned());
        let on_panic = Err("could not be read".to_owned());
        let fetched = self.singleflight.run(&call, WAIT, on_panic, || {
            let (host, name) = &call;
            if let Some(known) = self.find(host, name) {
                return known;
            }
            let now = SystemTime::now();
            let fetched =
                fetch(topic, name).and_then(|pem| signature::certificate(&pem, topic, now));
            self.remember(host, name, fetched.clone());
            fetched
        });
        fetched.unwrap_or_else(|| Err("another message waits for it".to_owned()))
    }

    #[cfg(test)]
    pub fn known_count(&self) -> usize {
        self.known.lock().len()
    }

    /// Lets what is known be older by this time.
    #[cfg(test)]
    pub fn age(&self, time: Duration) {
        self.known.lock().iter_mut().for_each(|known| known.expires -= time);
    }

    fn find(&self, host: &str, name: &str) -> Option<Fetched> {
        let now = Instant::now();
        let mut known = self.known.lock();
        known.retain(|known| known.expires > now);
        let found = known.iter().find(|known| known.host == host && known.name == name)?;
        Some(found.certificate.clone())
    }

    fn remember(&self, host: &str, name: &str, certificate: Fetched) {
        let ttl = if certificate.is_ok() { TIME_TO_LIVE } else { FAILURE_TIME_TO_LIVE };
        let expires = Instant::now() + ttl;
        let (host, name) = (host.to_owned(), name.to_owned());
        let mut known = self.known.lock();
        if known.len() >= MAX_CERTIFICATES {
            known.remove(0);
        }
        known.push(Known { host, name, expires, certificate });
    }
}
