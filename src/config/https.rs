//! HTTPS: port, certificates, HSTS and the redirect to it.

use std::path::PathBuf;

use jsonc_parser::ast::Value;

use super::error::Result;
use super::fields::Fields;
use super::schema::{Defaulted, Kind, Optional, array, boolean, integer, table, text};

/// Ten years. Browsers' preload lists ask for one.
const MAX_HSTS: i64 = 315_360_000;

/// An element of `https_certificates`.
const CERTIFICATE: Kind = Kind::Object(CERTIFICATE_TABLE);

table! {
    pub TABLE;
    /// Serve HTTPS (TLS 1.2 and 1.3).
    HTTPS_ENABLED: Defaulted<bool> = boolean("https_enabled").default(false);
    /// The port for HTTPS, other than `http_port`; 0 takes a free one.
    HTTPS_PORT: Optional<u16> =
        integer::<u16>("https_port", 0, 65_535).absent("required with `https_enabled`");
    /// The PEM file of the certificate chain, leaf first.
    HTTPS_CERT: Optional<&'static str> =
        text("https_cert").absent("required with `https_enabled`");
    /// The PEM file of the leaf's private key.
    HTTPS_KEY: Optional<&'static str> = text("https_key").absent("required with `https_enabled`");
    /// More certificates, selected by SNI; `https_cert` is the default certificate.
    HTTPS_CERTIFICATES: Optional<&'static [Value<'static>]> =
        array("https_certificates", "`{\"cert\": …, \"key\": …}`, PEM files", &CERTIFICATE)
            .absent("none");
    /// Send `Strict-Transport-Security: max-age=…` over HTTPS, also when a trusted proxy says that the client used
    /// HTTPS.
    HTTPS_HSTS: Optional<u64> =
        integer::<u64>("https_hsts", 0, MAX_HSTS).unit("seconds").absent("none");
    /// Answer HTTP with 301 to the same host, path and query on HTTPS; needs `https_enabled`.
    HTTPS_STRICT: Defaulted<bool> = boolean("https_strict").default(false);
}

table! {
    CERTIFICATE_TABLE;
    /// The PEM file of the certificate chain, leaf first.
    CERT: Optional<&'static str> = text("cert");
    /// The PEM file of the leaf's private key.
    KEY: Optional<&'static str> = text("key");
}

#[derive(Clone, Debug)]
pub struct Https {
    /// 0 lets the system choose a free one.
    pub port: u16,
    /// `https_cert` with `https_key` first, for clients that send no server name or one without a certificate; then
    /// `https_certificates`.
    pub certificates: Vec<Certificate>,
    /// Whether plain requests are redirected to HTTPS.
    pub strict: bool,
    /// The `max-age` of `Strict-Transport-Security` in seconds; `None` sends no such field.
    pub hsts: Option<u64>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The PEM file of the certificate chain, leaf first.
    pub cert: PathBuf,
    /// The JSON path of the field that names it.
    pub cert_field: String,
    /// The PEM file of the private key.
    pub key: PathBuf,
    /// The JSON path of the field that names it.
    pub key_field: String,
}

impl Https {
    /// `None` when HTTPS is not enabled.
    pub(super) fn read(top: &Fields, http_port: Option<u16>) -> Result<Option<Https>> {
        let enabled = top.get(&HTTPS_ENABLED)?;
        let strict = top.get(&HTTPS_STRICT)?;
        let port = top.optional(&HTTPS_PORT)?;
        let cert = top.optional(&HTTPS_CERT)?;
        let key = top.optional(&HTTPS_KEY)?;
        let hsts = top.optional(&HTTPS_HSTS)?;
        let more = more_certificates(top)?;
        if !enabled {
            if strict {
                let message = "redirects to HTTPS, so https_enabled must be true as well";
                return Err(top.error(HTTPS_STRICT.name(), message));
            }
            return Ok(None);
        }
        let required = |name| top.error(name, "required when https_enabled is true");
        let port = port.ok_or_else(|| required(HTTPS_PORT.name()))?;
        let first = Certificate {
            cert: PathBuf::from(cert.ok_or_else(|| required(HTTPS_CERT.name()))?),
            cert_field: top.path(HTTPS_CERT.name()),
            key: PathBuf::from(key.ok_or_else(|| required(HTTPS_KEY.name()))?),
            key_field: top.path(HTTPS_KEY.name()),
        };
        if Some(port) == http_port && port != 0 {
            let message = format!("{port} is also the http_port; they must differ");
            return Err(top.error(HTTPS_PORT.name(), message));
        }
        let certificates = std::iter::once(first).chain(more).collect();
        Ok(Some(Https { port, certificates, strict, hsts }))
    }
}

fn more_certificates(top: &Fields) -> Result<Vec<Certificate>> {
    let written = top.optional(&HTTPS_CERTIFICATES)?.unwrap_or_default();
    let read = |(index, value)| {
        let path = format!("{}[{index}]", HTTPS_CERTIFICATES.name());
        let fields = Fields::of(value, path, CERTIFICATE_TABLE)?;
        Ok(Certificate {
            cert: PathBuf::from(fields.required(&CERT)?),
            cert_field: fields.path(CERT.name()),
            key: PathBuf::from(fields.required(&KEY)?),
            key_field: fields.path(KEY.name()),
        })
    };
    written.iter().enumerate().map(read).collect()
}
