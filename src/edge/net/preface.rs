//! The first bytes of a connection: who it is for, and whether it is what the port expects.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;

use super::proxy_protocol::{self, Header};
use super::socket::Socket;
use crate::edge::http::response::Response;
use crate::log::warn_ratelimited;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// What the port expects, as far as can be told.
    Expected,
    /// HTTP where TLS is expected.
    PlainHttp,
}

/// A connection whose first bytes have been looked at.
#[derive(Clone, Copy, Debug)]
pub struct PrefaceRead {
    /// The client's address, if a PROXY header tells one.
    pub client: Option<IpAddr>,
    /// What follows.
    pub preface: Preface,
}

/// Reads the PROXY header where one is expected, and looks at the first byte where TLS is.
pub fn read(
    socket: &mut Socket,
    expects_proxy_header: bool,
    expects_tls: bool,
) -> io::Result<PrefaceRead> {
    let client = if expects_proxy_header { proxy_header(socket)? } else { None };
    let preface = match expects_tls {
        true => tls_preface(socket)?,
        false => Preface::Expected,
    };
    Ok(PrefaceRead { client, preface })
}

fn proxy_header(socket: &mut Socket) -> io::Result<Option<IpAddr>> {
    let mut buffer = Vec::with_capacity(256);
    loop {
        let parsed = proxy_protocol::parse(&buffer);
        match parsed.map_err(|malformed| io::Error::new(ErrorKind::InvalidData, malformed.0))? {
            Header::Whole { length, source } => {
                socket.put_back(buffer.get(length..).unwrap_or_default());
                return Ok(source.map(|source| source.ip().to_canonical()));
            }
            Header::Partial => read_more(socket, &mut buffer)?,
        }
    }
}

fn tls_preface(socket: &mut Socket) -> io::Result<Preface> {
    let mut buffer = Vec::new();
    read_more(socket, &mut buffer)?;
    socket.put_back(&buffer);
    // A TLS record starts with a number below 32, a method of HTTP with a letter.
    Ok(match buffer.first() {
        Some(byte) if byte.is_ascii_alphabetic() => Preface::PlainHttp,
        _ => Preface::Expected,
    })
}

fn read_more(socket: &mut Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut bytes = [0; 2048];
    let length = loop {
        match socket.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if length == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    buffer.extend_from_slice(&bytes[..length]);
    Ok(())
}

/// A trusted proxy that sends no PROXY header is set up wrong, and its operator sees nothing but closed connections.
pub fn log(peer: Option<IpAddr>, error: &io::Error) {
    if error.kind() == ErrorKind::InvalidData {
        let peer = peer.map_or("http_socket".to_owned(), |address| address.to_string());
        warn_ratelimited!(
            "proxy_header_invalid",
            "closing connections from {peer}, a trusted proxy: proxy_protocol is true, but it sends no valid \
             PROXY header: {error}"
        );
    }
}

/// What a client is told whose scheme does not fit the port.
pub fn plain_http_refusal() -> Response {
    Response::text(400, "this port speaks HTTPS")
}
