//! The configuration file: its fields, their defaults, and everything that can be wrong with them.
//!
//! A field is a row of a table ([`schema`]) from which parsing, checks, defaults and the tables of
//! docs/configuration.md follow. The renderer reads the same text as the edge, so both always have the same
//! configuration.

mod admin;
mod as_is;
mod cache;
mod cdn;
mod defaults;
mod directories;
mod environment;
mod error;
mod error_image;
mod fields;
mod handler;
mod https;
mod journal;
pub mod json;
mod limits;
mod origin;
#[cfg(test)]
pub mod reference;
mod results;
mod results_overlap;
mod schema;
mod secret;
mod size_policy;
mod token;
mod topic;
mod trusted_proxies;
mod url;
mod variable;
mod watermarks;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonc_parser::ast::Value;

pub use admin::Admin;
pub use cache::Store;
pub use cdn::{CachePolicy, HookBody, MAX_AGE_FOREVER, PurgeHook, Purged};
pub use directories::{check as check_directories, place, prove_writable};
pub use environment::Environment;
pub use error::ConfigError;
pub use handler::{FailOn, Handler, Resolved};
pub use https::{Certificate, Https};
pub use journal::JournalConnections;
pub use limits::Limits;
pub use origin::{AssumedRole, Credentials, Directory, Http, Origin, S3};
pub use results::Results;
pub use secret::{WHITE_SPACE_AROUND, has_white_space_around};
pub use token::{Rules, Token, TokenKind};
pub use topic::Topic;
pub use trusted_proxies::TrustedProxies;
pub use url::{is_origin as is_web_origin, without_default_port};

use crate::log::{self, Level};
use error::Result;
use fields::Fields;
use schema::{
    Choice, Computed, Defaulted, Field, Kind, Optional, Table, array, boolean, choice, concat,
    integer, object, table, text,
};

/// The port of `http_port` when it is missing.
const DEFAULT_HTTP_PORT: u16 = 80;
/// Maximum length of the text in bytes; a renderer accepts no longer one.
const MAX_TEXT: usize = 16 << 20;

table! {
    LISTEN_TABLE;
    /// The handlers, at least one.
    HANDLERS: Optional<&'static [Value<'static>]> = array("handlers", "objects", &Kind::Object(handler::TABLE));
    /// The IPv4 or IPv6 address to listen on.
    ADDRESS: Optional<&'static str> = text("address").absent("every address");
    /// The port for HTTP; 0 takes a free one.
    HTTP_PORT: Optional<u16> =
        integer::<u16>("http_port", 0, 65_535).absent("80; none with an `http_socket`");
    /// The path of a Unix socket for HTTP, mode 0666: anyone who can reach its directory can connect. A stale socket is
    /// replaced. With `user`, the directory must belong to that user, so that the socket can be removed on exit.
    HTTP_SOCKET: Optional<&'static str> = text("http_socket").absent("none");
}

table! {
    SERVER_TABLE;
    /// The size of the memory cache for handlers with a `cache_path`; 0 turns it off.
    MEMORY_CACHE: Field<u64, Computed<u64>> =
        integer::<u64>("memory_cache", 0, 1 << 40).unit("bytes").computed(
            limits::default_memory_cache,
            "67108864 (64 MiB), or a sixteenth of the memory limit",
        );
    /// The user to become after the ports are open: `name`, `name:group`, `uid` or `uid:gid`.
    USER: Optional<&'static str> = text("user").absent("none");
    /// Log one line per request ([access log](http.md#access-log)).
    ACCESS_LOG: Defaulted<bool> = boolean("access_log").default(true);
    /// The least serious events that are logged ([events](http.md#events)).
    LOG_LEVEL: Defaulted<Level> = choice::<Level>("log_level").default_choice(2);
    /// How every line of the log is written ([log](http.md#log)).
    LOG_FORMAT: Defaulted<log::Format> = choice::<log::Format>("log_format").default_choice(0);
    /// The admin listener.
    ADMIN: Optional<Fields<'static>> = object("admin", admin::TABLE).absent("none");
    /// Timeouts and size limits.
    LIMITS: Optional<Fields<'static>> = object("limits", limits::TABLE).absent("the defaults below");
}

const LISTENERS: Table =
    &concat::<{ LISTEN_TABLE.len() + https::TABLE.len() }>(LISTEN_TABLE, https::TABLE);
const CONNECTIONS: Table = &concat::<{ LISTENERS.len() + trusted_proxies::TABLE.len() }>(
    LISTENERS,
    trusted_proxies::TABLE,
);
const TABLE: Table =
    &concat::<{ CONNECTIONS.len() + SERVER_TABLE.len() }>(CONNECTIONS, SERVER_TABLE);

impl Choice for Level {
    const CHOICES: &'static [(&'static str, Level)] = &[
        (Level::Error.name(), Level::Error),
        (Level::Warn.name(), Level::Warn),
        (Level::Info.name(), Level::Info),
        (Level::Debug.name(), Level::Debug),
    ];
}

impl Choice for log::Format {
    const CHOICES: &'static [(&'static str, log::Format)] =
        &[("text", log::Format::Text), ("json", log::Format::Json)];
}

/// A configuration whose every field has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// In the order of the file.
    pub handlers: Vec<Handler>,
    /// The address to listen on; `None` is every address of the machine, IPv6 and IPv4.
    pub address: Option<IpAddr>,
    /// The port for plain HTTP; 0 lets the system choose a free one. `None` when only `http_socket` is listened on.
    pub http_port: Option<u16>,
    /// The path of a Unix socket for plain HTTP.
    pub http_socket: Option<PathBuf>,
    /// `None` when it is not enabled.
    pub https: Option<Https>,
    pub trusted_proxies: TrustedProxies,
    /// Trusted proxies start each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// The size of the memory cache in bytes; 0 turns it off.
    pub memory_cache: u64,
    /// `name` or `name:group`, as numbers or names, to become once the ports are bound.
    pub user: Option<String>,
    pub limits: Limits,
    /// Whether each request is logged.
    pub access_log: bool,
    /// The least serious events that are logged.
    pub log_level: Level,
    pub log_format: log::Format,
    /// `None` without an admin listener.
    pub admin: Option<Admin>,
    source: Source,
}

/// The text of a configuration and its name, to find the position of a field, and the values of its variables.
#[derive(Clone)]
struct Source {
    name: Arc<str>,
    text: Arc<str>,
    environment: Arc<Environment>,
}

// The text has secrets, which must not reach a log by way of `{:?}`.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

/// Reads the configuration file as text, so that it can be checked here and sent to the renderer as it is.
pub fn read_file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let mut text = String::new();
    // The length of a pipe or a device is known only by reading it.
    let read =
        File::open(path).and_then(|file| file.take(MAX_TEXT as u64 + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length > MAX_TEXT => {
            let message = format!("is longer than {MAX_TEXT} bytes; is it a configuration?");
            Err(ConfigError::new(name, message))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(ConfigError::new(name, format!("can't be read: {error}"))),
    }
}

/// Checks a configuration text. `name` is the file's, for errors.
pub fn parse(text: &str, name: &str) -> Result<Config> {
    read(text, name, None, |value| Environment::read(value, &|name| std::env::var_os(name)))
}

/// Reads a text that [`parse`] has accepted, with the variables and files that it read at that time.
pub fn parse_resolved(
    text: &str,
    environment: &Environment,
    resolved: &[Resolved],
) -> Result<Config> {
    read(text, "the configuration", Some(resolved), |_| environment.clone())
}

fn read(
    text: &str,
    name: &str,
    resolved: Option<&[Resolved]>,
    environment: impl FnOnce(&Value) -> Environment,
) -> Result<Config> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut value = json::parse(text).map_err(|error| {
        let message = format!("not valid JSON: {}", error.message);
        ConfigError::new("", message).at(name, text, error.offset)
    })?;
    let environment = Arc::new(environment(&value));
    let source =
        Source { name: name.into(), text: text.into(), environment: Arc::clone(&environment) };
    environment::expand(&mut value, "", &Kind::Object(TABLE), &environment)
        .and_then(|()| Fields::of(&value, "", TABLE))
        .and_then(|top| Config::read(&top, source, resolved))
        .map_err(|error| error.locate(name, text))
}

impl Config {
    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The values of the variables that the text refers to.
    pub fn environment(&self) -> &Environment {
        &self.source.environment
    }

    /// Adds the position in the file to an error that was found after the text was read.
    pub fn locate(&self, error: ConfigError) -> ConfigError {
        let field = error.path.split(['.', '[']).next();
        if !TABLE.iter().any(|row| Some(row.name) == field) {
            return error;
        }
        error.locate(&self.source.name, &self.source.text)
    }

    fn read(top: &Fields, source: Source, resolved: Option<&[Resolved]>) -> Result<Config> {
        let http_socket = top.optional(&HTTP_SOCKET)?.map(PathBuf::from);
        let http_port = match top.optional(&HTTP_PORT)? {
            None if http_socket.is_some() => None,
            written => Some(written.unwrap_or(DEFAULT_HTTP_PORT)),
        };
        let trusted_proxies = TrustedProxies::read(top)?;
        let limits = top.optional(&LIMITS)?;
        let admin = top.optional(&ADMIN)?;
        let handlers = handlers(top, resolved)?;
        let has_bucket = handlers.iter().any(|handler| handler.origins.has_bucket());
        Ok(Config {
            address: address(top)?,
            https: Https::read(top, http_port)?,
            http_port,
            http_socket,
            proxy_protocol: trusted_proxies.read_proxy_protocol(top)?,
            trusted_proxies,
            memory_cache: top.get(&MEMORY_CACHE)?,
            user: top.optional(&USER)?.map(str::to_owned),
            limits: Limits::read(&limits.unwrap_or_else(|| Fields::empty(limits::TABLE)))?,
            access_log: top.get(&ACCESS_LOG)?,
            log_level: top.get(&LOG_LEVEL)?,
            log_format: top.get(&LOG_FORMAT)?,
            admin: admin.map(|fields| Admin::read(&fields, has_bucket)).transpose()?,
            handlers,
            source,
        })
    }
}

fn address(top: &Fields) -> Result<Option<IpAddr>> {
    let Some(written) = top.optional(&ADDRESS)? else { return Ok(None) };
    written.parse().map(Some).map_err(|_| {
        let message = format!("must be an IPv4 or IPv6 address without a port, not {written:?}");
        top.error(ADDRESS.name(), message)
    })
}

fn handlers(top: &Fields, resolved: Option<&[Resolved]>) -> Result<Vec<Handler>> {
    let error = |message| top.error(HANDLERS.name(), message);
    let written = top
        .optional(&HANDLERS)?
        .ok_or_else(|| error("required: a list with at least one handler"))?;
    if written.is_empty() {
        return Err(error("must list at least one handler"));
    }
    let read = |(index, value)| {
        let resolved = resolved.and_then(|resolved| resolved.get(index));
        Handler::read(value, format!("{}[{index}]", HANDLERS.name()), resolved)
    };
    let handlers = written.iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
    check_routes(&handlers)?;
    results_overlap::check(&handlers)?;
    Ok(handlers)
}

fn check_routes(handlers: &[Handler]) -> Result<()> {
    let mut routes = HashMap::new();
    for (index, handler) in handlers.iter().enumerate() {
        let first = *routes.entry(handler.route.as_str()).or_insert(index);
        if first != index {
            let path = format!("handlers[{index}].{}", handler.route_field);
            let message = format!("handlers[{first}] already has the route /{}/", handler.route);
            return Err(ConfigError::new(path, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
