//! Whether a broker is whom it says it is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::TlsError;

/// Checks the chain, the name and the signature, as far as the options ask for it.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None: nothing is checked.
    pub trust: Option<Trust>,
    pub algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
pub(super) struct Trust {
    pub roots: Arc<RootCertStore>,
    /// The roots as they are, to know a self-signed broker by.
    pub certificates: Vec<CertificateDer<'static>>,
    pub depth: Option<u8>,
    pub check_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &trust.roots,
            intermediates,
            now,
            algorithms,
        )
        .or_else(|error| match is_authority(&error) {
            // It was named as one to trust, and proves by its signature that it has the key.
            true if trust.certificates.iter().any(|root| root == end_entity) => Ok(()),
            true => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            false => Err(error),
        })?;
        if let Some(depth) = trust.depth {
            let parsed = webpki::EndEntityCert::try_from(end_entity)
                .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
            let short = |path: &webpki::VerifiedPath<'_>| {
                let between = path.intermediate_certificates().count();
                match between <= depth.into() {
                    true => Ok(()),
                    false => Err(webpki::Error::MaximumPathDepthExceeded),
                }
            };
            let path = parsed.verify_for_usage(
                algorithms,
                &trust.roots.roots,
                intermediates,
                now,
                webpki::KeyUsage::server_auth(),
                None,
                Some(&short),
            );
            if let Err(webpki::Error::MaximumPathDepthExceeded) = path {
                let error = OtherError(Arc::new(TlsError::ChainTooLong));
                return Err(Error::InvalidCertificate(CertificateError::Other(error)));
            }
        }
        if trust.check_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trust {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls12_signature(message, certificate, signature, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trust {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls13_signature(message, certificate, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the certificate was turned down because it is an authority's: `openssl req -x509` makes such
/// ones. It is looked at last, behind the dates.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error else {
        return false;
    };
    matches!(
        error.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}
