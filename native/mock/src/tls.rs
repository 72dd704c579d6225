//! The brokers' TLS: a certificate from files, or one that is made for the occasion.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use thiserror::Error;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{crypto, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config;

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing, or is no PEM.
    #[error("{0}: {1}")]
    File(String, tokio_rustls::rustls::pki_types::pem::Error),
    /// A certificate without a key, or the other way round.
    #[error("cert_file and key_file go together")]
    OneOfTwo,
    /// No certificate could be made.
    #[error(transparent)]
    Made(#[from] rcgen::Error),
    /// The files do not fit.
    #[error(transparent)]
    Rustls(#[from] tokio_rustls::rustls::Error),
    /// No client can be verified so.
    #[error(transparent)]
    Verifier(#[from] tokio_rustls::rustls::server::VerifierBuilderError),
}

/// What the brokers say in handshakes.
pub(crate) struct Tls {
    pub acceptor: TlsAcceptor,
    /// Who signed the certificate, where it was made here.
    pub ca_pem: Option<String>,
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ca_pem: Option<String>,
}

impl Tls {
    pub(crate) fn new(config: &config::Tls) -> Result<Tls, TlsError> {
        let identity = match (&config.cert_file, &config.key_file) {
            (Some(cert), Some(key)) => Identity {
                chain: certificates(cert)?,
                key: PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| TlsError::File(key.clone(), error))?,
                ca_pem: None,
            },
            (None, None) => made()?,
            _ => return Err(TlsError::OneOfTwo),
        };
        let provider = Arc::new(crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let server = match &config.client_ca_file {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                server.with_client_cert_verifier(verifier.build()?)
            }
            None => server.with_no_client_auth(),
        };
        let server = server.with_single_cert(identity.chain, identity.key)?;
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            ca_pem: identity.ca_pem,
        })
    }
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| TlsError::File(file.to_owned(), error))
}

/// For localhost, by an authority of its own.
fn made() -> Result<Identity, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?;
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    Ok(Identity {
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        ca_pem: Some(ca.pem()),
    })
}
