//! What trusted proxies say about a client: `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC 7239).
//!
//! A proxy appends what it knows to what it was sent. So the right end of a list is our peer's word, and the left end
//! can be anybody's: everything is read from the right, no further than trust reaches, and whatever stands to the
//! left of that may be garbage. Nothing is allocated, since every request behind a balancer comes through here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::request::Request;
use crate::config::TrustedProxies;

/// Who asked, and how, as far as trust reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address; `None` for one on `http_socket` that no field says more about.
    pub address: Option<IpAddr>,
    /// Whether the client asked over HTTPS.
    pub secure: bool,
}

/// The client behind `peer`, whose connection is HTTPS if `secure`.
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
    let (has_list, has_elements) = (listed.peek().is_some(), elements.peek().is_some());
    let by_list = client_end(peer, listed.map(node), trusted);
    if !has_elements {
        return by_list;
    }
    let by_elements = client_end(peer, elements.map(|one| node(parameter(one, "for")?)), trusted);
    if !has_list || by_list == by_elements {
        return by_elements;
    }
    // A proxy appends to one of the two and passes the other through as the client wrote it. Which of them is the
    // proxy's we can't tell, so that neither counts.
    peer
}

/// Walks from our peer towards the client: each proxy that we trust names the one before it. An entry that can't be
/// read ends the walk at the proxy that wrote it.
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

/// The scheme that our peer was asked with; `None` when it does not say, or says two things.
fn is_secure(request: &Request) -> Option<bool> {
    let field = list(request, "x-forwarded-proto").next();
    let parameter = elements(request).next().and_then(|element| parameter(element, "proto"));
    let scheme = match (field, parameter) {
        // As with addresses, one of them may be the client's own.
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

/// A field's list from its right end (RFC 9110 §5.6.1: empty entries do not count). Its lines are one list (§5.3).
fn list<'b>(request: &Request<'b>, name: &'static str) -> impl Iterator<Item = &'b [u8]> {
    let entries = request.raw(name).rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// The elements of `Forwarded` from its right end. No quoted string goes on in another line: a client that opens one
/// and never closes it hides nothing that a proxy adds in a line of its own.
fn elements<'b>(request: &Request<'b>) -> impl Iterator<Item = &'b [u8]> {
    request.raw("forwarded").rev().flat_map(|line| rsplit_unquoted(line, b','))
}

/// A parameter's value without its quotes, from an element of `Forwarded` (RFC 7239 §4). `None` when it is absent,
/// when it is there twice, and when the element is malformed.
fn parameter<'b>(element: &'b [u8], name: &str) -> Option<&'b [u8]> {
    let mut found = None;
    for pair in rsplit_unquoted(element, b';') {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let value = unquoted(&pair[equals + 1..])?;
        if pair[..equals].eq_ignore_ascii_case(name.as_bytes()) && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// A token, or what is inside of a quoted string. Addresses and schemes need no escapes, so none is undone; and a
/// token may hold what it should not, such as the colons that many proxies forget to quote.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inside @ .., b'"'] => Some(inside),
        _ if value.contains(&b'"') => None,
        _ => Some(value),
    }
}

/// The parts between separators outside of quoted strings, from the right, without white space and empty ones.
///
/// Seen from the right a quote is a string's end or start, unless it is escaped. What stands further left can't
/// change that, as an unclosed quote of the client's would if this were read from the left.
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
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        if *byte == b'"' {
            let backslashes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
            quoted ^= backslashes % 2 == 0;
        } else if *byte == separator && !quoted {
            return Some(at);
        }
    }
    None
}

/// An address with or without a port: RFC 7239 §6, and `2001:db8::1` as `X-Forwarded-For` has it. `None` for
/// `unknown`, for a name that a proxy made up (§6.3), and for nonsense.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_alone = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            is_alone.then(|| address.parse::<Ipv6Addr>().ok())??.into()
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok()?.into(),
            _ => text.parse::<IpAddr>().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// Digits, or a made-up name (RFC 7239 §6.2 and §6.3).
fn is_port(text: &str) -> bool {
    let is_obfuscated = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.as_bytes() {
        [b'_', name @ ..] => !name.is_empty() && name.iter().all(|byte| is_obfuscated(*byte)),
        digits => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests;
