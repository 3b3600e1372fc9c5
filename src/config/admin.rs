//! `"admin"`: a listener of its own for those who run the server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::fields::{Fields, Known, Result};

pub(super) const KNOWN: Known = Known { fields: &["address", "secret"], not_yet: &[] };

/// The shortest `secret`, in bytes: what can't be guessed.
const SHORTEST_SECRET: usize = 16;
/// The port when `address` names none.
const DEFAULT_PORT: u16 = 9090;

/// Where the admin listener is, and who may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// `address`; port 0 lets the system choose a free one.
    pub address: SocketAddr,
    /// `secret`: what `Authorization: Bearer` must say.
    pub secret: String,
}

// Secrets must not reach a log by way of `{:?}`.
impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admin({})", self.address)
    }
}

impl Admin {
    pub(super) fn read(fields: &Fields) -> Result<Admin> {
        let address = match fields.text("address")? {
            None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DEFAULT_PORT),
            Some(written) => parse(written).ok_or_else(|| {
                let message = format!("must be an address and a port, as 127.0.0.1:9090, not {written:?}");
                fields.error("address", message)
            })?,
        };
        let secret = fields.secret("secret")?.ok_or_else(|| fields.error("secret", "required"))?;
        if secret.len() < SHORTEST_SECRET {
            let message = format!("must have at least {SHORTEST_SECRET} bytes");
            return Err(fields.error("secret", message));
        }
        // It is compared with the bytes of a header field.
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fields.error("secret", "must be visible ASCII characters without spaces"));
        }
        Ok(Admin { address, secret })
    }
}

fn parse(written: &str) -> Option<SocketAddr> {
    let alone = || Some(SocketAddr::new(written.parse::<IpAddr>().ok()?, DEFAULT_PORT));
    written.parse().ok().or_else(alone)
}
