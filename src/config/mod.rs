//! The configuration file: its fields, their defaults, and everything that can be wrong with them.
//!
//! The renderer reads the same text as the edge did, so both hold the same configuration at all times.

mod admin;
mod directories;
mod fields;
mod handler;
mod limits;
mod relaxed_json;
mod size_policy;
mod token;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use admin::Admin;
pub use directories::{check as check_directories, place, prove_writable};
pub use fields::ConfigError;
use fields::{Fields, Known, Result};
pub use handler::{Credentials, FailOn, Handler, Origin, Resolved, S3};
pub use limits::Limits;
pub use token::{Rules, Token, TokenKind};

use crate::log::Level;
use crate::network::Network;

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
        "https_certificates",
        "https_hsts",
        "http_socket",
        "trusted_proxies",
        "proxy_protocol",
        "memory_cache",
        "user",
        "limits",
        "access_log",
        "log_level",
        "admin",
    ],
};
const CERTIFICATE_KNOWN: Known = Known { fields: &["cert", "key"] };

/// The port of `http_port` when it is missing.
const DEFAULT_HTTP_PORT: u16 = 80;
/// `memory_cache` when it is missing: 64 MiB.
const DEFAULT_MEMORY_CACHE: u64 = 64 << 20;
/// The largest `memory_cache`: a terabyte.
const LARGEST_MEMORY_CACHE: i64 = 1 << 40;
/// How `trusted_proxies` names whoever connects to `http_socket`.
const UNIX: &str = "unix:";

/// A configuration whose every field has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The handlers, in the order of the file.
    pub handlers: Vec<Handler>,
    /// The address to listen on; `None` is every address of the machine, IPv6 and IPv4.
    pub address: Option<IpAddr>,
    /// The port for plain HTTP; 0 lets the system choose a free one. `None` when only `http_socket` is listened on.
    pub http_port: Option<u16>,
    /// `http_socket`: the path of a Unix socket for plain HTTP.
    pub http_socket: Option<PathBuf>,
    /// HTTPS, if it is enabled.
    pub https: Option<Https>,
    /// `trusted_proxies`: whose word about the client is taken.
    pub trusted_proxies: TrustedProxies,
    /// `proxy_protocol`: trusted proxies start each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// `memory_cache`: bytes of the hottest results to keep in memory; 0 keeps none.
    pub memory_cache: u64,
    /// `user`: `name` or `name:group`, as numbers or names, to become once the ports are bound.
    pub user: Option<String>,
    /// Deadlines and sizes.
    pub limits: Limits,
    /// Whether each request is a line on stderr.
    pub access_log: bool,
    /// `log_level`: the least serious events that are logged.
    pub log_level: Level,
    /// `admin`: where what is cached can be purged; `None` when nowhere.
    pub admin: Option<Admin>,
}

/// Where HTTPS is served, and with what.
#[derive(Clone, Debug)]
pub struct Https {
    /// The port; 0 lets the system choose a free one.
    pub port: u16,
    /// `https_cert` and `https_key`, for clients that name no host or one that no certificate is for; then
    /// `https_certificates`.
    pub certificates: Vec<Certificate>,
    /// Whether plain requests are redirected to HTTPS.
    pub strict: bool,
    /// `https_hsts`: the `max-age` of `Strict-Transport-Security` in seconds; `None` sends no such field.
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

/// Whose `X-Forwarded-For`, `Forwarded` and PROXY header are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    unix: bool,
}

impl TrustedProxies {
    /// Whether this peer is one of them; `None` is a peer on `http_socket`.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.unix,
            Some(address) => self.networks.iter().any(|network| network.contains(address)),
        }
    }

    fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

/// Reads the configuration file as text, so that it can be checked here and handed to the renderer as it is.
pub fn read_file(path: &Path) -> Result<String> {
    /// What a renderer takes.
    const LONGEST: usize = 16 << 20;
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) if text.len() > LONGEST => Err(ConfigError::new(
            name,
            format!("is longer than {LONGEST} bytes; is it a configuration?"),
        )),
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
            top.error(
                "address",
                format!("must be an IPv4 or IPv6 address without a port, not {written:?}"),
            )
        })?),
    };
    let http_socket = top.text("http_socket")?.map(PathBuf::from);
    let http_port = match port(&top, "http_port")? {
        None if http_socket.is_some() => None,
        written => Some(written.unwrap_or(DEFAULT_HTTP_PORT)),
    };
    let https = https(&top, http_port)?;
    let trusted_proxies = trusted_proxies(&top)?;
    let proxy_protocol = top.bool("proxy_protocol")?.unwrap_or(false);
    if proxy_protocol && trusted_proxies.is_empty() {
        return Err(
            top.error("proxy_protocol", "needs trusted_proxies: only they may send a PROXY header")
        );
    }
    let memory_cache = top
        .integer("memory_cache", 0..=LARGEST_MEMORY_CACHE)?
        .map_or(DEFAULT_MEMORY_CACHE, i64::unsigned_abs);
    let user = top.text("user")?.map(str::to_owned);
    let limits = Limits::read(top.object("limits", limits::KNOWN)?)?;
    let access_log = top.bool("access_log")?.unwrap_or(true);
    let admin =
        top.object("admin", admin::KNOWN)?.map(|fields| Admin::read(&fields)).transpose()?;

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
    Ok(Config {
        handlers,
        address,
        http_port,
        http_socket,
        https,
        trusted_proxies,
        proxy_protocol,
        memory_cache,
        user,
        limits,
        access_log,
        log_level: log_level(&top)?,
        admin,
    })
}

fn log_level(top: &Fields) -> Result<Level> {
    let Some(name) = top.string("log_level")? else { return Ok(Level::default()) };
    Level::parse(name).ok_or_else(|| {
        let names = Level::ALL.map(Level::name).join(", ");
        top.error("log_level", format!("must be one of {names}, not {name:?}"))
    })
}

fn trusted_proxies(top: &Fields) -> Result<TrustedProxies> {
    let mut trusted = TrustedProxies::default();
    for (index, item) in top.array("trusted_proxies")?.unwrap_or_default().iter().enumerate() {
        let error = |message| Err(top.error(&format!("trusted_proxies[{index}]"), message));
        match item {
            relaxed_json::Value::String(text) if text == UNIX => trusted.unix = true,
            relaxed_json::Value::String(text) => match Network::parse(text) {
                Ok(network) => trusted.networks.push(network),
                Err(message) => return error(message),
            },
            other => {
                return error(format!(
                    "must be a network, as \"10.0.0.0/8\", not {}",
                    other.kind()
                ));
            }
        }
    }
    Ok(trusted)
}

fn port(top: &Fields, name: &'static str) -> Result<Option<u16>> {
    Ok(top.integer(name, 0..=i64::from(u16::MAX))?.and_then(|port| u16::try_from(port).ok()))
}

fn https(top: &Fields, http_port: Option<u16>) -> Result<Option<Https>> {
    /// Two years, which is what browsers' preload lists ask for, and some more.
    const LONGEST_HSTS: i64 = 315_360_000;
    let enabled = top.bool("https_enabled")?.unwrap_or(false);
    let strict = top.bool("https_strict")?.unwrap_or(false);
    let port = port(top, "https_port")?;
    let cert = top.text("https_cert")?;
    let key = top.text("https_key")?;
    let hsts = top.integer("https_hsts", 0..=LONGEST_HSTS)?.map(i64::unsigned_abs);
    let more = more_certificates(top)?;
    if !enabled {
        if strict {
            return Err(top.error(
                "https_strict",
                "redirects to HTTPS, so https_enabled must be true as well",
            ));
        }
        return Ok(None);
    }
    let required = |name| top.error(name, "required when https_enabled is true");
    let port = port.ok_or_else(|| required("https_port"))?;
    let first = Certificate {
        cert: PathBuf::from(cert.ok_or_else(|| required("https_cert"))?),
        cert_field: top.path("https_cert"),
        key: PathBuf::from(key.ok_or_else(|| required("https_key"))?),
        key_field: top.path("https_key"),
    };
    if Some(port) == http_port && port != 0 {
        return Err(
            top.error("https_port", format!("{port} is also the http_port; they must differ"))
        );
    }
    Ok(Some(Https {
        port,
        certificates: std::iter::once(first).chain(more).collect(),
        strict,
        hsts,
    }))
}

fn more_certificates(top: &Fields) -> Result<Vec<Certificate>> {
    let written = top.array("https_certificates")?.unwrap_or_default();
    let read = |(index, value)| {
        let fields = Fields::of(value, format!("https_certificates[{index}]"), CERTIFICATE_KNOWN)?;
        let file = |name| -> Result<PathBuf> {
            fields.text(name)?.map(PathBuf::from).ok_or_else(|| fields.error(name, "required"))
        };
        Ok(Certificate {
            cert: file("cert")?,
            cert_field: fields.path("cert"),
            key: file("key")?,
            key_field: fields.path("key"),
        })
    };
    written.iter().enumerate().map(read).collect()
}

fn unique_routes(handlers: &[Handler]) -> Result<()> {
    for (index, handler) in handlers.iter().enumerate() {
        if let Some(first) = handlers[..index].iter().position(|other| other.route == handler.route)
        {
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
