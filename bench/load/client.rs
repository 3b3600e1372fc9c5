//! A client that uses as little CPU time as possible, since the server runs on the same machine.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    version::TLS13,
};

use super::Fallible;

/// Without a response for this long, the request is lost.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// The path and the query.
    pub path: String,
}

/// A connection, plain or over TLS.
#[derive(Debug)]
pub enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Connects, and completes the TLS handshake if there is a TLS configuration.
    pub fn open(target: &Target, tls: Option<&Arc<ClientConfig>>) -> io::Result<Connection> {
        let mut tcp = TcpStream::connect(target.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        tcp.set_write_timeout(Some(TIMEOUT))?;
        let Some(config) = tls else { return Ok(Connection::Plain(tcp)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut session =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Connection::Tls(Box::new(StreamOwned::new(session, tcp))))
    }

    /// Sends a request and reads the complete response into a reused buffer. Returns the status.
    pub fn ask(&mut self, method: &str, path: &str, buffer: &mut Vec<u8>) -> io::Result<u16> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        buffer.resize(64 << 10, 0);
        match self {
            Connection::Plain(tcp) => exchange(tcp, &request, buffer),
            Connection::Tls(tls) => exchange(tls, &request, buffer),
        }
    }

    /// Sends close_notify, as browsers do.
    pub fn close(self) {
        if let Connection::Tls(mut tls) = self {
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &str, buffer: &mut [u8]) -> io::Result<u16> {
    stream.write_all(request.as_bytes())?;
    let mut read = 0;
    let (status, mut left) = loop {
        let room = buffer.get_mut(read..).filter(|room| !room.is_empty());
        read += some(stream, room.ok_or_else(|| malformed("its head is too long"))?)?;
        if let Some((status, length)) = head(buffer.get(..read).unwrap_or_default())? {
            let length = if request.starts_with("HEAD") { 0 } else { length.1 + length.0 };
            break (status, length.saturating_sub(read));
        }
    };
    while left > 0 {
        let room = buffer.len().min(left);
        left -= some(stream, buffer.get_mut(..room).unwrap_or_default())?;
    }
    Ok(status)
}

fn some(stream: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    match stream.read(room)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        length => Ok(length),
    }
}

/// The status and the lengths of head and body, once the head is complete.
fn head(bytes: &[u8]) -> io::Result<Option<(u16, (usize, usize))>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = answer.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let status = answer.code.unwrap_or_default();
    let body =
        answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = match body {
        Some(header) => str::from_utf8(header.value).ok().and_then(|text| text.parse().ok()),
        None => (status == 304).then_some(0),
    };
    Ok(Some((status, (length, body.ok_or_else(|| malformed("it has no length"))?))))
}

fn malformed(sentence: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("an answer is of no use: {sentence}"))
}

/// TLS 1.3 without verification, with or without session resumption.
pub fn tls(resume: bool) -> Fallible<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption =
        if resume { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

/// Accepts any certificate: only the work of the server is measured.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
