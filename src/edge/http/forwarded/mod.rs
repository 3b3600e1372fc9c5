//! The client behind trusted proxies, from `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC 7239).
//!
//! A proxy appends to the list that it receives. So the last entry comes from the peer, and the first ones may be
//! forged by the client: lists are parsed from the right, up to the first entry that no trusted proxy wrote, and the
//! rest may be garbage. Nothing is allocated, since every request behind a load balancer is parsed here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::request::Request;
use crate::config::TrustedProxies;

/// The client of a request, as far as proxies are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// `None` for a client on `http_socket` that no field names.
    pub address: Option<IpAddr>,
    /// Whether the client used HTTPS.
    pub secure: bool,
}

/// The client behind `peer`, whose own connection is HTTPS if `secure`.
pub fn client(
    request: &Request,
    peer: Option<IpAddr>,
    secure: bool,
    trusted: &TrustedProxies,
) -> Client {
    let peer = peer.map(|address| address.to_canonical());
    if !trusted.contains(peer) {
        return Client { address: peer, secure };
    }
    Client {
        address: address(request, peer, trusted),
        secure: is_secure(request).unwrap_or(secure),
    }
}

fn address(request: &Request, peer: Option<IpAddr>, trusted: &TrustedProxies) -> Option<IpAddr> {
    let mut listed = list(request, "x-forwarded-for").peekable();
    let mut elements = elements(request).peekable();
    let has_list = listed.peek().is_some();
    let has_elements = elements.peek().is_some();
    let by_list = client_end(peer, listed.map(node), trusted);
    if !has_elements {
        return by_list;
    }
    let by_elements = client_end(peer, elements.map(|one| node(parameter(one, "for")?)), trusted);
    if !has_list || by_list == by_elements {
        return by_elements;
    }
    // A proxy appends to one of the two and passes the other on as the client wrote it. Which one is unknown, so both
    // are ignored.
    peer
}

/// Walks from the peer towards the client: each trusted proxy names the hop before it. An invalid entry ends the walk
/// at the proxy that wrote it.
fn client_end(
    peer: Option<IpAddr>,
    entries: impl Iterator<Item = Option<IpAddr>>,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    let mut end = peer;
    for entry in entries {
        let Some(address) = entry else { break };
        end = Some(address);
        if !trusted.contains(end) {
            break;
        }
    }
    end
}

/// Whether the peer received the request over HTTPS; `None` if no field tells, or two fields differ.
fn is_secure(request: &Request) -> Option<bool> {
    let field = list(request, "x-forwarded-proto").next();
    let parameter = elements(request).next().and_then(|element| parameter(element, "proto"));
    let scheme = match (field, parameter) {
        // As with addresses, one of the two may be forged.
        (Some(field), Some(parameter)) if !field.eq_ignore_ascii_case(parameter) => return None,
        (field, parameter) => field.or(parameter)?,
    };
    if scheme.eq_ignore_ascii_case(b"https") {
        Some(true)
    } else if scheme.eq_ignore_ascii_case(b"http") {
        Some(false)
    } else {
        None
    }
}

/// The entries of a field from the right, without empty ones (RFC 9110 §5.6.1). Its lines form one list (§5.3).
fn list<'b>(request: &Request<'b>, name: &'static str) -> impl Iterator<Item = &'b [u8]> {
    let entries = request.raw(name).rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// The elements of `Forwarded` from the right. A quoted string does not continue on another line, so that a quote left
/// open by the client does not hide what a proxy adds on a line of its own.
fn elements<'b>(request: &Request<'b>) -> impl Iterator<Item = &'b [u8]> {
    request.raw("forwarded").rev().flat_map(|line| rsplit_unquoted(line, b','))
}

/// The unquoted value of a parameter in an element of `Forwarded` (RFC 7239 §4). `None` if it is absent or repeated, or
/// if the element is malformed.
fn parameter<'b>(element: &'b [u8], name: &str) -> Option<&'b [u8]> {
    let mut found = None;
    for pair in rsplit_unquoted(element, b';') {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let value = unquote(&pair[equals + 1..])?;
        if pair[..equals].eq_ignore_ascii_case(name.as_bytes()) && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// A token, or the contents of a quoted string. Escapes are not decoded, because addresses and schemes need none. A
/// token may contain characters that should be quoted, such as the colons that many proxies send.
fn unquote(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', contents @ .., b'"'] => Some(contents),
        _ if value.contains(&b'"') => None,
        _ => Some(value),
    }
}

/// Splits at separators outside of quoted strings, from the right; trims the parts and drops empty ones.
///
/// From the right, each unescaped quote ends or starts a string, regardless of the text before it. From the left, a
/// quote left open by the client would change the meaning of what a proxy appends.
fn rsplit_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    let parts = std::iter::from_fn(move || {
        let text = rest?;
        let at = last_unquoted(text, separator);
        rest = at.map(|at| &text[..at]);
        Some(text[at.map_or(0, |at| at + 1)..].trim_ascii())
    });
    parts.filter(|part| !part.is_empty())
}

fn last_unquoted(text: &[u8], separator: u8) -> Option<usize> {
    let mut is_quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        if *byte == b'"' {
            let backslashes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
            is_quoted ^= backslashes % 2 == 0;
        } else if *byte == separator && !is_quoted {
            return Some(at);
        }
    }
    None
}

/// Parses an address with or without a port (RFC 7239 §6), or a bare `2001:db8::1` as in `X-Forwarded-For`. `None` for
/// `unknown`, an obfuscated identifier (§6.3) or an invalid value.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            is_valid.then(|| address.parse::<Ipv6Addr>().ok())??.into()
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok()?.into(),
            _ => text.parse::<IpAddr>().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// Digits or an obfuscated port (RFC 7239 §6.2 and §6.3).
fn is_port(text: &str) -> bool {
    let is_obfuscated = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.as_bytes() {
        [b'_', name @ ..] => !name.is_empty() && name.iter().all(|byte| is_obfuscated(*byte)),
        digits => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests;
