//! The signature of a message: RSA with SHA-256 (`SignatureVersion` 2), by the key of a certificate of SNS.
//!
//! The certificate comes from the host of a configured topic, over TLS that is verified for that name. SNS publishes it
//! without the intermediate certificates, so that its own chain can't be followed from here; AWS's SDKs don't either.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::SignatureScheme;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

use super::{Refusal, SnsMessage};
use crate::certificate_expiry::expiry;
use crate::config::Topic;
use crate::time::unix_seconds;

/// In bytes: that of a key of 8192 bits, the longest that is supported (RFC 8017, section 8.2.1: as long as the modulus).
const MAX_SIGNATURE: usize = 1024;

/// Reads the certificate of a file, which must be one of SNS in the topic's region and must not have expired.
pub fn certificate(
    pem: &[u8],
    topic: &Topic,
    now: SystemTime,
) -> Result<CertificateDer<'static>, String> {
    let certificate =
        CertificateDer::from_pem_slice(pem).map_err(|error| format!("is not PEM: {error}"))?;
    let parsed =
        EndEntityCert::try_from(&certificate).map_err(|error| format!("can't be used: {error}"))?;
    let is_valid_for = |name: String| {
        ServerName::try_from(name)
            .is_ok_and(|name| parsed.verify_is_valid_for_subject_name(&name).is_ok())
    };
    if !topic.certificate_names().into_iter().any(is_valid_for) {
        return Err("is not one of SNS".to_owned());
    }
    match expiry(&certificate) {
        Some(expiry) if expiry > unix_seconds(now) => Ok(certificate),
        _ => Err("has expired".to_owned()),
    }
}

impl SnsMessage {
    /// Checks that the signature is of a version that is accepted, before anything is fetched for it.
    pub(super) fn check_version(&self) -> Result<(), Refusal> {
        match self.signature_version.as_str() {
            "2" => Ok(()),
            "1" => Err(Refusal::Invalid(format!(
                "the message is signed with SHA-1; set the topic's attribute SignatureVersion to 2: \
                 aws sns set-topic-attributes --topic-arn {} --attribute-name SignatureVersion \
                 --attribute-value 2",
                self.topic_arn
            ))),
            _ => Err(Refusal::Invalid("the message's SignatureVersion is not 2".to_owned())),
        }
    }

    /// The signature, if it has the form of one: before anything is fetched for it, too.
    pub(super) fn signature(&self) -> Result<Vec<u8>, Refusal> {
        let signature = BASE64_STANDARD.decode(&self.signature).ok();
        let is_possible = |bytes: &Vec<u8>| (1..=MAX_SIGNATURE).contains(&bytes.len());
        signature.filter(is_possible).ok_or_else(wrong)
    }

    /// Verifies a signature.
    pub(super) fn verify(
        &self,
        signature: &[u8],
        certificate: &CertificateDer,
    ) -> Result<(), Refusal> {
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| wrong())?;
        let supported = ring::default_provider().signature_verification_algorithms;
        let mut algorithms = supported
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256)
            .flat_map(|(_, algorithms)| algorithms.iter());
        let is_right = algorithms.any(|algorithm| {
            certificate.verify_signature(*algorithm, self.signed.as_bytes(), signature).is_ok()
        });
        if is_right { Ok(()) } else { Err(wrong()) }
    }
}

fn wrong() -> Refusal {
    Refusal::Invalid("the message's signature is wrong".to_owned())
}
