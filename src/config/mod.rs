//! The configuration file: its fields, their defaults, and everything that can be wrong with them.
//!
//! The renderer reads the same text as the edge did, so both hold the same configuration at all times.

mod fields;
mod handler;
mod limits;
mod relaxed_json;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use fields::ConfigError;
use fields::{Fields, Known, Result};
pub use handler::{CacheTime, Credentials, DEFAULT_CACHE_SECONDS, FailOn, Handler, Origin, Resolved, S3};
pub use limits::Limits;

const KNOWN: Known = Known {
    fields: &[
        "handlers",
        "address",
        "http_port",
        "https_enabled",
        "https_strict",
        "https_port",
        "https_cert",
        "https_key",
        "limits",
        "access_log",
    ],
    not_yet: &["trusted_proxies", "admin", "memory_cache", "user", "http_socket"],
};

/// The port of `http_port` when it is missing.
const DEFAULT_HTTP_PORT: u16 = 80;

/// A configuration whose every field has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The handlers, in the order of the file.
    pub handlers: Vec<Handler>,
    /// The address to listen on; `None` is every address of the machine, IPv6 and IPv4.
    pub address: Option<IpAddr>,
    /// The port for plain HTTP; 0 lets the system choose a free one.
    pub http_port: u16,
    /// HTTPS, if it is enabled.
    pub https: Option<Https>,
    /// Deadlines and sizes.
    pub limits: Limits,
    /// Whether each request is a line on stderr.
    pub access_log: bool,
}

/// Where HTTPS is served, and with what.
#[derive(Clone, Debug)]
pub struct Https {
    /// The port; 0 lets the system choose a free one.
    pub port: u16,
    /// The PEM file of the certificate chain, leaf first.
    pub cert: PathBuf,
    /// The PEM file of the private key.
    pub key: PathBuf,
    /// Whether plain requests are redirected to HTTPS.
    pub strict: bool,
}

/// Reads the configuration file as text, so that it can be checked here and handed to the renderer as it is.
pub fn read_file(path: &Path) -> Result<String> {
    /// What a renderer takes.
    const LONGEST: usize = 16 << 20;
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) if text.len() > LONGEST => {
            Err(ConfigError::new(name, format!("is longer than {LONGEST} bytes; is it a configuration?")))
        }
        Ok(text) => Ok(text),
        Err(error) => Err(ConfigError::new(name, format!("can't be read: {error}"))),
    }
}

/// Checks a configuration text. `name` stands in front of errors that concern no field, such as bad JSON.
pub fn parse(text: &str, name: &str) -> Result<Config> {
    read(text, name, None)
}

/// Reads a text that [`parse`] has accepted, with what it found in the file system at that time.
pub fn parse_resolved(text: &str, resolved: &[Resolved]) -> Result<Config> {
    read(text, "the configuration", Some(resolved))
}

fn read(text: &str, name: &str, resolved: Option<&[Resolved]>) -> Result<Config> {
    let value = relaxed_json::parse(text)
        .map_err(|error| ConfigError::new(name, format!("not valid JSON: {error}")))?;
    let top = Fields::of(&value, "", KNOWN)?;

    let address = match top.text("address")? {
        None => None,
        Some(written) => Some(written.parse().map_err(|_| {
            top.error("address", format!("must be an IPv4 or IPv6 address without a port, not {written:?}"))
        })?),
    };
    let http_port = port(&top, "http_port")?.unwrap_or(DEFAULT_HTTP_PORT);
    let https = https(&top, http_port)?;
    let limits = Limits::read(top.object("limits", limits::KNOWN)?)?;
    let access_log = top.bool("access_log")?.unwrap_or(true);

    let handlers = match top.array("handlers")? {
        None => return Err(top.error("handlers", "required: a list with at least one handler")),
        Some([]) => return Err(top.error("handlers", "must list at least one handler")),
        Some(written) => written
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let resolved = resolved.and_then(|resolved| resolved.get(index));
                Handler::read(value, format!("handlers[{index}]"), resolved)
            })
            .collect::<Result<Vec<_>>>()?,
    };
    unique_routes(&handlers)?;
    Ok(Config { handlers, address, http_port, https, limits, access_log })
}

fn port(top: &Fields, name: &'static str) -> Result<Option<u16>> {
    Ok(top.integer(name, 0..=i64::from(u16::MAX))?.and_then(|port| u16::try_from(port).ok()))
}

fn https(top: &Fields, http_port: u16) -> Result<Option<Https>> {
    let enabled = top.bool("https_enabled")?.unwrap_or(false);
    let strict = top.bool("https_strict")?.unwrap_or(false);
    let port = port(top, "https_port")?;
    let cert = top.text("https_cert")?;
    let key = top.text("https_key")?;
    if !enabled {
        if strict {
            return Err(
                top.error("https_strict", "redirects to HTTPS, so https_enabled must be true as well")
            );
        }
        return Ok(None);
    }
    let required = |name| top.error(name, "required when https_enabled is true");
    let port = port.ok_or_else(|| required("https_port"))?;
    let cert = PathBuf::from(cert.ok_or_else(|| required("https_cert"))?);
    let key = PathBuf::from(key.ok_or_else(|| required("https_key"))?);
    if port == http_port && port != 0 {
        return Err(top.error("https_port", format!("{port} is also the http_port; they must differ")));
    }
    Ok(Some(Https { port, cert, key, strict }))
}

fn unique_routes(handlers: &[Handler]) -> Result<()> {
    for (index, handler) in handlers.iter().enumerate() {
        if let Some(first) = handlers[..index].iter().position(|other| other.route == handler.route) {
            return Err(ConfigError::new(
                format!("handlers[{index}].{}", handler.route_field),
                format!("handlers[{first}] already answers at /{}/", handler.route),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
