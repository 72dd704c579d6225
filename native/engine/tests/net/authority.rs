//! Certificates of all kinds, made when a test needs them.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub certificate: CertificateDer<'static>,
}

/// A certificate with those that lead to its authority, and its key.
pub(crate) struct Certified {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

impl Certified {
    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }

    pub(crate) fn chain_pem(&self) -> String {
        let pem = |der: &CertificateDer<'_>| pem_of("CERTIFICATE", der);
        self.chain.iter().map(pem).collect()
    }
}

/// A section of a PEM file.
pub(crate) fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// What a broker's certificate is for.
pub(crate) fn server(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "broker");
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority {
            params,
            key,
            certificate,
        }
    }

    pub(crate) fn pem(&self) -> String {
        pem_of("CERTIFICATE", &self.certificate)
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// Signs a certificate.
    pub(crate) fn sign(&self, params: CertificateParams) -> Certified {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Certified {
            chain: vec![certificate.der().clone()],
            key,
        }
    }

    /// An authority between this one and others.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let mut under = Authority::new(name);
        let signed = under.params.signed_by(&under.key, &self.issuer()).unwrap();
        under.certificate = signed.der().clone();
        under
    }
}

/// A certificate that nobody else has signed.
pub(crate) fn self_signed(params: CertificateParams) -> Certified {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Certified {
        chain: vec![certificate.der().clone()],
        key,
    }
}
