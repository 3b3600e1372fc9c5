//! Socket activation: listening sockets that the service manager has opened and passes to each process of the service
//! (sd_listen_fds(3)). They stay open between two processes, so a restart refuses no connection.

use std::os::fd::OwnedFd;

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{SocketType, sockopt};

use super::endpoint::ListenerKind;
use crate::config::{Config, ConfigError};

/// The number of sockets; a service has one or two of each kind.
const COUNT: &str = "LISTEN_FDS";
const MAX_COUNT: u32 = 64;
/// Their names (`FileDescriptorName=` of systemd.socket(5)).
const NAMES: &str = "LISTEN_FDNAMES";

/// The listening sockets that were passed, with the kind that the name of each gives.
///
/// Must be called once, before any file is opened that stays open.
pub fn receive(config: &Config) -> Result<Vec<(ListenerKind, OwnedFd)>, ConfigError> {
    let error = |message: String| ConfigError::new(COUNT, message);
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    // Variables that a process has inherited are not for it.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    if number(COUNT).is_none_or(|count| count > MAX_COUNT) {
        return Err(error(format!("is not a number from 0 to {MAX_COUNT}")));
    }
    let passed = sd_listen_fds::get().map_err(|problem| error(problem.to_string()))?;
    let (names, sockets): (Vec<_>, Vec<OwnedFd>) =
        passed.into_iter().map(|(name, socket)| (name, socket.into_std())).unzip();
    for (index, socket) in sockets.iter().enumerate() {
        if let Err(problem) = prepare(socket) {
            // One that is not open must not be closed.
            std::mem::forget(sockets);
            return Err(error(format!("descriptor {} {problem}", index + 3)));
        }
    }
    let kinds = names.iter().map(|name| kind(name.as_deref().unwrap_or_default()));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    let sockets: Vec<_> = kinds.into_iter().zip(sockets).collect();
    check(config, sockets.iter().map(|(kind, _)| *kind))?;
    Ok(sockets)
}

/// Checks that the descriptor is a listening stream socket, and gives it the flags of one that was opened here. An error
/// is the rest of a sentence.
fn prepare(socket: &OwnedFd) -> Result<(), &'static str> {
    fcntl_setfd(socket, FdFlags::CLOEXEC).map_err(|_| "is not open")?;
    let is_stream = sockopt::socket_type(socket) == Ok(SocketType::STREAM);
    if !is_stream || sockopt::socket_acceptconn(socket) != Ok(true) {
        return Err("is not a listening stream socket");
    }
    ioctl_fionbio(socket, false).map_err(|_| "can't be made blocking")
}

fn kind(name: &str) -> Result<ListenerKind, ConfigError> {
    match name {
        "http" => Ok(ListenerKind::Http),
        "https" => Ok(ListenerKind::Https),
        "admin" => Ok(ListenerKind::Admin),
        other => {
            let message = format!(
                "a socket is named {other:?}; FileDescriptorName= must be http, https or admin"
            );
            Err(ConfigError::new(NAMES, message))
        }
    }
}

/// Checks that the configuration has what the passed sockets need.
pub fn check(
    config: &Config,
    mut kinds: impl Iterator<Item = ListenerKind>,
) -> Result<(), ConfigError> {
    let missing = kinds.find_map(|kind| match kind {
        ListenerKind::Https if config.https.is_none() => Some(("https_enabled", "https")),
        ListenerKind::Admin if config.admin.is_none() => Some(("admin", "admin")),
        _ => None,
    });
    missing.map_or(Ok(()), |(field, name)| {
        let message = format!("required: the service manager passes a socket named {name}");
        Err(ConfigError::new(field, message))
    })
}
