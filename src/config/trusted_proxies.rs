//! `"trusted_proxies"`: the peers whose `X-Forwarded-*`, `Forwarded`, `X-Request-Id`, `traceparent` and PROXY headers are
//! trusted.

use std::net::IpAddr;

use jsonc_parser::ast::Value;

use super::error::Result;
use super::fields::Fields;
use super::json::type_name;
use super::schema::{Defaulted, Kind, Optional, array, boolean, table};
use crate::network::Network;

/// The peers on `http_socket`.
const UNIX: &str = "unix:";

table! {
    pub TABLE;
    /// The proxies whose `X-Forwarded-*`, `Forwarded` and PROXY headers are trusted ([client
    /// addresses](deployment.md#client-addresses)), and whose [request ids](http.md#request-ids) are kept: addresses, networks such as `10.0.0.0/8`, and `unix:` for clients
    /// of `http_socket`.
    TRUSTED_PROXIES: Optional<&'static [Value<'static>]> =
        array("trusted_proxies", "strings", &Kind::Text).absent("none");
    /// Trusted proxies start each connection with a PROXY header, version 1 or 2; needs `trusted_proxies`.
    PROXY_PROTOCOL: Defaulted<bool> = boolean("proxy_protocol").default(false);
}

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

    pub(super) fn read(top: &Fields) -> Result<TrustedProxies> {
        let mut trusted = TrustedProxies::default();
        let items = top.optional(&TRUSTED_PROXIES)?.unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            let error =
                |message| top.error(&format!("{}[{index}]", TRUSTED_PROXIES.name()), message);
            match item {
                Value::StringLit(text) if text.value == UNIX => trusted.unix = true,
                Value::StringLit(text) => {
                    trusted.networks.push(Network::parse(&text.value).map_err(error)?);
                }
                other => {
                    let found = type_name(other);
                    return Err(error(format!(
                        "must be a network, such as \"10.0.0.0/8\", not {found}"
                    )));
                }
            }
        }
        Ok(trusted)
    }

    /// `proxy_protocol`.
    pub(super) fn read_proxy_protocol(&self, top: &Fields) -> Result<bool> {
        let enabled = top.get(&PROXY_PROTOCOL)?;
        if enabled && self.is_empty() {
            let message = "needs trusted_proxies: only they may send a PROXY header";
            return Err(top.error(PROXY_PROTOCOL.name(), message));
        }
        Ok(enabled)
    }
}
