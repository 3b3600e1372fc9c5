//! The connection preface: the PROXY header, and the first byte, which tells TLS from plain HTTP.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;

use super::proxy_protocol::{self, Header};
use super::socket::Socket;
use crate::edge::http::response::Response;
use crate::log::warn_ratelimited;
use crate::metrics::{METRICS, RefusedConnection};

#[derive(Clone, Copy, Debug)]
pub struct Preface {
    /// The client's address, if a PROXY header names it.
    pub client: Option<IpAddr>,
    /// Whether plain HTTP follows where TLS is expected.
    pub is_plain_http: bool,
}

/// Reads the PROXY header if one is expected, and peeks at the first byte if TLS is.
pub fn read(
    socket: &mut Socket,
    expects_proxy_header: bool,
    expects_tls: bool,
) -> io::Result<Preface> {
    let client = if expects_proxy_header { read_proxy_header(socket)? } else { None };
    let is_plain_http = expects_tls && starts_with_http(socket)?;
    Ok(Preface { client, is_plain_http })
}

fn read_proxy_header(socket: &mut Socket) -> io::Result<Option<IpAddr>> {
    let mut buffer = Vec::with_capacity(256);
    loop {
        let parsed = proxy_protocol::parse(&buffer);
        match parsed.map_err(|malformed| io::Error::new(ErrorKind::InvalidData, malformed.0))? {
            Header::Complete { length, source } => {
                socket.push_back(buffer.get(length..).unwrap_or_default());
                return Ok(source.map(|source| source.ip().to_canonical()));
            }
            Header::Partial => read_more(socket, &mut buffer)?,
        }
    }
}

/// A TLS record starts with a content type below 32, an HTTP request with a letter.
fn starts_with_http(socket: &mut Socket) -> io::Result<bool> {
    let mut buffer = Vec::new();
    read_more(socket, &mut buffer)?;
    socket.push_back(&buffer);
    Ok(buffer.first().is_some_and(u8::is_ascii_alphabetic))
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

/// Counts and warns of a trusted proxy that sends no valid PROXY header: its operator would only see closed connections.
pub fn log(peer: Option<IpAddr>, error: &io::Error) {
    if error.kind() == ErrorKind::InvalidData {
        METRICS.connections.refused.get(RefusedConnection::ProxyHeader).add(1);
        let peer = peer.map_or("http_socket".to_owned(), |address| address.to_string());
        warn_ratelimited!(
            "proxy_header_invalid",
            "closing connections from {peer}, a trusted proxy: proxy_protocol is true, but it sends no valid \
             PROXY header: {error}"
        );
    }
}

/// The response to plain HTTP on the HTTPS port.
pub fn plain_http_response() -> Response {
    Response::text(400, "this port speaks HTTPS")
}
