//! A certificate authority for the tests, and server certificates that it issues.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};

pub struct Certificates {
    /// The authority's certificate.
    pub root_pem: String,
    /// The chain: the server's certificate, then the authority's.
    pub chain_pem: String,
    /// The server's private key.
    pub key_pem: String,
    root: rcgen::Certificate,
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Another certificate of the same authority.
pub struct Issued {
    /// The chain: the server's certificate, then the authority's.
    pub chain_pem: String,
    /// The server's private key.
    pub key_pem: String,
    /// The server's certificate, as clients receive it.
    pub leaf: CertificateDer<'static>,
}

impl Certificates {
    /// For `localhost` and `127.0.0.1`.
    pub fn new() -> Certificates {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let Issued { chain_pem, key_pem, leaf } =
            issue(&["localhost", "127.0.0.1"], &key, &issuer, &root);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Certificates { root_pem: root.pem(), chain_pem, key_pem, root, leaf, key, issuer }
    }

    /// Issues a certificate for these names or addresses, with a new ECDSA key.
    pub fn issue(&self, names: &[&str]) -> Issued {
        issue(names, &KeyPair::generate().unwrap(), &self.issuer, &self.root)
    }

    /// Issues a certificate for these names or addresses and this key (PKCS#8, PEM).
    pub fn issue_for(&self, names: &[&str], key_pem: &[u8]) -> Issued {
        let key = KeyPair::from_pem(std::str::from_utf8(key_pem).unwrap()).unwrap();
        issue(names, &key, &self.issuer, &self.root)
    }

    /// The configuration of a client that trusts this authority only.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        Arc::new(self.client_config(versions))
    }

    /// Like `client`, for callers that change it.
    pub fn client_config(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_config_with(versions, ring::ALL_CIPHER_SUITES.to_vec())
    }

    /// Like `client_config`, with these cipher suites only.
    pub fn client_config_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        cipher_suites: Vec<SupportedCipherSuite>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let provider = CryptoProvider { cipher_suites, ..ring::default_provider() };
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// The configuration of a server.
    pub fn server(&self) -> Arc<ServerConfig> {
        server(self.leaf.clone(), self.key.clone_key())
    }

    /// The configuration of a server with another certificate.
    pub fn server_with(&self, issued: &Issued) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
        server(issued.leaf.clone(), key)
    }
}

fn server(leaf: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    Arc::new(config)
}

fn issue(
    names: &[&str],
    key: &KeyPair,
    issuer: &Issuer<'static, KeyPair>,
    root: &rcgen::Certificate,
) -> Issued {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(key, issuer).unwrap();
    Issued {
        chain_pem: leaf.pem() + &root.pem(),
        key_pem: key.serialize_pem(),
        leaf: leaf.der().clone(),
    }
}
