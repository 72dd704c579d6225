//! Certificates and keys by which a client proves who it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};

use super::error::TlsError;
use super::options::{CertificateFiles, Identity, IdentitySource};
use super::{files, keys};

type Chain = Vec<CertificateDer<'static>>;

/// The first one that can sign as the broker wants it.
#[derive(Debug)]
pub(super) struct Identities(pub Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identities {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let fits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(schemes).is_some();
        self.0.iter().find(fits).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The files that an identity is made of.
pub(super) fn paths(identity: &Identity) -> Vec<PathBuf> {
    match &identity.source {
        IdentitySource::Files(CertificateFiles { certificates, key }) => {
            vec![certificates.clone(), key.clone()]
        }
        IdentitySource::FileAndKey { certificates, .. } => vec![certificates.clone()],
        IdentitySource::CertificateAndKeyFile { key, .. } => vec![key.clone()],
        IdentitySource::Der { .. } => Vec::new(),
    }
}

/// Reads a chain and its key, and checks that they belong together.
pub(super) fn load(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let password = identity.password.as_ref().map(|secret| &secret.0[..]);
    let key_of_file = |path: &Path| {
        let text = files::read("keyfile", path)?;
        keys::of_pem(&text, password).map_err(|why| files::content("keyfile", path, why))
    };
    let key_of_der =
        |key| keys::of_der(key, password).map_err(|why| TlsError::Option { option: "key", why });
    let (chain, key): (Chain, PrivateKeyDer<'static>) = match &identity.source {
        IdentitySource::Files(CertificateFiles { certificates, key }) => {
            (chain_of_file(certificates)?, key_of_file(key)?)
        }
        IdentitySource::Der { certificates, key } => (chain_of_der(certificates), key_of_der(key)?),
        IdentitySource::FileAndKey { certificates, key } => {
            (chain_of_file(certificates)?, key_of_der(key)?)
        }
        IdentitySource::CertificateAndKeyFile { certificates, key } => {
            (chain_of_der(certificates), key_of_file(key)?)
        }
    };
    // Which of the two is wrong, and where it is from.
    let fault = |is_key: bool, why: String| match (&identity.source, is_key) {
        (IdentitySource::Files(CertificateFiles { key, .. }), true)
        | (IdentitySource::CertificateAndKeyFile { key, .. }, true) => {
            files::content("keyfile", key, why)
        }
        (IdentitySource::Files(CertificateFiles { certificates, .. }), false)
        | (IdentitySource::FileAndKey { certificates, .. }, false) => {
            files::content("certfile", certificates, why)
        }
        (_, true) => TlsError::Option { option: "key", why },
        (_, false) => TlsError::Option {
            option: "cert",
            why,
        },
    };
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| fault(true, format!("the key cannot be used: {error}")))?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        // A kind of key that does not tell its public half is taken at its word.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(identity)),
        Err(Error::InconsistentKeys(_)) => {
            Err(fault(true, "the key is not that of the certificate".into()))
        }
        Err(error) => Err(fault(
            false,
            format!("the certificate cannot be used: {error}"),
        )),
    }
}

fn chain_of_file(path: &Path) -> Result<Chain, TlsError> {
    certificates_of_file("certfile", path)
}

fn chain_of_der(certificates: &[Vec<u8>]) -> Chain {
    let owned = |der: &Vec<u8>| CertificateDer::from(der.clone());
    certificates.iter().map(owned).collect()
}

/// All certificates of a PEM file, of which there is at least one.
pub(super) fn certificates_of_file(option: &'static str, path: &Path) -> Result<Chain, TlsError> {
    let text = files::read(option, path)?;
    let certificates: Result<Chain, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(files::content(option, path, "it holds no certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(files::content(
            option,
            path,
            format!("it is no PEM file: {error}"),
        )),
    }
}
