//! TLS handshakes whose outcome the tests inspect, by clients with limited capabilities.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    SupportedProtocolVersion,
};

use super::TIMEOUT;
use super::client::request;

/// A completed handshake.
pub struct Handshake {
    pub connection: ClientConnection,
    pub socket: TcpStream,
}

impl Handshake {
    /// `name` is a host name, which is sent, or an address, which is not (RFC 6066 §3).
    pub fn new(
        address: SocketAddr,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> io::Result<Handshake> {
        let mut socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Handshake { connection, socket })
    }

    /// The server's certificate.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.connection.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Requests `/-/health`, so that the client reads the session tickets after the handshake, and closes.
    pub fn finish(mut self) -> HandshakeKind {
        let kind = self.connection.handshake_kind().unwrap();
        let mut stream = rustls::Stream::new(&mut self.connection, &mut self.socket);
        stream.write_all(&request("GET", "/-/health", &[("Connection", "close")])).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        kind
    }
}

/// Accepts any certificate, so that a test can inspect it, but verifies that the server has its key.
#[derive(Debug)]
struct AcceptAny {
    algorithms: WebPkiSupportedAlgorithms,
    schemes: Vec<SignatureScheme>,
}

/// A client that accepts any certificate. `schemes` are the signature schemes that it offers.
pub fn accept_any(
    version: &'static SupportedProtocolVersion,
    schemes: Option<&[SignatureScheme]>,
) -> Arc<ClientConfig> {
    let provider = ring::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    let schemes = schemes.map_or_else(|| algorithms.supported_schemes(), <[_]>::to_vec);
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny { algorithms, schemes }))
        .with_no_client_auth();
    Arc::new(config)
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        assert!(
            self.schemes.contains(&signature.scheme),
            "was not offered: {:?}",
            signature.scheme
        );
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        assert!(
            self.schemes.contains(&signature.scheme),
            "was not offered: {:?}",
            signature.scheme
        );
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
