//! The PROXY protocol, versions 1 and 2: the first bytes of a connection, in which a layer 4 load balancer names the
//! client (doc/proxy-protocol.txt of HAProxy; § are its sections).
//!
//! Where a header is expected it is required: a server that accepts connections without one lets clients forge their
//! addresses (§2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The start of a version 1 header, which is a line of text.
const V1_START: &[u8] = b"PROXY ";
/// The signature of version 2, which no other protocol starts with.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// §2.1: maximum length of the version 1 line, with its CR LF.
const MAX_V1_BYTES: usize = 107;
/// §2.2: signature, version and command, family and protocol, and the length of the rest.
const V2_FIXED_BYTES: usize = 16;
/// Maximum length of the rest: addresses and extensions, for which proxies send a few hundred bytes.
const MAX_V2_REST_BYTES: usize = 4 << 10;

/// The header at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// More bytes are needed.
    Partial,
    Complete {
        /// Its length in bytes; the client's own bytes follow.
        length: usize,
        /// The client. `None` if the proxy does not know it or connects for itself, as for a health check: then the
        /// addresses of the connection apply.
        source: Option<SocketAddr>,
    },
}

/// An invalid header, and the message for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

const UNKNOWN_FAMILY: Malformed =
    Malformed("the PROXY header has an unknown address family or transport protocol");

/// Parses the header at the start of `buffer`. Bytes after it make no difference.
pub fn parse(buffer: &[u8]) -> Result<Header, Malformed> {
    match buffer {
        [] => Ok(Header::Partial),
        _ if agrees_with(buffer, V1_START) => parse_v1(buffer),
        _ if agrees_with(buffer, V2_SIGNATURE) => parse_v2(buffer),
        _ => Err(Malformed("the connection does not start with a PROXY header")),
    }
}

/// Whether one is a prefix of the other.
fn agrees_with(buffer: &[u8], expected: &[u8]) -> bool {
    buffer.iter().zip(expected).all(|(byte, other)| byte == other)
}

/// §2.1: `PROXY TCP4 source destination port port`, with single spaces and CR LF.
fn parse_v1(buffer: &[u8]) -> Result<Header, Malformed> {
    let within = &buffer[..buffer.len().min(MAX_V1_BYTES)];
    let end = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(within.len());
    let rest = within[..end].get(V1_START.len()..).unwrap_or_default();
    if ![b"TCP4 ", b"TCP6 ", &b"UNKNOWN"[..]].iter().any(|family| agrees_with(rest, family)) {
        return Err(UNKNOWN_FAMILY);
    }
    match &within[end..] {
        [b'\r', b'\n', ..] => {}
        [] | [b'\r'] if within.len() < MAX_V1_BYTES => return Ok(Header::Partial),
        _ => {
            return Err(Malformed(
                "the line of the PROXY header does not end with CR LF within 107 bytes",
            ));
        }
    }
    let length = end + 2;
    // The rest of an UNKNOWN line must be ignored.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Header::Complete { length, source: None });
    }
    let source = if let Some(addresses) = rest.strip_prefix(b"TCP4 ") {
        v1_source::<Ipv4Addr>(addresses)
    } else if let Some(addresses) = rest.strip_prefix(b"TCP6 ") {
        v1_source::<Ipv6Addr>(addresses)
    } else {
        return Err(UNKNOWN_FAMILY);
    };
    match source {
        Some(source) => Ok(Header::Complete { length, source: Some(source) }),
        None => Err(Malformed("the PROXY header has invalid addresses or ports")),
    }
}

/// The source of `source destination port port`.
fn v1_source<A: FromStr + Into<IpAddr>>(addresses: &[u8]) -> Option<SocketAddr> {
    let mut words = std::str::from_utf8(addresses).ok()?.split(' ');
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let source_port = port(words.next()?)?;
    let _destination_port = port(words.next()?)?;
    words.next().is_none().then(|| SocketAddr::new(source.into().to_canonical(), source_port))
}

/// Digits without a leading zero.
fn port(text: &str) -> Option<u16> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// §2.2
fn parse_v2(buffer: &[u8]) -> Result<Header, Malformed> {
    let is_local = match buffer.get(12) {
        None => return Ok(Header::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => {
            return Err(Malformed("the PROXY header has an unknown version or command"));
        }
    };
    let address_length = match buffer.get(13) {
        None => return Ok(Header::Partial),
        // LOCAL: the family must be ignored.
        Some(_) if is_local => 0,
        Some(0x00..=0x02 | 0x10 | 0x20 | 0x30) => 0,
        Some(0x11 | 0x12) => 12,
        Some(0x21 | 0x22) => 36,
        Some(0x31 | 0x32) => 216,
        Some(_) => return Err(UNKNOWN_FAMILY),
    };
    let Some(&[high, low]) = buffer.get(14..V2_FIXED_BYTES) else { return Ok(Header::Partial) };
    let rest_length = usize::from(u16::from_be_bytes([high, low]));
    if rest_length > MAX_V2_REST_BYTES {
        return Err(Malformed("the PROXY header is longer than 4 KiB"));
    }
    if rest_length < address_length {
        return Err(Malformed("the PROXY header is too short for its addresses"));
    }
    let length = V2_FIXED_BYTES + rest_length;
    let Some(rest) = buffer.get(V2_FIXED_BYTES..length) else { return Ok(Header::Partial) };
    // Two addresses and two ports; extensions (§2.2.1 and on) follow, which are ignored.
    let source = match address_length {
        12 => v2_source::<4>(rest),
        36 => v2_source::<16>(rest),
        _ => None,
    };
    Ok(Header::Complete { length, source })
}

/// The source of two addresses of `N` bytes and two ports.
fn v2_source<const N: usize>(rest: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let address = IpAddr::from(*rest.first_chunk::<N>()?);
    let port = rest.get(2 * N..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(address.to_canonical(), u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests;
