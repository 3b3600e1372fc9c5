//! The PROXY protocol, versions 1 and 2: a balancer that does not read HTTP names the client in front of everything
//! else (doc/proxy-protocol.txt of HAProxy; § are its sections).
//!
//! Where a header is expected it is required: who guessed whether there is one could be told any address (§2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Version 1: a line.
const TEXT: &[u8] = b"PROXY ";
/// Version 2: bytes that no other protocol starts with.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// §2.1: the longest line, with its CR LF.
const LONGEST_LINE: usize = 107;
/// §2.2: the signature, version and command, family and protocol, and the length of the rest.
const BINARY_START: usize = 16;
/// The most that may follow: addresses, and what else proxies know. They send some hundred bytes.
const MOST_BINARY: usize = 4 << 10;

/// What a connection starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Not yet a whole header.
    Partial,
    /// A header.
    Whole {
        /// Its length in bytes; the client's own bytes follow.
        length: usize,
        /// The client. `None` when the proxy speaks for itself, as in a check of our health, or can't tell: then the
        /// addresses of the connection hold.
        source: Option<SocketAddr>,
    },
}

/// Why a connection can only be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(
    /// The sentence for the log.
    pub &'static str,
);

const NO_FAMILY: Malformed =
    Malformed("the PROXY header has a family or a protocol that is not known");

/// Reads the header at the start of `buffer`, of which no more than the header is looked at.
pub fn parse(buffer: &[u8]) -> Result<Header, Malformed> {
    match buffer {
        [] => Ok(Header::Partial),
        _ if starts_as(buffer, TEXT) => text(buffer),
        _ if starts_as(buffer, BINARY) => binary(buffer),
        _ => Err(Malformed("the connection does not start with a PROXY header")),
    }
}

/// Whether one of the two is the start of the other.
fn starts_as(buffer: &[u8], expected: &[u8]) -> bool {
    buffer.iter().zip(expected).all(|(byte, other)| byte == other)
}

/// §2.1: `PROXY TCP4 source destination port port`, with single spaces and CR LF.
fn text(buffer: &[u8]) -> Result<Header, Malformed> {
    let within = &buffer[..buffer.len().min(LONGEST_LINE)];
    let end = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(within.len());
    let rest = within[..end].get(TEXT.len()..).unwrap_or_default();
    if ![b"TCP4 ", b"TCP6 ", &b"UNKNOWN"[..]].iter().any(|family| starts_as(rest, family)) {
        return Err(NO_FAMILY);
    }
    match &within[end..] {
        [b'\r', b'\n', ..] => {}
        [] | [b'\r'] if within.len() < LONGEST_LINE => return Ok(Header::Partial),
        _ => {
            return Err(Malformed(
                "the line of the PROXY header does not end with CR LF within 107 bytes",
            ));
        }
    }
    let length = end + 2;
    // What an unknown family's line says besides is to be ignored.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Header::Whole { length, source: None });
    }
    let source = if let Some(addresses) = rest.strip_prefix(b"TCP4 ") {
        text_source::<Ipv4Addr>(addresses)
    } else if let Some(addresses) = rest.strip_prefix(b"TCP6 ") {
        text_source::<Ipv6Addr>(addresses)
    } else {
        return Err(NO_FAMILY);
    };
    match source {
        Some(source) => Ok(Header::Whole { length, source: Some(source) }),
        None => Err(Malformed("the addresses of the PROXY header can't be read")),
    }
}

/// The first of two addresses of a family and the first of two ports.
fn text_source<A: FromStr + Into<IpAddr>>(addresses: &[u8]) -> Option<SocketAddr> {
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
fn binary(buffer: &[u8]) -> Result<Header, Malformed> {
    let is_local = match buffer.get(12) {
        None => return Ok(Header::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => {
            return Err(Malformed("the PROXY header has a version or a command that is not known"));
        }
    };
    let address_length = match buffer.get(13) {
        None => return Ok(Header::Partial),
        // The proxy speaks for itself, and its family is to be ignored.
        Some(_) if is_local => 0,
        Some(0x00..=0x02 | 0x10 | 0x20 | 0x30) => 0,
        Some(0x11 | 0x12) => 12,
        Some(0x21 | 0x22) => 36,
        Some(0x31 | 0x32) => 216,
        Some(_) => return Err(NO_FAMILY),
    };
    let Some(&[high, low]) = buffer.get(14..BINARY_START) else { return Ok(Header::Partial) };
    let rest_length = usize::from(u16::from_be_bytes([high, low]));
    if rest_length > MOST_BINARY {
        return Err(Malformed("the PROXY header is longer than 4 KiB"));
    }
    if rest_length < address_length {
        return Err(Malformed("the PROXY header is too short for its addresses"));
    }
    let length = BINARY_START + rest_length;
    let Some(rest) = buffer.get(BINARY_START..length) else { return Ok(Header::Partial) };
    // Two addresses, two ports; the rest are extensions (§2.2.1 and on) that we have no use for.
    let source = match address_length {
        12 => binary_source::<4>(rest),
        36 => binary_source::<16>(rest),
        _ => None,
    };
    Ok(Header::Whole { length, source })
}

/// The first of two addresses of so many bytes and the first of two ports.
fn binary_source<const N: usize>(rest: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let address = IpAddr::from(*rest.first_chunk::<N>()?);
    let port = rest.get(2 * N..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(address.to_canonical(), u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests;
