//! The certificates that origins are trusted by: Mozilla's, compiled in, and those of a `ca_file`.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// The TLS configuration for origins. An error is the rest of a sentence about the file.
pub fn config(ca_file: Option<&Path>) -> Result<TlsConfig, String> {
    let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
    let mut roots: Vec<_> =
        mozilla.iter().map(|certificate| Certificate::from_der(certificate)).collect();
    for certificate in ca_file.map(read_ca_file).transpose()?.unwrap_or_default() {
        roots.push(Certificate::from_der(&certificate).to_owned());
    }
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// The certificates of a `ca_file`, each of which can be used as a root: ureq ignores those that can't.
///
/// An error is the rest of a sentence about the file.
pub fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| format!("{shown}: can't be read: {error}"))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{shown}: is not valid PEM: {error}"))?;
    for (index, certificate) in certificates.iter().enumerate() {
        RootCertStore::empty().add(certificate.clone()).map_err(|error| {
            format!("{shown}: certificate {} can't be used as a root: {error}", index + 1)
        })?;
    }
    if certificates.is_empty() {
        return Err(format!("{shown}: has no certificate (PEM, -----BEGIN CERTIFICATE-----)"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compiled_in_certificate_can_be_used_as_a_root() {
        let mut roots = RootCertStore::empty();
        let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        let (added, ignored) = roots.add_parsable_certificates(certificates);
        assert!(added > 100 && ignored == 0, "{added} added, {ignored} ignored");
    }
}
